"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casemate.builder.writing import write_files
from casemate.errors import ToolchainError


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
    with pytest.raises(ToolchainError, match="file cannot be written"):
        write_files({tmp_path / "a": b"new"})
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
