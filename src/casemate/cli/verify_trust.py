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
from casemate.cli.pccs import Pccs, pccs_options

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
        collateral: File with the endorsements; ``None``: they are fetched.
        pccs: From whom, where there is no file.
        kept: Where to write what was fetched; ``None`` for nowhere.
        simulated_root: Root of a simulated platform, to be trusted instead of Intel's.
        statuses: TCB statuses that are accepted besides UpToDate.
        at: The instant of the appraisal.
    """

    collateral: Path | None
    pccs: Pccs | None
    kept: Path | None
    simulated_root: Path | None
    statuses: tuple[str, ...]
    at: datetime

    def endorsements(self, evidence: bytes) -> Collateral:
        """What the manufacturer says about the platform of a quote.

        Args:
            evidence: The quote, by which endorsements are fetched.

        Raises:
            FormatError: The file is not collateral, or the quote does not say which platform made it.
            ToolchainError: It cannot be read, or what was fetched cannot be written.
            UpstreamError: It cannot be fetched.
            UsageError: The service cannot be asked in the way that was asked for.
        """
        if self.pccs is None:
            return _collateral_in(self.collateral or Path())
        collateral = self.pccs.collateral_for(evidence)
        if self.kept is not None:
            from casemate.builder.writing import write_files

            write_files({self.kept: collateral.to_json()})
        return collateral

    def roots(self) -> TrustRoots:
        """Intel's root, or the simulated one that was named instead."""
        return trust_roots(self.simulated_root)

    def accepted(self) -> frozenset[TcbStatus]:
        """UpToDate and the statuses that were named."""
        return accepted_statuses(self.statuses)


def _collateral_in(path: Path) -> Collateral:
    from casemate.cli.reading import read_file
    from casemate.errors import FormatError
    from casemate.formats.sgx.collateral import Collateral

    try:
        return Collateral.parse_json(read_file(path))
    except FormatError as error:
        raise FormatError(
            error.subject,
            expected=error.expected,
            got=error.got,
            where=str(path),
            hint="--collateral takes one JSON document with the certificates, CRLs, TCB info and QE "
            "identity of the platform; --pccs fetches it, a simulated platform has it as collateral.json",
        ) from error


def trust_roots(simulated_root: Path | None) -> TrustRoots:
    """The root in that file, of a simulated platform, or Intel's.

    Raises:
        FormatError: It is not one certificate.
        RefusedError: It is Intel's.
        ToolchainError: It cannot be read.
    """
    from casemate.verifier.roots import TrustRoots

    return simulated_roots(simulated_root) if simulated_root else TrustRoots.intel()


def simulated_roots(path: Path) -> TrustRoots:
    """The root in the file that ``--simulated-root`` names.

    Raises:
        FormatError: It is not one certificate.
        RefusedError: It is Intel's.
        ToolchainError: It cannot be read.
    """
    from casemate.cli.reading import read_file
    from casemate.errors import FormatError
    from casemate.verifier.roots import TrustRoots

    try:
        return TrustRoots.simulated(read_file(path))
    except FormatError as error:
        raise FormatError(
            error.subject,
            expected=error.expected,
            got=error.got,
            where=f"--simulated-root {path}",
            hint="--simulated-root takes the root certificate of a simulated platform, alone and as PEM: "
            "root.pem in its folder",
        ) from error


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
        collateral: Path | None,
        kept: Path | None,
        simulated_root: Path | None,
        statuses: tuple[str, ...],
        at: datetime | None,
        **rest: Any,
    ) -> None:
        pccs = Pccs.taken_from(rest)
        if (collateral is None) == (pccs is None):
            raise click.UsageError("Give one of --collateral and --pccs.")
        if kept is not None and pccs is None:
            raise click.UsageError("--save-collateral is for what --pccs fetches.")
        trust = Trust(
            collateral=collateral,
            pccs=pccs,
            kept=kept,
            simulated_root=simulated_root,
            statuses=statuses,
            at=at or datetime.now(UTC),
        )
        function(trust=trust, **rest)

    command: Callable[..., None] = packed
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        at_option,
        accept_status_option,
        simulated_root_option,
        click.option(
            "--save-collateral",
            "kept",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Write what --pccs fetches there, for --collateral.",
        ),
        pccs_options,
        click.option(
            "--collateral",
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
