"""What builds keep for each other: found again, and never anything else."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.adapters.kept_results import DAY, LARGEST, KeptResults
from casemate.builder.cache import Kind, key_of

KEY = key_of("a key")
FOLDER = "build-1"


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[KeptResults]:
    with KeptResults(tmp_path / "cache") as results:
        yield results


def entry(tmp_path: Path, key: str = KEY) -> Path:
    return tmp_path / "cache" / FOLDER / "scan" / key


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
    [b"", b"short", bytes(32), bytes(32) + b"value"],
    ids=["empty", "cut", "no value", "another digest"],
)
def test_a_damaged_entry_is_not_there_and_is_replaced(
    kept: KeptResults, tmp_path: Path, damaged: bytes
) -> None:
    kept.keep(Kind.SCAN, KEY, b"value")
    entry(tmp_path).write_bytes(damaged)
    assert kept.find(Kind.SCAN, KEY) is None
    kept.keep(Kind.SCAN, KEY, b"value")
    assert kept.find(Kind.SCAN, KEY) == b"value"


def test_an_entry_under_the_name_of_another_is_not_there(kept: KeptResults, tmp_path: Path) -> None:
    kept.keep(Kind.SCAN, KEY, b"value")
    other = key_of("another")
    entry(tmp_path).rename(entry(tmp_path, other))
    assert kept.find(Kind.SCAN, other) is None


@given(flipped=st.integers(min_value=0, max_value=8 * (32 + 5) - 1))
def test_no_bit_of_an_entry_can_be_another(tmp_path_factory: pytest.TempPathFactory, flipped: int) -> None:
    folder = tmp_path_factory.mktemp("kept")
    with KeptResults(folder / "cache") as results:
        results.keep(Kind.SCAN, KEY, b"value")
        data = bytearray(entry(folder).read_bytes())
        data[flipped // 8] ^= 1 << flipped % 8
        entry(folder).write_bytes(data)
        assert results.find(Kind.SCAN, KEY) is None


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_what_is_no_file_is_not_opened(kept: KeptResults, tmp_path: Path, kind: str) -> None:
    kept.keep(Kind.SCAN, KEY, b"value")
    path = entry(tmp_path)
    moved = path.rename(tmp_path / "moved")
    if kind == "link":
        path.symlink_to(moved)
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    assert kept.find(Kind.SCAN, KEY) is None


def test_the_folder_is_the_users_alone(kept: KeptResults, tmp_path: Path) -> None:
    kept.keep(Kind.SCAN, KEY, b"value")
    folders = [tmp_path / "cache", tmp_path / "cache" / FOLDER, entry(tmp_path).parent]
    assert [oct(folder.stat().st_mode & 0o777) for folder in folders] == ["0o700"] * 3
    assert oct(entry(tmp_path).stat().st_mode & 0o777) == "0o600"


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


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / FOLDER).symlink_to(tmp_path / "elsewhere")
    with KeptResults(tmp_path) as results:
        assert results.warning == f"{tmp_path / FOLDER} is not used: Not a directory"


def test_a_cache_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with KeptResults(tmp_path / "file/cache") as results:
        assert results.warning == f"{tmp_path}/file/cache/{FOLDER} is not used: Not a directory"


def test_a_disk_that_takes_nothing_more_is_said_and_what_is_there_is_found(
    kept: KeptResults, tmp_path: Path
) -> None:
    kept.keep(Kind.SCAN, KEY, b"value")
    (entry(tmp_path).parent / key_of("another")).mkdir()
    kept.keep(Kind.SCAN, key_of("another"), b"value")
    assert kept.warning == "nothing more is kept for the next build: Is a directory"
    assert kept.find(Kind.SCAN, KEY) == b"value"
    assert sorted(path.name for path in entry(tmp_path).parent.iterdir()) == sorted([KEY, key_of("another")])


def test_a_result_that_is_too_large_is_not_kept(kept: KeptResults) -> None:
    kept.keep(Kind.SCAN, KEY, bytes(LARGEST + 1))
    assert (kept.find(Kind.SCAN, KEY), kept.warning) == (None, None)
    kept.keep(Kind.SCAN, KEY, bytes(LARGEST))
    assert kept.find(Kind.SCAN, KEY) == bytes(LARGEST)


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    now = time.time()
    with KeptResults(tmp_path / "cache", limit=3000) as results:
        for number in range(4):
            results.keep(Kind.SCAN, str(number), bytes(1000 - 32))
        for number in range(4):
            os.utime(entry(tmp_path, str(number)), (now - number * 2 * DAY,) * 2)
        assert results.find(Kind.SCAN, "3") is not None  # used now: it stays
    assert sorted(path.name for path in entry(tmp_path).parent.iterdir()) == ["0", "1", "3"]


def test_room_is_made_once_a_day_when_little_is_added(tmp_path: Path) -> None:
    for number in range(3):  # the first run makes room, and there is enough; then nobody looks
        with KeptResults(tmp_path / "cache", limit=128 * 1000) as results:
            results.keep(Kind.SCAN, str(number), bytes(900))
            (entry(tmp_path).parent / ".abandoned").touch()
            os.utime(entry(tmp_path).parent / ".abandoned", (1, 1))
        assert (entry(tmp_path).parent / ".abandoned").exists() == (number > 0)


def test_builds_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    wrong: list[bytes] = []

    def build() -> None:
        with KeptResults(tmp_path / "cache", limit=20_000) as results:
            for number in range(200):
                key, value = str(number % 7), bytes([number % 7]) * 1000
                found = results.find(Kind.SCAN, key)
                if found not in {None, value}:
                    wrong.append(found or b"")
                results.keep(Kind.SCAN, key, value)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert not [path for path in entry(tmp_path).parent.iterdir() if path.name.startswith(".")]
