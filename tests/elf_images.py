"""Small ELF images for tests: `runpy.run_path` gives `elf_image` and the Hypothesis strategy `elf_images`."""

from __future__ import annotations

import struct
from typing import NamedTuple

from hypothesis import strategies as st

PAGE = 4096
HEADER = 64
PROGRAM_HEADER = 56


class Load(NamedTuple):
    """One PT_LOAD entry; the bytes of the file are `fill` repeated unless an offset is forced."""

    address: int
    file_size: int
    memory_size: int
    flags: int = 5
    offset: int | None = None


def elf_image(
    *loads: Load, entry: int = 0x10, kind: int = 3, machine: int = 62, ident: bytes = b"\x7fELF\x02\x01\x01"
) -> bytes:
    """A file with these segments, each placed where its address asks for, and a note that is not loaded."""
    table = struct.pack("<IIQQQQQQ", 4, 4, 0, 0, 0, 0, 0, 4)
    body = bytearray()
    start = HEADER + PROGRAM_HEADER * (len(loads) + 1)
    for number, load in enumerate(loads):
        offset = load.offset
        if offset is None:
            # Something else than zeros before it: what lies there must not be measured.
            body += b"\xee" * ((load.address - start - len(body)) % PAGE)
            offset = start + len(body)
            body += bytes((number + at) % 251 + 1 for at in range(load.file_size))
        table += struct.pack(
            "<IIQQQQQQ",
            1,
            load.flags,
            offset,
            load.address,
            load.address,
            load.file_size,
            load.memory_size,
            PAGE,
        )
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        ident,
        kind,
        machine,
        1,
        entry,
        HEADER,
        0,
        0,
        64,
        PROGRAM_HEADER,
        len(loads) + 1,
        0,
        0,
        0,
    )
    return header + table + bytes(body)


@st.composite
def elf_images(draw: st.DrawFn) -> bytes:
    """Images whose segments have pages of their own, at any place within them, some with a fixed base."""
    address = draw(st.sampled_from((0, 0, 0x400000))) + draw(st.integers(0, PAGE - 1))
    loads: list[Load] = []
    for _ in range(draw(st.integers(1, 4))):
        if loads:
            address += draw(st.integers(0, 2 * PAGE))
        file_size = draw(st.integers(0, 3 * PAGE))
        memory_size = max(1, file_size + draw(st.sampled_from((0, 0, 1, 100, 2 * PAGE))))
        loads.append(Load(address, file_size, memory_size, draw(st.integers(0, 7))))
        address = -(-(address + memory_size) // PAGE) * PAGE
    return elf_image(*loads, entry=draw(st.integers(0, 2**20)))
