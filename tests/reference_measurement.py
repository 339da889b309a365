"""MRENCLAVE a second time: plainly, page after page, with other libraries, and slowly.

It shares no code with Casemate, so that a misunderstanding has to be made twice to go unseen. One hash update
per page, as the tools of SGX do it; `benchmarks/measure.py` compares with it.
"""

from __future__ import annotations

import hashlib
import io
import struct
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from elftools.elf.elffile import ELFFile

PAGE = 4096
R, W, X, TCS, REG = 0x1, 0x2, 0x4, 0x100, 0x200
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
Page = tuple[int, int, bytes | None]


def measure(manifest: bytes, image: bytes) -> bytes:
    """MRENCLAVE under Gramine 1.9."""
    sgx = tomllib.loads(manifest.decode())["sgx"]
    size = bytes_of(sgx["enclave_size"])
    digest = hashlib.sha256(b"ECREATE\0" + struct.pack("<IQ", 4, size) + bytes(44))
    for offset, flags, content in pages(manifest + b"\0", image, size, sgx):
        digest.update(page_record(offset, flags, content))
    return digest.digest()


def page_record(offset: int, flags: int, content: bytes | None) -> bytes:
    """EADD of one page and, when its content counts, sixteen times EEXTEND."""
    record = struct.pack("<8sQQ40x", b"EADD", offset, flags)
    if content is not None:
        for start in range(0, PAGE, 256):
            record += struct.pack("<8sQ48x", b"EEXTEND", offset + start) + content[start : start + 256]
    return record


def bytes_of(size: str) -> int:
    """Bytes of ``512M``."""
    unit = UNITS.get(size[-1])
    return int(size) if unit is None else int(size[:-1]) * unit


@dataclass
class Places:
    """Addresses, allocated from the end of the enclave downwards in this order."""

    manifest: int
    ssa: int
    tcs: int
    tls: int
    stacks: list[tuple[int, int]]
    signal_stacks: list[tuple[int, int]]
    pal: int

    @classmethod
    def of(cls, manifest: bytes, size: int, threads: int, lowest: int, highest: int) -> Places:
        at = size - up(len(manifest))
        ssa = at - threads * 0x8000
        tcs = ssa - threads * PAGE
        tls = tcs - threads * PAGE
        stacks = [(tls - (t + 1) * 0x40000, tls - t * 0x40000) for t in range(threads)]
        top = stacks[-1][0]
        signal_stacks = [(top - (t + 1) * 0x10000, top - t * 0x10000) for t in range(threads)]
        pal = lowest or signal_stacks[-1][0] - highest
        return cls(at, ssa, tcs, tls, stacks, signal_stacks, pal)


def pages(manifest: bytes, image: bytes, size: int, sgx: dict[str, Any]) -> Iterator[Page]:
    """Every page in loading order: where, what kind, and its content if that is measured."""
    elf = ELFFile(io.BytesIO(image))
    segments = [segment for segment in elf.iter_segments() if segment["p_type"] == "PT_LOAD"]
    lowest = min(down(s["p_vaddr"]) for s in segments)
    highest = max(up(s["p_vaddr"] + s["p_memsz"]) for s in segments)
    threads = sgx["max_threads"]
    at = Places.of(manifest, size, threads, lowest, highest)

    yield from content_pages(at.manifest, R | REG, manifest)
    yield from content_pages(at.ssa, R | W | REG, bytes(threads * 0x8000))
    for t in range(threads):
        yield at.tcs + t * PAGE, TCS, tcs_page(at, t, elf["e_entry"])
    for t in range(threads):
        yield at.tls + t * PAGE, R | W | REG, tls_page(at, t, size, len(manifest))
    for low, high in at.stacks + at.signal_stacks:
        yield from content_pages(low, R | W | REG, bytes(high - low))
    for segment in segments:
        start, end = down(segment["p_vaddr"]), up(segment["p_vaddr"] + segment["p_memsz"])
        memory = bytes(segment["p_vaddr"] - start) + segment.data()
        flags = REG | sum(ours for theirs, ours in ((4, R), (2, W), (1, X)) if segment["p_flags"] & theirs)
        yield from content_pages(at.pal - lowest + start, flags, memory.ljust(end - start, b"\0"))
    if not sgx.get("edmm_enable", False):
        for low, high in ((at.pal - lowest + highest, at.signal_stacks[-1][0]), (0x10000, at.pal)):
            for offset in range(low, high, PAGE):
                yield offset, R | W | X | REG, None


def tcs_page(at: Places, t: int, entry: int) -> bytes:
    page = bytearray(PAGE)
    page[0x10:0x18] = u64(at.ssa + t * 0x8000)
    page[0x1C:0x20] = u32(2)
    page[0x20:0x28] = u64(at.pal + entry)
    page[0x38:0x40] = u64(at.tls + t * PAGE)
    page[0x40:0x48] = u32(0xFFF) + u32(0xFFF)
    return bytes(page)


def tls_page(at: Places, t: int, size: int, manifest_size: int) -> bytes:
    page = bytearray(PAGE)
    page[0x0:0x8] = u64(at.tls + t * PAGE)
    page[0x8:0x10] = u64(0xBADBADBADBAD)
    page[0x110:0x118] = u64(size)
    page[0x118:0x120] = u64(at.tcs + t * PAGE)
    page[0x120:0x128] = u64(at.stacks[t][1])
    page[0x130:0x138] = u64(at.signal_stacks[t][0])
    page[0x138:0x140] = u64(at.signal_stacks[t][1])
    page[0x148:0x150] = u64(at.ssa + t * 0x8000)
    page[0x150:0x158] = u64(at.ssa + t * 0x8000 + 0x4000 - 0xB8)
    page[0x1A0:0x1A8] = u64(manifest_size)
    page[0x1A8:0x1B0] = u64(0x10000)
    page[0x1B0:0x1B8] = u64(at.pal)
    return bytes(page)


def content_pages(start: int, flags: int, content: bytes) -> Iterator[Page]:
    """The pages of ``content``, the last one filled up with zeros."""
    for offset in range(0, len(content), PAGE):
        yield start + offset, flags, content[offset : offset + PAGE].ljust(PAGE, b"\0")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


def down(address: int) -> int:
    return address - address % PAGE


def up(address: int) -> int:
    return -(-address // PAGE) * PAGE
