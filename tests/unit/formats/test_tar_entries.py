"""Entries of tar archives, as the standard library and others write them."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.support.foreign_images import Entry, file, folder, hard_link, layer, symlink

from casemate.errors import FormatError
from casemate.formats.tar_entries import EXTENSION_LIMIT, EntryKind, TarReader

Read = tuple[bytes, EntryKind, int, bytes, bytes]


def _read(data: bytes, piece: int = 1 << 20) -> list[Read]:
    reader = TarReader(_Pieces(data, piece), where="archive")
    return [(one.name, one.kind, one.mode, one.target, b"".join(reader.content())) for one in reader]


class _Pieces:
    """A source that gives little at once."""

    def __init__(self, data: bytes, piece: int) -> None:
        self._inner = io.BytesIO(data)
        self._piece = piece

    def read(self, size: int, /) -> bytes:
        return self._inner.read(min(size, self._piece))


FORMS = {"ustar": tarfile.USTAR_FORMAT, "GNU": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("piece", [1, 700, 1 << 20], ids=["bytes", "pieces", "all"])
def test_what_the_standard_library_writes_is_read(form: int, piece: int) -> None:
    data = layer(
        folder("a"), file("a/b", b"x" * 513, 0o4755), symlink("s", "/a/b"), hard_link("h", "a/b"), form=form
    )

    assert _read(data, piece) == [
        (b"a/", EntryKind.FOLDER, 0o755, b"", b""),
        (b"a/b", EntryKind.FILE, 0o4755, b"", b"x" * 513),
        (b"s", EntryKind.SYMLINK, 0o644, b"/a/b", b""),
        (b"h", EntryKind.HARD_LINK, 0o644, b"a/b", b""),
    ]


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["GNU", "pax"])
def test_long_names_and_targets_are_read(form: int) -> None:
    name, target = "long/" * 60 + "ä", "target/" * 50

    read = _read(layer(symlink(name, target), file("short", "s"), form=form))

    assert read[0][0] == name.encode()
    assert read[0][3].rstrip(b"/") == target.rstrip("/").encode()
    assert read[1][0] == b"short"


def test_the_prefix_of_ustar_is_read() -> None:
    name = "p" * 100 + "/" + "n" * 90

    assert _read(layer(file(name, ""), form=tarfile.USTAR_FORMAT))[0][0] == name.encode()


def test_records_for_the_whole_archive_mean_nothing() -> None:
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w", pax_headers={"path": "elsewhere", "comment": "c"}) as archive:
        archive.addfile(tarfile.TarInfo("here"))

    assert [one[0] for one in _read(result.getvalue())] == [b"here"]


def test_what_is_unread_is_skipped() -> None:
    reader = TarReader(io.BytesIO(layer(file("a", b"x" * 5000), file("b", "b"))), where="archive")

    assert [entry.name for entry in reader] == [b"a", b"b"]


def test_the_place_of_the_content_is_said() -> None:
    data = layer(file("long" * 50, "content"), form=tarfile.PAX_FORMAT)

    (entry,) = TarReader(io.BytesIO(data), where="archive")

    assert data[entry.offset :].startswith(b"content")


def test_zeros_at_the_end_may_be_missing() -> None:
    assert len(_read(layer(file("a", ""))[:512])) == 1
    assert _read(b"") == []


def _header(name: bytes = b"a", kind: bytes = b"0", size: bytes = b"00000000000\0", **fields: bytes) -> bytes:
    mode = fields.get("mode", b"0000644\0")
    magic = fields.get("magic", b"ustar\x0000")
    blank = (
        name.ljust(100, b"\0") + mode + b"0" * 16 + size + b"0" * 12 + b" " * 8 + kind + b"\0" * 100 + magic
    )
    blank = blank.ljust(512, b"\0")
    checksum = fields.get("checksum", b"%06o\0 " % sum(blank))
    return blank[:148] + checksum + blank[156:]


def _pax(records: bytes, kind: bytes = b"x") -> bytes:
    return _header(kind=kind, size=b"%011o\0" % len(records)) + records.ljust(
        -(-len(records) // 512) * 512, b"\0"
    )


def test_a_size_in_base_256_is_read() -> None:
    size = b"\x80" + (5).to_bytes(11, "big")

    assert _read(_header(size=size) + b"hello".ljust(512, b"\0"))[0][4] == b"hello"


def test_a_folder_of_old_programs_is_one_by_its_slash() -> None:
    assert _read(_header(b"a/", b"\0", magic=b"\0" * 8))[0][1] is EntryKind.FOLDER


def test_links_and_folders_have_no_content_whatever_their_size_says() -> None:
    data = _header(b"f", b"5", b"00000001000\0") + _header(b"g", b"1", b"00000001000\0") + _header(b"a")

    assert [one[0] for one in _read(data)] == [b"f", b"g", b"a"]


def test_a_checksum_of_signed_characters_is_right() -> None:
    name = b"\xe9"
    plain = _header(name)
    signed = sum(plain[:148] + b" " * 8 + plain[156:]) - 256

    assert _read(_header(name, checksum=b"%06o\0 " % signed))[0][0] == name


def test_pax_records_come_before_the_header_and_empty_ones_do_not_count() -> None:
    records = b"14 path=other\n" + b"8 path=\n" + b"9 size=5\n"

    assert _read(_pax(records) + _header(b"here") + b"hello".ljust(512, b"\0"))[0] == (
        b"here",
        EntryKind.FILE,
        0o644,
        b"",
        b"hello",
    )


LONG = b"L"
ENTRY = "entry of an archive: expected a file, a folder, a link or a device"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"x", "tar archive: expected all of it, got the end after 1 bytes (archive, before byte 1)"),
        (
            _header(size=b"00000001000\0") + b"y" * 10,
            "tar archive: expected all of it, got the end after 522 bytes (archive, before byte 522)",
        ),
        (
            _header()[:-1] + b"x",
            "header of an entry: expected its checksum, got another (archive, before byte 512)",
        ),
        (_header(size=b"zzz".ljust(12)), "size of an entry: expected a number, got 'zzz         '"),
        (_header(size=b"\xff" * 12), "size of an entry: expected a number, got "),
        (_header(size=b"\x80\x7f" + b"\xff" * 10), "size of an entry: expected a number, got "),
        (
            _header(b"s", b"S"),
            f"{ENTRY}, got a sparse file: 's'",
        ),
        (
            _header(b"q", b"q"),
            f"{ENTRY}, got an entry of kind 'q': 'q'",
        ),
        (
            _pax(b"22 GNU.sparse.major=1\n") + _header(b"s"),
            f"{ENTRY}, got a sparse file: ''",
        ),
        (_pax(b"12 path=a\0b\n") + _header(), r"path of an entry: expected no NUL, got 'a\x00b'"),
        (_pax(b"99 path=a\n") + _header(), "extended header of an entry: expected LENGTH KEY=VALUE, got "),
        (_pax(b"nonsense") + _header(), "extended header of an entry: expected LENGTH KEY=VALUE, got "),
        (_pax(b"9 size=x\n") + _header(), "size of an entry: expected a decimal number, got 'x'"),
        (
            _pax(b"10 path=a\n") * 2 + _header(),
            "extended header of an entry: expected one of a kind, got two",
        ),
        (
            _pax(b"10 path=a\n") + _pax(b"name\0", LONG) + _header(),
            "extended header of an entry: expected pax's or GNU's, got both",
        ),
        (_pax(b"10 path=a\n"), "tar archive: expected all of it, got the end after 1024 bytes"),
        (_pax(b"10 path=a\n") + bytes(1024), "tar archive: expected all of it, got the end after 1536 bytes"),
        (_pax(b"10 path=a\n")[:600], "tar archive: expected all of it, got the end after 600 bytes"),
        (
            _header(kind=b"x", size=b"%011o\0" % (EXTENSION_LIMIT + 1)),
            "extended header of an entry: expected at most 1048576 bytes, got 1048577 bytes",
        ),
        (
            _pax(b"n" * (EXTENSION_LIMIT - 512), LONG) + _header(kind=b"K", size=b"00000002000\0"),
            "extended header of an entry: expected at most 1048576 bytes, got 1024 bytes",
        ),
    ],
    ids=[
        "a byte",
        "cut content",
        "checksum",
        "size",
        "negative size",
        "endless size",
        "sparse of GNU",
        "unknown kind",
        "sparse of pax",
        "NUL in a path",
        "record too long",
        "no record",
        "size in a record",
        "two of a kind",
        "both kinds",
        "nothing behind it",
        "zeros behind it",
        "a cut extension",
        "large extension",
        "large extensions together",
    ],
)
def test_other_archives_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as refused:
        _read(data)
    assert str(refused.value).startswith(message)


def _gnu_tar(folder: Path, *options: str) -> bytes:
    return subprocess.run(
        ["tar", *options, "-cf", "-", "."], cwd=folder, capture_output=True, check=True
    ).stdout


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar to compare with")
@pytest.mark.parametrize("form", ["v7", "ustar", "gnu", "pax"])
def test_what_tar_writes_is_read_as_the_standard_library_does(tmp_path: Path, form: str) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_bytes(b"c" * 3000)
    (tmp_path / "link").symlink_to("a/b/c")
    (tmp_path / "hard").hardlink_to(tmp_path / "a/b/c")
    data = _gnu_tar(tmp_path, f"--format={form}", "--sort=name")

    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = [(one.name.encode(), one.linkname.encode(), one.mode) for one in archive]

    assert [(name.rstrip(b"/"), target, mode) for name, _, mode, target, _ in _read(data)] == expected


def test_the_two_kinds_of_links_are_told_apart() -> None:
    entries: list[Entry] = [symlink("s", "t"), hard_link("h", "s")]

    assert [one[1] for one in _read(layer(*entries))] == [EntryKind.SYMLINK, EntryKind.HARD_LINK]
