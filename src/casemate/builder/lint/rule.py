"""What a rule is."""

from __future__ import annotations

from dataclasses import dataclass

from casemate.builder.lint.finding import Severity

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule.

    Attributes:
        id: Its name in outputs, ``--select`` and ``--ignore``.
        severity: How grave each of its findings is.
        reason: Why it is there.
        mend: What to do.
        fixes: Whether ``--fix`` mends some of its findings.
    """

    id: str
    severity: Severity
    reason: str
    mend: str
    fixes: bool = False


def rule(name: str, severity: Severity, reason: str, mend: str, *, fixes: bool = False) -> Rule:
    """A rule, in the short form of the catalogues."""
    return Rule(id=name, severity=severity, reason=reason, mend=mend, fixes=fixes)
