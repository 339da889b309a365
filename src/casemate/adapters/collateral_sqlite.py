"""SQLite as the store of a collateral service."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from casemate.collateral.pool import Pool
from casemate.collateral.sql_rows import Column, Row
from casemate.collateral.sql_schema import MIGRATIONS, Migration, missing_steps
from casemate.collateral.sql_store import SqlStore
from casemate.errors import FormatError, ServiceError

#: ``PRAGMA application_id`` of our files ("CMCO"); ``user_version`` is the layout.
_APPLICATION_ID: Final = 0x434D434F
#: Seconds that a writer waits for another one.
_PATIENCE: Final = 30.0
#: Seconds between attempts where SQLite does not wait by itself.
_BETWEEN: Final = 0.01

_Value = TypeVar("_Value")


def open_sqlite_store(path: Path, *, migrations: tuple[Migration, ...] = MIGRATIONS) -> SqlStore:
    """Open the store at ``path``, or make it, readable by its owner only; an older one becomes a newer one.

    Several processes of one machine may have it open. It must not lie on a network file system, where its
    locks do not hold.

    Args:
        path: The file; SQLite keeps its journal beside it.
        migrations: The steps from an empty database to the layout that the store shall have.

    Raises:
        ServiceError: It is not ours, of a newer layout, or cannot be opened.
    """
    try:
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise _unusable(path, error) from error
    database = _SqliteDatabase(path)
    try:
        database.migrate(migrations)
    except ServiceError:
        database.close()
        raise
    return SqlStore(database)


class _Transaction:
    """Implements :class:`casemate.collateral.sql_store.Transaction`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, values: tuple[Column, ...] = ()) -> list[Row]:
        with closing(self._connection.execute(statement, values)) as cursor:
            return cursor.fetchall()


class _SqliteDatabase:
    """Implements :class:`casemate.collateral.sql_store.Database`."""

    #: A writer is alone.
    unlocked_row: ClassVar[str] = ""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pool = Pool(self._connect, sqlite3.Connection.close)

    def look(
        self, read: Callable[[Row], _Value], statement: str, values: tuple[Column, ...] = ()
    ) -> list[_Value]:
        with self._converted(), self._connected() as connection:
            return [read(row) for row in _Transaction(connection).execute(statement, values)]

    @contextmanager
    def reading(self) -> Iterator[_Transaction]:
        with self._transaction("BEGIN") as transaction:
            yield transaction

    @contextmanager
    def writing(self) -> Iterator[_Transaction]:
        with self._transaction("BEGIN IMMEDIATE") as transaction:
            yield transaction

    def close(self) -> None:
        self._pool.close()

    def migrate(self, migrations: tuple[Migration, ...]) -> None:
        """Bring the file to the newest layout; each step is a transaction of its own."""
        while self._migrate_once(migrations):
            pass

    def _migrate_once(self, migrations: tuple[Migration, ...]) -> bool:
        with self.writing() as transaction:
            ((layout,),) = transaction.execute("PRAGMA user_version")
            steps = missing_steps(migrations, layout, where=str(self._path))
            for statement in steps[0] if steps else ():
                transaction.execute(statement.format(bytes="BLOB"))
            if steps:
                transaction.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                transaction.execute(f"PRAGMA user_version = {layout + 1}")
        return len(steps) > 1

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[_Transaction]:
        with self._converted(), self._connected() as connection:
            connection.execute(begin)
            yield _Transaction(connection)
            connection.execute("COMMIT")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        connection = self._pool.take()
        try:
            yield connection
        except BaseException:
            # What was not committed is undone by closing, whatever state the connection is in.
            self._pool.discard(connection)
            raise
        self._pool.give_back(connection)

    @contextmanager
    def _converted(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, FormatError) as error:
            raise _unusable(self._path, error) from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA trusted_schema = OFF")
            # Before anything is written, and how the journal is kept is written into the file.
            _require_ours(connection, self._path)
            # Readers go on while one writes; and what was committed outlives a loss of power.
            _write_ahead(connection)
            connection.execute("PRAGMA synchronous = FULL")
        except (sqlite3.Error, ServiceError):
            connection.close()
            raise
        return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Keep the journal as a write-ahead log.

    While processes that start at once change it from the older kind, SQLite does not wait for them by itself.
    """
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise
            time.sleep(_BETWEEN)
        else:
            return


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    # In this order: whoever has made the tables between the two has also said whose they are.
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (owner,) = connection.execute("PRAGMA application_id").fetchone()
    if tables and owner != _APPLICATION_ID:
        raise ServiceError(
            "collateral store",
            expected="a collateral store",
            got="another SQLite file",
            where=str(path),
            hint="name another file with --store",
        )


def _unusable(path: Path, error: Exception) -> ServiceError:
    return ServiceError(
        "collateral store",
        expected="an SQLite file that can be read and written",
        # Without the name of the file, which follows.
        got=getattr(error, "strerror", None) or str(error),
        where=str(path),
        hint="look at the file, its folder and the free space; what is in it can be fetched again",
    )
