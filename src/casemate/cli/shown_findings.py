"""What preflight has found, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from casemate.cli.terminal import printable

if TYPE_CHECKING:
    from casemate.builder.preflight import Finding

_STYLES = {"error": "red", "warning": "yellow", "note": "cyan"}


def show_findings(findings: Iterable[Finding], *, err: bool = True) -> None:
    """Each finding with its place, what happens and what to do; accepted ones are passed over.

    Args:
        findings: Of a rule that was found in several places, the first is explained.
        err: Whether it goes to standard error.
    """
    explained: set[str] = set()
    for finding in findings:
        if finding.accepted:
            continue
        severity = click.style(finding.severity.value, fg=_STYLES[finding.severity.value])
        place = printable(finding.where)
        click.echo(f"{place}: {severity}[{finding.rule}]: {printable(finding.subject)}", err=err)
        if finding.rule not in explained:
            explained.add(finding.rule)
            click.echo(f"    {finding.happens}", err=err)
            click.echo(f"    {finding.mend}", err=err)


@contextmanager
def findings_shown() -> Iterator[None]:
    """Show what preflight refuses before the error that says that it does."""
    from casemate.builder.preflight import PreflightError

    try:
        yield
    except PreflightError as refusal:
        show_findings(refusal.findings)
        raise
