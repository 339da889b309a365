"""What preflight has found, for people, on standard error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from casemate.cli.terminal import printable

if TYPE_CHECKING:
    from casemate.builder.preflight import Finding

_STYLES = {"error": "red", "warning": "yellow", "note": "cyan"}


def show_findings(findings: Iterable[Finding]) -> None:
    """Each finding with its place, what happens and what to do; accepted ones are passed over.

    Rules that were found in several places are explained once.
    """
    explained: set[str] = set()
    for finding in findings:
        if finding.accepted:
            continue
        severity = click.style(finding.severity.value, fg=_STYLES[finding.severity.value])
        place = printable(finding.where)
        click.echo(f"{place}: {severity}[{finding.rule}]: {printable(finding.subject)}", err=True)
        if finding.rule not in explained:
            explained.add(finding.rule)
            click.echo(f"    {finding.happens}", err=True)
            click.echo(f"    {finding.mend}", err=True)


@contextmanager
def findings_shown() -> Iterator[None]:
    """Show what preflight refuses before the error that says that it does."""
    from casemate.builder.preflight import PreflightError

    try:
        yield
    except PreflightError as refusal:
        show_findings(refusal.findings)
        raise
