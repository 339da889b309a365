"""Signing keys in PEM files: ``file:KEY.pem``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from casemate.errors import KeyUnfitError
from casemate.keys import AskPassphrase, RsaPublicKey

#: SGX takes one kind of key only.
_MAKE: Final = "give the private half of an RSA key; `casemate key generate file:KEY.pem` makes one that fits"


def open_key(rest: str, ask: AskPassphrase) -> FileSigner:
    """The key of the URI ``file:`` and ``rest``."""
    return FileSigner.open(Path(rest), ask)


def generate_key(rest: str, ask: AskPassphrase | None, *, bits: int, exponent: int) -> FileSigner:
    """Make the key of the URI ``file:`` and ``rest``; see :meth:`FileSigner.generate`."""
    return FileSigner.generate(Path(rest), bits=bits, exponent=exponent, ask=ask)


@dataclass(frozen=True, slots=True, repr=False)
class FileSigner:
    """A :class:`~casemate.keys.Signer` whose key was read from a file."""

    _key: RSAPrivateKey

    @classmethod
    def open(cls, path: Path, ask: AskPassphrase | None = None) -> FileSigner:
        """Read an RSA key in PEM (PKCS#1 or PKCS#8).

        Args:
            path: The file.
            ask: Gives the passphrase of an encrypted key; it is asked once, and only for such a key.

        Raises:
            KeyUnfitError: A file that cannot be read, that holds no private key, one that is not RSA, or an
                encrypted one without the right passphrase. Length and exponent are not looked at.
        """
        where = str(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise KeyUnfitError(
                "key file cannot be read",
                got=error.strerror,
                where=where,
                hint="give the path of a PEM file: --key file:KEY.pem",
            ) from error
        key = _load(data, ask, where=where)
        if not isinstance(key, RSAPrivateKey):
            kind = type(key).__name__.lstrip("_").removesuffix("PrivateKey")
            raise KeyUnfitError(
                "key file", expected="an RSA private key", got=f"{kind}", where=where, hint=_MAKE
            )
        return cls(key)

    @classmethod
    def generate(cls, path: Path, *, bits: int, exponent: int, ask: AskPassphrase | None) -> FileSigner:
        """Make a key in a new file that only its owner can read.

        Args:
            path: The file; nothing may be there.
            bits: Length of the modulus.
            exponent: The public exponent, 3 or 65537.
            ask: Gives the passphrase under which the key is stored; ``None`` stores it as it is.

        Raises:
            KeyUnfitError: The file is there already, or cannot be written.
        """
        where = str(path)
        if os.path.lexists(path):  # before anybody types a passphrase; what decides is O_EXCL
            raise _not_free(where)
        encryption: KeySerializationEncryption = NoEncryption()
        if ask is not None:
            encryption = BestAvailableEncryption(ask(f"passphrase of key file {path}").value)
        key = generate_private_key(exponent, bits)
        try:
            _write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
        except FileExistsError as error:
            raise _not_free(where) from error
        except OSError as error:
            raise KeyUnfitError("key file cannot be written", got=error.strerror, where=where) from error
        return cls(key)

    @property
    def public_key(self) -> RsaPublicKey:
        """Modulus and exponent."""
        numbers = self._key.public_key().public_numbers()
        return RsaPublicKey(modulus=numbers.n, exponent=numbers.e)

    def sign(self, data: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256."""
        return self._key.sign(data, PKCS1v15(), SHA256())


def _not_free(where: str) -> KeyUnfitError:
    return KeyUnfitError(
        "new key file",
        expected="a name that is free",
        got="a file",
        where=where,
        hint="a key that is overwritten cannot be had back; choose another name",
    )


def _load(data: bytes, ask: AskPassphrase | None, *, where: str) -> PrivateKeyTypes:
    try:
        return _loaded(data, None)
    except TypeError as error:
        if ask is None:
            raise KeyUnfitError(
                "key file", expected="an unencrypted private key", got="an encrypted one", where=where
            ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnfitError(
            "key file",
            expected="an RSA private key in PEM",
            got="a public key" if b"PUBLIC KEY-----" in data else "something else",
            where=where,
            hint=_MAKE,
        ) from error
    passphrase = ask(f"passphrase of key file {where}")
    try:
        return _loaded(data, passphrase.value)
    except (ValueError, UnsupportedAlgorithm) as error:
        # The cause is cut off: a library may say more of the passphrase than we would.
        del error
    raise KeyUnfitError(
        "passphrase of the key file",
        expected="the one that it was encrypted with",
        got="another, or a damaged file",
        where=where,
        hint="it was tried once; give the command again",
    )


def _loaded(data: bytes, password: bytes | None) -> PrivateKeyTypes:
    # Whether a key's primes are primes is not tried, which takes longer than all else that signing does: what
    # the key signs is verified with its public half before anybody sees it.
    return load_pem_private_key(data, password=password, unsafe_skip_rsa_key_validation=True)


def _write_new(path: Path, data: bytes) -> None:
    # Not beside and then linked, as elsewhere: a key may go onto a stick, whose file system knows no links.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise
