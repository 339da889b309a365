"""What preflight has to say about a place, and how grave it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from casemate.builder.lint.finding import Severity
from casemate.errors import ProjectError


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that does not work in Gramine, works otherwise, or has been mended.

    Attributes:
        rule: Id of the rule.
        severity: Error: it does not run. Warning: it runs otherwise than outside. Note: it has been mended,
            or only has to be known.
        where: ``"notes/store.py:12"``, a file of the image, or a key of ``casemate.toml``.
        subject: What it is about: a call, a module, a library. Never a secret.
        happens: What happens in Gramine.
        mend: What to do.
        accepted: Whether ``casemate.toml`` accepts what the rule finds.
    """

    rule: str
    severity: Severity
    where: str
    subject: str
    happens: str
    mend: str
    accepted: bool = False

    @property
    def refuses(self) -> bool:
        """Whether no bundle is built with it."""
        return self.severity is Severity.ERROR and not self.accepted

    def to_json(self) -> dict[str, Any]:
        """The finding in the documents that ``--json`` prints."""
        return {
            "rule": self.rule,
            "severity": self.severity.value,
            "where": self.where,
            "subject": self.subject,
            "happens": self.happens,
            "mend": self.mend,
            "accepted": self.accepted,
        }


class PreflightError(ProjectError):
    """The application has to be mended: something of it does not run in Gramine.

    Attributes:
        findings: All of them, the graver ones first.
    """

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(findings)
        refusing = [finding for finding in self.findings if finding.refuses]
        first = refusing[0]
        more = f" and {len(refusing) - 1} more" if len(refusing) > 1 else ""
        rules = ", ".join(f'"{rule}"' for rule in sorted({finding.rule for finding in refusing}))
        super().__init__(
            "application in Gramine",
            expected="nothing that does not run there",
            got=f"{first.subject}{more}",
            where=first.where,
            hint=f"mend it, or, where it is never reached, accept it: [preflight] accept = [{rules}]",
        )
