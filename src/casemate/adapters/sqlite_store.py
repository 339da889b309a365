"""SQLite as the broker's table of sealed resources and as its audit log."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from casemate.broker.audit import START_OF_CHAIN, AuditEntry, line_hash
from casemate.broker.resource import ResourceName
from casemate.broker.store import KeyEncryptionKey, SealedResource
from casemate.errors import FormatError, ServiceError

#: ``PRAGMA application_id`` and ``user_version`` of our files ("CMBR", first layout).
_APPLICATION_ID = 0x434D4252
_LAYOUT = 1

_SCHEMA = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_LAYOUT};
CREATE TABLE key (check_value BLOB NOT NULL);
CREATE TABLE resource (
    name TEXT NOT NULL, version INTEGER NOT NULL, iv BLOB NOT NULL, ciphertext BLOB NOT NULL,
    PRIMARY KEY (name, version)
) WITHOUT ROWID;
CREATE TABLE audit (number INTEGER PRIMARY KEY, line TEXT NOT NULL);
CREATE TRIGGER audit_keeps_lines BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER audit_keeps_all BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'append only'); END;
COMMIT;
"""


class SqliteStore:
    """One file with the sealed resources and the audit log; used by one thread of one process.

    Implements :class:`casemate.broker.store.ResourceTable` and :class:`casemate.broker.audit.AuditLog`.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    @classmethod
    def open(cls, path: Path, key: KeyEncryptionKey) -> Self:
        """Open the store at ``path``, or make it, readable by its owner only.

        Raises:
            ServiceError: It is not ours, is sealed under another key, or cannot be opened.
        """
        try:
            path.touch(mode=0o600, exist_ok=True)
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, error) from error
        store = cls(connection, path)
        try:
            store._prepare(key)
        except ServiceError:
            connection.close()
            raise
        return store

    def newest(self, name: ResourceName) -> SealedResource | None:
        """The row of ``name`` with the highest version."""
        with self._converted():
            row = self._connection.execute(
                "SELECT version, iv, ciphertext FROM resource WHERE name = ? ORDER BY version DESC LIMIT 1",
                (str(name),),
            ).fetchone()
        if row is None:
            return None
        version, iv, ciphertext = row
        return SealedResource(name=name, version=version, iv=iv, ciphertext=ciphertext)

    def add(self, sealed: SealedResource) -> None:
        """Add a row; refused when the version exists."""
        with self._converted():
            self._connection.execute(
                "INSERT INTO resource (name, version, iv, ciphertext) VALUES (?, ?, ?, ?)",
                (str(sealed.name), sealed.version, sealed.iv, sealed.ciphertext),
            )

    def append(self, entry: AuditEntry) -> None:
        """Add ``entry`` to the chain."""
        with self._converted():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                row = self._connection.execute(
                    "SELECT number, line FROM audit ORDER BY number DESC LIMIT 1"
                ).fetchone()
                number, previous = (row[0] + 1, line_hash(row[1])) if row else (1, START_OF_CHAIN)
                self._connection.execute(
                    "INSERT INTO audit (number, line) VALUES (?, ?)",
                    (number, entry.to_line(number, previous)),
                )
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def audit_lines(self) -> Iterator[str]:
        """The audit log, oldest record first."""
        with self._converted():
            for (line,) in self._connection.execute("SELECT line FROM audit ORDER BY number"):
                yield line

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _prepare(self, key: KeyEncryptionKey) -> None:
        """Make the tables of a new store, or see that they are ours and sealed under ``key``."""
        with self._converted():
            self._connection.execute("PRAGMA trusted_schema = OFF")
            if self._number("SELECT count(*) FROM sqlite_master") == 0:
                self._connection.executescript(_SCHEMA)
                self._connection.execute("INSERT INTO key (check_value) VALUES (?)", (key.check_value,))
            self._require_our_layout()
            check_value = self._connection.execute("SELECT check_value FROM key").fetchone()
            if check_value != (key.check_value,):
                raise ServiceError(
                    "store",
                    expected="the key-encryption key that it was made with",
                    got="another one",
                    where=str(self._path),
                    hint="name the right file with --kek",
                )
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")

    def _require_our_layout(self) -> None:
        ours = self._number("PRAGMA application_id") == _APPLICATION_ID
        layout = self._number("PRAGMA user_version")
        if not ours or layout != _LAYOUT:
            raise ServiceError(
                "store",
                expected=f"a broker's store of layout {_LAYOUT}",
                got=f"layout {layout}" if ours else "another SQLite file",
                where=str(self._path),
                hint="name another file with --store",
            )

    def _number(self, statement: str) -> int:
        number: int = self._connection.execute(statement).fetchone()[0]
        return number

    @contextmanager
    def _converted(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, FormatError) as error:
            raise _unusable(self._path, error) from error


def _unusable(path: Path, error: Exception) -> ServiceError:
    return ServiceError(
        "store",
        expected="an SQLite file that can be read and written",
        # Without the name of the file, which follows.
        got=getattr(error, "strerror", None) or str(error),
        where=str(path),
        hint="look at the file, its folder and the free space, or restore the store from a backup",
    )
