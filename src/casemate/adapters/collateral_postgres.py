"""PostgreSQL as the store that several collateral services share.

Needs psycopg, which the extra ``casemate[postgresql]`` brings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Final, LiteralString, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from casemate.collateral.pool import Pool
from casemate.collateral.sql_rows import Column, Row
from casemate.collateral.sql_schema import MIGRATIONS, Migration, missing_steps
from casemate.collateral.sql_store import SqlStore
from casemate.errors import FormatError, ServiceError, UsageError
from casemate.formats.one_line import one_line

#: What the URL may change. Seconds until a server counts as absent; milliseconds until a silent one does.
_DEFAULTS: Final = {
    "application_name": "casemate",
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
}
#: A replica that hangs must not keep the others waiting.
_LIMITS: Final = (
    "SET statement_timeout = '30s'; SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = '60s'"
)
#: Key of the advisory lock under which tables are changed ("CMCO").
_MIGRATION_LOCK: Final = 0x434D434F
_READING: Final[LiteralString] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITING: Final[LiteralString] = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
_LONGEST_MESSAGE: Final = 300

_Value = TypeVar("_Value")


def open_postgres_store(url: str, *, migrations: tuple[Migration, ...] = MIGRATIONS) -> SqlStore:
    """Open the store in the database at ``url``, making its tables where there are none.

    Several processes may do this at once; one of them makes or changes the tables, the others wait.

    Args:
        url: As libpq reads it: ``postgresql://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full``.
        migrations: The steps from an empty database to the layout that the store shall have.

    Raises:
        UsageError: Not such a URL.
        ServiceError: The database cannot be reached or used, or its tables are of a newer layout.
    """
    database = _PostgresDatabase(_parameters(url))
    try:
        database.migrate(migrations)
    except ServiceError:
        database.close()
        raise
    return SqlStore(database)


def _parameters(url: str) -> dict[str, str]:
    try:
        found = {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError:
        found = {}
    # A password that is not encoded reads as part of a host, a port or a name, and would be printed as such.
    seen = "".join(value for name, value in found.items() if name not in {"user", "password"})
    if not found or "://" not in url or "@" in seen or re.fullmatch("[0-9,]*", found.get("port", "")) is None:
        # Not with libpq's own words: they repeat the URL, and the password in it.
        raise UsageError(
            "URL of the database",
            expected="postgresql://USER:PASSWORD@HOST/DATABASE",
            got="something else",
            hint="write characters like @ : / ? % in user and password as %40 %3A %2F %3F %25",
        )
    return _DEFAULTS | found


class _Transaction:
    """Implements :class:`casemate.collateral.sql_store.Transaction`."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self._connection = connection

    def execute(self, statement: str, values: tuple[Column, ...] = ()) -> list[Row]:
        cursor = self._connection.execute(statement.replace("?", "%s").encode(), values, binary=True)
        return cursor.fetchall() if cursor.description is not None else []


class _PostgresDatabase:
    """Implements :class:`casemate.collateral.sql_store.Database`."""

    unlocked_row: ClassVar[str] = "FOR UPDATE SKIP LOCKED"

    def __init__(self, parameters: dict[str, str]) -> None:
        self._conninfo = make_conninfo("", **parameters)
        self._where = "{} on {}".format(
            parameters.get("dbname", "default database"), parameters.get("host", "this machine")
        )
        self._pool: Pool[psycopg.Connection[Row]] = Pool(self._connect, psycopg.Connection.close)

    def look(
        self, read: Callable[[Row], _Value], statement: str, values: tuple[Column, ...] = ()
    ) -> list[_Value]:
        with self._converted():
            connection, rows = self._first(lambda one: _Transaction(one).execute(statement, values))
            with self._kept(connection):
                return [read(row) for row in rows]

    @contextmanager
    def reading(self) -> Iterator[_Transaction]:
        with self._transaction(_READING) as transaction:
            yield transaction

    @contextmanager
    def writing(self) -> Iterator[_Transaction]:
        with self._transaction(_WRITING) as transaction:
            yield transaction

    def close(self) -> None:
        self._pool.close()

    def migrate(self, migrations: tuple[Migration, ...]) -> None:
        """Bring the tables to the newest layout, all steps in one transaction."""
        with self.writing() as transaction:
            transaction.execute("SELECT pg_advisory_xact_lock(?)", (_MIGRATION_LOCK,))
            transaction.execute("CREATE TABLE IF NOT EXISTS collateral_layout (layout BIGINT NOT NULL)")
            found = transaction.execute("SELECT layout FROM collateral_layout")
            layout = int(found[0][0]) if found else 0
            steps = missing_steps(migrations, layout, where=self._where)
            for statement in (statement for step in steps for statement in step):
                transaction.execute(statement.format(bytes="BYTEA"))
            if steps:
                transaction.execute("DELETE FROM collateral_layout")
                transaction.execute("INSERT INTO collateral_layout (layout) VALUES (?)", (len(migrations),))

    @contextmanager
    def _transaction(self, begin: LiteralString) -> Iterator[_Transaction]:
        with self._converted():
            connection, _ = self._first(lambda one: one.execute(begin))
            with self._kept(connection):
                yield _Transaction(connection)
                connection.execute("COMMIT")

    def _first(
        self, do: Callable[[psycopg.Connection[Row]], _Value]
    ) -> tuple[psycopg.Connection[Row], _Value]:
        """A connection on which the first thing was done, which changes nothing, and what it gave.

        Idle connections may have died with a server that was started again; that is seen here.
        """
        while (idle := self._pool.take_idle()) is not None:
            try:
                return idle, do(idle)
            except psycopg.Error:
                is_dead = idle.broken
                self._pool.discard(idle)
                if not is_dead:
                    raise
        connection = self._connect()
        try:
            return connection, do(connection)
        except BaseException:
            self._pool.discard(connection)
            raise

    @contextmanager
    def _kept(self, connection: psycopg.Connection[Row]) -> Iterator[None]:
        try:
            yield
        except BaseException:
            # What was not committed is undone by closing, whatever state the connection is in.
            self._pool.discard(connection)
            raise
        self._pool.give_back(connection)

    @contextmanager
    def _converted(self) -> Iterator[None]:
        try:
            yield
        except (psycopg.Error, FormatError) as error:
            raise self._unusable(error) from error

    def _connect(self) -> psycopg.Connection[Row]:
        # Poolers between us and the server do not keep prepared statements.
        connection = psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None)
        try:
            connection.execute(_LIMITS)
        except psycopg.Error:
            connection.close()
            raise
        return connection

    def _unusable(self, error: Exception) -> ServiceError:
        return ServiceError(
            "collateral store",
            expected="a PostgreSQL database that can be read and written",
            got=one_line(" ".join(str(error).split()), _LONGEST_MESSAGE) or type(error).__name__,
            where=self._where,
            hint="see that the server runs, that the URL is right, and that its user may create tables",
        )
