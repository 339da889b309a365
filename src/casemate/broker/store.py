"""Keeps secrets encrypted: rows are worth nothing without the key-encryption key, and cannot be swapped.

Each version of a resource is sealed with AES-256-GCM; the name and the version are authenticated with it, so
that a row put in another's place does not open. What is not prevented here: someone who can write the table
can remove the newest version of a resource, so that an older one is given out.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from casemate.broker.resource import ResourceName, Secret
from casemate.errors import ServiceError

_IV_SIZE = 12


@dataclass(frozen=True, slots=True)
class KeyEncryptionKey:
    """The AES-256 key that all secrets of one store are encrypted under; prints as ``<redacted>``."""

    value: bytes = field(repr=False)

    SIZE = 32

    def __post_init__(self) -> None:
        if len(self.value) != self.SIZE:
            raise ServiceError("key-encryption key", expected=f"{self.SIZE} bytes", got=str(len(self.value)))

    def __repr__(self) -> str:
        return "<redacted>"

    @property
    def check_value(self) -> bytes:
        """Tells this key from another one without giving anything of it away."""
        return hmac.digest(self.value, b"casemate key-encryption key check value", hashlib.sha256)[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedResource:
    """One row: a version of a resource as it is kept."""

    name: ResourceName
    version: int
    iv: bytes
    ciphertext: bytes


class ResourceTable(Protocol):
    """Where sealed resources lie."""

    def newest(self, name: ResourceName) -> SealedResource | None:
        """The row of ``name`` with the highest version."""

    def add(self, sealed: SealedResource) -> None:
        """Add a row durably; an existing version is never replaced."""


class ResourceStore:
    """Secrets by name.

    Args:
        table: Where the rows lie.
        key: Opens and seals them.
        random: Gives that many unpredictable bytes.
    """

    def __init__(self, table: ResourceTable, key: KeyEncryptionKey, random: Callable[[int], bytes]) -> None:
        self._table = table
        self._cipher = AESGCM(key.value)
        self._random = random

    def get(self, name: ResourceName) -> Secret | None:
        """The newest version of a secret, or ``None``.

        Raises:
            ServiceError: The row was changed, or belongs to another name, version or key.
        """
        sealed = self._table.newest(name)
        return None if sealed is None else self._open(name, sealed)

    def put(self, name: ResourceName, secret: Secret) -> int:
        """Keep ``secret`` as a new version, unless the newest one is the same.

        Returns:
            The version.
        """
        newest = self._table.newest(name)
        if newest is not None and hmac.compare_digest(self._open(name, newest).value, secret.value):
            return newest.version
        version = 1 if newest is None else newest.version + 1
        iv = self._random(_IV_SIZE)
        ciphertext = self._cipher.encrypt(iv, secret.value, _associated(name, version))
        self._table.add(SealedResource(name=name, version=version, iv=iv, ciphertext=ciphertext))
        return version

    def generate(self, name: ResourceName, size: int) -> bool:
        """Make a random secret of ``size`` bytes, unless the resource exists.

        Returns:
            Whether it was made.
        """
        if self._table.newest(name) is not None:
            return False
        self.put(name, Secret(self._random(size)))
        return True

    def _open(self, name: ResourceName, sealed: SealedResource) -> Secret:
        try:
            value = self._cipher.decrypt(sealed.iv, sealed.ciphertext, _associated(name, sealed.version))
        except (InvalidTag, ValueError) as error:
            raise ServiceError(
                "stored resource",
                expected="a row sealed for its own name and version under this key-encryption key",
                got="one that does not open",
                where=f"{name} version {sealed.version}",
                hint="restore the store from a backup: the row was changed or moved",
            ) from error
        return Secret(value)


def _associated(name: ResourceName, version: int) -> bytes:
    return f"casemate resource v1\n{name}\n{version}".encode("ascii")
