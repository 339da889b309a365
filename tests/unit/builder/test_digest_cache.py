"""Digests that are kept from run to run: found while the file is the same, and never trusted further."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from casemate.builder.trusted.digest_cache import MAX_ENTRIES, TOO_RECENT, DigestCache
from casemate.builder.trusted.file_digest import Stamp, stamp_of
from casemate.builder.trusted.file_digests import Digested, digest_files
from casemate.builder.trusted.trusted_files import expand_manifest
from casemate.errors import ToolchainError

STAMP: Stamp = (1, 2, 3, 4, 5)
NOW = 10 * TOO_RECENT
DIGEST = "ab" * 32


def digested(digest: str, stamp: Stamp) -> Digested:
    return Digested(f"{digest} {' '.join(map(str, stamp))}")


def saved(folder: Path, *entries: Digested) -> DigestCache:
    cache = DigestCache.open(folder)
    cache.learn(entries, now=NOW)
    cache.save()
    return DigestCache.open(folder)


def test_what_was_learnt_is_known_in_the_next_run(tmp_path: Path) -> None:
    cache = saved(tmp_path / "new/cache", digested(DIGEST, STAMP))
    assert (cache.digest_of(STAMP), cache.warning) == (DIGEST, None)


@pytest.mark.parametrize("field", range(5), ids=["device", "inode", "size", "mtime", "ctime"])
def test_a_file_that_differs_in_anything_is_not_known(tmp_path: Path, field: int) -> None:
    other = tuple(value + (number == field) for number, value in enumerate(STAMP))
    assert saved(tmp_path, digested(DIGEST, STAMP)).digest_of(other) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("mtime", "ctime"), [(NOW, 4), (4, NOW), (NOW - TOO_RECENT, 4), (NOW + 1, 4)])
def test_a_file_that_changed_just_before_is_not_kept(tmp_path: Path, mtime: int, ctime: int) -> None:
    stamp = (1, 2, 3, mtime, ctime)
    assert saved(tmp_path, digested(DIGEST, stamp)).digest_of(stamp) is None


def test_a_file_that_changed_a_little_earlier_is_kept(tmp_path: Path) -> None:
    stamp = (1, 2, 3, NOW - TOO_RECENT - 1, 4)
    assert saved(tmp_path, digested(DIGEST, stamp)).digest_of(stamp) == DIGEST


def test_a_newer_digest_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    newer = (1, 2, 3, 5, 5)
    saved(tmp_path, digested(DIGEST, STAMP))
    cache = saved(tmp_path, digested("cd" * 32, newer))
    assert (cache.digest_of(STAMP), cache.digest_of(newer)) == (None, "cd" * 32)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-1], id="cut off"),
        pytest.param(lambda data: data.replace(b"abab", b"acab", 1), id="one digit changed"),
        pytest.param(lambda data: data[:0], id="empty"),
        pytest.param(lambda data: b"\xff" + data, id="no text"),
        pytest.param(lambda data: b"0" * 64 + data[64:], id="another checksum"),
    ],
)
def test_a_damaged_cache_is_not_used_but_made_anew(tmp_path: Path, damage: object) -> None:
    file = saved(tmp_path, digested(DIGEST, STAMP)).path
    assert callable(damage)
    file.write_bytes(damage(file.read_bytes()))
    cache = DigestCache.open(tmp_path)
    assert cache.warning == f"{file} is not used and made anew: it is damaged"
    assert cache.digest_of(STAMP) is None
    cache.learn([digested(DIGEST, STAMP)], now=NOW)
    cache.save()
    assert DigestCache.open(tmp_path).digest_of(STAMP) == DIGEST


def test_a_cache_that_others_can_write_to_is_not_used(tmp_path: Path) -> None:
    file = saved(tmp_path, digested(DIGEST, STAMP)).path
    file.chmod(0o666)
    cache = DigestCache.open(tmp_path)
    assert cache.warning == f"{file} is not used and made anew: others can write to it"
    assert cache.digest_of(STAMP) is None
    cache.save()
    assert DigestCache.open(tmp_path).warning is None


def test_two_runs_at_once_keep_what_both_have_learnt_and_nobody_sees_a_part(tmp_path: Path) -> None:
    def run(number: int) -> None:
        for turn in range(20):
            saved(tmp_path, digested(DIGEST, (number, turn, 3, 4, 5)))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        assert DigestCache.open(tmp_path).warning is None
    for thread in threads:
        thread.join()
    assert DigestCache.open(tmp_path).warning is None
    assert list(tmp_path.iterdir()) == [DigestCache.open(tmp_path).path]


def test_only_what_is_used_is_kept_when_there_is_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_ENTRIES > 20_000
    monkeypatch.setattr("casemate.builder.trusted.digest_cache.MAX_ENTRIES", 2)
    saved(tmp_path, *(digested(DIGEST, (1, inode, 3, 4, 5)) for inode in (1, 2)))
    cache = DigestCache.open(tmp_path)
    assert cache.digest_of((1, 2, 3, 4, 5)) == DIGEST
    cache.learn([digested(DIGEST, (1, 3, 3, 4, 5))], now=NOW)
    cache.save()
    kept = DigestCache.open(tmp_path)
    assert [kept.digest_of((1, inode, 3, 4, 5)) for inode in (1, 2, 3)] == [None, DIGEST, DIGEST]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ToolchainError) as refused:
        DigestCache(tmp_path / "file/cache").save()
    assert str(refused.value).startswith("cache cannot be written: got ")


def test_an_expansion_takes_old_digests_from_the_cache_and_says_how_many(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for name in ("a", "b"):
        (files / name).write_text(name)
    os.utime(files / "a", ns=(1, 1))
    stamp = stamp_of((files / "a").stat())
    (tmp_path / "cache").mkdir()
    cache = DigestCache.open(tmp_path / "cache")
    (line,) = digest_files([str(files / "a")])
    assert isinstance(line, Digested)
    cache.learn([digested(DIGEST, stamp)], now=stamp[4] + 2 * TOO_RECENT)  # no digest of a: it shows itself
    cache.save()
    manifest = {
        "sgx": {"trusted_files": [f"file:{files}/"]},
        "loader": {"entrypoint": {"uri": "file:/libos", "sha256": DIGEST}},
    }
    known = expand_manifest(manifest, libos=None, cache=DigestCache.open(tmp_path / "cache"))
    fresh = expand_manifest(manifest, libos=None)
    digests = [
        [entry["sha256"] for entry in each.manifest["sgx"]["trusted_files"]] for each in (known, fresh)
    ]
    b = hashlib.sha256(b"b").hexdigest()
    assert digests == [[DIGEST, b], [hashlib.sha256(b"a").hexdigest(), b]]
    assert (known.from_cache, fresh.from_cache) == (1, 0)
