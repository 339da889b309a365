"""A stand-in for Gramine's ``libpal.so``, so that an enclave can be measured on a machine without Gramine.

ELF-64 gABI: a shared object for x86-64 with a read-only, an executable and a writable segment. It says in its
bytes that it is a simulation, holds no code of Gramine, and stops at once if anyone runs it. The same bytes
every time.
"""

from __future__ import annotations

import struct

_PAGE = 0x1000
_NOTICE = b"Casemate simulated platform image: it stands in for Gramine's libpal.so and runs nowhere.\n"
_CODE = b"\x0f\x0b" * 8  # ud2: an invalid instruction
_DATA = bytes(64)
_DATA_IN_MEMORY = 2 * _PAGE  # more in memory than in the file, as with .bss

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_IDENT = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)  # 64-bit, little-endian, version 1
_ET_DYN, _EM_X86_64, _PT_LOAD = 3, 62, 1
_PF_X, _PF_W, _PF_R = 1, 2, 4


def platform_image() -> bytes:
    """The file."""
    headers = _HEADER.size + 3 * _SEGMENT.size
    header = _HEADER.pack(
        _IDENT,
        _ET_DYN,
        _EM_X86_64,
        1,
        _PAGE,  # entry point: the start of the executable segment
        _HEADER.size,
        0,
        0,
        _HEADER.size,
        _SEGMENT.size,
        3,
        0,
        0,
        0,
    )
    segments = (
        _load(_PF_R, 0, headers + len(_NOTICE), headers + len(_NOTICE)),
        _load(_PF_R | _PF_X, _PAGE, len(_CODE), len(_CODE)),
        _load(_PF_R | _PF_W, 2 * _PAGE, len(_DATA), _DATA_IN_MEMORY),
    )
    pages = (header + b"".join(segments) + _NOTICE, _CODE)
    return b"".join(page.ljust(_PAGE, b"\x00") for page in pages) + _DATA


def _load(flags: int, address: int, in_file: int, in_memory: int) -> bytes:
    """A PT_LOAD segment that lies in the file where it lies in memory."""
    return _SEGMENT.pack(_PT_LOAD, flags, address, address, address, in_file, in_memory, _PAGE)
