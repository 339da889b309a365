"""What a verdict does not say, in words: so that nobody reads more into it than was looked at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from casemate.formats.sgx.report import ReportBody
from casemate.formats.sgx.td_report import TdReport
from casemate.verifier.checklist import ANY, moment
from casemate.verifier.facts import Facts
from casemate.verifier.requirements import Requirement

_NEVER: Final = (
    "whose the platform is and where it stands: a PCK certificate names neither an owner nor a place",
    "attacks on the hardware: whoever has a probe in the machine is outside of what SGX and TDX promise",
)


class _Made(Protocol):
    """What is read of a check."""

    @property
    def name(self) -> str:
        """What was checked."""

    @property
    def expected(self) -> str:
        """What would have been right."""


def not_checked(
    report: ReportBody | TdReport | None, facts: Facts | None, checks: Iterable[_Made]
) -> tuple[str, ...]:
    """A line for each thing that an appraisal has not looked at.

    Args:
        report: What the evidence says; ``None`` when it says nothing that can be relied on.
        facts: What was found out about the platform.
        checks: The checks that were made.
    """
    if report is None:
        return ("what the quote says: its signatures do not reach up to a trusted root",)
    open_ = [check.name for check in checks if check.expected == ANY]
    fresh = Requirement.REPORT_DATA.title not in open_
    code = (
        "whether its software is any good: a measurement says what was started, not what it does"
        if isinstance(report, TdReport)
        else "whether the enclave's code is any good: a measurement says which code runs, not what it does"
    )
    lines = [code]
    if not fresh:
        lines.append(
            "freshness, and whose key this is about: no report data was expected, so the quote may be an old"
            " one, or somebody else's"
        )
    others = [name for name in open_ if name != Requirement.REPORT_DATA.title and name in _OF_THE_ENCLAVE]
    if others:
        lines.append(f"what the policy names no value for: {', '.join(others)}")
    if facts is not None and facts.issued:
        documents = ", ".join(f"{name} of {moment(date)}" for name, date in facts.issued)
        lines.append(f"what Intel has revoked or found out since: {documents}")
    return (*lines, *_NEVER)


#: The checks that compare the enclave with what the policy names.
_OF_THE_ENCLAVE: Final = frozenset(
    requirement.title
    for requirement in Requirement
    if requirement.reference == "policy" and requirement.title.startswith(("enclave: ", "trust domain: "))
)
