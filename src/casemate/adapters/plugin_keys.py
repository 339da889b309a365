"""Signing keys behind plugins of ``gramine-sgx-sign``: ``plugin:NAME ARGS``.

A plugin is a click command under the entry point group ``gramine.sgx_sign``. It returns a function of the
bytes to sign, alone or with the names of files that it depends on; the function returns exponent, modulus and
signature. Found are the plugins of the Python that runs Casemate.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, TypeAlias

import click

from casemate.errors import KeyUnfitError, UsageError
from casemate.keys import AskPassphrase, RsaPublicKey, require_signature

GROUP: Final = "gramine.sgx_sign"
#: Bytes that a plugin signs to tell its public key: random, and not as many as of an enclave.
_PROBE_SIZE: Final = 32

_SignFunction: TypeAlias = Callable[[bytes], tuple[int, int, int]]


def open_key(rest: str, ask: AskPassphrase) -> PluginSigner:
    """The key of the URI ``plugin:`` and ``rest``.

    It signs 32 random bytes, because a plugin tells its public key with a signature only.

    Raises:
        click.exceptions.Exit: The plugin was asked for help only, and has given it.
        UsageError: No such plugin, or arguments that it does not take.
        KeyUnfitError: The plugin fails, or its signature does not hold.
    """
    del ask  # plugins have options of their own
    try:
        name, *arguments = shlex.split(rest)
    except ValueError as error:
        raise UsageError("key URI", expected="plugin:NAME ARGS", got="something else") from error
    function = _sign_function(_command(name, entry_points(group=GROUP)), name, arguments)
    probe = secrets.token_bytes(_PROBE_SIZE)
    key, _ = _signed(function, probe, name)
    return PluginSigner(name=name, public_key=key, function=function)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PluginSigner:
    """A :class:`~casemate.keys.Signer` that calls a plugin."""

    name: str
    public_key: RsaPublicKey
    function: _SignFunction

    def sign(self, data: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256 over ``data``; what the plugin returns is verified.

        Raises:
            KeyUnfitError: The plugin fails, or signs with another key than before.
        """
        key, signature = _signed(self.function, data, self.name)
        if key != self.public_key:
            raise KeyUnfitError(
                "key of the plugin", expected="the same each time", got="another", where=self.name
            )
        return signature


def _command(name: str, found: Iterable[EntryPoint]) -> Any:
    points = {point.name: point for point in found}
    if name not in points:
        raise UsageError(
            "plugin",
            expected=", ".join(sorted(points)) or f"one in the entry point group {GROUP}",
            got=name,
            where="the Python that runs casemate",
            hint="install the plugin beside casemate, or name its folder in PYTHONPATH",
        )
    try:
        return points[name].load()
    except ModuleNotFoundError as error:
        raise UsageError(
            "plugin",
            expected="everything that it imports",
            got=f"no module {error.name}",
            where=name,
            hint="install it beside casemate",
        ) from error
    except Exception as error:  # importing foreign code may raise anything
        raise _failed(name, error) from error


def _sign_function(command: Any, name: str, arguments: list[str]) -> _SignFunction:
    try:
        returned = command(args=arguments, standalone_mode=False)
    except click.ClickException as error:
        raise UsageError(
            "arguments of the plugin", expected="what it takes", got=error.format_message(), where=name
        ) from error
    except Exception as error:  # foreign code may raise anything
        raise _failed(name, error) from error
    function: Any = returned[0] if isinstance(returned, tuple | list) and returned else returned
    if (
        isinstance(function, int) and function == 0
    ):  # the exit code of --help-NAME, which has shown what it was asked for
        raise click.exceptions.Exit(0)
    if not callable(function):
        raise UsageError("plugin", expected="a function that signs", got="none", where=name)
    signer: _SignFunction = function
    return signer


def _signed(function: _SignFunction, data: bytes, name: str) -> tuple[RsaPublicKey, bytes]:
    try:
        exponent, modulus, signature = (int(number) for number in function(data))
        key = RsaPublicKey(modulus=modulus, exponent=exponent)
        signed = signature.to_bytes((modulus.bit_length() + 7) // 8)
    except Exception as error:  # foreign code may raise anything
        raise _failed(name, error) from error
    require_signature(data, signed, key)
    return key, signed


def _failed(name: str, error: Exception) -> KeyUnfitError:
    # Its message stays out: it was not written for us, and might show what it was called with.
    return KeyUnfitError(
        "plugin",
        expected="exponent, modulus and signature",
        got=type(error).__name__,
        where=name,
        hint=f"gramine-sgx-sign --with {name} shows more",
    )
