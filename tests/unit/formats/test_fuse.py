"""The FUSE codec against the layouts of the kernel's header, field by field."""

from __future__ import annotations

import stat
import struct

import pytest

from casemate.errors import FormatError
from casemate.formats import fuse


def request(opcode: int, body: bytes = b"", *, node: int = 7, length: int | None = None) -> bytes:
    """``fuse_in_header`` and a body."""
    size = 40 + len(body) if length is None else length
    return struct.pack("<IIQQIIIHH", size, opcode, 99, node, 1000, 1000, 4242, 0, 0) + body


@pytest.mark.parametrize(
    ("opcode", "body", "expected"),
    [
        pytest.param(26, struct.pack("<IIII", 7, 36, 65536, 3), fuse.Init(7, 36, 65536, 3), id="init-old"),
        pytest.param(
            26, struct.pack("<IIII48x", 7, 45, 1, 2), fuse.Init(7, 45, 1, 2), id="init-with-later-fields"
        ),
        pytest.param(1, b"name\0", fuse.Lookup(b"name"), id="lookup"),
        pytest.param(3, struct.pack("<IIQ", 1, 0, 5), fuse.GetAttributes(), id="getattr"),
        pytest.param(
            4,
            struct.pack("<IIQQQQQQIIIIIIII", 8, 0, 3, 77, *range(12)),
            fuse.SetAttributes(8, 77),
            id="setattr",
        ),
        pytest.param(5, b"", fuse.ReadLink(), id="readlink"),
        pytest.param(14, struct.pack("<II", 0o100001, 0), fuse.Open(0o100001), id="open"),
        pytest.param(
            35, struct.pack("<IIII", 1, 0o644, 0o22, 0) + b"n\0", fuse.Create(1, 0o644, b"n"), id="create"
        ),
        pytest.param(
            15, struct.pack("<QQIIQII", 3, 4096, 512, 1, 2, 3, 0), fuse.Read(3, 4096, 512), id="read"
        ),
        pytest.param(
            16, struct.pack("<QQIIQII", 3, 5, 4, 1, 2, 3, 0) + b"data", fuse.Write(3, 5, b"data"), id="write"
        ),
        pytest.param(17, b"", fuse.StatFs(), id="statfs"),
        pytest.param(18, struct.pack("<QIIQ", 3, 1, 2, 4), fuse.Release(3), id="release"),
        pytest.param(25, struct.pack("<QIIQ", 3, 1, 2, 4), fuse.Flush(3), id="flush"),
        pytest.param(27, struct.pack("<II", 0o200000, 0), fuse.OpenDirectory(0o200000), id="opendir"),
        pytest.param(
            28, struct.pack("<QQIIQII", 3, 9, 512, 1, 2, 3, 0), fuse.ReadDirectory(3, 9, 512), id="readdir"
        ),
        pytest.param(29, struct.pack("<QIIQ", 3, 1, 2, 4), fuse.ReleaseDirectory(3), id="releasedir"),
        pytest.param(34, struct.pack("<II", 4, 0), fuse.Access(4), id="access"),
        pytest.param(2, struct.pack("<Q", 3), fuse.Forget(((7, 3),)), id="forget"),
        pytest.param(
            42, struct.pack("<IIQQQQ", 2, 0, 5, 1, 6, 2), fuse.Forget(((5, 1), (6, 2))), id="batch-forget"
        ),
        pytest.param(36, struct.pack("<Q", 12), fuse.Interrupt(12), id="interrupt"),
        pytest.param(38, b"", fuse.Destroy(), id="destroy"),
        pytest.param(8, bytes(16) + b"n\0", fuse.Change(b"n"), id="mknod"),
        pytest.param(9, bytes(8) + b"n\0", fuse.Change(b"n"), id="mkdir"),
        pytest.param(10, b"n\0", fuse.Change(b"n"), id="unlink"),
        pytest.param(11, b"n\0", fuse.Change(b"n"), id="rmdir"),
        pytest.param(12, b"anything at all", fuse.Other(12), id="rename-is-not-served"),
    ],
)
def test_each_request_becomes_its_value(opcode: int, body: bytes, expected: fuse.Body) -> None:
    assert fuse.parse_request(request(opcode, body)) == fuse.Request(99, 7, 4242, expected)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "FUSE request: expected at least 40 bytes, got 0", id="nothing"),
        pytest.param(bytes(39), "FUSE request: expected at least 40 bytes, got 39", id="half-a-header"),
        pytest.param(request(17, length=41), "FUSE request length: expected 41, got 40 (offset 0)", id="cut"),
        pytest.param(
            request(14, bytes(7)), "size of FUSE request OPEN: expected 48 bytes, got 47", id="short-open"
        ),
        pytest.param(
            request(14, bytes(9)), "size of FUSE request OPEN: expected 48 bytes, got 49", id="long-open"
        ),
        pytest.param(
            request(26, bytes(15)), "size of FUSE request INIT: expected 56 bytes, got 55", id="short-init"
        ),
        pytest.param(
            request(1, b"name"),
            "name in FUSE request: expected one name, ended by NUL (offset 40)",
            id="no-nul",
        ),
        pytest.param(
            request(1, b"\0"), "name in FUSE request: expected one name, ended by NUL (offset 40)", id="empty"
        ),
        pytest.param(
            request(1, b"a\0b\0"),
            "name in FUSE request: expected one name, ended by NUL (offset 40)",
            id="two-names",
        ),
        pytest.param(
            request(35, bytes(15)), "size of FUSE request CREATE: expected 56 bytes, got 55", id="create"
        ),
        pytest.param(
            request(16, bytes(39)), "size of FUSE request WRITE: expected 80 bytes, got 79", id="write"
        ),
        pytest.param(
            request(16, struct.pack("<QQIIQII", 3, 5, 4, 1, 2, 3, 0) + b"dat"),
            "data of FUSE write: expected 4 bytes, got 3",
            id="less-data-than-said",
        ),
        pytest.param(
            request(2, bytes(7)), "size of FUSE request FORGET: expected 48 bytes, got 47", id="forget"
        ),
        pytest.param(
            request(42, bytes(7)),
            "size of FUSE request BATCH_FORGET: expected 48 bytes, got 47",
            id="batch-forget",
        ),
        pytest.param(
            request(42, struct.pack("<II", 2, 0) + bytes(16)),
            "FUSE batch forget: expected 32 bytes, got 16",
            id="fewer-nodes-than-said",
        ),
    ],
)
def test_what_is_not_a_request_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        fuse.parse_request(data)
    assert str(caught.value) == message


def test_answers_begin_with_length_error_and_number() -> None:
    assert fuse.reply(9, b"abc") == struct.pack("<IiQ", 19, 0, 9) + b"abc"
    assert fuse.reply_header(9, 3) == struct.pack("<IiQ", 19, 0, 9)
    assert fuse.error(9, 13) == struct.pack("<IiQ", 16, -13, 9)


ATTRIBUTES = fuse.Attributes(node=5, size=6, mode=stat.S_IFREG | 0o644, links=1, uid=2, gid=3)


def test_attributes_are_laid_out_as_the_kernel_reads_them() -> None:
    expected = struct.pack("<QQQQQQ", 5, 6, 0, 0, 0, 0)
    expected += struct.pack("<IIIIIIIIII", 0, 0, 0, 0o100644, 1, 2, 3, 0, 4096, 0)
    assert ATTRIBUTES.to_bytes() == expected
    assert fuse.attributes_payload(ATTRIBUTES, seconds=4) == struct.pack("<QII", 4, 0, 0) + expected
    entry = struct.pack("<QQQQII", 5, 0, 4, 4, 0, 0)
    assert fuse.entry_payload(ATTRIBUTES, seconds=4) == entry + expected


def test_an_absent_entry_is_node_zero_and_may_be_remembered() -> None:
    payload = fuse.absent_entry_payload(seconds=4)
    assert payload == struct.pack("<QQQQII", 0, 0, 4, 0, 0, 0) + bytes(88)


def test_the_other_answers_are_laid_out_as_the_kernel_reads_them() -> None:
    assert fuse.open_payload(8, fuse.OpenFlag.DIRECT_IO) == struct.pack("<QII", 8, 1, 0)
    assert fuse.write_payload(8) == struct.pack("<II", 8, 0)
    statfs = fuse.statfs_payload(block_size=4096, name_length=255)
    assert statfs == struct.pack("<QQQQQIIII24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)


def test_entries_of_a_folder_are_padded_to_eight_bytes() -> None:
    entry = fuse.directory_entry(node=5, next_offset=2, mode=stat.S_IFDIR, name=b"abc")
    assert entry == struct.pack("<QQII", 5, 2, 3, 4) + b"abc" + bytes(5)
    exact = fuse.directory_entry(node=5, next_offset=2, mode=stat.S_IFREG, name=b"abcdefgh")
    assert exact == struct.pack("<QQII", 5, 2, 8, 8) + b"abcdefgh"


def answer(offer: fuse.Init) -> bytes:
    take = fuse.InitFlag.MAX_PAGES | fuse.InitFlag.BIG_WRITES
    return fuse.init_payload(offer, take=take, max_write=4096, max_pages=256)


def test_the_answer_to_init_takes_what_is_offered_and_no_later_version() -> None:
    expected = struct.pack("<IIIIHHIIHHII24x", 7, 31, 100, 1 << 22, 0, 0, 4096, 1, 256, 0, 0, 0)
    assert answer(fuse.Init(7, 45, 100, 1 << 22 | 1 << 0)) == expected
    assert len(expected) == 64


@pytest.mark.parametrize(("major", "minor"), [(7, 30), (6, 99), (8, 31)])
def test_a_kernel_of_another_protocol_is_refused(major: int, minor: int) -> None:
    with pytest.raises(FormatError) as caught:
        answer(fuse.Init(major, minor, 100, 0))
    assert str(caught.value) == f"FUSE protocol of the kernel: expected 7.31 or later, got {major}.{minor}"
    assert caught.value.hint == "a rehearsal needs Linux 5.3 or later"
