"""Roots of images: what their links mean, and that none of them leads to this machine's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casemate.builder.foreign import ImageRoot, seal
from casemate.errors import ProjectError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "usr/bin").mkdir(parents=True)
    (folder / "etc").mkdir()
    (folder / "etc/shadow").write_text("of the image")
    (folder / "usr/bin/python3.11").write_text("python")
    (folder / "usr/bin/python3.11").chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("link", "target", "becomes"),
    [
        pytest.param("bin", "/usr/bin", "usr/bin", id="an absolute one"),
        pytest.param("usr/bin/python3", "python3.11", "python3.11", id="a relative one"),
        pytest.param("usr/shadow", "/etc/shadow", "../etc/shadow", id="one to a file that this machine has"),
        pytest.param("usr/up", "../../../../etc/shadow", "../etc/shadow", id="one that climbs out"),
        pytest.param("all", "/", ".", id="the root"),
        pytest.param("usr/bin/sh", "/bin/dash", None, id="one that leads nowhere"),
        pytest.param("usr/loop", "/usr/loop", None, id="one that leads back"),
    ],
)
def test_a_link_keeps_the_meaning_that_it_has_inside(
    root: Path, link: str, target: str, becomes: str | None
) -> None:
    (root / link).symlink_to(target)
    seal(root)
    assert (os.readlink(root / link) if os.path.lexists(root / link) else None) == becomes  # noqa: PTH115 - a text


def test_a_chain_of_links_becomes_one(root: Path) -> None:
    (root / "bin").symlink_to("/usr/bin")
    (root / "opt").mkdir()
    (root / "opt/python").symlink_to("/bin/python3.11")
    seal(root)
    assert (root / "opt/python").resolve() == root / "usr/bin/python3.11"
    assert os.readlink(root / "opt/python") == "../usr/bin/python3.11"  # noqa: PTH115 - a text


def test_what_is_no_file_is_removed(root: Path) -> None:
    os.mkfifo(root / "usr/pipe")
    seal(root)
    assert not os.path.lexists(root / "usr/pipe")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    links=st.dictionaries(
        st.sampled_from(["a", "b", "usr/c", "usr/bin/d", "etc/e"]),
        st.lists(st.sampled_from(["..", ".", "a", "b", "usr", "c", "bin", "etc", "shadow", "d"]), max_size=8),
        max_size=5,
    ),
    start=st.sampled_from(["", "/"]),
)
def test_no_link_leads_out(
    tmp_path_factory: pytest.TempPathFactory, links: dict[str, list[str]], start: str
) -> None:
    root = tmp_path_factory.mktemp("root") / "inner"
    for folder in ("usr/bin", "etc"):
        (root / folder).mkdir(parents=True)
    (root / "etc/shadow").write_text("")
    for link, parts in links.items():
        (root / link).symlink_to(start + "/".join(parts) or ".")
    seal(root)
    for here, folders, names in os.walk(root):
        for name in (*folders, *names):
            assert Path(here, name).resolve(strict=True).is_relative_to(root)


def test_programs_are_found_by_path_and_by_name(root: Path) -> None:
    (root / "bin").symlink_to("/usr/bin")
    (root / "usr/bin/python").symlink_to("python3.11")
    (root / "usr/bin/notes.txt").write_text("")
    seal(root)
    image = ImageRoot(folder=root)
    assert image.program("python", "/sbin:/bin") == "/bin/python"
    assert image.program("./python", "/bin", "/usr/bin") == "/usr/bin/python"
    assert image.program("/usr/bin/python3.11", "") == "/usr/bin/python3.11"
    assert image.program("notes.txt", "/bin") is None
    assert image.identity("/bin/python") == image.identity("/usr/bin/python3.11")
    assert image.identity("/bin") is None


def test_paths_go_both_ways(root: Path, tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    (beside / "x.py").write_text("x")
    image = ImageRoot(folder=root, beside={"/.casemate/0": beside})
    for path in ("/etc/shadow", "/.casemate/0/x.py"):
        assert image.path(image.file(path)) == path
    assert image.read("/.casemate/0/x.py") == b"x"
    assert image.file("/etc/../../../etc/shadow") == root / "etc/shadow"
    with pytest.raises(ProjectError) as caught:
        image.path(Path("/etc/shadow"))
    assert str(caught.value) == "file of the image: expected one in it, got /etc/shadow"


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/srv/" + "a" * 256, "/srv/" + "a" * 75 + "…"),
        ("/a" * 2000, "/a" * 40 + "…"),
        ("/srv/a\0", "/srv/a\\x00"),
        ("/\ud800" * 2000, "/\\ud800" * 40 + "…"),
    ],
    ids=["a long name", "a long path", "a NUL", "half a character"],
)
def test_what_no_file_can_be_called_is_refused(root: Path, path: str, shown: str) -> None:
    with pytest.raises(ProjectError) as caught:
        ImageRoot(folder=root).identity(path)
    assert str(caught.value) == (
        f"path of the image: expected no NUL, at most 3072 bytes, and 255 between slashes, got {shown}"
    )


@pytest.mark.parametrize(
    "path",
    [
        "../../../../../../../../etc/shadow",
        "none/../../../../../../../../etc/shadow",
        "../none/../../../../../../../../etc/shadow",
        "/none/../../../../../../../../etc/shadow",
        "//../etc/shadow",
        "etc/shadow",
    ],
)
def test_no_text_that_a_stranger_calls_a_path_leads_out(root: Path, path: str) -> None:
    assert ImageRoot(folder=root).file(path) == root / "etc/shadow"
