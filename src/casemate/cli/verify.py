"""``casemate verify``: judge evidence from outside, with every reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from casemate.verifier.policy import AppraisalPolicy
    from casemate.verifier.result import AttestationResult

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
# TCB statuses that may be accepted by name; Revoked never is.
_STATUSES = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
)
#: Columns of the table when the result does not go to a terminal.
_PIPE_WIDTH = 200


def _bytes(size: int) -> Callable[[str], bytes]:
    """A reader of ``size`` bytes in hexadecimal."""

    def read(digits: str) -> bytes:
        try:
            data = bytes.fromhex(digits)
        except ValueError:
            data = b""
        if len(data) != size:
            raise click.BadParameter(f"{digits!r} is not {size} bytes in hexadecimal.")
        return data

    return read


def _moment(text: str) -> datetime:
    """A time with its zone, ISO 8601."""
    moment: datetime | None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise click.BadParameter(f"{text!r} is not a time with a zone, as in 2026-11-20T12:00:00Z.")
    return moment.astimezone(UTC)


@click.group(name="verify")
def command() -> None:
    """Appraise evidence, and say every reason."""


@command.command(name="quote")
@click.argument("file", type=_FILE)
@click.option(
    "--collateral", required=True, type=_FILE, help="Intel's collateral for the platform, JSON, one file."
)
@click.option(
    "--simulated-root",
    type=_FILE,
    help="Root certificate of a simulated platform: accept its quotes, and no others.",
)
@click.option(
    "--mrenclave",
    "mrenclaves",
    multiple=True,
    type=_bytes(32),
    metavar="HEX",
    help="An accepted measurement; repeatable.",
)
@click.option("--mrsigner", type=_bytes(32), metavar="HEX", help="The accepted signer.")
@click.option("--isvprodid", type=click.IntRange(0, 0xFFFF), help="The accepted product of that signer.")
@click.option("--min-isvsvn", type=click.IntRange(0, 0xFFFF), help="The least security version.")
@click.option(
    "--report-data", type=_bytes(64), metavar="HEX", help="What the enclave must have bound into the quote."
)
@click.option("--allow-debug", is_flag=True, help="Accept an enclave that the host can read.")
@click.option(
    "--accept-status",
    "statuses",
    multiple=True,
    type=click.Choice(_STATUSES),
    metavar="STATUS",
    help="Accept this TCB status, in Intel's words, besides UpToDate; repeatable.",
)
@click.option(
    "--at",
    type=_moment,
    metavar="TIME",
    help="Judge as of this time, as in 2026-11-20T12:00:00Z.  [default: now]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def quote(
    file: Path,
    *,
    collateral: Path,
    simulated_root: Path | None,
    at: datetime | None,
    as_json: bool,
    **accepted: Any,
) -> None:
    """Appraise the SGX quote in FILE.

    Name the enclave by --mrenclave, or by --mrsigner with --isvprodid. Every check is shown with what was
    expected and what was found; the exit code is 0 only when all of them have passed.
    """
    from casemate.cli.sign import read_file
    from casemate.formats.sgx.collateral import Collateral
    from casemate.verifier.appraisal import appraise
    from casemate.verifier.result import require_affirming
    from casemate.verifier.roots import TrustRoots

    roots = TrustRoots.simulated(read_file(simulated_root)) if simulated_root else TrustRoots.intel()
    result = appraise(
        read_file(file),
        endorsements=Collateral.parse_json(read_file(collateral)),
        trust_roots=roots,
        policy=_policy(**accepted),
        at=at or datetime.now(UTC),
    )
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    else:
        show(result)
    require_affirming(result)


def show(result: AttestationResult) -> None:
    """The result for a person, on standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("check", "", "expected", "found"):
        table.add_column(title, overflow="fold")
    for check in result.checks:
        outcome, style = ("ok", "green") if check.passed else ("refused", "bold red")
        table.add_row(check.name, outcome, check.expected, check.got, style="" if check.passed else style)
    console.print(table)
    console.print()
    for label, value in _summary(result).items():
        console.print(f"{label}: {value}", soft_wrap=True)


def _policy(
    *,
    mrenclaves: tuple[Any, ...],
    mrsigner: Any,
    isvprodid: int | None,
    min_isvsvn: int | None,
    report_data: bytes | None,
    allow_debug: bool,
    statuses: tuple[str, ...],
) -> AppraisalPolicy:
    from casemate.formats.sgx.collateral import TcbStatus
    from casemate.verifier.policy import AppraisalPolicy

    return AppraisalPolicy(
        mrenclaves=mrenclaves,
        mrsigner=mrsigner,
        isvprodid=isvprodid,
        min_isvsvn=min_isvsvn,
        report_data=report_data,
        allow_debug=allow_debug,
        accepted_statuses=frozenset({TcbStatus.UP_TO_DATE, *(TcbStatus(word) for word in statuses)}),
    )


def _summary(result: AttestationResult) -> dict[str, str]:
    """The lines under the table."""
    lines = {"verdict": result.verdict.value}
    if result.simulated:
        lines["simulated"] = "yes: this platform is software and protects nothing"
    lines["TCB status"] = result.tcb_status.value if result.tcb_status else "not determined"
    if result.advisory_ids:
        lines["advisories"] = ", ".join(result.advisory_ids)
    if result.earliest_expiration:
        lines["endorsements valid until"] = result.earliest_expiration.strftime("%Y-%m-%dT%H:%M:%SZ")
    return lines
