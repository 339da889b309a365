"""The store: sealed rows, one key, an append-only audit log."""

import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from casemate.adapters.kek_file import read_or_make_key
from casemate.adapters.sqlite_store import SqliteStore
from casemate.broker.audit import AuditEntry, Decision, check_chain
from casemate.broker.resource import ResourceName, Secret
from casemate.broker.store import KeyEncryptionKey, ResourceStore
from casemate.errors import ServiceError

KEY = KeyEncryptionKey(bytes(range(32)))
NAME = ResourceName.parse("default/notes/db-key")
OTHER = ResourceName.parse("default/notes/other")
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def table(tmp_path: Path) -> Iterator[SqliteStore]:
    table = SqliteStore.open(tmp_path / "broker.db", KEY)
    yield table
    table.close()


@pytest.fixture
def store(table: SqliteStore) -> ResourceStore:
    return ResourceStore(table, KEY, os.urandom)


def test_a_secret_comes_back(store: ResourceStore) -> None:
    assert store.put(NAME, Secret(b"one")) == 1
    assert store.get(NAME) == Secret(b"one")
    assert store.get(OTHER) is None


def test_a_changed_secret_is_a_new_version_and_the_same_one_is_not(store: ResourceStore) -> None:
    assert [store.put(NAME, Secret(value)) for value in (b"one", b"one", b"two", b"one")] == [1, 1, 2, 3]
    assert store.get(NAME) == Secret(b"one")


def test_a_generated_secret_is_made_once(store: ResourceStore) -> None:
    assert store.generate(NAME, 32) is True
    made = store.get(NAME)
    assert made is not None
    assert len(made.value) == 32
    assert store.generate(NAME, 32) is False
    assert store.get(NAME) == made


def test_neither_the_file_nor_its_journal_holds_a_secret(store: ResourceStore, tmp_path: Path) -> None:
    store.put(NAME, Secret(b"a very secret value"))
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"default/notes/db-key" in written
    assert b"secret value" not in written


def test_only_the_owner_reads_the_file(store: ResourceStore, tmp_path: Path) -> None:
    store.put(NAME, Secret(b"one"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize(
    ("change", "which"),
    [
        ("UPDATE resource SET name = 'default/notes/other'", OTHER),
        ("UPDATE resource SET version = 2", NAME),
        ("UPDATE resource SET iv = zeroblob(12)", NAME),
        ("UPDATE resource SET ciphertext = zeroblob(19)", NAME),
        ("UPDATE resource SET ciphertext = x''", NAME),
        ("UPDATE resource SET iv = x''", NAME),
    ],
    ids=["other name", "other version", "other iv", "other ciphertext", "no ciphertext", "no iv"],
)
def test_a_changed_row_does_not_open(
    store: ResourceStore, tmp_path: Path, change: str, which: ResourceName
) -> None:
    store.put(NAME, Secret(b"one"))
    with sqlite3.connect(tmp_path / "broker.db") as connection:
        connection.execute(change)
    connection.close()
    version = 2 if "version" in change else 1
    with pytest.raises(ServiceError) as caught:
        store.get(which)
    assert str(caught.value) == (
        "stored resource: expected a row sealed for its own name and version under this key-encryption key, "
        f"got one that does not open ({which} version {version})"
    )
    assert caught.value.hint == "restore the store from a backup: the row was changed or moved"


def test_another_key_is_refused_when_the_store_is_opened(table: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        SqliteStore.open(tmp_path / "broker.db", KeyEncryptionKey(bytes(32)))
    assert str(caught.value) == (
        "store: expected the key-encryption key that it was made with, got another one "
        f"({tmp_path}/broker.db)"
    )
    assert caught.value.hint == "name the right file with --kek"


def test_another_sqlite_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ServiceError) as caught:
        SqliteStore.open(path, KEY)
    assert str(caught.value) == (
        f"store: expected a broker's store of layout 1, got another SQLite file ({path})"
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be looked at", b"SQLite format 3\0"]
)
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broker.db"
    path.write_bytes(content)
    with pytest.raises(
        ServiceError, match=r"^store: expected an SQLite file that can be read and written, got "
    ):
        SqliteStore.open(path, KEY)
    assert path.read_bytes() == content


def test_a_store_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        SqliteStore.open(tmp_path / "missing" / "broker.db", KEY)
    assert str(caught.value) == (
        "store: expected an SQLite file that can be read and written, got No such file or directory "
        f"({tmp_path}/missing/broker.db)"
    )


def entry(reason: str) -> AuditEntry:
    return AuditEntry(
        time=NOW,
        session="5e5510",
        workload="notes",
        simulated=False,
        mrenclave="ab" * 32,
        resource="default/notes/db-key",
        decision=Decision.RELEASED,
        reason=reason,
    )


def test_audit_records_form_a_chain_that_outlives_the_process(table: SqliteStore, tmp_path: Path) -> None:
    table.append(entry("first"))
    table.close()
    again = SqliteStore.open(tmp_path / "broker.db", KEY)
    again.append(entry("second"))
    lines = list(again.audit_lines())
    again.close()
    assert check_chain(lines) == 2
    assert json.loads(lines[0]) == {
        "version": 1,
        "number": 1,
        "previous": "0" * 64,
        "time": "2026-05-01T12:00:00+00:00",
        "session": "5e5510",
        "workload": "notes",
        "simulated": False,
        "mrenclave": "ab" * 32,
        "resource": "default/notes/db-key",
        "decision": "released",
        "reason": "first",
    }


def test_a_reason_is_kept_as_one_line_of_bounded_length(table: SqliteStore) -> None:
    table.append(entry("a\nb" + "x" * 5000))
    (line,) = table.audit_lines()
    assert json.loads(line)["reason"] == "a\ufffdb" + "x" * 346 + "…"
    assert check_chain([line]) == 1


def test_a_removed_changed_or_moved_record_breaks_the_chain(table: SqliteStore) -> None:
    for number in range(3):
        table.append(entry(f"reason {number}"))
    lines = list(table.audit_lines())
    assert check_chain([]) == 0
    broken = [
        [lines[0], lines[2]],
        [lines[1], lines[0], lines[2]],
        [lines[0].replace("reason 0", "reason 9"), *lines[1:]],
        [lines[0].replace('"simulated":false', '"simulated":true'), *lines[1:]],
        lines[1:],
        ["{}", *lines[1:]],
    ]
    for log in broken:
        with pytest.raises(ServiceError, match=r"^audit record: expected "):
            check_chain(log)


def test_a_removed_record_is_named(table: SqliteStore) -> None:
    for number in range(2):
        table.append(entry(f"reason {number}"))
    first, second = table.audit_lines()
    previous = json.loads(second)["previous"]
    with pytest.raises(ServiceError) as caught:
        check_chain([second])
    assert str(caught.value) == (
        f"audit record: expected number 1 after {'0' * 64}, got number 2 after {previous} (record 1)"
    )
    assert caught.value.hint == "the log was changed: keep it as it is and find out by whom"
    assert check_chain([first, second]) == 2


@pytest.mark.parametrize("statement", ["DELETE FROM audit", "UPDATE audit SET line = ''"])
def test_the_audit_table_only_takes_new_lines(table: SqliteStore, tmp_path: Path, statement: str) -> None:
    table.append(entry("first"))
    connection = sqlite3.connect(tmp_path / "broker.db")
    with pytest.raises(sqlite3.IntegrityError, match="append only"):
        connection.execute(statement)
    connection.close()


def test_a_log_that_cannot_be_written_says_so_and_stays_usable(table: SqliteStore, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "broker.db")
    connection.execute("ALTER TABLE audit RENAME TO elsewhere")
    with pytest.raises(ServiceError) as caught:
        table.append(entry("lost"))
    assert str(caught.value) == (
        "store: expected an SQLite file that can be read and written, got no such table: audit "
        f"({tmp_path}/broker.db)"
    )
    assert caught.value.hint == (
        "look at the file, its folder and the free space, or restore the store from a backup"
    )
    connection.execute("ALTER TABLE elsewhere RENAME TO audit")
    connection.close()
    table.append(entry("kept"))
    assert check_chain(table.audit_lines()) == 1


def test_a_key_is_made_once_and_read_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    made = read_or_make_key(path, os.urandom, may_make=True)
    assert read_or_make_key(path, os.urandom, may_make=False) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["kek"]
    assert repr(made) == "<redacted>"


def test_a_missing_key_of_a_store_that_exists_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        read_or_make_key(tmp_path / "kek", os.urandom, may_make=False)
    assert str(caught.value) == (
        f"key-encryption key: expected a file of 32 bytes, got No such file or directory ({tmp_path}/kek)"
    )
    assert caught.value.hint == "name the key of the store with --kek, or another store with --store"
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kek"
    path.write_bytes(bytes(32))
    path.chmod(0o640)
    with pytest.raises(ServiceError) as caught:
        read_or_make_key(path, os.urandom, may_make=False)
    assert str(caught.value) == f"key-encryption key: expected permissions 0600, got 0640 ({path})"
    assert caught.value.hint == f"chmod 600 {path}, and ask who has read it"


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "kek"
    path.write_bytes(bytes(size))
    path.chmod(0o600)
    with pytest.raises(ServiceError) as caught:
        read_or_make_key(path, os.urandom, may_make=False)
    assert str(caught.value) == f"key-encryption key: expected 32 bytes, got {size}"
