"""Puts secrets in their places: a file, an environment variable, a key of Gramine's encrypted files.

Whether the folder of a file is enclave memory or an encrypted mount is decided by the manifest and not
checked here: Gramine has no way to ask. The builder mounts tmpfs at the folder of every secret.
"""

import os
import secrets
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path

from casemate_attester.configuration import EnvironmentPlace, FilePlace, KeyPlace
from casemate_attester.errors import PlacementError
from casemate_attester.evidence import DEVICE
from casemate_attester.unwrap import SecretBytes

__all__ = ["place_secret"]

#: Length of the AES-128-GCM keys of Gramine's encrypted files.
KEY_BYTES = 16


def place_secret(
    secret: SecretBytes,
    place: FilePlace | EnvironmentPlace | KeyPlace,
    *,
    environment: MutableMapping[str, str],
    device: Path = DEVICE,
) -> None:
    """Puts one secret in its place.

    Args:
        secret: The secret.
        place: Where it goes.
        environment: The environment of this process.
        device: Gramine's folder of attestation files.

    Raises:
        PlacementError: When it does not fit there or the place cannot take it. Nothing half-written remains.
    """
    match place:
        case FilePlace():
            _create_file(Path(place.path), secret.value)
        case EnvironmentPlace():
            environment[place.name] = _environment_text(place.name, secret.value)
        case KeyPlace():
            _set_key(device / "keys" / place.name, secret.value)


def _create_file(path: Path, content: bytes) -> None:
    """Creates ``path`` with mode 0600; it appears with its content or not at all."""
    if os.path.lexists(path):
        raise PlacementError(
            "file for a secret",
            expected="a path where nothing is",
            got="an existing file",
            where=str(path),
            hint="choose a path of its own for the secret in [secrets] of casemate.toml",
        )
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        # O_EXCL: what exists, be it planted, is not written through.
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise PlacementError(
            "file for a secret",
            expected="a writable folder of the enclave",
            got=os.strerror(error.errno or 0),
            where=str(path),
            hint="mount its folder as tmpfs or encrypted, by [mounts] of casemate.toml",
        ) from error


def _environment_text(name: str, content: bytes) -> str:
    """A secret as the value of an environment variable."""
    with suppress(UnicodeDecodeError):
        text = content.decode("utf-8")
        if "\0" not in text:
            return text
    raise PlacementError(
        "secret for the environment",
        expected="UTF-8 text without NUL",
        got="other bytes",
        where=f"env:{name}",
        hint="place a binary secret in a file",
    ) from None


def _set_key(path: Path, content: bytes) -> None:
    """Hands a key to Gramine in one write."""
    if len(content) != KEY_BYTES:
        raise PlacementError(
            "key for encrypted files",
            expected=f"{KEY_BYTES} raw bytes",
            got=f"{len(content)} bytes",
            where=str(path),
            hint="store the key with the broker as raw bytes, neither hexadecimal nor base64",
        )
    try:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.write(descriptor, content)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise PlacementError(
            "key for encrypted files",
            expected="a key that the manifest knows",
            got=os.strerror(error.errno or 0),
            where=str(path),
            hint="mount an encrypted folder that uses this key, by [mounts] of casemate.toml",
        ) from error
