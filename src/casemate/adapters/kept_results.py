"""What builds keep for each other, in the user's cache folder: a file for each result.

The folder is the user's alone (0700, no link) or it is not used. Each file begins with a digest of its name
and of what it holds, so what was torn, cut or renamed counts as not there and is written again. The digest is
no authentication: who can write here as the user can write the user's sources as well.

Files appear whole, by renaming, so builds that run at the same time do not disturb each other. The room that
all of it takes is bounded, and what was used last is kept longest.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from casemate.builder.cache import Kind
from casemate.builder.own_folder import open_own_folder

#: Bytes that all results together may take when room is made.
DEFAULT_LIMIT: Final = 512 << 20
#: Bytes; a larger result is not kept.
LARGEST: Final = 16 << 20
#: Seconds. Room is made when somebody adds something and this has passed, or when much is added at once; a
#: file that is used is marked as used once in that time.
DAY: Final = 24 * 3600
#: How much "much at once" is: this part of the limit.
_MUCH: Final = 128
#: Seconds after which a draft was left behind by a build that did not end.
_ABANDONED: Final = 3600
_NAME: Final = "build-1"
_ROOM_WAS_MADE: Final = "room-was-made"
_DIGEST_SIZE: Final = 32
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _Entry(NamedTuple):
    """A file, by when it was used last."""

    used: float
    size: int
    folder: int
    name: str


class KeptResults:
    """A :class:`casemate.builder.cache.Cache` in a folder; without one that can be used it knows nothing.

    Attributes:
        warning: Why it is not used, or does not take anything more; ``None`` while all is well.
    """

    def __init__(self, folder: Path, *, limit: int = DEFAULT_LIMIT) -> None:
        """Open the cache below ``folder``, which is made where it does not exist.

        Args:
            folder: The cache folder of Casemate.
            limit: Bytes that may be kept.
        """
        self.warning: str | None = None
        self._limit = limit
        self._written = 0
        self._held = contextlib.ExitStack()
        self._folders: dict[Kind, int] = {}
        path = folder / _NAME
        with contextlib.ExitStack() as held:
            try:
                self._root = _held(open_own_folder(str(path)), held)
                folders = {kind: _held(open_own_folder(kind.value, self._root), held) for kind in Kind}
            except OSError as error:
                self.warning = f"{path} is not used: {error.strerror}"
            else:
                self._folders, self._held = folders, held.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._written:
                self._make_room()
        finally:
            self._folders = {}
            self._held.close()

    def find(self, kind: Kind, key: str) -> bytes | None:
        """What was kept under ``key``; ``None`` when nothing is known, or it is damaged."""
        if kind not in self._folders:
            return None
        try:
            descriptor = os.open(key, _READ, dir_fd=self._folders[kind])
        except OSError:
            return None
        try:
            return _value(descriptor, kind, key)
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def keep(self, kind: Kind, key: str, value: bytes) -> None:
        """Remember ``value``, unless it is too large or the disk does not take it."""
        if self.warning is not None or kind not in self._folders or len(value) > LARGEST:
            return
        folder, draft = self._folders[kind], f".{os.urandom(8).hex()}"
        try:
            descriptor = os.open(draft, _NEW, 0o600, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_digest(kind, key, value) + value)
                os.rename(draft, key, src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                os.unlink(draft, dir_fd=folder)
                raise
        except OSError as error:
            self.warning = f"nothing more is kept for the next build: {error.strerror}"
        self._written += len(value)

    def _make_room(self) -> None:
        """Remove what was not used for longest, and drafts that were left behind, if it is time to look."""
        now = time.time()
        with contextlib.suppress(OSError):
            made = os.stat(_ROOM_WAS_MADE, dir_fd=self._root, follow_symlinks=False).st_mtime
            if self._written < self._limit // _MUCH and abs(now - made) < DAY:
                return
        entries = sorted(self._entries())
        too_much = sum(entry.size for entry in entries) - self._limit
        for entry in entries:
            abandoned = entry.name.startswith(".") and entry.used < now - _ABANDONED
            if too_much > 0 or abandoned:
                with contextlib.suppress(OSError):
                    os.unlink(entry.name, dir_fd=entry.folder)
                too_much -= entry.size
        with contextlib.suppress(OSError):
            os.close(
                os.open(_ROOM_WAS_MADE, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=self._root)
            )
            os.utime(_ROOM_WAS_MADE, dir_fd=self._root, follow_symlinks=False)

    def _entries(self) -> Iterator[_Entry]:
        for folder in self._folders.values():
            with os.scandir(folder) as files:
                for file in files:
                    with contextlib.suppress(OSError):  # another build has removed it meanwhile
                        status = file.stat(follow_symlinks=False)
                        yield _Entry(status.st_mtime, status.st_size, folder, file.name)


def _held(descriptor: int, held: contextlib.ExitStack) -> int:
    held.callback(os.close, descriptor)
    return descriptor


def _value(descriptor: int, kind: Kind, key: str) -> bytes | None:
    """What the open file holds, if that is what was kept under its name."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST + _DIGEST_SIZE:
        return None
    data = os.read(descriptor, status.st_size)
    value = data[_DIGEST_SIZE:]
    if data[:_DIGEST_SIZE] != _digest(kind, key, value):
        return None
    now = time.time()
    if abs(now - status.st_mtime) > DAY:
        with contextlib.suppress(OSError):  # a disk that cannot be written still answers
            os.utime(descriptor)
    return value


def _digest(kind: Kind, key: str, value: bytes) -> bytes:
    return hashlib.sha256(f"{kind.value} {key}\n".encode() + value).digest()
