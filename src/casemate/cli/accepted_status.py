"""The option with which a person accepts platforms that are not up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from casemate.formats.sgx.collateral import TcbStatus

_Command = TypeVar("_Command", bound=Callable[..., Any])

#: TCB statuses that may be accepted by name; Revoked never is. Spelt out, as commands start without the
#: verifier.
STATUSES = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "TDRelaunchAdvised",
    "TDRelaunchAdvisedConfigurationNeeded",
)


def accept_status_option(command: _Command) -> _Command:
    """``--accept-status STATUS``, repeatable, handed over as ``statuses``."""
    return click.option(
        "--accept-status",
        "statuses",
        multiple=True,
        type=click.Choice(STATUSES),
        metavar="STATUS",
        help="Accept this TCB status, in Intel's words, besides UpToDate; repeatable.",
    )(command)


def accepted_statuses(words: Iterable[str]) -> frozenset[TcbStatus]:
    """UpToDate and what was named."""
    from casemate.formats.sgx.collateral import TcbStatus

    return frozenset({TcbStatus.UP_TO_DATE, *(TcbStatus(word) for word in words)})
