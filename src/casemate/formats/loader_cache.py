"""``/etc/ld.so.cache``: which file the dynamic loader takes for a name that no search path has.

Format: glibc's ``elf/cache.c`` and ``sysdeps/generic/dl-cache.h``, the new format (``glibc-ld.so.cache1.1``),
alone or behind one in the old format, as ``ldconfig`` has written them since glibc 2.2. A file that has only
the old format is refused: no glibc that Casemate can ship writes it.

Entries for other architectures, and those for one micro-architecture only (``glibc-hwcaps``), are read and
marked; who asks decides.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, Self

from casemate.errors import FormatError

_OLD_MAGIC: Final = b"ld.so-1.7.0\0"
_OLD_HEADER: Final = struct.Struct("<12sI")
_OLD_ENTRY_SIZE: Final = 12
_NEW_MAGIC: Final = b"glibc-ld.so.cache1.1"
_NEW_HEADER: Final = struct.Struct("<20sIIB3xI12x")
_NEW_ENTRY: Final = struct.Struct("<iIIIQ")
#: ``cache_file_new_flags_endian_mask`` and the value for little endian; 0 was written before glibc 2.33.
_ENDIAN_MASK: Final = 3
_ENDIANNESS: Final = (0, 2)
#: ``FLAG_ELF_LIBC6 | FLAG_X8664_LIB64``: a library for this C library on x86-64.
X86_64_LIBRARY: Final = 0x0303
_LONGEST_NAME: Final = 4096
#: Each may name the same long text; a machine with every package of a distribution has fewer.
_MOST_ENTRIES: Final = 32_768


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """One line of ``ldconfig -p``.

    Attributes:
        name: What files ask for.
        path: Where it lies.
        flags: Kind of library and architecture.
        hwcap: 0, or the marks of the processors for which this entry is meant.
    """

    name: str
    path: str
    flags: int
    hwcap: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderCache:
    """The cache in its own order: of several entries for one name, the loader prefers the first."""

    entries: tuple[CacheEntry, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a cache.

        Raises:
            FormatError: Not a cache in the new format, or one whose counts and offsets leave the file.
        """
        cache = data[_start_of_new_format(data) :]
        if len(cache) < _NEW_HEADER.size or cache[: len(_NEW_MAGIC)] != _NEW_MAGIC:
            raise FormatError(
                "loader cache", expected=_NEW_MAGIC.decode(), got=cache[: len(_NEW_MAGIC)].hex() or "nothing"
            )
        _, count, text_size, flags, _ = _NEW_HEADER.unpack_from(cache)
        if flags & _ENDIAN_MASK not in _ENDIANNESS:
            raise FormatError("byte order of the loader cache", expected="little endian", got=f"{flags:#x}")
        text = _NEW_HEADER.size + count * _NEW_ENTRY.size
        if text + text_size > len(cache):
            raise FormatError(
                "loader cache",
                expected=f"{text + text_size} bytes for {count} entries",
                got=f"{len(cache)} bytes",
            )
        if count > _MOST_ENTRIES:
            raise FormatError("loader cache", expected=f"at most {_MOST_ENTRIES} entries", got=str(count))
        entries = []
        for index in range(count):
            kind, name, path, _, hwcap = _NEW_ENTRY.unpack_from(
                cache, _NEW_HEADER.size + index * _NEW_ENTRY.size
            )
            entries.append(
                CacheEntry(name=_text(cache, name), path=_text(cache, path), flags=kind, hwcap=hwcap)
            )
        return cls(entries=tuple(entries))

    def paths(self) -> dict[str, str]:
        """Name -> path of the x86-64 libraries that run on every processor, the preferred one of several."""
        found: dict[str, str] = {}
        for entry in self.entries:
            if entry.flags == X86_64_LIBRARY and entry.hwcap == 0:
                found.setdefault(entry.name, entry.path)
        return found


def _start_of_new_format(data: bytes) -> int:
    """0, or the offset behind an old cache, aligned as the new header wants it (``ALIGN_CACHE``: 8 bytes)."""
    if not data.startswith(_OLD_MAGIC):
        return 0
    if len(data) < _OLD_HEADER.size:
        raise FormatError("loader cache", expected=f"{_OLD_HEADER.size} bytes", got=f"{len(data)} bytes")
    _, count = _OLD_HEADER.unpack_from(data)
    end: int = _OLD_HEADER.size + count * _OLD_ENTRY_SIZE
    return (end + 7) // 8 * 8


def _text(cache: bytes, offset: int) -> str:
    end = cache.find(b"\0", offset, offset + _LONGEST_NAME)
    if end < 0:
        raise FormatError(
            "name in the loader cache",
            expected=f"a zero byte within {_LONGEST_NAME}",
            got=f"none from offset {offset}",
        )
    try:
        return cache[offset:end].decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(
            "name in the loader cache", expected="UTF-8", got=cache[offset:end][:80].hex()
        ) from error
