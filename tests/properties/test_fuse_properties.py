"""Whatever bytes the FUSE codec is given: a value, or an error of ours."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from casemate.errors import FormatError
from casemate.formats import fuse

u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
names = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)


def request(opcode: int, body: bytes, unique: int = 1, node: int = 2, pid: int = 3) -> bytes:
    return struct.pack("<IIQQIIIHH", 40 + len(body), opcode, unique, node, 0, 0, pid, 0, 0) + body


def accepts_or_refuses(data: bytes) -> None:
    try:
        parsed = fuse.parse_request(data)
    except FormatError:
        return
    assert isinstance(parsed, fuse.Request)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_request_or_our_error(data: bytes) -> None:
    accepts_or_refuses(data)


@given(st.sampled_from([opcode.value for opcode in fuse.Opcode]) | u32, st.binary(max_size=120))
def test_any_body_under_a_true_header_gives_a_request_or_our_error(opcode: int, body: bytes) -> None:
    accepts_or_refuses(request(opcode, body))


@given(u64, u64, u32, names)
def test_lookups_come_back(unique: int, node: int, pid: int, name: bytes) -> None:
    parsed = fuse.parse_request(request(1, name + b"\0", unique, node, pid))
    assert parsed == fuse.Request(unique, node, pid, fuse.Lookup(name))


@given(u64, u64, st.binary(max_size=300))
def test_writes_come_back(handle: int, offset: int, data: bytes) -> None:
    body = struct.pack("<QQIIQII", handle, offset, len(data), 0, 0, 0, 0) + data
    assert fuse.parse_request(request(16, body)).body == fuse.Write(handle, offset, data)


@given(st.lists(st.tuples(u64, u64), max_size=20))
def test_batches_come_back(nodes: list[tuple[int, int]]) -> None:
    body = struct.pack("<II", len(nodes), 0) + b"".join(struct.pack("<QQ", *node) for node in nodes)
    assert fuse.parse_request(request(42, body)).body == fuse.Forget(tuple(nodes))


@given(st.lists(names, max_size=10))
def test_folder_entries_can_be_walked(listed: list[bytes]) -> None:
    data = b"".join(
        fuse.directory_entry(node=number, next_offset=number + 1, mode=0o100644, name=name)
        for number, name in enumerate(listed)
    )
    walked, position = [], 0
    while position < len(data):
        length = struct.unpack_from("<QQII", data, position)[2]
        walked.append(data[position + 24 : position + 24 + length])
        position += (24 + length + 7) // 8 * 8
    assert (walked, position) == (listed, len(data))
