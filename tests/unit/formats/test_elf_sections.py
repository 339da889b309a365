"""What is taken out of ELF files, and what is left alone."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.elf_writer import ElfFile, write_elf

from casemate.formats.elf_dynamic import ElfDynamic
from casemate.formats.elf_sections import without_debugging

_NAMES = b"\0.text\0.bss\0.symtab\0.debug_info\0.comment\0.shstrtab\0"
_ALLOC, _PROGBITS, _SYMTAB, _STRTAB, _NOBITS = 2, 1, 2, 3, 8


def _section(name: bytes, kind: int, flags: int, offset: int, size: int, link: int = 0) -> bytes:
    at = _NAMES.index(b"\0" + name + b"\0") + 1 if name else 0
    return struct.pack("<IIQQQQIIQQ", at, kind, flags, 0, offset, size, link, 0, 1, 0)


def _file(*extra: tuple[bytes, int, int], link: int = 0, payload: bytes = b"") -> bytes:
    """A file whose sections behind .text and .bss are ``extra``, each of 100 bytes."""
    mapped = write_elf(ElfFile(needed=("libc.so.6",), soname="liba.so"))
    data = bytearray(mapped)
    headers = [_section(b"", 0, 0, 0, 0), _section(b".text", _PROGBITS, _ALLOC, 64, 8, link)]
    headers.append(_section(b".bss", _NOBITS, _ALLOC, len(mapped), 1 << 30))
    for name, kind, flags in extra:
        headers.append(_section(name, kind, flags, len(data), 100))
        data += b"d" * 100
    headers.append(_section(b".shstrtab", _STRTAB, 0, len(data), len(_NAMES)))
    data += _NAMES
    struct.pack_into("<Q", data, 40, len(data))
    struct.pack_into("<HHH", data, 58, 64, len(headers), len(headers) - 1)
    return bytes(data) + b"".join(headers) + payload


def _changed(at: int, value: int) -> bytes:
    data = bytearray(_file(*_DEBUGGING))
    struct.pack_into("<H", data, at, value)
    return bytes(data)


def _nothing_mapped() -> bytes:
    text = _section(b".text", _PROGBITS, _ALLOC, 64, 8)
    return _file(*_DEBUGGING).replace(text, _section(b".text", _PROGBITS, 0, 64, 8))


def _all_mapped() -> bytes:
    data = bytearray(_file())
    struct.pack_into("<Q", data, len(data) - 64 + 8, _ALLOC)
    return bytes(data)


def _names_outside() -> bytes:
    data = bytearray(_file(*_DEBUGGING))
    struct.pack_into("<Q", data, len(data) - 64 + 32, 1 << 40)
    return bytes(data)


_DEBUGGING = ((b".symtab", _SYMTAB, 0), (b".debug_info", _PROGBITS, 0))


def test_symbols_and_debugging_information_go_and_what_is_mapped_stays() -> None:
    data = _file(*_DEBUGGING)

    slim = without_debugging(data)

    assert len(data) - 200 - 2 * 64 <= len(slim) < len(data) - 200 - 2 * 64 + 8  # two sections, two headers
    assert b"dddd" not in slim
    assert ElfDynamic.parse(slim) == ElfDynamic.parse(data)
    mapped = write_elf(ElfFile(needed=("libc.so.6",), soname="liba.so"))
    assert slim[64 : len(mapped)] == mapped[64:]


def test_the_headers_of_mapped_sections_stay() -> None:
    slim = without_debugging(_file(*_DEBUGGING))

    (table,) = struct.unpack_from("<Q", slim, 40)
    count, names = struct.unpack_from("<HH", slim, 60)
    sections = [struct.unpack_from("<IIQQQQIIQQ", slim, table + index * 64) for index in range(count)]
    at = sections[names][4]
    found = [slim[at + section[0] :].partition(b"\0")[0] for section in sections]
    assert found == [b"", b".text", b".bss", b".shstrtab"]
    assert len(slim) == table + count * 64


def test_a_second_time_changes_nothing() -> None:
    slim = without_debugging(_file(*_DEBUGGING))

    assert without_debugging(slim) is slim


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"#!/bin/sh\n", id="script"),
        pytest.param(write_elf(ElfFile(bits=32)), id="32 bits"),
        pytest.param(write_elf(ElfFile(needed=("libc.so.6",))), id="no sections"),
        pytest.param(_file(), id="nothing but mapped sections"),
        pytest.param(_file((b".comment", _PROGBITS, 0)), id="no debugging information"),
        pytest.param(_file(*_DEBUGGING, (b".text", _PROGBITS, _ALLOC)), id="a mapped section behind others"),
        pytest.param(_file(*_DEBUGGING, payload=b"appended"), id="something behind the sections"),
        pytest.param(_file(*_DEBUGGING, link=3), id="a mapped section that refers to the symbol table"),
        pytest.param(_file(*_DEBUGGING)[:-1], id="cut"),
        pytest.param(_changed(56, 0), id="no segments"),
        pytest.param(_changed(62, 0), id="no names of sections"),
        pytest.param(_nothing_mapped(), id="no mapped section"),
        pytest.param(_all_mapped(), id="every section mapped"),
        pytest.param(_names_outside(), id="names of sections outside of the file"),
    ],
)
def test_every_other_file_is_left_as_it_is(data: bytes) -> None:
    assert without_debugging(data) is data


@given(st.data())
def test_damaged_files_are_no_obstacle(data: st.DataObject) -> None:
    file = bytearray(_file(*_DEBUGGING))
    for _ in range(data.draw(st.integers(1, 6))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    without_debugging(bytes(file[: data.draw(st.integers(0, len(file)))]))
