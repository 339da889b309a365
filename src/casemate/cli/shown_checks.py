"""Checks and what they come to, for a person, on standard output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

import click

from casemate.cli.second_opinion import SECOND_OPINION

if TYPE_CHECKING:
    from casemate.verifier.result import AttestationResult

_TITLES = ("check", "", "expected", "found")


class Outcome(Protocol):
    """What is shown of a check."""

    @property
    def passed(self) -> bool:
        """Whether it was as it should be."""

    @property
    def expected(self) -> str:
        """What would have been right."""

    @property
    def got(self) -> str:
        """What was found."""


def show_result(result: AttestationResult, *, everything: bool, explain: bool) -> None:
    """The verdict and what it is about, then the refused checks, or all of them, or an explanation."""
    show_summary(_summary(result) | _opinion(result))
    for grant in result.grants:
        end = "" if grant.until is None else f" (until {grant.until:%Y-%m-%dT%H:%M:%SZ})"
        click.echo(f"accepted: {grant.what}{end}, because {grant.reason}")
    if explain:
        from casemate.cli.shown_explanation import explanation

        click.echo("\n".join(explanation(result)))
        return
    shown = [check for check in result.checks if everything or not check.passed]
    if shown:
        click.echo()
        show_checks((check.name, check) for check in shown)


def show_summary(lines: Mapping[str, str]) -> None:
    """One line for each fact."""
    for label, value in lines.items():
        click.echo(f"{label}: {value}")


def show_checks(checks: Iterable[tuple[str, Outcome]]) -> None:
    """A table: as wide as a terminal is, and with whole lines where there is none."""
    from rich.console import Console
    from rich.table import Table

    rows = [(name, "ok" if check.passed else "refused", check.expected, check.got) for name, check in checks]
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        show_aligned([_TITLES, *rows])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in _TITLES:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*row, style="bold red" if row[1] == "refused" else "")
    console.print(table)


def show_aligned(rows: Iterable[tuple[str, ...]]) -> None:
    """Columns as wide as they have to be, two spaces apart; no line is wrapped or ends with spaces."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for row in lines:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _opinion(result: AttestationResult) -> dict[str, str]:
    """What the other verifier says, if it was asked: refusing for rules of its own it does not contradict."""
    last = next(reversed(result.checks), None)
    if last is None or last.name != SECOND_OPINION:
        return {}
    return {"second opinion (dcap-qvl)": last.got}


def _summary(result: AttestationResult) -> dict[str, str]:
    from casemate.formats.sgx.td_report import TdReport

    refused = len(result.refusals)
    lines = {"verdict": result.verdict.value}
    if result.simulated:
        lines["simulated"] = "yes: this platform is software and protects nothing"
    lines["TCB status"] = result.tcb_status.value if result.tcb_status else "not determined"
    if result.advisory_ids:
        lines["advisories"] = ", ".join(result.advisory_ids)
    match result.report:
        case None:
            pass
        case TdReport():
            lines["MRTD"] = result.report.mr_td.hex()
        case _:
            lines["MRENCLAVE"] = result.report.mrenclave.hex()
            lines["MRSIGNER"] = result.report.mrsigner.hex()
    if result.earliest_expiration:
        lines["endorsements valid until"] = result.earliest_expiration.strftime("%Y-%m-%dT%H:%M:%SZ")
    outcome = f"of which {refused} refused" if refused else "all passed"
    lines["checks"] = f"{len(result.checks)}, {outcome}; --all shows them"
    return lines
