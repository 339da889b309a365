"""From layers to a root file system."""

from __future__ import annotations

import errno
import json
import os
import stat
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from tests.support.foreign_images import (
    COMPRESSIONS,
    LAYER,
    Blobs,
    device,
    digest,
    fifo,
    file,
    folder,
    hard_link,
    layer,
    symlink,
    write_layout,
)
from tests.unit.sources.conftest import Unpack

from casemate.errors import FormatError, ToolchainError
from casemate.sources import LeftOutReason, OciLayout, SourceImage, UnpackLimits, open_local, unpack
from casemate.sources.layer import zstd


def _files(root: Path) -> dict[str, str]:
    """Every file and link below ``root``, with what it holds or where it leads."""
    return {
        str(path.relative_to(root)): f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("compression", ["", "+gzip", "+zstd"], ids=["tar", "gzip", "Zstandard"])
def test_each_compression_gives_the_same_files(unpacked: Unpack, compression: str) -> None:
    result = unpacked(
        layer(folder("etc"), file("etc/name", "value"), symlink("e", "etc")), compression=compression
    )

    assert _files(result.root) == {"etc/name": "value", "e": "-> etc"}
    assert (result.entries, result.content, result.left_out) == (3, 5, ())


def test_a_layer_in_several_compressed_parts_is_read_to_its_end(tmp_path: Path) -> None:
    data = layer(file("a", b"a" * 700_000), file("b", "b"))
    for kind in ("+gzip", "+zstd"):
        pack, blobs = COMPRESSIONS[kind], Blobs()
        parts = pack(data[:1000]) + pack(b"") + pack(data[1000:])
        manifest = blobs.manifest(blobs.config([data]), [blobs.add(f"{LAYER}{kind}", parts)])
        image = open_local(OciLayout(path=blobs.layout(tmp_path / f"l{kind}", manifest)), work=tmp_path)

        root = unpack(image, tmp_path / f"r{kind}").root

        assert (root / "a").stat().st_size == 700_000
        assert (root / "b").read_text() == "b"


def test_modes_are_kept_without_what_would_raise_rights_and_never_shut_us_out(unpacked: Unpack) -> None:
    root = unpacked(
        layer(
            folder("shut", 0o000),
            file("shut/set-user-id", "", 0o4755),
            file("none", "", 0o000),
            folder("t", 0o1777),
        )
    ).root

    assert _mode(root / "shut") == 0o700
    assert _mode(root / "shut/set-user-id") == 0o755
    assert _mode(root / "none") == 0o600
    assert _mode(root / "t") == 0o777


def test_folders_that_no_layer_has_are_made(unpacked: Unpack) -> None:
    root = unpacked(layer(file("a/b/c", "c"))).root

    assert (root / "a/b/c").read_text() == "c"
    assert _mode(root / "a/b") == 0o755


def test_a_whiteout_deletes_what_lower_layers_have(unpacked: Unpack) -> None:
    root = unpacked(
        layer(file("a/x", "x"), file("a/y", "y"), folder("b"), file("b/deep/z", "z"), file("c", "c")),
        layer(file("a/.wh.x", ""), file(".wh.b", ""), file(".wh.nothing", ""), file("none/.wh.x", "")),
    ).root

    assert _files(root) == {"a/y": "y", "c": "c"}
    assert not (root / "b").exists()
    assert not (root / "none").exists()


@pytest.mark.parametrize("first", [True, False], ids=["before it", "behind it"])
def test_a_whiteout_spares_what_its_own_layer_has(unpacked: Unpack, *, first: bool) -> None:
    own, whiteout = file("a/new", "new"), file(".wh.a", "")

    root = unpacked(layer(file("a/old", "old")), layer(*([own, whiteout] if first else [whiteout, own]))).root

    assert _files(root) == {"a/new": "new"}


@pytest.mark.parametrize("first", [True, False], ids=["before it", "behind it"])
def test_an_opaque_folder_has_only_what_its_own_layer_has(unpacked: Unpack, *, first: bool) -> None:
    own, opaque = file("a/sub/new", "new"), file("a/.wh..wh..opq", "")
    lower = layer(file("a/old", "old"), file("a/sub/old", "old"), file("a/gone/old", ""), file("b", "b"))

    root = unpacked(lower, layer(*([own, opaque] if first else [opaque, own]))).root

    assert _files(root) == {"a/sub/new": "new", "b": "b"}
    assert not (root / "a/gone").exists()


def test_a_whiteout_below_a_file_deletes_nothing(unpacked: Unpack) -> None:
    root = unpacked(layer(file("a", "a")), layer(file("a/.wh.b", ""), file("a/b/.wh..wh..opq", ""))).root

    assert _files(root) == {"a": "a"}


def test_the_root_can_be_opaque(unpacked: Unpack) -> None:
    assert _files(unpacked(layer(file("a", "")), layer(file(".wh..wh..opq", ""), file("b", "b"))).root) == {
        "b": "b"
    }


def test_the_bookkeeping_of_aufs_means_nothing(unpacked: Unpack) -> None:
    result = unpacked(
        layer(folder(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", ""), file(".wh..wh.aufs", ""), file("a", "a"))
    )

    assert _files(result.root) == {"a": "a"}


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "a/.wh..."])
def test_a_whiteout_of_no_name_is_refused(unpacked: Unpack, name: str) -> None:
    data = layer(file("a/b", ""), file(name, ""))

    with pytest.raises(FormatError) as refused:
        unpacked(data, compression="")

    assert str(refused.value) == (
        f"path in a layer: expected the name of a file behind the mark of deletions, got {name} "
        f"(layer {digest(data)})"
    )


def test_the_mark_of_deletions_is_none_of_folders(unpacked: Unpack) -> None:
    with pytest.raises(FormatError, match=r"a folder without the mark of deletions, got \.wh\.a/b"):
        unpacked(layer(file(".wh.a/b", "")))


def test_a_layer_that_is_larger_than_allowed_is_not_looked_at(tmp_path: Path) -> None:
    image = open_local(OciLayout(path=write_layout(tmp_path / "l", layer(), compression="")), work=tmp_path)

    with pytest.raises(FormatError) as refused:
        unpack(image, tmp_path / "root", limits=UnpackLimits(layer_bytes=10_239))

    assert str(refused.value) == (
        f"size of a layer: expected at most 10239, got 10240 (layer {image.layers[0].digest})"
    )


def test_a_layer_that_becomes_larger_than_allowed_is_an_error(unpacked: Unpack) -> None:
    limits = UnpackLimits(layer_bytes=20_000)

    with pytest.raises(FormatError, match="expected at most 20000 bytes after decompression, got more"):
        unpacked(layer(file("a", os.urandom(15_000) + bytes(20_000))), limits=limits)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    image = open_local(OciLayout(path=write_layout(tmp_path / "l", layer())), work=tmp_path)
    (tmp_path / "file").touch()

    with pytest.raises(ToolchainError) as refused:
        unpack(image, tmp_path / "file" / "root")

    assert str(refused.value) == (
        f"image cannot be unpacked: got Not a directory ({tmp_path / 'file' / 'root'})"
    )


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = open_local(OciLayout(path=write_layout(tmp_path / "l", layer(file("a/b", "b")))), work=tmp_path)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("casemate.sources.tree.os.write", full)

    with pytest.raises(ToolchainError) as refused:
        unpack(image, tmp_path / "root")

    assert str(refused.value) == (
        f"image cannot be unpacked: got No space left on device ({tmp_path / 'root'})"
    )
    assert list((tmp_path / "root").iterdir()) == []


def test_a_path_through_a_link_of_the_image_goes_where_it_leads_inside(unpacked: Unpack) -> None:
    root = unpacked(
        layer(
            folder("usr/lib"),
            symlink("lib", "usr/lib"),
            symlink("abs", "/usr"),
            symlink("up", "../../../usr"),
        ),
        layer(file("lib/a", "a"), file("abs/lib/b", "b"), file("up/lib/c", "c")),
        layer(file("lib/.wh.b", "")),
    ).root

    assert _files(root) == {
        "lib": "-> usr/lib",
        "abs": "-> /usr",
        "up": "-> ../../../usr",
        "usr/lib/a": "a",
        "usr/lib/c": "c",
    }


def test_a_link_out_of_the_image_leads_nowhere_else(unpacked: Unpack, tmp_path: Path) -> None:
    root = unpacked(
        layer(symlink("out", f"{tmp_path}"), symlink("up", "../.."), file("out/beside", "in"))
    ).root

    assert (root / str(tmp_path)[1:] / "beside").read_text() == "in"


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(unpacked: Unpack) -> None:
    root = unpacked(layer(symlink("a", "../beside"), file("a", "file"))).root

    assert _files(root) == {"a": "file"}


def test_links_that_lead_to_each_other_are_an_error(unpacked: Unpack) -> None:
    data = layer(symlink("a", "b"), symlink("b", "a"), file("a/x", ""))

    with pytest.raises(FormatError) as refused:
        unpacked(data, compression="")

    assert str(refused.value) == (
        f"folder of an entry: expected a folder, got links without end (layer {digest(data)}, /a)"
    )


def test_hard_links_are_kept_within_and_between_layers(unpacked: Unpack) -> None:
    root = unpacked(
        layer(file("a", "one"), hard_link("b", "a"), symlink("s", "a"), hard_link("t", "./s")),
        layer(hard_link("sub/c", "/a")),
        layer(file("a", "two")),
    ).root

    assert _files(root) == {"a": "two", "b": "one", "s": "-> a", "t": "-> a", "sub/c": "one"}
    assert (root / "b").samefile(root / "sub/c")


@pytest.mark.parametrize(
    ("entries", "got"),
    [
        ([hard_link("b", "nowhere")], "nothing at /nowhere"),
        ([hard_link("b", "no/where")], "nothing at /no/where"),
        ([file("a", ""), hard_link("b", "a/c")], "nothing at /a/c"),
        ([folder("a"), hard_link("b", "a")], "folder at /a"),
        ([hard_link("b", "/")], "nothing at /"),
        ([file("b/a", ""), hard_link("b", "b/a")], "file at /b/a"),
    ],
    ids=["nothing", "no folder", "a file above", "a folder", "the root", "what goes with it"],
)
def test_a_hard_link_to_nowhere_is_an_error(unpacked: Unpack, entries: list[Any], got: str) -> None:
    data = layer(*entries)

    with pytest.raises(FormatError) as refused:
        unpacked(data, compression="")

    assert str(refused.value) == (
        f"hard link in a layer: expected a file where it leads, got {got} (layer {digest(data)}, /b)"
    )


def test_a_hard_link_out_of_the_image_is_refused(unpacked: Unpack) -> None:
    with pytest.raises(FormatError, match=r"one inside the image, without \.\., got \.\./beside"):
        unpacked(layer(hard_link("b", "../beside")))


def test_a_hard_link_through_a_link_stays_inside(unpacked: Unpack, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="hard link in a layer"):
        unpacked(layer(symlink("out", str(tmp_path)), hard_link("b", "out/beside")))


def test_a_hard_link_to_itself_changes_nothing(unpacked: Unpack) -> None:
    assert _files(unpacked(layer(file("a", "a"), hard_link("a", "a"))).root) == {"a": "a"}


def test_devices_and_fifos_are_left_out_and_said(unpacked: Unpack) -> None:
    result = unpacked(
        layer(file("dev/a", ""), device("./dev/a"), fifo("f"), hard_link("g", "f"), file("f", "later"))
    )

    assert _files(result.root) == {"f": "later"}
    assert [(note.path, note.reason) for note in result.left_out] == [
        ("/dev/a", LeftOutReason.DEVICE),
        ("/f", LeftOutReason.FIFO),
        ("/g", LeftOutReason.LINK_TO_LEFT_OUT),
    ]


def test_names_that_no_manifest_can_have_are_left_out_and_said(unpacked: Unpack) -> None:
    latin = b"caf\xe9".decode("utf-8", "surrogateescape")
    data = layer(
        file("a\nb", ""),
        file(f"{latin}/x", ""),
        file(".hidden/ok", "ok"),
        symlink("s", "line\nbreak"),
        hard_link("h", "a\nb"),
        form=tarfile.GNU_FORMAT,
    )

    result = unpacked(data)

    assert _files(result.root) == {".hidden/ok": "ok"}
    assert [(note.path, note.reason) for note in result.left_out] == [
        ("/a\\nb", LeftOutReason.CONTROL_CHARACTER),
        ("/caf\\\\xe9/x", LeftOutReason.NOT_UTF8),
        ("/s", LeftOutReason.UNWRITABLE_TARGET),
        ("/h", LeftOutReason.UNWRITABLE_TARGET),
    ]


def test_absolute_names_begin_at_the_root_of_the_image(unpacked: Unpack) -> None:
    assert _files(unpacked(layer(file("/etc/a", "a"), file("./b", "b"), file("c//d/./e", "e"))).root) == {
        "b": "b",
        "c/d/e": "e",
        "etc/a": "a",
    }


@pytest.mark.parametrize("name", ["../a", "a/../b", "a/.."])
def test_names_that_go_up_are_refused(unpacked: Unpack, name: str) -> None:
    data = layer(file(name, ""))

    with pytest.raises(FormatError) as refused:
        unpacked(data, compression="")

    assert str(refused.value) == (
        f"path in a layer: expected one inside the image, without .., got {name} (layer {digest(data)})"
    )


def test_files_and_folders_replace_each_other(unpacked: Unpack) -> None:
    root = unpacked(
        layer(file("a", "file"), file("b/x/y", ""), file("c", "1"), file("c", "2")),
        layer(folder("a"), file("a/in", "in"), file("b", "file")),
    ).root

    assert _files(root) == {"a/in": "in", "b": "file", "c": "2"}


def test_a_folder_stays_with_its_contents_and_takes_the_new_mode(unpacked: Unpack) -> None:
    root = unpacked(layer(folder("a", 0o700), file("a/x", "x")), layer(folder("a", 0o755))).root

    assert _files(root) == {"a/x": "x"}
    assert _mode(root / "a") == 0o755


def test_a_file_in_a_file_is_an_error(unpacked: Unpack) -> None:
    data = layer(file("a", ""), file("a/b", ""))

    with pytest.raises(FormatError) as refused:
        unpacked(data, compression="")

    assert (
        str(refused.value) == f"folder of an entry: expected a folder, got a file (layer {digest(data)}, /a)"
    )


def test_the_root_is_a_folder_and_nothing_else(unpacked: Unpack) -> None:
    assert _files(unpacked(layer(folder("./", 0o000), file("a", "a"))).root) == {"a": "a"}


def test_another_root_is_refused(unpacked: Unpack) -> None:
    with pytest.raises(FormatError, match="root of the image: expected a folder, got something else"):
        unpacked(layer(symlink("./", "etc")))


SMALL = UnpackLimits(
    total_bytes=1000,
    file_bytes=600,
    layer_bytes=100_000,
    entries=4,
    ratio=20,
    ratio_floor=20_480,
    path_bytes=50,
    depth=3,
)


@pytest.mark.parametrize(
    ("entries", "refusal"),
    [
        ([file("a", b"a" * 600), file("b", b"b" * 400)], None),
        ([file("a", b"a" * 601)], "size of a file in the image: expected at most 600, got 601"),
        (
            [file(str(n), b"a" * 501) for n in (1, 2)],
            "size of all files in the image: expected at most 1000, got 1002",
        ),
        ([folder(str(n)) for n in range(4)], None),
        ([folder(str(n)) for n in range(5)], "entries of the image: expected at most 4, got 5"),
        (
            [folder(f"{n}/b/c") for n in range(2)],
            "folders of the image: expected at most 4, got 5",
        ),
        ([folder("a/b/c")], None),
        ([folder("a/b/c/d")], "path in a layer: expected at most 3 parts, got a/b/c/d/"),
        ([file("a" * 50, "")], None),
        (
            [file("a" * 51, "")],
            "path in a layer: expected at most 50 bytes, and 255 between slashes, got " + "a" * 51,
        ),
        ([symlink("s", "a" * 51)], "target of a symbolic link: expected 1 to 50 bytes, got 51"),
        ([symlink("s", "")], "target of a symbolic link: expected 1 to 50 bytes, got 0"),
    ],
    ids=[
        "bytes at the limit",
        "a large file",
        "many bytes",
        "entries at the limit",
        "many entries",
        "many folders",
        "depth at the limit",
        "deep",
        "name at the limit",
        "a long name",
        "a long target",
        "no target",
    ],
)
def test_each_limit_holds(unpacked: Unpack, entries: list[Any], refusal: str | None) -> None:
    if refusal is None:
        unpacked(layer(*entries), compression="", limits=SMALL)
        return
    with pytest.raises(FormatError) as refused:
        unpacked(layer(*entries), compression="", limits=SMALL)
    assert str(refused.value).rpartition(" (layer")[0] == refusal


@pytest.mark.parametrize("name", ["l/c", "l/c/d"], ids=["a file", "a folder above it"])
def test_links_make_no_path_deeper_than_names_may_be(unpacked: Unpack, name: str) -> None:
    data = layer(folder("a/b/b"), symlink("l", "a/b/b"), file(name, ""))

    with pytest.raises(FormatError) as refused:
        unpacked(data, compression="", limits=SMALL)

    assert str(refused.value) == (
        "path in a layer, through its links: expected at most 3 parts and 50 bytes, got 4 parts "
        f"(layer {digest(data)}, /a/b/b/c)"
    )


def test_links_may_lead_to_paths_at_the_limit(unpacked: Unpack) -> None:
    data = layer(folder("a" * 40), symlink("l", "a" * 40), file("l/" + "b" * 9, ""))
    assert unpacked(data, limits=SMALL).entries == 3


def test_links_make_no_path_longer_than_the_limit(unpacked: Unpack) -> None:
    data = layer(folder("a" * 40), symlink("l", "a" * 40), file("l/" + "b" * 10, ""))
    with pytest.raises(
        FormatError, match="path in a layer, through its links: expected at most 3 parts and 50"
    ):
        unpacked(data, limits=SMALL)


def test_links_that_are_long_ways_around_are_an_error(unpacked: Unpack) -> None:
    way = "/".join(["a", ".."] * 500)
    data = layer(folder("a"), symlink("l", way), symlink("m", f"l/{way}"), file("m/a/b", ""))

    with pytest.raises(FormatError, match="folder of an entry: expected a folder, got links without end"):
        unpacked(data)


def test_a_part_of_a_name_that_no_disk_takes_is_refused(unpacked: Unpack) -> None:
    with pytest.raises(FormatError, match="at most 3072 bytes, and 255 between slashes"):
        unpacked(layer(file("a" * 256, "")))


def test_gigabytes_of_zeros_are_an_error_and_take_no_memory(tmp_path: Path) -> None:
    # As many zeros as an eighth of the limit allows, which is what the others would be like.
    data = layer(file("zeros", bytes(80 << 20)))
    image = open_local(OciLayout(path=write_layout(tmp_path / "l", data)), work=tmp_path)
    del data
    tracemalloc.start()

    with pytest.raises(FormatError) as refused:
        unpack(image, tmp_path / "root")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert str(refused.value).startswith(
        "layer of the image: expected at most 200 times its compressed size, got "
    )
    assert peak < 8 << 20
    assert list((tmp_path / "root").iterdir()) == []


def test_a_layer_that_is_another_than_its_digest_says_is_refused_before_any_is_used(tmp_path: Path) -> None:
    first, second = layer(file("a", "a")), layer(file("b", "b"))
    layout = write_layout(tmp_path / "l", first, second, compression="")
    image = open_local(OciLayout(path=layout), work=tmp_path)
    path = image.layers[1].path
    changed = second.replace(b"b\0", b"c\0", 1)
    path.write_bytes(changed)

    with pytest.raises(FormatError) as refused:
        unpack(image, tmp_path / "root")

    assert str(refused.value) == (
        f"layer of the image: expected {digest(second)} of {len(second)} bytes, "
        f"got {digest(changed)} of {len(second)} bytes ({path})"
    )
    assert not (tmp_path / "root").exists()


def _lying_image(path: Path, *, said: bytes, real: bytes) -> SourceImage:
    blobs = Blobs()
    manifest = blobs.manifest(blobs.config([said]), [blobs.add(LAYER, real)])
    return open_local(OciLayout(path=blobs.layout(path, manifest)), work=path)


def test_a_layer_with_another_diff_id_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    said, real = layer(file("a", "a")), layer(file("b", "b"))
    image = _lying_image(tmp_path / "l", said=said, real=real)

    with pytest.raises(FormatError) as refused:
        unpack(image, tmp_path / "root")

    assert str(refused.value) == (
        f"uncompressed layer of the image: expected {digest(said)}, got {digest(real)} (layer {digest(real)})"
    )
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x1f\x8b\xff\x00garbage", "expected gzip data, got something else"),
        (b"\x28\xb5\x2f\xfdgarbage", "expected Zstandard data, got something else"),
        (b"BZh91AY&SY", "expected tar, by itself or compressed with gzip or Zstandard, got bzip2"),
        (b"\xfd7zXZ\x00", "expected tar, by itself or compressed with gzip or Zstandard, got xz"),
        (b"no tar" * 200, "checksum of an entry: expected a number, got "),
        (b"no tar", "tar archive: expected all of it, got the end after 6 bytes"),
    ],
    ids=["broken gzip", "broken Zstandard", "bzip2", "xz", "no tar", "too short"],
)
def test_other_layers_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    image = _lying_image(tmp_path / "l", said=data, real=data)

    with pytest.raises(FormatError) as refused:
        unpack(image, tmp_path / "root")

    assert message in str(refused.value)


def test_a_compressed_layer_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    for kind in ("+gzip", "+zstd"):
        data = layer(file("a", os.urandom(5000)))
        blobs = Blobs()
        cut = COMPRESSIONS[kind](data)[:-5]
        manifest = blobs.manifest(blobs.config([data]), [blobs.add(f"{LAYER}{kind}", cut)])
        image = open_local(OciLayout(path=blobs.layout(tmp_path / kind, manifest)), work=tmp_path)

        with pytest.raises(FormatError, match=f"expected all of it, got the end after {len(cut)} bytes"):
            unpack(image, tmp_path / "root")


def test_a_zstandard_layer_that_wants_much_memory_is_refused(tmp_path: Path) -> None:
    data = layer(file("a", bytes(300 << 20)))
    options = {zstd.CompressionParameter.window_log: 28, zstd.CompressionParameter.content_size_flag: 0}
    packer = zstd.ZstdCompressor(options=options)
    packed = packer.compress(data) + packer.flush()
    del data
    image = _lying_image(tmp_path / "l", said=b"", real=packed)

    with pytest.raises(FormatError, match="expected Zstandard data, got something else"):
        unpack(image, tmp_path / "root")


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    image = open_local(OciLayout(path=write_layout(tmp_path / "l", layer())), work=tmp_path)
    (tmp_path / "root").mkdir()
    (tmp_path / "root/mine").write_text("mine")

    with pytest.raises(ToolchainError) as refused:
        unpack(image, tmp_path / "root")

    assert str(refused.value) == (
        f"folder for the image: expected an empty one, got files ({tmp_path / 'root'})"
    )
    assert (tmp_path / "root/mine").read_text() == "mine"


def test_progress_ends_at_the_size_of_all_layers(tmp_path: Path) -> None:
    data = [layer(file("a", os.urandom(100_000))), layer(file("b", "b"))]
    image = open_local(OciLayout(path=write_layout(tmp_path / "l", *data)), work=tmp_path)
    seen: list[tuple[int, int]] = []

    unpack(image, tmp_path / "root", progress=lambda done, total: seen.append((done, total)))

    total = sum(part.size for part in image.layers)
    assert seen == sorted(seen)
    assert seen[-1] == (total, total)


def test_an_image_without_layers_is_an_empty_folder(unpacked: Unpack) -> None:
    assert list(unpacked().root.iterdir()) == []


def test_what_is_configured_can_be_read(tmp_path: Path) -> None:
    config = {
        "Entrypoint": ["python3"],
        "Cmd": ["-m", "app"],
        "Env": ["PATH=/bin", "EMPTY=", "PATH=/usr/bin"],
        "WorkingDir": "/app",
        "User": "nobody",
        "ExposedPorts": {"8080/tcp": {}, "53/udp": {}},
        "Labels": {"b": "2", "a": "1"},
        "Healthcheck": {"Test": ["NONE"]},
    }
    layout = write_layout(tmp_path / "l", layer(), config=config)

    read = open_local(OciLayout(path=layout), work=tmp_path).config

    assert (read.entrypoint, read.cmd, read.working_dir, read.user) == (
        ("python3",),
        ("-m", "app"),
        "/app",
        "nobody",
    )
    assert read.env == (("PATH", "/usr/bin"), ("EMPTY", ""))
    assert read.ports == ("53/udp", "8080/tcp")
    assert read.labels == (("a", "1"), ("b", "2"))
    assert json.loads((layout / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
