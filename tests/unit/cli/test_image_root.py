"""The files of an image, unpacked once for several builds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.support.foreign_images import fifo, file, layer, symlink, write_layout

from casemate.adapters.kept_folders import KeptFolders
from casemate.cli.build_keeping import Keeping
from casemate.cli.image_root import unpacked_root
from casemate.errors import FormatError
from casemate.sources import OciLayout, SourceImage, open_local

LAYER = layer(file("srv/app.py", "first = 1\n"), symlink("srv/link", "/srv/app.py"), fifo("srv/fifo"))


@contextmanager
def unpacked(image: SourceImage, cache: Path | None) -> Iterator[tuple[Path, list[str]]]:
    """A root, and what was said before it was there."""
    said: list[str] = []
    with ExitStack() as held:
        images = KeptFolders(cache, "images-1") if cache is not None else None
        kept = Keeping(held=held, cache=None, environments=None, images=images)
        yield unpacked_root(image, kept, said.append), said


def opened(path: Path, *layers: bytes) -> SourceImage:
    return open_local(OciLayout(path=write_layout(path, *layers)), work=path)


def listing(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


def test_an_image_is_unpacked_once_and_what_is_left_out_is_said_each_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = opened(tmp_path / "layout", LAYER)
    texts = []
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        with unpacked(image, cache) as (root, said):
            assert listing(root) == ["proc", "srv", "srv/app.py", "srv/link", "tmp"]
            assert (root / "srv/link").readlink() == Path("app.py")
            texts += said
        assert capsys.readouterr().err == "note: /srv/fifo of the image is left out: a fifo.\n"
    assert texts == ["Unpacking the image"] * 2


def test_an_image_that_is_kept_is_used_without_its_layers(tmp_path: Path) -> None:
    image = opened(tmp_path / "layout", LAYER)
    with unpacked(image, tmp_path / "cache"):
        pass
    image.layers[0].path.write_bytes(b"damaged")
    with unpacked(image, tmp_path / "cache") as (root, _):
        assert (root / "srv/app.py").read_text() == "first = 1\n"
    with pytest.raises(FormatError), unpacked(image, None):
        pass


def test_another_image_is_another_folder(tmp_path: Path) -> None:
    with unpacked(opened(tmp_path / "one", LAYER), tmp_path / "cache"):
        pass
    other = opened(tmp_path / "two", layer(file("srv/app.py", "second = 2\n")))
    with unpacked(other, tmp_path / "cache") as (root, said):
        assert (root / "srv/app.py").read_text() == "second = 2\n"
        assert said


def test_what_was_changed_in_the_folder_is_unpacked_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = opened(tmp_path / "layout", LAYER)
    with unpacked(image, tmp_path / "cache") as (root, _):
        pass
    notes = root.with_name("left-out")
    for file_of_it, content in ((root / "srv/app.py", b"evil = True\n"), (notes, notes.read_bytes() + b"\0")):
        status = file_of_it.stat()
        file_of_it.write_bytes(content)
        os.utime(file_of_it, ns=(status.st_atime_ns, status.st_mtime_ns))
        with unpacked(image, tmp_path / "cache") as (root, said):
            assert (root / "srv/app.py").read_text() == "first = 1\n"
            assert said
    assert capsys.readouterr().err.count("note: ") == 3


def test_an_image_that_cannot_be_unpacked_leaves_nothing(tmp_path: Path) -> None:
    image = opened(tmp_path / "layout", LAYER)
    image.layers[0].path.write_bytes(b"damaged")
    with pytest.raises(FormatError), unpacked(image, tmp_path / "cache"):
        pass
    assert [path.name for path in (tmp_path / "cache/images-1").iterdir()] == ["lock"]
