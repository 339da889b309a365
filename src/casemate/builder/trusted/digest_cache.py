"""Digests of files that were hashed before, kept in a file of the user's cache.

An entry is found by device and inode, and holds while size, time of the last modification and time of the
last change of any kind are what they were. Whoever can set the clock, write to the disk below the file
system, or write to the file through a mapping can make it lie: Linux sets the times with the first write to a
clean page, and not with later ones. So can a file system that does not keep these times. It is therefore for
the work on an application, and what goes into a release is hashed again.

A file that was changed less than two seconds before it was hashed is not kept: within one tick of the file
system's clock it can change again without showing it.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from casemate.builder.trusted.file_digest import Stamp
from casemate.builder.trusted.file_digests import Digested
from casemate.builder.writing import write_files
from casemate.errors import ToolchainError

#: Nanoseconds; FAT has the coarsest clock, which ticks every two seconds.
TOO_RECENT: Final = 2_000_000_000
#: Entries; when there are more, only those that were used last are kept.
MAX_ENTRIES: Final = 200_000

_NAME: Final = "file-digests-1"
_ENTRY: Final = re.compile(r"([0-9]+ [0-9]+) ([0-9]+ [0-9]+ [0-9]+) ([0-9a-f]{64})\n", re.ASCII)


@dataclass(slots=True)
class DigestCache:
    """What is known of files, and what is learnt during one run.

    Attributes:
        path: The file that it was read from and goes back to.
        warning: Why what was there is not used; ``None`` when it is, or when there was nothing.
    """

    path: Path
    warning: str | None = None
    _known: dict[str, tuple[str, str]] = field(default_factory=dict)
    _used: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> DigestCache:
        """The cache in ``folder``; an empty one where there is none, or none that can be used."""
        cache = cls(folder / _NAME)
        try:
            cache._known = _read(cache.path)
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            cache.warning = f"{cache.path} is not used and made anew: {_why(error)}"
        return cache

    def digest_of(self, stamp: Stamp) -> str | None:
        """The digest of the file with ``stamp``, when it is known."""
        key, state = _split(stamp)
        found = self._known.get(key)
        if found is None or found[0] != state:
            return None
        self._used[key] = found
        return found[1]

    def learn(self, digests: Iterable[Digested], *, now: int) -> None:
        """Remember what was hashed, but for files that changed just before.

        Args:
            digests: What was hashed.
            now: Nanoseconds since 1970 when hashing began.
        """
        for digested in digests:
            stamp = digested.stamp
            if max(stamp[3], stamp[4]) < now - TOO_RECENT:
                key, state = _split(stamp)
                self._used[key] = (state, digested.sha256)

    def save(self) -> None:
        """Write it, with what another run may have written meanwhile; a reader sees the old or the new one.

        Raises:
            ToolchainError: The folder cannot be made or written.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            got = error.strerror
            raise ToolchainError("cache cannot be written", got=got, where=str(self.path)) from error
        try:
            there = _read(self.path)
        except (OSError, ValueError):
            there = {}
        merged = self._used if len(there | self._used) > MAX_ENTRIES else there | self._used
        body = "".join([f"{key} {state} {digest}\n" for key, (state, digest) in merged.items()])
        write_files({self.path: _header(body) + body.encode("ascii")})


def _split(stamp: Stamp) -> tuple[str, str]:
    return f"{stamp[0]} {stamp[1]}", f"{stamp[2]} {stamp[3]} {stamp[4]}"


def _header(body: str) -> bytes:
    return f"{hashlib.sha256(body.encode('ascii')).hexdigest()}\n".encode("ascii")


def _read(path: Path) -> dict[str, tuple[str, str]]:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o022:
            raise PermissionError(None, "others can write to it")
        data = file.read()
    text = data.decode("ascii")
    header, _, body = text.partition("\n")
    if f"{header}\n".encode("ascii") != _header(body):
        raise ValueError("it is damaged")
    return {found[1]: (found[2], found[3]) for found in _ENTRY.finditer(body)}


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is damaged"
