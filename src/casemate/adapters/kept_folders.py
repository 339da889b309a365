"""Folders that builds keep for each other in the user's cache: installed environments, unpacked images.

A folder is used where it lies, read only. Beside it is a digest of the name, size, time of modification and
inode of every file in it; one that is not what it was when it was made is made again. Time and inode are not
those of the last change of any kind: uv links files into many environments, which changes that. So what a
program changes while it keeps all four goes unseen, as it does in uv's own cache.

Builds that run at the same time share a lock; who replaces or removes a folder must have it alone, and
otherwise leaves it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Final

from casemate.builder.own_folder import open_own_folder

#: Folders of one kind that are kept: those that were used last.
DEFAULT_LIMIT: Final = 8
#: Bytes that they may hold together. What was used last of all is kept however large it is.
DEFAULT_ROOM: Final = 8 << 30
_LOCK: Final = "lock"
_TREE: Final = "tree"
_CONTENTS: Final = "contents"
_DRAFT: Final = ".draft-"


class KeptFolders:
    """Folders of one kind; where they cannot be kept, each is made for one use.

    Attributes:
        warning: Why the folder is not used; ``None`` when it is.
    """

    def __init__(
        self, folder: Path, kind: str, *, limit: int = DEFAULT_LIMIT, room: int = DEFAULT_ROOM
    ) -> None:
        """Open those below ``folder``.

        Args:
            folder: The cache folder of Casemate.
            kind: Name of the folder there in which they lie.
            limit: How many are kept.
            room: Bytes that they may hold together.
        """
        self.warning: str | None = None
        self._path = folder / kind
        self._limit = limit
        self._room = room

    @contextlib.contextmanager
    def folder(self, key: str, make: Callable[[Path], None]) -> Iterator[Path]:
        """The folder of ``key``, for the length of a build.

        Args:
            key: A digest of everything that decides what is in it.
            make: Makes it where it is told.
        """
        with contextlib.ExitStack() as held:
            try:
                lock = self._locked(held)
            except OSError as error:
                self.warning = f"{self._path} is not used: {error.strerror}"
                scratch = held.enter_context(tempfile.TemporaryDirectory(prefix="casemate-"))
                make(Path(scratch) / _TREE)
                yield Path(scratch) / _TREE
                return
            kept = self._path / key
            if not _is_sound(kept):
                kept = self._made(kept, make, lock, held)
            yield kept / _TREE
            with contextlib.suppress(OSError):
                os.utime(kept)
                self._make_room(lock)

    def _locked(self, held: contextlib.ExitStack) -> int:
        """A lock that is shared with the other builds."""
        folder = open_own_folder(str(self._path))
        held.callback(os.close, folder)
        lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        held.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_SH)
        return lock

    def _made(self, kept: Path, make: Callable[[Path], None], lock: int, held: contextlib.ExitStack) -> Path:
        """Make it, and put it at ``kept`` unless somebody uses what is there."""
        draft = Path(held.enter_context(tempfile.TemporaryDirectory(prefix=_DRAFT, dir=self._path)))
        new = draft / "new"
        new.mkdir(mode=0o700)
        make(new / _TREE)
        (new / _CONTENTS).write_text(_contents(new / _TREE), "ascii")
        if kept.exists():
            if not _alone(lock):
                return new
            kept.rename(draft / "old")
        try:
            new.rename(kept)
        except OSError:  # another build was faster: what it has made is as good
            return new
        finally:
            fcntl.flock(lock, fcntl.LOCK_SH)
        return kept

    def _make_room(self, lock: int) -> None:
        """Remove those that were not used for longest, and what builds left behind that did not end."""
        entries = [path for path in self._path.iterdir() if path.name != _LOCK]
        drafts = [path for path in entries if path.name.startswith(_DRAFT)]
        kept = sorted(set(entries) - set(drafts), key=lambda path: path.stat().st_mtime, reverse=True)
        surplus = kept[self._within_limits(kept) :]
        if (surplus or drafts) and _alone(lock):
            for path in [*surplus, *drafts]:
                shutil.rmtree(path, ignore_errors=True)

    def _within_limits(self, kept: list[Path]) -> int:
        """How many may stay, of folders in the order of their last use."""
        sizes = accumulate(_size(path) for path in kept[: self._limit])
        return max(1, sum(size <= self._room for size in sizes))


def _alone(lock: int) -> bool:
    """Take the lock for nobody else, if nobody else has it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        fcntl.flock(lock, fcntl.LOCK_SH)
        return False
    return True


def _is_sound(kept: Path) -> bool:
    """Whether a folder is there, and what it was when it was made."""
    try:
        return (kept / _CONTENTS).read_text("ascii") == _contents(kept / _TREE)
    except (OSError, UnicodeDecodeError):
        return False


def _size(kept: Path) -> int:
    """Bytes of the files of a folder; none when that is not known, so that it is removed by its age alone."""
    try:
        return int((kept / _CONTENTS).read_text("ascii").partition(" ")[0])
    except (OSError, ValueError):
        return 0


def _contents(tree: Path) -> str:
    """Bytes of all files, and a digest by which a change of one is noticed."""
    digest = hashlib.sha256()
    total = 0
    for line, size in _lines(str(tree), ""):
        digest.update(os.fsencode(line))
        total += size
    return f"{total} {digest.hexdigest()}"


def _lines(folder: str, name: str) -> Iterator[tuple[str, int]]:
    """Everything below ``folder`` with its bytes, in an order of its own."""
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{name}/{entry.name}"
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            yield f"{path}/\0", 0
            yield from _lines(entry.path, path)
        else:
            line = f"{path}\0{status.st_mode} {status.st_size} {status.st_mtime_ns} {status.st_ino}\0"
            yield line, status.st_size
