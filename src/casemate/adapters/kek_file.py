"""The broker's key-encryption key in a file that only its owner can read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from casemate.broker.custody import require_private
from casemate.broker.store import KeyEncryptionKey
from casemate.errors import ServiceError


def read_or_make_key(path: Path, random: Callable[[int], bytes], *, may_make: bool) -> KeyEncryptionKey:
    """Read the key at ``path``; make one there when there is none.

    Args:
        path: The file: exactly 32 bytes, no permission for group and others.
        random: Gives that many unpredictable bytes.
        may_make: Whether a missing key may be made. Not when a store exists: nothing in it would open.

    Raises:
        ServiceError: The key is missing and may not be made, is readable by others, or is not a key.
    """
    try:
        if not path.exists() and may_make:
            _make(path, random(KeyEncryptionKey.SIZE))
        return KeyEncryptionKey(_read(path))
    except OSError as error:
        raise ServiceError(
            "key-encryption key",
            expected="a file of 32 bytes",
            got=error.strerror or str(error),
            where=str(path),
            hint="name the key of the store with --kek, or another store with --store",
        ) from error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        require_private("key-encryption key", path, os.fstat(file.fileno()))
        return file.read(KeyEncryptionKey.SIZE + 1)


def _make(path: Path, value: bytes) -> None:
    # Linked, not renamed: of two brokers that start at once, the second fails instead of replacing the key.
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(value)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    finally:
        draft.unlink()
