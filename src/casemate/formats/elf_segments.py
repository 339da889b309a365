"""Lays out a shared library anew: its segments and nothing else, the first one last.

The dynamic loader maps a library twice: first the whole span of its addresses from the first segment's place
in the file on, then each further segment over it (glibc, ``_dl_map_segments``). A kernel maps and reads
nothing. An enclave reads: what is mapped is copied into its memory and hashed. Where the first segment lies
last in the file, the first mapping ends with it, and everything else is read once instead of twice.

System V ABI, chapters 4 and 5. Addresses, and what is seen at them, stay the same. So do the headers of
mapped sections, by which profilers find their way; those of others, such as symbol tables, become empty.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from casemate.errors import FormatError
from casemate.formats.elf_dynamic import ElfIdentity

#: Bytes of a page on x86-64: the unit in which segments are mapped.
PAGE: Final = 4096
_ET_DYN: Final = 3
_PT_LOAD: Final = 1
_PT_INTERP: Final = 3
_SHT_NOBITS: Final = 8
_SHF_ALLOC: Final = 0x2
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
#: ``e_type``; ``e_phoff`` and ``e_shoff``; ``e_phentsize``, ``e_phnum``, ``e_shentsize``, ``e_shnum``,
#: ``e_shstrndx``.
_TYPE: Final = struct.Struct("<H")
_TYPE_AT: Final = 16
_TABLES: Final = struct.Struct("<QQ")
_TABLES_AT: Final = 32
_COUNTS: Final = struct.Struct("<HHHHH")
_COUNTS_AT: Final = 54


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    flags: int
    offset: int
    address: int
    physical: int
    size: int
    memory: int
    alignment: int

    def packed(self, offset: int) -> bytes:
        """The header of the segment at another place in the file."""
        alignment = min(self.alignment, PAGE) if self.kind == _PT_LOAD else self.alignment
        return _SEGMENT.pack(
            self.kind, self.flags, offset, self.address, self.physical, self.size, self.memory, alignment
        )


@dataclass(frozen=True, slots=True)
class _Section:
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int

    @property
    def is_mapped(self) -> bool:
        return bool(self.flags & _SHF_ALLOC)

    def packed(self, offset: int) -> bytes:
        """The header of the section at another place in the file."""
        numbers = (self.size, self.link, self.info, self.alignment, self.entry)
        return _SECTION.pack(self.name, self.kind, self.flags, self.address, offset, *numbers)


class _UnusualError(Exception):
    """A layout that no linker writes, or one that is rewritten already."""


def first_segment_last(data: bytes) -> bytes:
    """``data`` with its first segment behind the others, and nothing that is not mapped.

    Args:
        data: The whole file. Anything but a 64-bit little-endian shared library in the order that linkers
            write is given back as it is.
    """
    try:
        identity = ElfIdentity.parse(data)
        if identity.bits != 64 or not identity.little_endian:
            return data
        return _Layout(data).rewritten()
    except (FormatError, struct.error, _UnusualError):
        return data


class _Layout:
    def __init__(self, data: bytes) -> None:
        self._data = data
        program_at, self._sections_at = _TABLES.unpack_from(data, _TABLES_AT)
        size, count, self._section_size, self._section_count, self._names_index = _COUNTS.unpack_from(
            data, _COUNTS_AT
        )
        self._headers_end = program_at + size * count
        segments = [_SEGMENT.unpack_from(data, program_at + size * index) for index in range(count)]
        self._program_at = program_at
        self._segments = [_Segment(*segment) for segment in segments]
        self._loads = [segment for segment in self._segments if segment.kind == _PT_LOAD]
        self._require_usual(size)
        self._sections = self._read_sections()

    def _require_usual(self, size: int) -> None:
        loads = self._loads
        ends = [load.offset + load.size for load in loads]
        usual = (
            _TYPE.unpack_from(self._data, _TYPE_AT)[0] == _ET_DYN
            and size == _SEGMENT.size
            and all(segment.kind != _PT_INTERP for segment in self._segments)
            and len(loads) > 1
            and loads[0].offset == 0
            and loads[0].size == loads[0].memory >= self._headers_end
            and all(end <= load.offset for end, load in zip(ends, loads[1:], strict=False))
            and all((load.address - load.offset) % PAGE == 0 for load in loads)
            and ends[-1] <= len(self._data)
        )
        if not usual:
            raise _UnusualError

    def _read_sections(self) -> list[_Section]:
        if self._section_count == 0:
            return []
        if self._section_size != _SECTION.size or not 0 < self._names_index < self._section_count:
            raise _UnusualError
        places = range(
            self._sections_at, self._sections_at + _SECTION.size * self._section_count, _SECTION.size
        )
        sections = [_Section(*_SECTION.unpack_from(self._data, place)) for place in places]
        if any(section.is_mapped and section.alignment > PAGE for section in sections):
            raise _UnusualError
        return sections

    def rewritten(self) -> bytes:
        """The file in its new order: headers, all segments but the first, the first, sections."""
        result = bytearray(self._data[: self._headers_end])
        places: list[tuple[_Segment, int]] = []
        for load in (*self._loads[1:], self._loads[0]):
            place = len(result) + (load.address - len(result)) % PAGE
            places.append((load, place))
            result += bytes(place - len(result)) + self._data[load.offset : load.offset + load.size]
        self._place_segments(result, places)
        self._place_sections(result, places)
        # The first segment has these headers, too: whoever reads them in memory sees what the file says.
        first = places[-1][1]
        result[first : first + self._headers_end] = result[: self._headers_end]
        return bytes(result)

    def _place_segments(self, result: bytearray, places: list[tuple[_Segment, int]]) -> None:
        for index, segment in enumerate(self._segments):
            place = segment.offset
            if segment.size:
                inside = (
                    new + segment.offset - load.offset
                    for load, new in places
                    if load.offset <= segment.offset
                    and segment.offset + segment.size <= load.offset + load.size
                )
                place = next(inside, -1)
            if place < 0:
                raise _UnusualError
            at = self._program_at + index * _SEGMENT.size
            result[at : at + _SEGMENT.size] = segment.packed(place)

    def _place_sections(self, result: bytearray, places: list[tuple[_Segment, int]]) -> None:
        if not self._sections:
            return
        names = self._sections[self._names_index]
        names_at = len(result)
        result += self._data[names.offset : names.offset + names.size]
        result += bytes(-len(result) % 8)
        table = len(result)
        for index, section in enumerate(self._sections):
            if index == self._names_index:
                result += section.packed(names_at)
            elif section.is_mapped:
                result += section.packed(_place_of(section, places))
            else:
                result += bytes(_SECTION.size)
        _TABLES.pack_into(result, _TABLES_AT, self._program_at, table)


def _place_of(section: _Section, places: list[tuple[_Segment, int]]) -> int:
    """Where a mapped section lies now, by the segment that has its address."""
    for load, place in places:
        within = section.address - load.address
        if 0 <= within <= load.memory and (section.kind == _SHT_NOBITS or within + section.size <= load.size):
            if section.kind != _SHT_NOBITS and section.offset != load.offset + within:
                break
            return place + min(within, load.size)
    raise _UnusualError
