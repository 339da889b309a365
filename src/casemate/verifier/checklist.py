"""Keeping the record of an appraisal: which checks were made, with what outcome, and what ends when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from casemate.errors import FormatError
from casemate.formats.one_line import one_line
from casemate.verifier.requirements import Requirement
from casemate.verifier.result import Check

#: Characters of what a check says that it expected or found. The longest of our own texts, without the
#: measurements that a policy may name, has less than half of that.
MAX_TEXT = 1000

_Value = TypeVar("_Value")


@dataclass(slots=True, kw_only=True)
class Checklist:
    """The record of one appraisal at one instant.

    Attributes:
        at: The instant at which everything is judged.
        accept_expired: Whether the policy accepts endorsements after their end.
    """

    at: datetime
    accept_expired: bool
    _made: dict[Requirement, Check] = field(default_factory=dict)
    _ends: list[datetime] = field(default_factory=list)

    def require(self, requirement: Requirement, *, passed: bool, expected: str, got: str) -> bool:
        """Record one check; gives ``passed`` back, for steps that cannot go on without it.

        Whoever sends evidence has a hand in what is found, so texts are bounded and made printable here.
        """
        self._made[requirement] = Check(
            name=requirement.title,
            passed=passed,
            expected=one_line(expected, MAX_TEXT),
            got=one_line(got, MAX_TEXT),
            reference=requirement.reference,
        )
        return passed

    def read(self, requirement: Requirement, parse: Callable[[bytes], _Value], data: bytes) -> _Value | None:
        """Record whether ``data`` can be read; gives what was read."""
        try:
            value = parse(data)
        except FormatError as error:
            got = f"{error}. {error.hint}" if error.hint else str(error)
            self.require(requirement, passed=False, expected="what its format allows", got=got)
            return None
        self.require(requirement, passed=True, expected="what its format allows", got=f"{len(data)} bytes")
        return value

    def require_signature(self, requirement: Requirement, *, right: bool, by: str) -> bool:
        """Record whether a signature is right; gives ``right`` back."""
        got = "a right signature" if right else "a wrong signature"
        return self.require(requirement, passed=right, expected=f"the signature of {by}", got=got)

    def period(self, begun: Requirement, expiry: Requirement, begins: datetime, ends: datetime) -> None:
        """Record whether the instant lies between ``begins`` and ``ends``, both inclusive."""
        self._ends.append(ends)
        self.require(
            begun, passed=begins <= self.at, expected=f"at or before {_moment(self.at)}", got=_moment(begins)
        )
        expected = "any time (the policy accepts expired endorsements)"
        if not self.accept_expired:
            expected = f"at or after {_moment(self.at)}"
        self.require(
            expiry, passed=self.accept_expired or self.at <= ends, expected=expected, got=_moment(ends)
        )

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks that were made, in the order of :class:`Requirement`."""
        return tuple(self._made[requirement] for requirement in Requirement if requirement in self._made)

    @property
    def complete(self) -> bool:
        """Whether every check was made and has passed."""
        return all(
            requirement in self._made and self._made[requirement].passed for requirement in Requirement
        )

    @property
    def earliest_end(self) -> datetime | None:
        """When the first of what was judged expires."""
        return min(self._ends, default=None)


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
