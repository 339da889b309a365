"""Paths of a tree that is to be a root: links in it never lead out of it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from casemate.builder.trusted.chroot import MAX_LINKS, outside, resolve
from casemate.builder.trusted.trusted_files import expand_files
from casemate.errors import ToolchainError, UsageError
from casemate.formats.manifest import TrustedFile


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/libc.so.6").write_text("libc")
    (root / "etc").mkdir()
    (root / "etc/.hidden").write_text("h")
    (root / "lib").symlink_to("usr/lib")
    (root / "lib64").symlink_to("/usr/lib")
    (root / "usr/lib/libc.so").symlink_to("/lib/libc.so.6")
    (root / "usr/lib/up").symlink_to("../../../../../etc/.hidden")
    (root / "usr/lib/out").symlink_to(tmp_path / "secret")
    (root / "usr/lib/loop").symlink_to("loop")
    (root / "usr/lib/folder").symlink_to("/etc")
    (tmp_path / "secret").write_text("not in the tree")
    return root


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("/usr/lib/libc.so.6", "/usr/lib/libc.so.6"),
        ("/lib/libc.so.6", "/usr/lib/libc.so.6"),
        ("/lib64/libc.so", "/usr/lib/libc.so.6"),
        ("/lib/../../etc/.hidden", "/etc/.hidden"),
        ("/../../etc/./.hidden", "/etc/.hidden"),
        ("/lib/up", "/etc/.hidden"),
        ("/usr/lib/gone", "/usr/lib/gone"),
    ],
)
def test_links_begin_at_the_root_of_the_tree(root: Path, path: str, expected: str) -> None:
    assert resolve(path, chroot=str(root)) == expected
    assert outside(path, chroot=str(root)) == str(root) + (expected if expected != "/" else "")


def test_an_absolute_link_does_not_lead_out(root: Path) -> None:
    with pytest.raises(FileNotFoundError):
        outside("/usr/lib/out", chroot=str(root))
    inside = Path(f"{root}{root.parent}")
    inside.mkdir(parents=True)
    assert outside("/usr/lib/out", chroot=str(root)) == f"{inside}/secret"


@pytest.mark.parametrize(
    ("path", "number"),
    [("/usr/lib/loop", errno.ELOOP), ("/etc/.hidden/x", errno.ENOTDIR), ("/usr/gone/..", errno.ENOENT)],
)
def test_a_path_that_cannot_be_followed_is_refused(root: Path, path: str, number: int) -> None:
    with pytest.raises(OSError, match=path) as refused:
        resolve(path, chroot=str(root))
    assert refused.value.errno == number


def test_as_many_links_are_followed_as_linux_follows(root: Path) -> None:
    for number in range(MAX_LINKS + 1):
        (root / f"link-{number}").symlink_to(f"link-{number - 1}" if number else "etc")
    assert resolve(f"/link-{MAX_LINKS - 1}", chroot=str(root)) == "/etc"
    with pytest.raises(OSError, match="Too many levels"):
        resolve(f"/link-{MAX_LINKS}", chroot=str(root))


def expanded(root: Path | str, *uris: str) -> list[tuple[str, str]]:
    entries = [TrustedFile(uri=uri, sha256=None) for uri in uris]
    return [(file.uri, file.path) for file in expand_files(entries, chroot=str(root))]


def test_a_folder_is_listed_under_the_paths_of_the_tree(root: Path) -> None:
    lib = f"{root}/usr/lib"
    assert expanded(root, "file:/lib/") == [
        ("file:/usr/lib/libc.so", f"{lib}/libc.so.6"),
        ("file:/usr/lib/libc.so.6", f"{lib}/libc.so.6"),
        ("file:/usr/lib/up", f"{root}/etc/.hidden"),
    ]


def test_a_file_keeps_its_uri_and_is_read_where_its_links_lead(root: Path) -> None:
    assert expanded(root, "file:/lib64/libc.so") == [("file:/lib64/libc.so", f"{root}/usr/lib/libc.so.6")]


@pytest.mark.parametrize("chroot", [".", "./", "../root"])
def test_the_folder_can_be_named_in_any_way(root: Path, chroot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    assert [uri for uri, _ in expanded(chroot, "file:/etc/", "file:/")] == [
        "file:/etc/.hidden",
        "file:/usr/lib/libc.so",
        "file:/usr/lib/libc.so.6",
        "file:/usr/lib/up",
    ]


def test_a_relative_path_has_no_place_in_a_tree(root: Path) -> None:
    with pytest.raises(UsageError) as refused:
        expanded(root, "file:etc/.hidden")
    assert str(refused.value) == (
        "trusted file in a chroot: expected a path from its root: file:/…, got file:etc/.hidden "
        "(sgx.trusted_files)"
    )


def test_a_loop_is_named(root: Path) -> None:
    with pytest.raises(ToolchainError) as refused:
        expanded(root, "file:/usr/lib/loop")
    assert str(refused.value) == (
        "trusted file cannot be read: got Too many levels of symbolic links (/usr/lib/loop)"
    )
