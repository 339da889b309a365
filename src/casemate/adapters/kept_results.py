"""What builds keep for each other, in the user's cache folder: a database of results.

The folder is the user's alone (0700, no link) or it is not used. With each result is a digest of its name and
of what it holds, so what was torn, cut or put elsewhere counts as not there and is made and written again; a
file that is no database is replaced by an empty one. The digest is no authentication: who can write here as
the user can write the user's sources as well.

What a build adds is written when it ends, in one transaction: a thousand files would take longer to make than
the results. Builds that run at the same time wait for each other for that moment, and not for long. The room
that all of it takes is bounded, and what was used last is kept longest.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Final, Self

from casemate.builder.cache import Kind
from casemate.builder.own_folder import open_own_folder

#: Bytes that all results together may take.
DEFAULT_LIMIT: Final = 512 << 20
#: Bytes; a larger result is not kept.
LARGEST: Final = 16 << 20
#: Seconds; when something was used is known to the day.
DAY: Final = 24 * 3600
#: Bytes that wait in memory for the end of the build; what comes after is not kept.
_MOST_WAITING: Final = 256 << 20
#: Seconds that a build waits for another one that writes.
PATIENCE: Final = 5.0
_NAME: Final = "build-1"
_FILE: Final = "results.sqlite"
_DIGEST_SIZE: Final = 32
#: Primary result codes: another build writes for longer than this one waits, which is nobody's concern.
_IN_USE: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
#: No such column, damaged, no database.
_DAMAGE: Final = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
#: How many rows are looked at, at a time, to make room.
_ROWS: Final = 256

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS results (
    kind TEXT NOT NULL, key TEXT NOT NULL, used INTEGER NOT NULL, size INTEGER NOT NULL, value BLOB NOT NULL,
    UNIQUE (kind, key)
);
CREATE INDEX IF NOT EXISTS by_use ON results (used, size);
"""


class KeptResults:
    """A :class:`casemate.builder.cache.Cache` in a folder; without one that can be used it knows nothing.

    Attributes:
        warning: Why it is not used; ``None`` while all is well.
    """

    def __init__(self, folder: Path, *, limit: int = DEFAULT_LIMIT, patience: float = PATIENCE) -> None:
        """Open the cache below ``folder``, which is made where it does not exist.

        Args:
            folder: The cache folder of Casemate.
            limit: Bytes that may be kept.
            patience: Seconds to wait for another build that writes.
        """
        self.warning: str | None = None
        self._limit = limit
        self._patience = patience
        self._path = folder / _NAME / _FILE
        self._database: sqlite3.Connection | None = None
        self._waiting: dict[tuple[str, str], bytes] = {}
        self._waiting_size = 0
        self._used: set[tuple[str, str]] = set()
        self._today = int(time.time()) // DAY
        try:
            os.close(open_own_folder(str(self._path.parent)))
            self._open()
        except OSError as error:
            self.warning = f"{self._path.parent} is not used: {error.strerror}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Write what was added, and let go."""
        try:
            if self._database is not None and (self._waiting or self._used):
                self._write(self._database)
        except sqlite3.Error as error:
            self._failed(error)
        finally:
            if self._database is not None:
                self._database.close()
            self._database = None

    def find(self, kind: Kind, key: str) -> bytes | None:
        """What was kept under ``key``; ``None`` when nothing is known, or it is damaged."""
        if (kind.value, key) in self._waiting:
            return self._waiting[kind.value, key]
        if self._database is None:
            return None
        query = "SELECT value, used FROM results WHERE kind = ? AND key = ?"
        try:
            row = self._database.execute(query, (kind.value, key)).fetchone()
        except sqlite3.Error as error:
            self._failed(error)
            return None
        if row is None or not isinstance(row[0], bytes):
            return None
        value = row[0][_DIGEST_SIZE:]
        if row[0][:_DIGEST_SIZE] != _digest(kind.value, key, value):
            return None
        if row[1] != self._today:
            self._used.add((kind.value, key))
        return value

    def keep(self, kind: Kind, key: str, value: bytes) -> None:
        """Remember ``value``, unless it is too large."""
        if (
            self._database is None
            or max(len(value), self._waiting_size + len(value) - _MOST_WAITING) > LARGEST
        ):
            return
        self._waiting[kind.value, key] = value
        self._waiting_size += len(value)

    def _open(self) -> None:
        try:
            self._database = self._connected()
        except sqlite3.Error as error:
            self._failed(error)
            if _code(error) in _DAMAGE:
                self.warning = None
                self._database = self._connected()

    def _connected(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=self._patience, isolation_level=None)
        try:
            # What a crash of the machine leaves behind is found out by its digest, or made anew.
            database.execute("PRAGMA synchronous = OFF")
            if database.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
                database.executescript(_SCHEMA)
            database.execute("SELECT kind, key, used, size, value FROM results LIMIT 0")
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _write(self, database: sqlite3.Connection) -> None:
        database.execute("BEGIN IMMEDIATE")
        with database:
            database.executemany(
                "UPDATE results SET used = ? WHERE kind = ? AND key = ?",
                [(self._today, kind, key) for kind, key in self._used],
            )
            database.executemany(
                "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?)",
                [
                    (kind, key, self._today, len(value), _digest(kind, key, value) + value)
                    for (kind, key), value in self._waiting.items()
                ],
            )
            self._make_room(database)

    def _make_room(self, database: sqlite3.Connection) -> None:
        """Remove what was not used for longest."""
        (size,) = database.execute("SELECT coalesce(sum(size), 0) FROM results").fetchone()
        oldest = "SELECT rowid, size FROM results ORDER BY used, size DESC LIMIT ?"
        while size > self._limit:
            surplus: list[tuple[int]] = []
            for row, row_size in database.execute(oldest, (_ROWS,)).fetchall():
                if size > self._limit:
                    surplus.append((row,))
                    size -= row_size
            database.executemany("DELETE FROM results WHERE rowid = ?", surplus)

    def _failed(self, error: sqlite3.Error) -> None:
        """Go on without; a damaged file is removed, so that the next build begins a new one."""
        if self._database is not None:
            self._database.close()
        self._database = None
        if _code(error) in _DAMAGE:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        if _code(error) not in _IN_USE:
            self.warning = f"{self._path} is not used: {error}"


def _code(error: sqlite3.Error) -> int:
    """The primary result code."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def _digest(kind: str, key: str, value: bytes) -> bytes:
    return hashlib.sha256(f"{kind} {key}\n".encode() + value).digest()
