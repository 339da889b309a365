"""What is of SQLite alone in a collateral store; the rest is in test_collateral_stores."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.stored_collateral import NOW, TCB_INFO, entry

from casemate.adapters.collateral_sqlite import open_sqlite_store
from casemate.errors import ServiceError

LATER = NOW + timedelta(hours=1)
HINT = "look at the file, its folder and the free space; what is in it can be fetched again"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "collateral.db"


def test_only_the_owner_reads_the_file_and_what_lies_beside_it(path: Path) -> None:
    before = os.umask(0)
    try:
        store = open_sqlite_store(path)
        store.put(entry(), refresh_at=LATER)
    finally:
        os.umask(before)
    assert len(list(path.parent.iterdir())) == 3
    assert {stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()} == {0o600}
    store.close()


def test_another_sqlite_file_is_refused_and_left_as_it_is(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ServiceError) as caught:
        open_sqlite_store(path)
    assert str(caught.value) == (
        f"collateral store: expected a collateral store, got another SQLite file ({path})"
    )
    assert caught.value.hint == "name another file with --store"
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(ServiceError) as caught:
        open_sqlite_store(path)
    assert str(caught.value) == (
        "collateral store: expected an SQLite file that can be read and written, "
        f"got file is not a database ({path})"
    )
    assert caught.value.hint == HINT


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        open_sqlite_store(tmp_path / "absent/collateral.db")
    assert str(caught.value) == (
        "collateral store: expected an SQLite file that can be read and written, got No such file "
        f"or directory ({tmp_path}/absent/collateral.db)"
    )


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (
            "UPDATE collateral_document SET name = 'x'",
            "name of a document: expected a list of text in JSON, got 'x'",
        ),
        (
            "UPDATE collateral_document SET kind = 'x', name = '[]'",
            "name of a document: expected a kind and its key, got ('x',)",
        ),
        (
            "UPDATE collateral_document SET ends = 4611686018427387904",
            "time: expected microseconds since 1970, got 4611686018427387904",
        ),
    ],
    ids=["name", "kind", "time"],
)
def test_a_row_that_was_not_written_here_is_refused(path: Path, change: str, got: str) -> None:
    store = open_sqlite_store(path)
    store.put(entry(), refresh_at=LATER)
    connection = sqlite3.connect(path)
    connection.execute(change)
    connection.commit()
    connection.close()
    with pytest.raises(ServiceError) as caught:
        store.listing()
    assert caught.value.got == got
    store.close()


def test_readers_go_on_while_another_process_writes(path: Path) -> None:
    store = open_sqlite_store(path)
    store.put(entry(), refresh_at=LATER)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM collateral_document")
    assert store.get(TCB_INFO) == entry()
    writer.execute("ROLLBACK")
    writer.close()
    store.close()


def test_whoever_starts_at_once_with_others_finds_a_store(tmp_path: Path) -> None:
    """Many times: the moments in which one sees half of what another does are short."""
    start = threading.Barrier(4)

    def begin(path: Path) -> int:
        start.wait()
        store = open_sqlite_store(path)
        store.put(entry(), refresh_at=LATER)
        revision = store.revision()
        store.close()
        return revision

    with ThreadPoolExecutor(4) as threads:
        for number in range(25):
            assert max(threads.map(begin, [tmp_path / f"{number}.db"] * 4)) == 5
