"""``--gramine-version``: whose layout of an enclave is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from casemate.errors import UsageError

if TYPE_CHECKING:
    from casemate.adapters.gramine_installation import GramineInstallation

#: The same as the builder's; not imported from there, because help should be quick.
_DEFAULT: Final = "1.9"

gramine_version_option: Final = click.option(
    "--gramine-version",
    metavar="VERSION",
    help=f"The Gramine that will run: major and minor number.  [default: {_DEFAULT}]",
)


def chosen_version(given: str | None) -> str:
    """The version that was given, or the usual one.

    Raises:
        ToolchainError: A version whose constants are not known.
    """
    from casemate.builder.enclave.gramine import enclave_constants

    version = given or _DEFAULT
    enclave_constants(version)
    return version


def tell_version(given: str | None) -> None:
    """Say on standard error which version was measured, for the measurement of another one looks as good."""
    why = "" if given else ", because --gramine-version names no other"
    click.echo(f"Measured as Gramine {given or _DEFAULT} lays out enclaves{why}.", err=True)


def require_version_of(installation: GramineInstallation, given: str | None) -> None:
    """Refuse an installed Gramine that is not the version that is measured.

    Raises:
        UsageError: It is another one.
    """
    if installation.version != (given or _DEFAULT):
        raise UsageError(
            "Gramine version",
            expected=f"{given or _DEFAULT}, which is measured",
            got=installation.version,
            where=str(installation.prefix),
            hint=f"--gramine-version {installation.version} measures it, if that version is known",
        )
