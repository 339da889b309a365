"""The options of ``casemate verify`` that say whom to believe, and as of when."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.accepted_status import accept_status_option, accepted_statuses

if TYPE_CHECKING:
    from casemate.formats.sgx.collateral import Collateral, TcbStatus
    from casemate.verifier.roots import TrustRoots

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom to believe, and as of when.

    Attributes:
        collateral: File with the endorsements.
        simulated_root: Root of a simulated platform, to be trusted instead of Intel's.
        statuses: TCB statuses that are accepted besides UpToDate.
        at: The instant of the appraisal.
    """

    collateral: Path
    simulated_root: Path | None
    statuses: tuple[str, ...]
    at: datetime

    def endorsements(self) -> Collateral:
        """What the manufacturer says.

        Raises:
            FormatError: The file is not collateral.
            ToolchainError: It cannot be read.
        """
        from casemate.cli.reading import read_file
        from casemate.errors import FormatError
        from casemate.formats.sgx.collateral import Collateral

        try:
            return Collateral.parse_json(read_file(self.collateral))
        except FormatError as error:
            raise FormatError(
                error.subject,
                expected=error.expected,
                got=error.got,
                where=str(self.collateral),
                hint="--collateral takes one JSON document with the certificates, CRLs, TCB info and QE "
                "identity of the platform; a simulated platform has it as collateral.json",
            ) from error

    def roots(self) -> TrustRoots:
        """Intel's root, or the simulated one that was named instead."""
        return trust_roots(self.simulated_root)

    def accepted(self) -> frozenset[TcbStatus]:
        """UpToDate and the statuses that were named."""
        return accepted_statuses(self.statuses)


def trust_roots(simulated_root: Path | None) -> TrustRoots:
    """The root in that file, of a simulated platform, or Intel's.

    Raises:
        FormatError: It is not one certificate.
        RefusedError: It is Intel's.
        ToolchainError: It cannot be read.
    """
    from casemate.cli.reading import read_file
    from casemate.verifier.roots import TrustRoots

    return TrustRoots.simulated(read_file(simulated_root)) if simulated_root else TrustRoots.intel()


at_option = click.option(
    "--at",
    type=_moment,
    metavar="TIME",
    help="Judge as of this time, as in 2026-11-20T12:00:00Z.  [default: now]",
)
simulated_root_option = click.option(
    "--simulated-root",
    type=_FILE,
    help="Root certificate of a simulated platform: accept its quotes, and no others.",
)


def trust_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options that say whom to believe, handed over as one :class:`Trust`."""

    @functools.wraps(function)
    def packed(
        *,
        collateral: Path,
        simulated_root: Path | None,
        statuses: tuple[str, ...],
        at: datetime | None,
        **rest: Any,
    ) -> None:
        moment = at or datetime.now(UTC)
        trust = Trust(collateral=collateral, simulated_root=simulated_root, statuses=statuses, at=moment)
        function(trust=trust, **rest)

    command: Callable[..., None] = packed
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        at_option,
        accept_status_option,
        simulated_root_option,
        click.option(
            "--collateral",
            required=True,
            type=_FILE,
            help="Intel's collateral for the platform, JSON, one file.",
        ),
    ):
        command = option(command)
    return command


all_option = click.option(
    "--all", "everything", is_flag=True, help="Show every check, not only those that were refused."
)
explain_option = click.option(
    "--explain",
    is_flag=True,
    help="Show every step with what was compared, how the platform stands, and what was not looked at.",
)
