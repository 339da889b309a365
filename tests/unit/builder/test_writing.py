"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casemate.builder.writing import write_files, write_folder
from casemate.errors import ToolchainError, UsageError


def test_all_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    write_files({tmp_path / "a": b"1", tmp_path / "b": b"2"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"1", "b": b"2"}


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        write_files({tmp_path / "a": b""})
    finally:
        os.umask(former)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_when_one_file_cannot_be_written_none_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(ToolchainError) as refused:
        write_files({tmp_path / "a": b"new", tmp_path / "gone/b": b""})
    assert str(refused.value) == (
        f"file cannot be written: got No such file or directory ({tmp_path}/gone/b)"
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a/inner").mkdir(parents=True)
    with pytest.raises(ToolchainError) as refused:
        write_files({tmp_path / "b": b"new", tmp_path / "a": b"new"})
    assert str(refused.value) == f"file cannot be written: got a folder of this name ({tmp_path}/a)"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_new_folder_has_all_its_files(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        write_folder(tmp_path / "new", {"a": b"1", "b": b"2"})
    finally:
        os.umask(former)
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == {"a": b"1", "b": b"2"}
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o750
    assert list(tmp_path.iterdir()) == [tmp_path / "new"]


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_a_new_folder_takes_the_place_of_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "new"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.touch()
    else:
        path.symlink_to("nowhere")
    with pytest.raises(UsageError) as refused:
        write_folder(path, {"a": b"1"})
    got = "a folder" if kind == "folder" else "a file"
    assert str(refused.value) == f"new folder: expected a name that is free, got {got} ({path})"
    assert refused.value.hint == "remove it, or name another one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_folder_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError) as refused:
        write_folder(tmp_path / "gone/new", {"a": b"1"})
    assert str(refused.value) == (
        f"folder cannot be written: got No such file or directory ({tmp_path}/gone/new)"
    )
    with pytest.raises(ToolchainError, match="file cannot be written"):
        write_folder(tmp_path / "new", {"a": b"1", "gone/b": b"2"})
    assert list(tmp_path.iterdir()) == []
