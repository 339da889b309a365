"""The options of ``casemate verify`` that have the result written as a signed token."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from casemate.verifier.policy import Policy
    from casemate.verifier.result import AttestationResult

#: What the one attester of a quote is called, as Trustee calls it.
_SUBMODULE = "cpu0"


@dataclass(frozen=True, slots=True, kw_only=True)
class EarFile:
    """The token that is asked for.

    Attributes:
        path: The file of the token.
        key: The file of the key.
    """

    path: Path
    key: Path

    def write(self, result: AttestationResult, policy: Policy, at: datetime) -> None:
        """Write a result, affirming or not, as a token, and say so on standard error.

        Args:
            result: What the verifier found.
            policy: What was accepted; the token names its digest.
            at: As of when: the token is of that instant, and lasts as long as the endorsements.

        Raises:
            KeyUnfitError: The key cannot sign it.
            ToolchainError: The key cannot be read, or the token cannot be written.
        """
        from casemate import __version__
        from casemate.builder.writing import write_files
        from casemate.cli.reading import read_file
        from casemate.formats.ear import VERAISON_PROFILE, Ear, read_signing_key
        from casemate.verifier.policy_digest import policy_digest
        from casemate.verifier.trustworthiness import submodule_of

        key = read_signing_key(read_file(self.key), where=str(self.key))
        end = result.earliest_expiration
        submodule = submodule_of(result, policy_digest(policy))
        token = Ear(
            profile=VERAISON_PROFILE,
            issued_at=at,
            build=f"casemate {__version__}",
            submodules={_SUBMODULE: submodule},
            expires=end if end is not None and end > at else None,
        ).sign(key)
        write_files({self.path: token.encode()})
        click.echo(f"result: {self.path} (ear.status {submodule.status.value})", err=True)


def ear_options(function: Callable[..., None]) -> Callable[..., None]:
    """``--ear FILE`` and ``--ear-key KEY.pem``, handed over as one :class:`EarFile` or ``None``."""

    @functools.wraps(function)
    def packed(*, ear: Path | None, ear_key: Path | None, **rest: Any) -> None:
        if (ear is None) != (ear_key is None):
            raise click.UsageError("--ear and --ear-key go together.")
        function(ear=EarFile(path=ear, key=ear_key) if ear and ear_key else None, **rest)

    command: Callable[..., None] = packed
    for option in (
        click.option(
            "--ear-key",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            metavar="KEY.pem",
            help="The key that signs it: P-256, PEM.",
        ),
        click.option(
            "--ear",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Write the result there as well, affirming or not, as an EAR token (JWT, ES256).",
        ),
    ):
        command = option(command)
    return command
