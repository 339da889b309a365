"""Layers: bytes that follow from the files, readable by every tar."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from casemate.builder.packing.layers import LayerFile, layer_chunks, layer_entries
from casemate.errors import FormatError, ToolchainError

_LONG = "/d" + "/directory-name" * 9 + "/file"
_VERY_LONG = "/" + "x" * 120
_FILES = (
    LayerFile(path="/b/two", content=b"2" * 600),
    LayerFile(path="/a/one", content=b"", executable=True),
    LayerFile(path=_LONG, content=b"long"),
    LayerFile(path=_VERY_LONG, content=b"very long"),
    LayerFile(path="/é/ü", content="ö".encode()),
)


def _tar(*files: LayerFile, mtime: int = 0) -> bytes:
    return b"".join(layer_chunks(files, mtime))


def test_the_order_of_files_does_not_matter() -> None:
    assert _tar(*_FILES) == _tar(*reversed(_FILES))


def test_another_reader_finds_every_file_with_fixed_owner_mode_and_time() -> None:
    with tarfile.open(fileobj=io.BytesIO(_tar(*_FILES, mtime=77))) as archive:
        entries = archive.getmembers()
        contents = {entry.name: archive.extractfile(entry).read() for entry in entries if entry.isreg()}  # type: ignore[union-attr]

    assert contents == {file.path.lstrip("/"): file.content for file in _FILES}
    assert {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry in entries} == {
        (0, 0, "", "", 77)
    }
    modes = {entry.name: entry.mode for entry in entries}
    assert (modes["a"], modes["a/one"], modes["b/two"]) == (0o755, 0o755, 0o644)


def test_each_folder_comes_once_and_before_what_it_holds() -> None:
    names = [entry.path for entry in layer_entries(_tar(*_FILES), "layer")]

    assert len(names) == len(set(names))
    for name in names:
        parent = name.rpartition("/")[0]
        assert parent in ("", "/") or names.index(parent) < names.index(name)


def test_entries_are_read_with_their_contents() -> None:
    read = {entry.path: (entry.content, entry.executable) for entry in layer_entries(_tar(*_FILES), "layer")}

    files = {path: value for path, value in read.items() if value[0] is not None}
    assert files == {file.path: (file.content, file.executable) for file in _FILES}
    assert read["/a"] == (None, True)


@pytest.mark.parametrize(
    ("layer", "got"),
    [
        (b"x" * 1024, "invalid header"),
        (_tar(*_FILES)[:2100], "unexpected end of data"),
        (b"", "empty file"),
    ],
    ids=["no archive", "cut", "empty"],
)
def test_what_is_no_archive_is_refused(layer: bytes, got: str) -> None:
    with pytest.raises(FormatError) as refused:
        list(layer_entries(layer, "layer x"))
    assert str(refused.value).startswith("layer of the image: expected a tar archive, got ")
    assert got in (refused.value.got or "")
    assert refused.value.where == "layer x"


def test_a_layer_that_deletes_files_of_others_is_refused() -> None:
    with pytest.raises(FormatError) as refused:
        list(layer_entries(_tar(LayerFile(path="/casemate/.wh.app.sig", content=b"")), "layer x"))
    assert str(refused.value) == (
        "path in a layer: expected no whiteout, got 'casemate/.wh.app.sig' (layer x)"
    )


def test_only_names_that_ustar_cannot_hold_need_an_extension() -> None:
    assert b"PaxHeader" not in _tar(_FILES[0], _FILES[1], _FILES[2])
    assert b"path=xxx" in _tar(_FILES[3])


def test_the_bytes_are_the_same_with_every_version_of_python() -> None:
    assert hashlib.sha256(_tar(*_FILES, mtime=1)).hexdigest() == (
        "5eb9d5af9e4f8d3e3192e00dbc9a10f7a72ac663d2c25f22bccf0bb6a534a4be"
    )


def test_a_file_that_changed_after_it_was_hashed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"after")

    with pytest.raises(ToolchainError) as refused:
        _tar(LayerFile(path="/f", content=file, sha256="00"))
    assert str(refused.value) == (
        f"file that goes into the image: expected what was hashed, 00, got other bytes ({file})"
    )
    assert refused.value.hint == "something wrote to it during the build; build again"
