"""ELF images: the header and the segments that are loaded.

System V ABI, "Object Files" and "Program Loading", with the x86-64 supplement. 64-bit, little-endian, x86-64
only. Read are the file header and the ``PT_LOAD`` entries of the program header table.

Not checked here: sections, symbols, relocations; the dynamic section is read elsewhere.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from casemate.errors import FormatError

#: Bytes of a page of x86-64 and of SGX.
PAGE_SIZE: Final = 4096
#: Bytes of one segment in memory, and the end of the last; what user space can address is far larger, but no
#: library is, and an image that asks for more is broken or hostile.
MAX_SEGMENT_SIZE: Final = 1 << 33
MAX_ADDRESS: Final = 1 << 47
#: ``PN_XNUM`` and above mean that the number is elsewhere; no real image has so many.
MAX_PROGRAM_HEADERS: Final = 0xFFFE

# e_ident, e_type, e_machine, e_version, e_entry, e_phoff, e_shoff, e_flags, e_ehsize, e_phentsize, e_phnum
_HEADER: Final = struct.Struct("<16sHHIQQQIHHH6x")
# p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz, p_memsz, p_align
_PROGRAM_HEADER: Final = struct.Struct("<IIQQQQQQ")
_IDENT: Final = b"\x7fELF\x02\x01\x01"  # class 64, little-endian, version 1
_MACHINE_X86_64: Final = 62
_PT_LOAD: Final = 1


class ImageType(IntEnum):
    """``e_type`` of images that can be loaded."""

    EXECUTABLE = 2
    SHARED_OBJECT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One ``PT_LOAD`` entry.

    Attributes:
        offset: Where its bytes begin in the file.
        address: Where they begin in memory, relative to the image's base; ``p_vaddr``.
        file_size: Bytes that come from the file.
        memory_size: Bytes in memory; those past ``file_size`` are zero.
        readable: ``PF_R``.
        writable: ``PF_W``.
        executable: ``PF_X``.
    """

    offset: int
    address: int
    file_size: int
    memory_size: int
    readable: bool
    writable: bool
    executable: bool

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.address + self.memory_size


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfImage:
    """What a loader needs to know of an image.

    Attributes:
        type: Executable or shared object; position-independent executables are shared objects.
        entry: Address of the first instruction, relative to the image's base; zero when there is none.
        segments: The ``PT_LOAD`` entries in the order of the program header table, addresses ascending.
    """

    type: ImageType
    entry: int
    segments: tuple[Segment, ...]

    @classmethod
    def parse(cls, data: bytes) -> ElfImage:
        """Read the headers of ``data``, which is the whole file.

        Raises:
            FormatError: Not an ELF image for x86-64 that can be loaded; a table or a segment that lies
                outside of the file; segments that overlap, descend, have fewer bytes in memory than in the
                file, are larger than ``MAX_SEGMENT_SIZE``, or cannot be mapped because file offset and
                address differ within a page.
        """
        if not data.startswith(_IDENT) or len(data) < _HEADER.size:
            raise FormatError(
                "ELF header",
                expected="a 64-bit little-endian ELF image",
                got=_shown_start(data),
                where="offset 0",
            )
        (_, kind, machine, _, entry, table, _, _, _, entry_size, count) = _HEADER.unpack_from(data)
        if machine != _MACHINE_X86_64:
            raise FormatError("ELF machine", expected="62 (x86-64)", got=str(machine), where="offset 18")
        if kind not in tuple(ImageType):
            raise FormatError(
                "ELF type", expected="2 (executable) or 3 (shared object)", got=str(kind), where="offset 16"
            )
        segments = tuple(_segments(data, table, entry_size, count))
        for before, after in itertools.pairwise(segments):
            _require_ascending(before, after)
        return cls(type=ImageType(kind), entry=entry, segments=segments)


def _segments(data: bytes, table: int, entry_size: int, count: int) -> Iterator[Segment]:
    if count and entry_size != _PROGRAM_HEADER.size:
        raise FormatError(
            "ELF program header size",
            expected=str(_PROGRAM_HEADER.size),
            got=str(entry_size),
            where="offset 54",
        )
    if count > MAX_PROGRAM_HEADERS or table + count * _PROGRAM_HEADER.size > len(data):
        raise FormatError(
            "ELF program headers",
            expected=f"a table within {len(data)} bytes",
            got=f"{count} entries at {table:#x}",
            where="offset 32",
        )
    for number in range(count):
        kind, flags, offset, address, _, file_size, memory_size, _ = _PROGRAM_HEADER.unpack_from(
            data, table + number * _PROGRAM_HEADER.size
        )
        if kind == _PT_LOAD:
            segment = Segment(
                offset=offset,
                address=address,
                file_size=file_size,
                memory_size=memory_size,
                readable=bool(flags & 4),
                writable=bool(flags & 2),
                executable=bool(flags & 1),
            )
            _require_loadable(segment, len(data), f"program header {number}")
            yield segment


def _require_loadable(segment: Segment, file_size: int, where: str) -> None:
    if segment.offset + segment.file_size > file_size:
        raise FormatError(
            "ELF segment",
            expected=f"bytes within the file of {file_size}",
            got=f"{segment.file_size} bytes at offset {segment.offset:#x}",
            where=where,
        )
    if segment.memory_size < segment.file_size:
        raise FormatError(
            "ELF segment",
            expected=f"at least its {segment.file_size} file bytes in memory",
            got=f"{segment.memory_size}",
            where=where,
        )
    if segment.memory_size > MAX_SEGMENT_SIZE or segment.end > MAX_ADDRESS:
        raise FormatError(
            "ELF segment",
            expected=f"at most {MAX_SEGMENT_SIZE} bytes in memory, below {MAX_ADDRESS:#x}",
            got=f"{segment.memory_size} bytes at {segment.address:#x}",
            where=where,
        )
    if segment.offset % PAGE_SIZE != segment.address % PAGE_SIZE:
        raise FormatError(
            "ELF segment",
            expected="file offset and address alike within a page",
            got=f"offset {segment.offset:#x}, address {segment.address:#x}",
            where=where,
        )


def _require_ascending(before: Segment, after: Segment) -> None:
    if after.address < before.end:
        raise FormatError(
            "ELF segments",
            expected="ascending and apart from each other",
            got=f"{after.address:#x} after {before.address:#x} to {before.end:#x}",
        )


def _shown_start(data: bytes) -> str:
    return f"{len(data)} bytes that begin with {data[:7].hex() or 'nothing'}"
