"""Digests of many files at once, each of a file that did not change meanwhile."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from casemate.builder.trusted import file_digest
from casemate.builder.trusted.file_digest import CHUNK_SIZE, FileChangedError, digest_file, stamp_of
from casemate.builder.trusted.file_digests import MANY, Digested, Outcome, digest_files
from casemate.errors import ToolchainError


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def written(folder: Path, *contents: bytes) -> list[str]:
    paths = []
    for number, content in enumerate(contents):
        path = folder / f"file-{number}"
        path.write_bytes(content)
        paths.append(str(path))
    return paths


def shown(outcome: Outcome) -> object:
    return outcome.sha256 if isinstance(outcome, Digested) else (type(outcome), outcome.errno)


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE])
def test_a_file_of_any_size_is_hashed(tmp_path: Path, size: int) -> None:
    (path,) = written(tmp_path, b"x" * size)
    assert digest_file(path) == (digest(b"x" * size), stamp_of(Path(path).stat()))


@pytest.mark.parametrize("workers", [1, 2, 5, None])
def test_digests_come_in_the_order_of_the_files(tmp_path: Path, workers: int | None) -> None:
    contents = [b"%d" % number for number in range(40)]
    outcomes = digest_files(written(tmp_path, *contents), workers=workers)
    assert list(map(shown, outcomes)) == list(map(digest, contents))


@pytest.mark.parametrize("workers", [1, 3])
def test_many_files_are_hashed_by_processes_with_the_same_outcomes(tmp_path: Path, workers: int) -> None:
    paths = written(tmp_path, b"a", b"b")
    os.mkfifo(tmp_path / "pipe")
    paths += [str(tmp_path), str(tmp_path / "gone"), str(tmp_path / "pipe"), "/proc/self/status"]
    (tmp_path / "na\nme \udcff").write_bytes(b"c")
    paths.append(str(tmp_path / "na\nme \udcff"))
    expected = [
        digest(b"a"),
        digest(b"b"),
        (IsADirectoryError, errno.EISDIR),
        (FileNotFoundError, errno.ENOENT),
        (OSError, errno.EINVAL),
        (FileChangedError, errno.EAGAIN),
        digest(b"c"),
    ]
    assert list(map(shown, digest_files(paths, workers=workers))) == expected
    times = MANY // len(paths) + 1
    assert list(map(shown, digest_files(paths * times, workers=workers))) == expected * times


def test_what_a_process_says_is_what_this_one_says(tmp_path: Path) -> None:
    paths = written(tmp_path, b"a") * MANY
    (here,) = set(digest_files(paths, workers=1))
    assert set(digest_files(paths, workers=2)) == {here}
    assert isinstance(here, Digested)
    assert here.stamp == stamp_of(Path(paths[0]).stat())


@pytest.mark.parametrize("change", ["longer", "shorter", "same size", "replaced mode"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    read = os.read

    def read_and_change(descriptor: int, size: int) -> bytes:
        data = read(descriptor, size)
        if change == "longer":
            path.write_bytes(b"before and after")
        elif change == "shorter":
            path.write_bytes(b"b")
        elif change == "same size":
            path.write_bytes(b"after!")
            os.utime(path, ns=(1, 1))
        else:
            path.chmod(0o600 if path.stat().st_mode & 0o777 != 0o600 else 0o644)
        return data

    monkeypatch.setattr("os.read", read_and_change)
    with pytest.raises(FileChangedError, match="it changed while it was read"):
        digest_file(str(path))


def test_a_process_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text("import sys; sys.stdin.buffer.readline(); print('3\\nabc', end='')")
    monkeypatch.setattr("casemate.builder.trusted.file_digests._WORKER", worker)
    with pytest.raises(ToolchainError) as died:
        digest_files(written(tmp_path, b"a") * MANY, workers=2)
    assert str(died.value) == f"process that hashes files: expected an answer, got another ({sys.executable})"


def test_a_process_that_cannot_be_started_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(ToolchainError) as died:
        digest_files(written(tmp_path, b"a") * MANY, workers=2)
    assert str(died.value).endswith(f"got No such file or directory ({tmp_path}/python)")


def test_the_process_loads_nothing_that_takes_long_to_load(tmp_path: Path) -> None:
    (path,) = written(tmp_path, b"a")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "importtime", str(file_digest.__file__)],
        input=f"{len(path)}\n{path}",
        capture_output=True,
        text=True,
        check=True,
    )
    header, answer = done.stdout.splitlines()
    assert (int(header), answer[:64]) == (len(answer), digest(b"a"))
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hashlib" in loaded
    assert not loaded & {"typing", "re", "enum", "casemate", "subprocess", "site"}
