"""Keeping the record of an appraisal: which checks were made, and with what outcome.

A record holds what was compared as it was found, and is put into words only when somebody reads it: nobody
reads most results, and words cost more than the comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar

from casemate.errors import FormatError
from casemate.formats.one_line import one_line
from casemate.verifier.requirements import Requirement

#: Characters of what a check says that it expected or found. The longest of our own texts, without the
#: measurements that a policy may name, has less than half of that.
MAX_TEXT = 1000
#: What a check expects where the policy leaves it open.
ANY = "any (the policy names none)"

#: What a check compares: a text, or a value that is shown in the usual way, or a text yet to be made.
Compared = str | int | bytes | datetime | tuple[bytes, ...] | Callable[[], str] | None

_Value = TypeVar("_Value")


#: One check that was made, before it is put into words: what was checked, whether it was as it should be,
#: what would have been right, what was found. A bare tuple, because many are made for each quote.
Record = tuple[Requirement, bool, Compared, Compared]


class Checklist:
    """The record of one stage of an appraisal, in the order in which its checks were made.

    Attributes:
        records: The checks.
        passed: Whether all of them have passed so far.
    """

    __slots__ = ("passed", "records")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.passed = True

    def require(self, requirement: Requirement, *, passed: bool, expected: Compared, got: Compared) -> bool:
        """Record one check; gives ``passed`` back, for steps that cannot go on without it."""
        self.records.append((requirement, passed, expected, got))
        if not passed:
            self.passed = False
        return passed

    def take(self, made: Checklist) -> bool:
        """Take over checks that were made before; gives back whether all of them have passed."""
        self.records += made.records
        if not made.passed:
            self.passed = False
        return made.passed

    def read(self, requirement: Requirement, parse: Callable[[bytes], _Value], data: bytes) -> _Value | None:
        """Record whether ``data`` can be read; gives what was read."""
        try:
            value = parse(data)
        except FormatError as error:
            self.cannot_read(requirement, error)
            return None
        self.require(requirement, passed=True, expected="what its format allows", got=_size(data))
        return value

    def cannot_read(self, requirement: Requirement, error: FormatError) -> None:
        """Record that something is not what its format allows."""
        got = f"{error}. {error.hint}" if error.hint else str(error)
        self.require(requirement, passed=False, expected="what its format allows", got=got)

    def require_signature(self, requirement: Requirement, *, right: bool, by: str) -> bool:
        """Record whether a signature is right; gives ``right`` back."""
        got = "a right signature" if right else "a wrong signature"
        return self.require(requirement, passed=right, expected=f"the signature of {by}", got=got)

    def has_made(self, requirements: Iterable[Requirement]) -> bool:
        """Whether each of these checks was made and every check has passed."""
        return self.passed and {requirement for requirement, *_ in self.records}.issuperset(requirements)

    def has_made_all(self, number: int) -> bool:
        """Whether that many checks were made, where each is made once, and all have passed."""
        return self.passed and len(self.records) == number


def in_words(compared: Compared) -> str:
    """What a check compared, as one printable line of at most :data:`MAX_TEXT` characters.

    Whoever sends evidence has a hand in what is found, so texts are bounded and made printable here.
    """
    return one_line(_text(compared), MAX_TEXT)


def _text(compared: Compared) -> str:
    match compared:
        case str():
            return compared
        case bytes():
            return compared.hex()
        case datetime():
            return moment(compared)
        case tuple():
            return " or ".join(value.hex() for value in compared)
        case int():
            return str(compared)
        case _:
            return ANY if compared is None else compared()


def moment(instant: datetime) -> str:
    """An instant as people write it."""
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _size(data: bytes) -> Callable[[], str]:
    return lambda: f"{len(data)} bytes"
