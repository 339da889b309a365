"""Takes symbol tables and debugging information out of ELF files: bytes that no loader looks at.

System V ABI, chapter 4 (sections). What a segment maps stays where it is, byte for byte, and so do the
headers of its sections, by which profilers find their way. Only files in the order that linkers write are
changed: mapped sections first, then others, then nothing. All other files are left as they are.
"""

from __future__ import annotations

import struct
from typing import Final

from casemate.errors import FormatError
from casemate.formats.elf_dynamic import ElfIdentity

_HEADER_SIZE: Final = 64
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
#: ``e_shoff``, and ``e_shentsize``, ``e_shnum``, ``e_shstrndx``.
_SECTION_TABLE: Final = struct.Struct("<Q")
_SECTION_COUNTS: Final = struct.Struct("<HHH")
_SECTION_TABLE_AT: Final = 40
_SECTION_COUNTS_AT: Final = 58
_SHT_SYMTAB: Final = 2
_SHT_NOBITS: Final = 8
_SHF_ALLOC: Final = 0x2
_DEBUGGING: Final = (b".debug", b".zdebug")

_Section = tuple[int, ...]


def without_debugging(data: bytes) -> bytes:
    """``data`` without symbol table and debugging information; itself when there is nothing to take.

    Args:
        data: The whole file; anything but a 64-bit little-endian ELF file is given back as it is.
    """
    try:
        identity = ElfIdentity.parse(data)
        if identity.bits != 64 or not identity.little_endian:
            return data
        return _slimmed(data)
    except (FormatError, struct.error):
        return data


def _slimmed(data: bytes) -> bytes:
    (table,) = _SECTION_TABLE.unpack_from(data, _SECTION_TABLE_AT)
    size, count, names_index = _SECTION_COUNTS.unpack_from(data, _SECTION_COUNTS_AT)
    if size != _SECTION.size or not 0 < names_index < count:
        return data
    sections = [_SECTION.unpack_from(data, table + index * size) for index in range(count)]
    names = _content(data, sections[names_index])
    kept = _mapped_prefix(sections)
    end = max((_end_of_segments(data), *(_end(section) for section in sections[:kept])))
    whole = max(end, table + count * size, *(_end(section) for section in sections))
    removed = sections[kept:]
    if (
        kept == 0
        or len(data) != whole
        or any(_is_mapped(section) for section in removed)
        or any(section[6] >= kept for section in sections[:kept])
        or not any(_is_debugging(section, names) for section in removed)
    ):
        return data
    return _assembled(data[:end], sections[:kept], sections[names_index], names)


def _mapped_prefix(sections: list[_Section]) -> int:
    """Number of sections, the empty first one among them, before the first that is not mapped."""
    for index, section in enumerate(sections[1:], start=1):
        if not _is_mapped(section):
            return index
    return 0


def _is_mapped(section: _Section) -> bool:
    return bool(section[2] & _SHF_ALLOC)


def _is_debugging(section: _Section, names: bytes) -> bool:
    return section[1] == _SHT_SYMTAB or names[section[0] :].startswith(_DEBUGGING)


def _end(section: _Section) -> int:
    return 0 if section[1] == _SHT_NOBITS else section[4] + section[5]


def _content(data: bytes, section: _Section) -> bytes:
    content = data[section[4] : section[4] + section[5]]
    if len(content) != section[5]:
        raise FormatError("names of sections", expected=f"{section[5]} bytes", got=str(len(content)))
    return content


def _end_of_segments(data: bytes) -> int:
    header = struct.unpack_from("<QQ", data, 24)
    size, count = struct.unpack_from("<HH", data, 54)
    if size != _SEGMENT.size or count == 0:
        raise FormatError("program headers", expected="some", got=f"{count} of {size} bytes")
    ends: list[int] = [header[1] + count * size]
    for index in range(count):
        segment = _SEGMENT.unpack_from(data, header[1] + index * size)
        ends.append(segment[2] + segment[5])
    return max(ends)


def _assembled(mapped: bytes, sections: list[_Section], names_section: _Section, names: bytes) -> bytes:
    """The mapped bytes, the names of sections, and the headers of those that are left."""
    names_at = len(mapped)
    table = (names_at + len(names) + 7) // 8 * 8
    names_header = (*names_section[:4], names_at, *names_section[5:])
    headers = b"".join(_SECTION.pack(*section) for section in (*sections, names_header))
    result = bytearray(mapped)
    _SECTION_TABLE.pack_into(result, _SECTION_TABLE_AT, table)
    counts = (_SECTION.size, len(sections) + 1, len(sections))
    _SECTION_COUNTS.pack_into(result, _SECTION_COUNTS_AT, *counts)
    return bytes(result + names).ljust(table, b"\0") + headers
