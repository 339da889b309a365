"""A policy made ready: judges what evidence says, and what the platform is worth.

A policy is compiled once for each kind of enclave and judges many quotes. Every member of a policy is judged
in the same way, whatever another has said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from casemate.formats.sgx.pck import PckExtension
from casemate.formats.sgx.quote import Tee
from casemate.formats.sgx.report import ReportBody
from casemate.formats.sgx.td_report import TdReport
from casemate.verifier.checklist import Record, in_words
from casemate.verifier.enclave import EnclaveDemands
from casemate.verifier.grants import Grant
from casemate.verifier.platform_demands import PlatformDemands
from casemate.verifier.policy import AllOf, AnyOf, AppraisalPolicy, Policy
from casemate.verifier.requirements import SETTLED, Requirement, Stage, required
from casemate.verifier.tcb import Standing
from casemate.verifier.trust_domain import TrustDomainDemands

_ENCLAVE_CHECKS = len(required(Tee.SGX, Stage.POLICY) - SETTLED)
_TD_CHECKS = len(required(Tee.TDX, Stage.POLICY) - SETTLED)


class Case(NamedTuple):
    """What is judged.

    Attributes:
        report: What the evidence says.
        standing: How its platform stands; ``None`` when that could not be found out.
        platform: What the PCK certificate says; ``None`` when that could not be read.
        at: The instant.
        report_data: The 64 bytes that the evidence must bind; ``None`` for those of the policy.
    """

    report: ReportBody | TdReport
    standing: Standing | None
    platform: PckExtension | None
    at: datetime
    report_data: bytes | None


class Judgement(NamedTuple):
    """What a policy says of a case.

    Attributes:
        met: Whether every check was made and has passed.
        made: The checks of this policy itself.
        members: The judgements of the policies within it on which it rests.
        granting: Who says what was accepted that is refused otherwise; ``None`` where only members do.
        case: What was judged.
    """

    met: bool
    made: tuple[Record, ...]
    members: tuple[Judgement, ...]
    granting: _One | None
    case: Case

    def records(self) -> Sequence[Record]:
        """Every check that was made."""
        if not self.members:
            return self.made
        return [*self.made, *_once(record for member in self.members for record in member.records())]

    def grants(self) -> tuple[Grant, ...]:
        """What was accepted that is refused otherwise, each once."""
        own = self.granting.grants(self.case) if self.granting else ()
        return tuple(dict.fromkeys([*own, *(grant for member in self.members for grant in member.grants())]))

    @property
    def refusals(self) -> int:
        """How many checks have not passed."""
        return sum(not passed for _, passed, _, _ in self.made) + sum(
            member.refusals for member in self.members
        )


class Judge(Protocol):
    """A policy, made ready."""

    @property
    def name(self) -> str | None:
        """What people call it."""

    def judge(self, case: Case) -> Judgement:
        """What the policy says of a case."""


def judge_of(policy: Policy, tee: Tee) -> Judge:
    """Make a policy ready for one kind of enclave."""
    match policy:
        case AppraisalPolicy():
            return _One(policy)
        case AllOf():
            return _All(policy, tee)
        case AnyOf():
            return _Any(policy, tee)


class _One:
    """A single policy."""

    __slots__ = ("_domain", "_enclave", "_platform", "_report_data", "name")

    def __init__(self, policy: AppraisalPolicy) -> None:
        self.name = policy.name
        self._platform = PlatformDemands(policy)
        self._enclave = EnclaveDemands(policy)
        self._domain = TrustDomainDemands(policy)
        self._report_data = policy.report_data

    def judge(self, case: Case) -> Judgement:
        report, standing, platform, at, expected = case
        if expected is None:
            expected = self._report_data
        if isinstance(report, TdReport):
            number, of_report = _TD_CHECKS, self._domain.compare(report, at)
        else:
            number, of_report = _ENCLAVE_CHECKS, self._enclave.compare(report, at)
        made = (
            *self._platform.compare(standing, platform, at),
            *of_report,
            (
                Requirement.REPORT_DATA,
                expected is None or report.report_data == expected,
                expected,
                report.report_data,
            ),
        )
        met = len(made) == number
        for _, passed, _, _ in made:
            if not passed:
                met = False
        return Judgement(met, made, (), self, case)

    def grants(self, case: Case) -> list[Grant]:
        """What it accepts in a case that is refused otherwise."""
        report, at = case.report, case.at
        of_report = (
            self._domain.grants(report, at)
            if isinstance(report, TdReport)
            else self._enclave.grants(report, at)
        )
        return self._platform.grants(case.standing, at) + of_report


class _All:
    """Every one of several policies."""

    __slots__ = ("_judges", "name")

    def __init__(self, policy: AllOf, tee: Tee) -> None:
        self.name = policy.name
        self._judges = tuple(judge_of(member, tee) for member in policy.policies)

    def judge(self, case: Case) -> Judgement:
        members = tuple(judge.judge(case) for judge in self._judges)
        met = bool(members) and all(member.met for member in members)
        return Judgement(met, (), members, None, case)


class _Any:
    """One of several policies: the first that is met, or the one that has the fewest refusals."""

    __slots__ = ("_judges", "_names", "name")

    def __init__(self, policy: AnyOf, tee: Tee) -> None:
        self.name = policy.name
        self._judges = tuple(judge_of(member, tee) for member in policy.about(tee) or policy.policies)
        self._names = tuple(
            judge.name or f"alternative {number}" for number, judge in enumerate(self._judges, start=1)
        )

    def judge(self, case: Case) -> Judgement:
        nearest: tuple[str, Judgement] | None = None
        for name, judge in zip(self._names, self._judges, strict=True):
            judgement = judge.judge(case)
            if judgement.met:
                return Judgement(True, (self._record(name, met=True),), (judgement,), None, case)
            if nearest is None or judgement.refusals < nearest[1].refusals:
                nearest = name, judgement
        if nearest is None:
            return Judgement(False, (self._record("none", met=False),), (), None, case)
        return Judgement(
            False, (self._record(f"none; nearest: {nearest[0]}", met=False),), nearest[1:], None, case
        )

    def _record(self, got: str, *, met: bool) -> Record:
        return (Requirement.ALTERNATIVES, met, lambda: " or ".join(self._names) or "one", got)


def _once(records: Iterator[Record]) -> list[Record]:
    """The same check of several policies: each demand once, and "any" only where none of them demands."""
    found: dict[Requirement, dict[tuple[bool, str, str], Record]] = {}
    for record in records:
        requirement, passed, expected, got = record
        found.setdefault(requirement, {}).setdefault((passed, in_words(expected), in_words(got)), record)
    return [
        record
        for made in found.values()
        for record in ([one for one in made.values() if one[2] is not None] or made.values())
    ]
