"""Which adapter opens which kind of key URI, and the options that say where its passphrase comes from."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import click

from casemate.errors import KeyUnfitError, ToolchainError, UsageError

if TYPE_CHECKING:
    from casemate.keys import AskPassphrase, Signer


class Provider(NamedTuple):
    """An adapter that opens keys: a module with ``open_key``, perhaps with ``generate_key``.

    Attributes:
        module: Its name.
        form: What its URIs look like.
        extra: The extra of Casemate that brings what it imports.
    """

    module: str
    form: str
    extra: str | None = None


#: Scheme -> what opens its keys, imported when such a key is asked for.
PROVIDERS: Final[dict[str, Provider]] = {
    "file": Provider("casemate.adapters.file_keys", "file:KEY.pem"),
    "pkcs11": Provider("casemate.adapters.pkcs11_keys", "pkcs11:token=T;object=K", "pkcs11"),
    "azurekv": Provider("casemate.adapters.azure_keys", "azurekv://VAULT/KEY", "azure"),
    "exec": Provider("casemate.adapters.program_keys", "exec:COMMAND?public-key=FILE.pem"),
    "plugin": Provider("casemate.adapters.plugin_keys", "plugin:NAME"),
}
#: Scheme -> a service that makes RSA keys with the exponent 65537 only.
UNFIT_SERVICES: Final = {
    "awskms": "AWS KMS",
    "gcpkms": "Google Cloud KMS",
    "hashivault": "HashiCorp Vault's transit engine",
}

_META: Final = "casemate.passphrase"
_Function = TypeVar("_Function", bound=Callable[..., Any])


def passphrase_options(function: _Function) -> _Function:
    """Add ``--passphrase-fd`` and ``--passphrase-env`` to a command, for :func:`open_key` to find."""
    for option in (
        click.option(
            "--passphrase-env",
            metavar="NAME",
            expose_value=False,
            callback=_remember_variable,
            help="Environment variable that holds the passphrase, or the token's PIN, of one key.",
        ),
        click.option(
            "--passphrase-fd",
            metavar="N",
            type=click.IntRange(min=0),
            expose_value=False,
            callback=_remember_descriptor,
            help="File descriptor with the key's passphrase, or the token's PIN, on one line; a second key "
            "takes the next line.",
        ),
    ):
        function = option(function)
    return function


def name_of_key(uri: str) -> str:
    """``uri`` for a message: the kind of key and which it is, without what may stand behind that."""
    if uri.startswith("file:"):
        return uri
    return uri.partition("?")[0].partition(" ")[0]


def open_key(uri: str) -> Signer:
    """The key behind ``uri``.

    Raises:
        UsageError: A kind of URI that is not known; a passphrase that is needed and not given.
        KeyUnfitError: A key that cannot be reached, or a service that can hold no fitting key.
        ToolchainError: The extra that the URI needs is not installed.
    """
    scheme, rest = _split(uri)
    module = _module(scheme)
    signer: Signer = module.open_key(rest, _asker(scheme, uri) or _terminal())
    return signer


def generate_key(uri: str, *, bits: int, exponent: int, encrypted: bool) -> Signer:
    """Make the key that ``uri`` names.

    Args:
        uri: Where; nothing may be there.
        bits: Length of the modulus.
        exponent: The public exponent.
        encrypted: Whether a key in a file is encrypted.

    Raises:
        UsageError: A kind of URI behind which no key can be made; no passphrase to encrypt the key with.
        KeyUnfitError: The key cannot be made.
        ToolchainError: The extra that the URI needs is not installed.
    """
    scheme, rest = _split(uri)
    module = _module(scheme)
    if not hasattr(module, "generate_key"):
        raise UsageError(
            "new key",
            expected="file:KEY.pem or pkcs11:token=T;object=K",
            got=f"{scheme}:",
            hint="make the key with the service's own tools: RSA, 3072 bits, exponent 3",
        )
    ask = _asker(scheme, uri)
    ask = _new_passphrase(ask, encrypted=encrypted) if scheme == "file" else ask or _terminal()
    signer: Signer = module.generate_key(rest, ask, bits=bits, exponent=exponent)
    return signer


def _split(uri: str) -> tuple[str, str]:
    scheme, separator, rest = uri.partition(":")
    *others, last = (provider.form for provider in PROVIDERS.values())
    forms = f"{', '.join(others)} or {last}"
    if not separator:
        raise UsageError(
            "key URI",
            expected=forms,
            got=f"{uri}, which names no kind of key",
            hint=f"a key in a file is file:{uri}",
        )
    if scheme in UNFIT_SERVICES:
        raise KeyUnfitError(
            "public exponent of the signing key",
            expected="3, the only one that SGX verifies with",
            got="65537, the only one that this service makes keys with",
            where=UNFIT_SERVICES[scheme],
            hint="an HSM (pkcs11:), Azure Key Vault (azurekv:) and files (file:) can hold such a key; "
            "one that a service let you import can sign through its own program (exec:)",
        )
    if scheme not in PROVIDERS or not rest:
        # Only the scheme is shown: what follows it may hold what should not be seen.
        raise UsageError("key URI", expected=forms, got=f"{scheme}:")
    return scheme, rest


def _module(scheme: str) -> ModuleType:
    provider = PROVIDERS[scheme]
    try:
        return importlib.import_module(provider.module)
    except ModuleNotFoundError as error:
        if provider.extra is None:
            raise
        raise ToolchainError(
            f"keys behind {scheme}: URIs",
            expected=f"the extra {provider.extra}",
            got=f"no module {error.name}",
            hint=f"pip install 'casemate[{provider.extra}]'",
        ) from error


def _remember_variable(context: click.Context, _: click.Parameter, name: str | None) -> None:
    if name is not None:
        from casemate.adapters.passphrases import from_variables
        from casemate.settings import taken_secret

        _remember(context, from_variables(taken_secret(name), name))


def _remember_descriptor(context: click.Context, _: click.Parameter, descriptor: int | None) -> None:
    if descriptor is not None:
        from casemate.adapters.passphrases import from_descriptor

        _remember(context, from_descriptor(descriptor))


def _remember(context: click.Context, ask: AskPassphrase) -> None:
    if _META in context.meta:
        raise UsageError("passphrase", expected="--passphrase-fd or --passphrase-env", got="both")
    context.meta[_META] = ask


def _asker(scheme: str, uri: str) -> AskPassphrase | None:
    """What the options, or the URI of a token, say about where the passphrase is."""
    context = click.get_current_context(silent=True)
    given: AskPassphrase | None = context.meta.get(_META) if context else None
    pin_file = _pin_file(uri) if scheme == "pkcs11" else None
    if pin_file is None:
        return given
    if given is not None:
        raise UsageError("PIN", expected="pin-source in the URI, or an option", got="both")
    from casemate.adapters.passphrases import from_file

    return from_file(Path(pin_file))


def _pin_file(uri: str) -> str | None:
    from casemate.formats.pkcs11_uri import Pkcs11Uri

    return Pkcs11Uri.parse(uri).pin_file


def _terminal(*, twice: bool = False) -> AskPassphrase:
    from casemate.adapters import passphrases

    return passphrases.from_terminal(twice=twice)


def _new_passphrase(ask: AskPassphrase | None, *, encrypted: bool) -> AskPassphrase | None:
    if encrypted:
        return ask or _terminal(twice=True)
    if ask is not None:
        raise UsageError("new key", expected="--unencrypted or a passphrase", got="both")
    return None
