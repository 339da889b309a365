"""``sgx.trusted_files``: expanded and hashed as Gramine does it."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from casemate.builder.trusted.file_digests import digest_files
from casemate.builder.trusted.trusted_files import LocatedFile, expand_files, expand_manifest
from casemate.errors import ToolchainError, UsageError
from casemate.formats.manifest import TrustedFile

DIGEST, OTHER = "00" * 32, "11" * 32
LIBOS = {"loader": {"entrypoint": {"uri": "file:/libos", "sha256": DIGEST}}}


def entry(uri: str, sha256: str | None = None) -> TrustedFile:
    return TrustedFile(uri=uri, sha256=sha256)


def uris(*entries: TrustedFile) -> list[str]:
    return [file.uri for file in expand_files(entries)]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "b/inner").mkdir(parents=True)
    (tmp_path / "b/inner/x").write_text("x")
    (tmp_path / "b/.hidden").write_text("h")
    (tmp_path / "b/a").write_text("a")
    (tmp_path / "b/link").symlink_to("a")
    (tmp_path / "b/folder-link").symlink_to("inner")
    (tmp_path / "b/dangling").symlink_to("nowhere")
    return tmp_path


def test_a_folder_stands_for_its_files_sorted_with_hidden_ones_and_links_to_files(tree: Path) -> None:
    assert uris(entry(f"file:{tree}/b/")) == [
        f"file:{tree}/b/{name}" for name in (".hidden", "a", "inner/x", "link")
    ]


def test_relative_paths_begin_at_the_working_folder(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert uris(entry("file:b/inner/"), entry("file:./b/a")) == ["file:b/inner/x", "file:./b/a"]


def unreadable(folder: Path, *names: str) -> bool:
    """Forbid reading; whether that keeps this user from it."""
    for name in names:
        (folder / name).chmod(0)
    return not any(os.access(folder / name, os.R_OK) for name in names)


def test_files_that_cannot_be_read_are_left_out_of_a_folder(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not unreadable(tree / "b", "a", "inner"):  # the superuser reads everything
        denied = PermissionError(errno.EACCES, "Permission denied")
        monkeypatch.setattr(
            "casemate.builder.trusted.trusted_files.digest_files",
            lambda paths: [
                denied if path.endswith(("/a", "/link")) else outcome
                for path, outcome in zip(paths, digest_files(paths), strict=True)
            ],
        )
        monkeypatch.setattr("os.access", lambda path, mode: mode and Path(path).name != "inner")
    assert expanded(f"file:{tree}/b/") == {f"file:{tree}/b/.hidden": digest(b"h")}
    with pytest.raises(ToolchainError, match="Permission denied"):
        expanded(f"file:{tree}/b/", f"file:{tree}/b/a")


def test_an_entry_that_comes_twice_is_kept_once_at_its_first_place(tree: Path) -> None:
    one, two = f"file:{tree}/b/a", f"file:{tree}/b/inner/x"
    assert uris(entry(one), entry(two), entry(one)) == [one, two]


def test_of_two_entries_for_one_file_the_hashed_one_is_kept(tree: Path) -> None:
    uri = f"file:{tree}/b/a"
    expected = (LocatedFile(uri, DIGEST, f"{tree}/b/a"),)
    assert expand_files([entry(uri), entry(uri, DIGEST)]) == expected
    assert expand_files([entry(uri, DIGEST), entry(uri)]) == expected


def test_two_digests_for_one_file_are_refused(tree: Path) -> None:
    uri = f"file:{tree}/b/a"
    with pytest.raises(ToolchainError) as refused:
        expand_files([entry(uri, DIGEST), entry(uri, OTHER)])
    assert str(refused.value) == f"trusted file with two digests: expected {DIGEST}, got {OTHER} ({uri})"


def test_a_digest_that_is_given_is_not_looked_up() -> None:
    manifest = {"sgx": {"trusted_files": [{"uri": "file:/nowhere", "sha256": DIGEST}]}} | LIBOS
    expansion = expand_manifest(manifest, libos=None)
    assert expansion.manifest["sgx"]["trusted_files"] == manifest["sgx"]["trusted_files"]
    assert expansion.paths == ("/nowhere",)


def expanded(*uris: str, **options: Any) -> dict[str, str]:
    """URI -> digest of the expansion of a manifest."""
    manifest = {"sgx": {"trusted_files": list(uris)}} | LIBOS
    entries = expand_manifest(manifest, libos=None, **options).manifest["sgx"]["trusted_files"]
    return {entry["uri"]: entry["sha256"] for entry in entries}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_hashed(tree: Path) -> None:
    assert expanded(f"file:{tree}/b/a") == {f"file:{tree}/b/a": digest(b"a")}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError) as refused:
        expanded(f"file:{tmp_path}/gone")
    assert str(refused.value) == (
        f"trusted file cannot be read: got No such file or directory ({tmp_path}/gone)"
    )
    assert refused.value.hint == (
        "the manifest trusts it; relative paths in a manifest begin at the working folder"
    )


@pytest.mark.parametrize("sha256", [None, DIGEST])
def test_a_folder_without_its_slash_is_refused(tree: Path, sha256: str | None) -> None:
    uri = f"file:{tree}/b"
    with pytest.raises(ToolchainError) as refused:
        uris(entry(uri, sha256)) if sha256 else expanded(uri)
    assert str(refused.value) == (
        "trusted file: expected a folder's URI to end with a slash, and no other, got a folder "
        f"(file:{tree}/b)"
    )
    assert refused.value.hint == "end the URI with / to trust every file below the folder"


def test_a_slash_after_what_is_no_folder_is_refused(tree: Path) -> None:
    with pytest.raises(ToolchainError) as refused:
        uris(entry(f"file:{tree}/b/a/"))
    assert str(refused.value).endswith(f"got no folder (file:{tree}/b/a/)")
    assert refused.value.hint is None


def test_a_folder_with_a_digest_is_refused(tree: Path) -> None:
    with pytest.raises(ToolchainError) as refused:
        uris(entry(f"file:{tree}/b/", DIGEST))
    assert str(refused.value) == (
        f"trusted folder with a digest: expected none, got {DIGEST} (file:{tree}/b/)"
    )


def test_a_manifest_gets_its_defaults_its_libos_and_its_files(tree: Path) -> None:
    libos = tree / "libsysdb.so"
    libos.write_text("libos")
    manifest = {"sgx": {"trusted_files": [f"file:{tree}/b/a"]}, "fs": {"mounts": []}}
    complete = expand_manifest(manifest, libos=str(libos)).manifest
    assert complete["loader"]["entrypoint"] == {
        "uri": f"file:{libos}",
        "sha256": hashlib.sha256(b"libos").hexdigest(),
    }
    assert complete["sgx"]["trusted_files"] == [
        {"uri": f"file:{tree}/b/a", "sha256": hashlib.sha256(b"a").hexdigest()}
    ]
    assert complete["sgx"]["enclave_size"] == "256M"
    assert manifest == {"sgx": {"trusted_files": [f"file:{tree}/b/a"]}, "fs": {"mounts": []}}


def test_a_manifest_that_names_no_libos_is_refused_when_there_is_none() -> None:
    with pytest.raises(UsageError) as refused:
        expand_manifest({}, libos=None)
    assert str(refused.value) == "manifest without a LibOS: expected loader.entrypoint.uri, got nothing"
    assert refused.value.hint == (
        "name Gramine's libsysdb.so there, or give --pal inside an installed Gramine"
    )
