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

from casemate.cli.second_opinion import second_opinion_option, second_verifier
from casemate.cli.verify_policy import policy_option, read_policy
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
@policy_option
@second_opinion_option
@at_option
@simulated_root_option
@click.option(
    "--fail",
    is_flag=True,
    help="End with exit code 1 unless every quote is genuine, and accepted by the policy, if there is one.",
)
def command(  # noqa: PLR0913 - one argument for each option
    file: IO[bytes],
    *,
    certs: Path | None,
    jobs: int | None,
    at: datetime | None,
    simulated_root: Path | None,
    policy_file: Path | None,
    second_opinion: bool,
    fail: bool,
) -> None:
    """Judge the quotes that FILE or standard input names; print one result for each line, in order.

    A line is a JSON object with paths, {"quote":…,"tcb_info":…,"qe_identity":…,"root_crl":…,"pck_crl":…}, or
    {"quote":…,"collateral":…}, and perhaps the instant, "at", in seconds since 1970. Relative paths begin
    where FILE lies, and where nothing is there, in the current folder. What cannot be read is a result as
    well, so that there are as many results as lines. The exit code is 0 when all lines were judged, whatever
    the results are.
    """
    from casemate.cli.verify_batch_files import certificates_of
    from casemate.cli.verify_batch_judge import MAX_LINE_SIZE, Terms
    from casemate.cli.verify_batch_lines import Lines

    terms = Terms(
        roots=trust_roots(simulated_root),
        certificates=None if certs is None else certificates_of(certs),
        folders=_folders(file),
        at=at,
        policy=None if policy_file is None else read_policy(policy_file, simulated_root),
        second=second_verifier(simulated_root) if second_opinion else None,
    )
    lines = Lines(file.fileno(), MAX_LINE_SIZE)
    tally = _Tally(ACCEPTED if policy_file else GENUINE)
    with closing(_results(lines, terms, jobs or len(os.sched_getaffinity(0)))) as results:
        for some in results:
            click.echo(b"".join(some), nl=False)
            tally.add(some)
    tally.end()
    if fail:
        tally.require_all()


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


#: What good results have in them, which no text inside them can hold, and what they are called.
GENUINE: Final = (b'{"genuine":true,', "genuine")
ACCEPTED: Final = (b',"policy":{"accepted":true,', "accepted")


class _Tally:
    """Counts results, and shows the number on a terminal.

    Args:
        good: By what good ones are known, and what they are called.
    """

    def __init__(self, good: tuple[bytes, str]) -> None:
        self._mark, self._word = good
        self._judged = 0
        self._good = 0
        self._began = self._shown = time.monotonic()
        self._shows = sys.stderr.isatty()

    def add(self, results: list[bytes]) -> None:
        """Count further results."""
        self._judged += len(results)
        self._good += sum(self._mark in result for result in results)
        if self._shows and time.monotonic() - self._shown >= _PROGRESS_EVERY:
            self._show("\r")

    def end(self) -> None:
        """Show the last number; that there was nothing to judge, wherever standard error goes."""
        if not self._judged:
            click.echo("0 quotes", err=True)
        elif self._shows:
            self._show("\n")

    def require_all(self) -> None:
        """Raise, unless all were.

        Raises:
            RefusedError: How many were not.
        """
        from casemate.errors import RefusedError

        if self._good != self._judged:
            raise RefusedError(
                "batch",
                expected=f"every quote to be {self._word}",
                got=f"{self._judged - self._good} of {self._judged} that are not",
            )

    def _show(self, ending: str) -> None:
        self._shown = time.monotonic()
        rate = self._judged / max(self._shown - self._began, 1e-3)
        others = self._judged - self._good
        text = f"\r{self._judged:,} judged, {others:,} not {self._word}, {rate:,.0f} a second"
        click.echo(text.ljust(70) + ending, err=True, nl=False)
