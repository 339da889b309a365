"""What is of PostgreSQL alone in a collateral store; the rest is in test_collateral_stores."""

from __future__ import annotations

import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from tests.support.postgresql import PASSWORD, PostgreSql
from tests.support.stored_collateral import NOW, QE_IDENTITY, TCB_INFO, entry

from casemate.adapters.collateral_postgres import open_postgres_store
from casemate.cli.serve_collateral import _open_store
from casemate.errors import ServiceError, ToolchainError, UsageError

LATER = NOW + timedelta(hours=1)


def test_a_store_goes_on_when_the_server_was_started_again(postgresql: PostgreSql) -> None:
    store = open_postgres_store(postgresql.new_database())
    start = threading.Barrier(4)

    def look(_number: int) -> int:
        start.wait()
        return store.revision()

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(look, range(4)))) == 1
    store.put(entry(), refresh_at=LATER)
    postgresql.stop()
    with pytest.raises(ServiceError):
        store.get(TCB_INFO)
    postgresql.start()
    assert store.get(TCB_INFO) == entry()
    assert store.put(entry(QE_IDENTITY), refresh_at=LATER)
    store.close()


def test_idle_connections_that_died_are_not_noticed(postgresql: PostgreSql) -> None:
    store = open_postgres_store(postgresql.new_database())
    store.put(entry(), refresh_at=LATER)
    postgresql.stop()
    postgresql.start()
    assert store.put(entry(QE_IDENTITY), refresh_at=LATER)
    assert store.get(TCB_INFO) == entry()
    store.close()


def test_a_connection_that_dies_within_a_transaction_leaves_nothing(postgresql: PostgreSql) -> None:
    url = postgresql.new_database()
    database = url.rpartition("/")[2]
    store = open_postgres_store(url)
    store.put(entry(), refresh_at=LATER)

    class Ends:
        """Ends the server's side of every other connection while the entry is being written."""

        def __get__(self, instance: object, owner: object) -> bytes:
            postgresql.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid != pg_backend_pid()",
                database=database,
            )
            return b"never"

    class Dying(type(entry())):
        issuer_chain = Ends()

    dying = object.__new__(Dying)
    for name in ("name", "body", "fetched_at", "begins", "ends", "evaluation_number"):
        object.__setattr__(dying, name, getattr(entry(evaluation_number=99), name))
    with pytest.raises(ServiceError):
        store.put(dying, refresh_at=LATER)
    assert store.get(TCB_INFO) == entry()
    store.close()


@pytest.mark.parametrize("broken", ["password", "stopped", "absent database"])
def test_what_is_wrong_is_said_without_the_password(postgresql: PostgreSql, broken: str) -> None:
    database = postgresql.new_database().rpartition("/")[2]
    url = {
        "password": postgresql.url(database, "wrong " + PASSWORD),
        "stopped": postgresql.url(database),
        "absent database": postgresql.url("absent"),
    }[broken]
    if broken == "stopped":
        postgresql.stop()
    try:
        with pytest.raises(ServiceError) as caught:
            open_postgres_store(url)
    finally:
        if broken == "stopped":
            postgresql.start()
    said = {
        "password": 'password authentication failed for user "casemate"',
        "stopped": "No such file or directory",
        "absent database": 'database "absent" does not exist',
    }[broken]
    name = "absent" if broken == "absent database" else database
    assert said in str(caught.value)
    assert caught.value.where == f"{name} on {postgresql.folder}"
    assert caught.value.hint == (
        "see that the server runs, that the URL is right, and that its user may create tables"
    )
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://casemate:an@secret@host/db",
        "postgresql://casemate:secret/2@host/db",
        "postgresql://casemate:12/secret@host/db",
        "postgresql://casemate:secret@[::1/db",
        "host=localhost password=secret",
        "postgresql://casemate:secret@host/db?nonsense=1",
        "collateral.db",
    ],
)
def test_what_is_no_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_postgres_store(url)
    assert str(caught.value) == (
        "URL of the database: expected postgresql://USER:PASSWORD@HOST/DATABASE, got something else"
    )
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_the_password_may_be_in_a_file(postgresql: PostgreSql, tmp_path: Path) -> None:
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"*:*:*:*:{PASSWORD}\n")
    passwords.chmod(0o600)
    url = postgresql.new_database().replace(f":{quote(PASSWORD, safe='')}@", "@")
    assert PASSWORD not in unquote(url)
    store = open_postgres_store(f"{url}?passfile={quote(str(passwords), safe='')}")
    assert store.revision() == 1
    store.close()


def test_a_user_who_may_not_create_tables_is_told_so(postgresql: PostgreSql) -> None:
    database = postgresql.new_database().rpartition("/")[2]
    postgresql.execute(
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE reader LOGIN PASSWORD 'r'", database=database
    )
    url = postgresql.url(database, "r").replace("casemate:", "reader:")
    with pytest.raises(ServiceError) as caught:
        open_postgres_store(url)
    assert "permission denied for schema public" in str(caught.value)
    postgresql.execute("DROP ROLE reader", database=database)


def test_without_psycopg_the_command_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "casemate.adapters.collateral_postgres", None)
    with pytest.raises(ToolchainError) as caught:
        _open_store("postgresql://casemate:secret@host/db")
    assert str(caught.value) == ("stores in PostgreSQL: expected the extra postgresql, got no usable psycopg")
    assert caught.value.hint == "pip install 'casemate[postgresql]'"


def test_the_module_is_imported_by_nothing_else() -> None:
    """Because psycopg is an extra."""
    sources = Path(__file__).parents[3] / "src/casemate"
    found = [path for path in sources.rglob("*.py") if "import psycopg" in path.read_text()]
    assert [path.name for path in found] == ["collateral_postgres.py"]
