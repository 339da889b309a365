"""What builds keep for each other: found again, and never anything else."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casemate.adapters.kept_results import DAY, LARGEST, KeptResults
from casemate.builder.cache import Kind, key_of

KEY = key_of("a key")
FOLDER = "build-1"


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[KeptResults]:
    with KeptResults(tmp_path / "cache") as results:
        yield results


def database(tmp_path: Path) -> Path:
    return tmp_path / "cache" / FOLDER / "results.sqlite"


def kept_once(tmp_path: Path, key: str = KEY, value: bytes = b"value") -> None:
    with KeptResults(tmp_path / "cache") as results:
        results.keep(Kind.SCAN, key, value)


def found(tmp_path: Path, key: str = KEY) -> bytes | None:
    with KeptResults(tmp_path / "cache") as results:
        return results.find(Kind.SCAN, key)


def change(tmp_path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(database(tmp_path))) as connection, connection:
        connection.execute(statement, values)


def keys(tmp_path: Path) -> list[str]:
    with closing(sqlite3.connect(database(tmp_path))) as connection:
        return sorted(key for (key,) in connection.execute("SELECT key FROM results"))


def test_what_was_kept_is_found_in_the_next_run(tmp_path: Path) -> None:
    with KeptResults(tmp_path / "cache") as results:
        results.keep(Kind.SCAN, KEY, b"value")
    with KeptResults(tmp_path / "cache") as results:
        assert results.find(Kind.SCAN, KEY) == b"value"
        assert results.warning is None


@pytest.mark.parametrize(
    ("kind", "key"), [(Kind.NAMES, KEY), (Kind.SCAN, key_of("another"))], ids=["kind", "key"]
)
def test_nothing_is_found_under_another_name(kept: KeptResults, kind: Kind, key: str) -> None:
    kept.keep(Kind.SCAN, KEY, b"value")
    assert kept.find(kind, key) is None


def test_an_empty_result_is_a_result(kept: KeptResults) -> None:
    kept.keep(Kind.BYTECODE, KEY, b"")
    assert kept.find(Kind.BYTECODE, KEY) == b""


@pytest.mark.parametrize(
    "damaged",
    [b"", b"short", bytes(32), bytes(32) + b"value", "text", 7],
    ids=["empty", "cut", "no value", "another digest", "text", "number"],
)
def test_a_damaged_entry_is_not_there_and_is_replaced(tmp_path: Path, damaged: object) -> None:
    kept_once(tmp_path)
    change(tmp_path, "UPDATE results SET value = ?", damaged)
    assert found(tmp_path) is None
    kept_once(tmp_path)
    assert found(tmp_path) == b"value"


def test_an_entry_under_the_name_of_another_is_not_there(tmp_path: Path) -> None:
    kept_once(tmp_path)
    change(tmp_path, "UPDATE results SET key = ?", key_of("another"))
    assert found(tmp_path, key_of("another")) is None


@given(flipped=st.integers(min_value=0, max_value=8 * (32 + 5) - 1))
@settings(max_examples=20)
def test_no_bit_of_an_entry_can_be_another(tmp_path_factory: pytest.TempPathFactory, flipped: int) -> None:
    folder = tmp_path_factory.mktemp("kept")
    kept_once(folder)
    with closing(sqlite3.connect(database(folder))) as connection:
        data = bytearray(connection.execute("SELECT value FROM results").fetchone()[0])
    data[flipped // 8] ^= 1 << flipped % 8
    change(folder, "UPDATE results SET value = ?", bytes(data))
    assert found(folder) is None


def other_bytes(file: Path) -> None:
    file.write_bytes(b"not a database" * 1000)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def overwritten(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[100:] = os.urandom(len(data) - 100)
    file.write_bytes(data)


def another_schema(file: Path) -> None:
    file.unlink()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE results (a)")


def emptied(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [other_bytes, cut, overwritten, another_schema, emptied])
def test_a_damaged_database_is_not_used_and_made_anew(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    for number in range(50):
        kept_once(tmp_path, str(number), bytes(1000))
    damage(database(tmp_path))
    for _ in range(3):  # it may be found out when it is opened, when it is read, or when it is written
        assert found(tmp_path, "1") in {None, bytes(1000)}
        kept_once(tmp_path)
    assert found(tmp_path) == b"value"


def test_the_folder_is_the_users_alone(tmp_path: Path) -> None:
    kept_once(tmp_path)
    folders = [tmp_path / "cache", tmp_path / "cache" / FOLDER]
    assert [oct(folder.stat().st_mode & 0o777) for folder in folders] == ["0o700"] * 2


def test_a_folder_that_others_can_look_into_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir(mode=0o755)
    with KeptResults(tmp_path) as results:
        assert results.warning == f"{folder} is not used: others can look into it, or change it"
        results.keep(Kind.SCAN, KEY, b"value")
        assert results.find(Kind.SCAN, KEY) is None
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_another_user_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir(mode=0o700)
    os.chown(folder, 4711, 4711)
    with KeptResults(tmp_path) as results:
        assert results.warning == f"{folder} is not used: it belongs to another user"


def test_a_folder_that_others_could_replace_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    folder = tmp_path / "shared" / FOLDER
    with KeptResults(tmp_path / "shared") as results:
        assert results.warning == f"{folder} is not used: others can change the folder around it"
    (tmp_path / "shared").chmod(0o1777)
    with KeptResults(tmp_path / "shared") as results:
        assert results.warning is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_in_one_of_another_user_is_not_used(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4711)
    with KeptResults(tmp_path) as results:
        assert (
            results.warning
            == f"{tmp_path / FOLDER} is not used: the folder around it belongs to another user"
        )


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / FOLDER).symlink_to(tmp_path / "elsewhere")
    with KeptResults(tmp_path) as results:
        assert results.warning == f"{tmp_path / FOLDER} is not used: Not a directory"


def test_a_cache_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with KeptResults(tmp_path / "file/cache") as results:
        assert results.warning == f"{tmp_path}/file/cache/{FOLDER} is not used: Not a directory"


def test_a_database_that_another_build_writes_is_waited_for(tmp_path: Path) -> None:
    kept_once(tmp_path)
    begun = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            begun.set()
            time.sleep(0.3)

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait()
    assert found(tmp_path) == b"value"
    thread.join()


def test_a_result_that_is_too_large_is_not_kept(kept: KeptResults) -> None:
    kept.keep(Kind.SCAN, KEY, bytes(LARGEST + 1))
    assert (kept.find(Kind.SCAN, KEY), kept.warning) == (None, None)
    kept.keep(Kind.SCAN, KEY, bytes(LARGEST))
    assert kept.find(Kind.SCAN, KEY) == bytes(LARGEST)


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    today = int(time.time()) // DAY
    for number in range(4):
        kept_once(tmp_path, str(number), bytes(1000))
        change(tmp_path, "UPDATE results SET used = ? WHERE key = ?", today - number - 1, str(number))
    with KeptResults(tmp_path / "cache", limit=3000) as results:
        assert results.find(Kind.SCAN, "3") is not None  # used now: it stays
        results.keep(Kind.SCAN, "new", bytes(500))
    assert keys(tmp_path) == ["0", "3", "new"]


def test_what_is_used_on_another_day_is_marked(tmp_path: Path) -> None:
    kept_once(tmp_path)
    change(tmp_path, "UPDATE results SET used = 1")
    assert found(tmp_path) == b"value"
    with closing(sqlite3.connect(database(tmp_path))) as connection:
        assert connection.execute("SELECT used FROM results").fetchall() == [(int(time.time()) // DAY,)]


def test_a_build_that_fails_leaves_what_it_had_made(tmp_path: Path) -> None:
    def build() -> None:
        with KeptResults(tmp_path / "cache") as results:
            results.keep(Kind.SCAN, KEY, b"value")
            raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        build()
    assert found(tmp_path) == b"value"


def test_builds_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    wrong: list[object] = []

    def build() -> None:
        for number in range(20):
            key, value = str(number % 7), bytes([number % 7]) * 1000
            with KeptResults(tmp_path / "cache", limit=20_000) as results:
                if results.find(Kind.SCAN, key) not in {None, value}:
                    wrong.append(key)
                results.keep(Kind.SCAN, key, value)
            wrong.extend([results.warning] if results.warning else [])

    threads = [threading.Thread(target=build) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_database_that_another_build_writes_for_long_is_done_without(tmp_path: Path) -> None:
    kept_once(tmp_path)
    with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with KeptResults(tmp_path / "cache", patience=0.1) as results:
            assert results.find(Kind.SCAN, KEY) is None
            results.keep(Kind.SCAN, KEY, b"other")
            assert results.warning is None
    assert found(tmp_path) == b"value"


def test_a_database_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    database(tmp_path).parent.mkdir(mode=0o700, parents=True)
    database(tmp_path).mkdir()
    with KeptResults(tmp_path / "cache") as results:
        assert results.warning == f"{database(tmp_path)} is not used: unable to open database file"
