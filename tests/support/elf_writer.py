"""Writes small ELF files that hold a dynamic section and nothing that could run."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

_HEADER = 64
_PROGRAM_HEADER = 56
_DT_STRTAB, _DT_STRSZ = 5, 10
_VERDEF, _VERDEFNUM, _VERNEED, _VERNEEDNUM = 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfFile:
    """What the file says; names of versions that start with ``weak:`` become weak needs."""

    interpreter: str | None = None
    needed: tuple[str, ...] = ()
    soname: str | None = None
    rpath: str | None = None
    runpath: str | None = None
    flags_1: int | None = None
    version_needs: tuple[tuple[str, tuple[str, ...]], ...] = ()
    version_definitions: tuple[str, ...] = ()
    extra_tags: tuple[tuple[int, int], ...] = ()
    static: bool = False
    terminated: bool = True
    machine: int = 62
    bits: int = 64
    type: int = 3


class _Strings:
    def __init__(self) -> None:
        self.table = b"\0"

    def add(self, text: str) -> int:
        offset = len(self.table)
        self.table += text.encode() + b"\0"
        return offset


def write_elf(file: ElfFile) -> bytes:
    """The bytes of ``file``: one PT_LOAD over everything, at address 0."""
    if file.bits == 32:
        return b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HHI", file.type, file.machine, 1) + bytes(64)
    if file.static:
        return _header(file, 1) + _program_header(1, 0, _HEADER + _PROGRAM_HEADER)
    strings = _Strings()
    tags = _name_tags(file, strings)
    needs = _version_needs(file.version_needs, strings)
    definitions = _version_definitions(file.version_definitions, strings)
    interpreter = b"" if file.interpreter is None else file.interpreter.encode() + b"\0"
    headers = 3 if interpreter else 2

    at = _HEADER + headers * _PROGRAM_HEADER
    interpreter_at = at
    at += len(interpreter)
    strings_at = at
    at += len(strings.table)
    needs_at = at = (at + 7) // 8 * 8
    at += len(needs)
    definitions_at = at
    at += len(definitions)
    tags += [(_DT_STRTAB, strings_at), (_DT_STRSZ, len(strings.table))]
    if needs:
        tags += [(_VERNEED, needs_at), (_VERNEEDNUM, len(file.version_needs))]
    if definitions:
        tags += [(_VERDEF, definitions_at), (_VERDEFNUM, len(file.version_definitions))]
    tags += [*file.extra_tags, *([(0, 0)] if file.terminated else [])]
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in tags)

    result = _header(file, headers) + _program_header(1, 0, at + len(dynamic))
    result += _program_header(2, at, len(dynamic))
    if interpreter:
        result += _program_header(3, interpreter_at, len(interpreter))
    result += interpreter + strings.table
    return result.ljust(needs_at, b"\0") + needs + definitions + dynamic


def _header(file: ElfFile, program_headers: int) -> bytes:
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    numbers = (
        file.type,
        file.machine,
        1,
        0,
        _HEADER,
        0,
        0,
        _HEADER,
        _PROGRAM_HEADER,
        program_headers,
        64,
        0,
        0,
    )
    return identity + struct.pack("<HHIQQQIHHHHHH", *numbers)


def _program_header(kind: int, offset: int, size: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, 4, offset, offset, offset, size, size, 4096 if kind == 1 else 8)


def _name_tags(file: ElfFile, strings: _Strings) -> list[tuple[int, int]]:
    tags = [(1, strings.add(name)) for name in file.needed]
    for tag, text in ((14, file.soname), (15, file.rpath), (29, file.runpath)):
        if text is not None:
            tags.append((tag, strings.add(text)))
    if file.flags_1 is not None:
        tags.append((0x6FFFFFFB, file.flags_1))
    return tags


def _version_needs(needs: Sequence[tuple[str, tuple[str, ...]]], strings: _Strings) -> bytes:
    result = b""
    for index, (library, versions) in enumerate(needs):
        entries = b""
        for position, version in enumerate(versions):
            name = strings.add(version.removeprefix("weak:"))
            following = 0 if position + 1 == len(versions) else 16
            entries += struct.pack("<IHHII", 0, 2 if version.startswith("weak:") else 0, 2, name, following)
        following = 0 if index + 1 == len(needs) else 16 + len(entries)
        result += struct.pack("<HHIII", 1, len(versions), strings.add(library), 16, following) + entries
    return result


def _version_definitions(names: Sequence[str], strings: _Strings) -> bytes:
    result = b""
    for index, name in enumerate(names):
        following = 0 if index + 1 == len(names) else 28
        result += struct.pack("<HHHHIII", 1, 0, index + 1, 1, 0, 20, following)
        result += struct.pack("<II", strings.add(name), 0)
    return result
