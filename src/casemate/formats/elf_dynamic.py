"""What an ELF file tells the dynamic loader: names of libraries, where to look for them, their versions.

Specification: System V ABI, chapters 4 and 5; the GNU extensions for symbol versions (LSB 5.0, section 10.7)
and ``DT_FLAGS_1``. Only 64-bit little-endian files are read beyond their identity; no other runs inside SGX.

Not checked: sections (the loader does not look at them), relocations, symbols, the code itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from casemate.errors import FormatError

MAGIC: Final = b"\x7fELF"
MACHINE_X86_64: Final = 62
#: ``e_type`` of what the loader can map: executables at a fixed address, and shared objects.
LOADABLE_TYPES: Final = frozenset({2, 3})

_IDENT_SIZE: Final = 20
_HEADER: Final = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT: Final = struct.Struct("<IIQQQQQQ")
_DYNAMIC_ENTRY: Final = struct.Struct("<qQ")
_VERSION_NEED: Final = struct.Struct("<HHIII")
_VERSION_NEED_NAME: Final = struct.Struct("<IHHII")
_VERSION_DEFINITION: Final = struct.Struct("<HHHHIII")
_VERSION_DEFINITION_NAME: Final = struct.Struct("<II")

_PT_LOAD: Final = 1
_PT_DYNAMIC: Final = 2
_PT_INTERP: Final = 3

_DT_NULL: Final = 0
_DT_NEEDED: Final = 1
_DT_STRTAB: Final = 5
_DT_STRSZ: Final = 10
_DT_SONAME: Final = 14
_DT_RPATH: Final = 15
_DT_RUNPATH: Final = 29
_DT_FLAGS_1: Final = 0x6FFFFFFB
_DT_VERDEF: Final = 0x6FFFFFFC
_DT_VERDEFNUM: Final = 0x6FFFFFFD
_DT_VERNEED: Final = 0x6FFFFFFE
_DT_VERNEEDNUM: Final = 0x6FFFFFFF
#: Of these the loader would use the last of several; two of them is a file that says two things.
_SINGLE: Final = frozenset(
    {
        _DT_STRTAB,
        _DT_STRSZ,
        _DT_SONAME,
        _DT_RPATH,
        _DT_RUNPATH,
        _DT_FLAGS_1,
        _DT_VERDEF,
        _DT_VERDEFNUM,
        _DT_VERNEED,
        _DT_VERNEEDNUM,
    }
)

_DF_1_NODEFLIB: Final = 0x800
_VER_FLG_WEAK: Final = 0x2
#: ``PATH_MAX``: no name that the loader could open is longer.
_LONGEST_NAME: Final = 4096
#: Entries of one file that may name the same long text, or the same list again: many times what any file has,
#: and too few to fill the memory or the day.
_MOST_ENTRIES: Final = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfIdentity:
    """What every ELF file says of itself in its first bytes.

    Attributes:
        bits: 32 or 64.
        little_endian: Byte order of everything behind the identity.
        machine: ``e_machine``: 62 is x86-64.
        type: ``e_type``: 2 is an executable, 3 a shared object or position-independent executable.
    """

    bits: int
    little_endian: bool
    machine: int
    type: int

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read the identity of a file; ``data`` holds its first 20 bytes or more.

        Raises:
            FormatError: Not an ELF file, or of a class or byte order that does not exist.
        """
        if data[:4] != MAGIC:
            raise FormatError("ELF magic", expected=MAGIC.hex(), got=data[:4].hex() or "nothing")
        if len(data) < _IDENT_SIZE:
            raise FormatError("ELF identity", expected=f"{_IDENT_SIZE} bytes", got=f"{len(data)} bytes")
        bits = {1: 32, 2: 64}.get(data[4])
        order = {1: "<", 2: ">"}.get(data[5])
        if bits is None:
            raise FormatError("ELF class", expected="1 (32 bits) or 2 (64 bits)", got=str(data[4]))
        if order is None:
            raise FormatError("ELF byte order", expected="1 (little) or 2 (big)", got=str(data[5]))
        kind, machine = struct.unpack_from(f"{order}HH", data, 16)
        return cls(bits=bits, little_endian=order == "<", machine=machine, type=kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionNeed:
    """Symbol versions that a file needs of one of its libraries.

    Attributes:
        library: Name of the library as in ``DT_NEEDED``.
        versions: ``"GLIBC_2.34"`` and the like, without those that may be missing (weak).
    """

    library: str
    versions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfDynamic:
    """The dynamic section of a 64-bit ELF file, as far as finding libraries goes.

    Attributes:
        machine: ``e_machine``.
        interpreter: ``PT_INTERP``: the loader that an executable asks for.
        needed: ``DT_NEEDED`` in the order of the file, which is the order of loading.
        soname: ``DT_SONAME``: the name under which other files need this one.
        rpath: ``DT_RPATH``, as written, with colons and tokens such as ``$ORIGIN``.
        runpath: ``DT_RUNPATH``, as written.
        no_default_libraries: ``DF_1_NODEFLIB``: the default folders are not searched.
        version_needs: ``DT_VERNEED``.
        version_definitions: ``DT_VERDEF``: names of the versions that this file provides.
    """

    machine: int
    interpreter: str | None
    needed: tuple[str, ...]
    soname: str | None
    rpath: str | None
    runpath: str | None
    no_default_libraries: bool
    version_needs: tuple[VersionNeed, ...]
    version_definitions: tuple[str, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read ``data``, the whole file.

        A file without dynamic section (a static executable) gives empty values.

        Raises:
            FormatError: Not a 64-bit little-endian ELF file, or an offset, a name or a count in it is
                impossible.
        """
        identity = ElfIdentity.parse(data)
        if identity.bits != 64 or not identity.little_endian:
            order = "little" if identity.little_endian else "big"
            raise FormatError(
                "ELF file", expected="64 bits, little endian", got=f"{identity.bits} bits, {order} endian"
            )
        image = _Segments.parse(data)
        tags = image.tags()
        names = _Names.find(image, tags)

        def optional(tag: int) -> str | None:
            return names.at(tags[tag][0]) if tag in tags else None

        return cls(
            machine=identity.machine,
            interpreter=image.interpreter(),
            needed=tuple(names.at(offset) for offset in tags.get(_DT_NEEDED, ())),
            soname=optional(_DT_SONAME),
            rpath=optional(_DT_RPATH),
            runpath=optional(_DT_RUNPATH),
            no_default_libraries=bool(tags.get(_DT_FLAGS_1, (0,))[0] & _DF_1_NODEFLIB),
            version_needs=tuple(_version_needs(image, tags, names)),
            version_definitions=tuple(_version_definitions(image, tags, names)),
        )


_Tags = dict[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segment:
    type: int
    offset: int
    address: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Segments:
    """Program headers, and the bytes behind the addresses that they map."""

    data: bytes
    segments: tuple[_Segment, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        if len(data) < _HEADER.size:
            raise FormatError("ELF header", expected=f"{_HEADER.size} bytes", got=f"{len(data)} bytes")
        header = _HEADER.unpack_from(data)
        table, entry_size, count = header[5], header[9], header[10]
        if count and entry_size != _SEGMENT.size:
            raise FormatError("size of a program header", expected=str(_SEGMENT.size), got=str(entry_size))
        if table + count * _SEGMENT.size > len(data):
            raise FormatError(
                "program headers",
                expected=f"inside the file of {len(data)} bytes",
                got=f"{count} headers at offset {table}",
            )
        segments = []
        for index in range(count):
            kind, _, offset, address, _, size, _, _ = _SEGMENT.unpack_from(
                data, table + index * _SEGMENT.size
            )
            if kind in (_PT_LOAD, _PT_DYNAMIC, _PT_INTERP):
                if offset + size > len(data):
                    raise FormatError(
                        "segment",
                        expected=f"inside the file of {len(data)} bytes",
                        got=f"{size} bytes at offset {offset}",
                        where=f"program header {index}",
                    )
                segments.append(_Segment(type=kind, offset=offset, address=address, size=size))
        return cls(data=data, segments=tuple(segments))

    def _single(self, kind: int, name: str) -> bytes | None:
        found = [segment for segment in self.segments if segment.type == kind]
        if len(found) > 1:
            raise FormatError(f"number of {name} segments", expected="at most 1", got=str(len(found)))
        return self.data[found[0].offset : found[0].offset + found[0].size] if found else None

    def interpreter(self) -> str | None:
        """``PT_INTERP`` without the zero byte at its end."""
        content = self._single(_PT_INTERP, "PT_INTERP")
        if content is None:
            return None
        path, zero, rest = content.partition(b"\0")
        if not zero or rest or not path:
            raise FormatError("PT_INTERP", expected="a path and one zero byte", got=content[:80].hex())
        return _decode(path, "PT_INTERP")

    def tags(self) -> _Tags:
        """The entries of ``PT_DYNAMIC`` before ``DT_NULL``; empty for a static file."""
        content = self._single(_PT_DYNAMIC, "PT_DYNAMIC")
        if content is None:
            return {}
        collected: dict[int, list[int]] = {}
        for number, offset in enumerate(
            range(0, len(content) - _DYNAMIC_ENTRY.size + 1, _DYNAMIC_ENTRY.size)
        ):
            _refuse_too_many(number, "dynamic section")
            tag, value = _DYNAMIC_ENTRY.unpack_from(content, offset)
            if tag == _DT_NULL:
                break
            collected.setdefault(tag, []).append(value)
        else:
            raise FormatError("dynamic section", expected="DT_NULL at its end", got="none")
        for tag in _SINGLE & collected.keys():
            if len(collected[tag]) > 1:
                raise FormatError(
                    "dynamic section", expected=f"tag {tag:#x} once", got=f"{len(collected[tag])} times"
                )
        return {tag: tuple(values) for tag, values in collected.items()}

    def at(self, address: int, size: int, what: str) -> int:
        """Offset in the file of ``size`` mapped bytes at ``address``."""
        for segment in self.segments:
            into = address - segment.address
            if segment.type == _PT_LOAD and into >= 0 and into + size <= segment.size:
                return segment.offset + into
        raise FormatError(
            what, expected="bytes inside a PT_LOAD segment", got=f"{size} bytes at {address:#x}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Names:
    """The dynamic string table."""

    table: bytes

    @classmethod
    def find(cls, image: _Segments, tags: _Tags) -> Self:
        if _DT_STRTAB not in tags and _DT_STRSZ not in tags:
            return cls(table=b"")
        if _DT_STRTAB not in tags or _DT_STRSZ not in tags:
            raise FormatError("dynamic string table", expected="DT_STRTAB and DT_STRSZ", got="one of them")
        size = tags[_DT_STRSZ][0]
        offset = image.at(tags[_DT_STRTAB][0], size, "dynamic string table")
        return cls(table=image.data[offset : offset + size])

    def at(self, offset: int) -> str:
        end = self.table.find(b"\0", offset, offset + _LONGEST_NAME) if offset < len(self.table) else -1
        if end < 0:
            raise FormatError(
                "name in the dynamic string table",
                expected=f"a zero byte inside {len(self.table)} bytes and within {_LONGEST_NAME}",
                got=f"none from offset {offset}",
            )
        return _decode(self.table[offset:end], "name in the dynamic string table")


def _decode(name: bytes, what: str) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(what, expected="UTF-8", got=name[:80].hex()) from error


def _count(tags: _Tags, tag: int, what: str) -> int:
    """The number of records that a dynamic entry announces."""
    if tag not in tags:
        raise FormatError(what, expected="its number of records", got="none")
    return tags[tag][0]


def _records(
    image: _Segments, address: int, shape: struct.Struct, count: int, what: str
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The records of a list whose last field is the distance to the next one, 0 at the end."""
    for left in range(count, 0, -1):
        record = shape.unpack_from(image.data, image.at(address, shape.size, what))
        yield address, record
        if left > 1 and record[-1] < shape.size:
            raise FormatError(what, expected=f"{left - 1} more records", got=f"a step of {record[-1]} bytes")
        address += record[-1]


def _refuse_too_many(number: int, what: str) -> None:
    if number >= _MOST_ENTRIES:
        raise FormatError(what, expected=f"at most {_MOST_ENTRIES} entries", got="more")


def _version_needs(image: _Segments, tags: _Tags, names: _Names) -> Iterator[VersionNeed]:
    if _DT_VERNEED not in tags:
        return
    what = "needed symbol versions"
    count = _count(tags, _DT_VERNEEDNUM, what)
    seen = 0
    for address, need in _records(image, tags[_DT_VERNEED][0], _VERSION_NEED, count, what):
        _, entries, library, first, _ = need
        seen += 1 + entries
        _refuse_too_many(seen, what)
        versions = [
            names.at(entry[3])
            for _, entry in _records(image, address + first, _VERSION_NEED_NAME, entries, what)
            if not entry[1] & _VER_FLG_WEAK
        ]
        yield VersionNeed(library=names.at(library), versions=tuple(versions))


def _version_definitions(image: _Segments, tags: _Tags, names: _Names) -> Iterator[str]:
    if _DT_VERDEF not in tags:
        return
    what = "defined symbol versions"
    count = _count(tags, _DT_VERDEFNUM, what)
    _refuse_too_many(count, what)
    for address, definition in _records(image, tags[_DT_VERDEF][0], _VERSION_DEFINITION, count, what):
        entries, first = definition[3], definition[5]
        # The first name is the version, the others are those that it follows.
        for _, entry in _records(image, address + first, _VERSION_DEFINITION_NAME, min(entries, 1), what):
            yield names.at(entry[0])
