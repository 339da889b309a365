"""``casemate verify batch``: judge many quotes, each as of its own instant, over all processors."""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import click

from casemate.cli.verify_trust import at_option, simulated_root_option, trust_roots

if TYPE_CHECKING:
    from collections.abc import Generator

    from casemate.cli.verify_batch_judge import Terms
    from casemate.cli.verify_batch_lines import Lines

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
#: Seconds between two lines of progress.
_PROGRESS_EVERY: Final = 0.2


@click.command("batch")
@click.argument("file", type=click.File("rb"), default="-")
@click.option(
    "--certs",
    type=_FOLDER,
    metavar="DIR",
    help="Build certificate chains from the certificates in DIR, PEM or DER.  [default: those that lie "
    "beside the collateral]",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Processes.  [default: one for each processor]",
)
@at_option
@simulated_root_option
@click.option("--fail", is_flag=True, help="End with exit code 1 unless every quote is genuine.")
def command(
    file: IO[bytes],
    *,
    certs: Path | None,
    jobs: int | None,
    at: datetime | None,
    simulated_root: Path | None,
    fail: bool,
) -> None:
    """Judge the quotes that FILE or standard input names; print one result for each line, in order."""
    from casemate.cli.verify_batch_files import certificates_of
    from casemate.cli.verify_batch_judge import MAX_LINE_SIZE, Terms
    from casemate.cli.verify_batch_lines import Lines

    terms = Terms(
        roots=trust_roots(simulated_root),
        certificates=None if certs is None else certificates_of(certs),
        folders=_folders(file),
        at=at,
    )
    lines = Lines(file.fileno(), MAX_LINE_SIZE)
    tally = _Tally()
    with closing(_results(lines, terms, jobs or len(os.sched_getaffinity(0)))) as results:
        for some in results:
            click.echo(b"".join(some), nl=False)
            tally.add(some)
    tally.end()
    if fail:
        tally.require_genuine()


def _results(lines: Lines, terms: Terms, processes: int) -> Generator[list[bytes], None, None]:
    from casemate.cli.verify_batch_judge import Judge, collateral_of
    from casemate.cli.verify_batch_workers import judge_here, judge_in_processes

    judge = Judge(terms).judge
    if processes == 1:
        return judge_here(lines, judge)
    return judge_in_processes(lines, judge, collateral_of, processes)


def _folders(file: IO[bytes]) -> tuple[str, ...]:
    """Where relative paths may begin: with the file that has them, and here."""
    here = str(Path.cwd())
    if file.name in {"<stdin>", "-", 0}:
        return (here,)
    return tuple(dict.fromkeys((str(Path(file.name).resolve().parent), here)))


class _Tally:
    """Counts results, and shows the number on a terminal."""

    def __init__(self) -> None:
        self._judged = 0
        self._genuine = 0
        self._began = self._shown = time.monotonic()
        self._shows = sys.stderr.isatty()

    def add(self, results: list[bytes]) -> None:
        """Count further results."""
        self._judged += len(results)
        self._genuine += sum(result.startswith(b'{"genuine":true') for result in results)
        if self._shows and time.monotonic() - self._shown >= _PROGRESS_EVERY:
            self._show("\r")

    def end(self) -> None:
        """Show the last number."""
        if self._shows:
            self._show("\n")

    def require_genuine(self) -> None:
        """Raise, unless all were.

        Raises:
            RefusedError: How many were not.
        """
        from casemate.errors import RefusedError

        if self._genuine != self._judged:
            raise RefusedError(
                "batch",
                expected="every quote to be genuine",
                got=f"{self._judged - self._genuine} of {self._judged} that are not",
            )

    def _show(self, ending: str) -> None:
        self._shown = time.monotonic()
        rate = self._judged / max(self._shown - self._began, 1e-3)
        others = self._judged - self._genuine
        text = f"\r{self._judged:,} judged, {others:,} not genuine, {rate:,.0f} a second"
        click.echo(text.ljust(70) + ending, err=True, nl=False)
