"""Entries of a tar archive that somebody else made, one after the other, from a stream.

Specification: POSIX.1-2017, pax (ustar and the pax interchange format), and the extensions of GNU tar for
long names and large numbers. Where they leave room, an archive means what it means to the tools by which
containers are run: links, folders and devices have no content whatever their size says, records for the whole
archive mean nothing, the first block of zeros is the end.

The standard library's reader takes a header of any length into memory and keeps every entry; this one holds
one entry, and of its extended headers no more than :data:`EXTENSION_LIMIT`. It resolves no path and
judges no name beyond that.

Refused: sparse files (nobody's layers have them), extended headers of both kinds before one entry (readers
disagree on which counts), kinds of entry that are not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from casemate.errors import FormatError

BLOCK: Final = 512
#: Bytes of all extended headers before one entry.
EXTENSION_LIMIT: Final = 1 << 20
#: Bytes that are read at once.
_AT_ONCE: Final = 1 << 18
#: The largest number that eleven octal digits and their terminator can hold is smaller; so is any disk.
_LARGEST: Final = 1 << 62
_ZEROS: Final = bytes(BLOCK)
_PAX_RECORD: Final = re.compile(rb"([1-9][0-9]{0,9}) ([^=\n]+)=", re.DOTALL)
_OCTAL: Final = re.compile(rb"[ \0]*([0-7]*)[ \0]*", re.DOTALL)


class EntryKind(Enum):
    """What an entry is."""

    FILE = "regular file"
    FOLDER = "folder"
    SYMLINK = "symbolic link"
    HARD_LINK = "hard link"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    FIFO = "fifo"


_KINDS: Final = {
    b"0": EntryKind.FILE,
    b"\0": EntryKind.FILE,
    # A file that would like to lie in one piece.
    b"7": EntryKind.FILE,
    b"1": EntryKind.HARD_LINK,
    b"2": EntryKind.SYMLINK,
    b"3": EntryKind.CHARACTER_DEVICE,
    b"4": EntryKind.BLOCK_DEVICE,
    b"5": EntryKind.FOLDER,
    b"6": EntryKind.FIFO,
}
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_TARGET = b"x", b"g", b"L", b"K"
_EXTENSIONS: Final = frozenset({_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_TARGET})
#: GNU's for sparse files, for parts of volumes, for the label of a volume; Sun's and Star's own.
_NAMED: Final = {b"S": "a sparse file", b"M": "part of a file", b"V": "the label of a volume"}


class ByteSource(Protocol):
    """Where an archive comes from."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` further bytes; none only at the end."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TarEntry:
    """An entry of an archive.

    Attributes:
        name: Its path, as the archive has it.
        kind: What it is.
        mode: Permissions, with the bits for set-user-ID and the like.
        size: Bytes of its content; 0 for what is no regular file.
        target: Where a link leads, as the archive has it; empty for what is no link.
        offset: Where its content begins in the archive.
    """

    name: bytes
    kind: EntryKind
    mode: int
    size: int
    target: bytes
    offset: int


@dataclass(frozen=True, slots=True)
class _Extension:
    """What extended headers say of the entry behind them; ``None`` says nothing."""

    name: bytes | None = None
    target: bytes | None = None
    size: int | None = None


class TarReader:
    """The entries of an archive; what of an entry's content is not read is skipped.

    Args:
        source: The archive.
        where: Its name, for errors.

    Raises:
        FormatError: While iterating or reading: not an archive, one that is cut off, or one that has what is
            refused.
    """

    def __init__(self, source: ByteSource, *, where: str) -> None:
        self._source = source
        self._where = where
        self._position = 0
        self._unread = 0
        self._padding = 0

    def __iter__(self) -> Iterator[TarEntry]:
        while (entry := self._next()) is not None:
            self._unread = entry.size
            self._padding = -entry.size % BLOCK
            yield entry

    def content(self) -> Iterator[bytes]:
        """What is unread of the content of the entry that was given last, in parts."""
        while self._unread:
            part = self._source.read(min(self._unread, _AT_ONCE))
            if not part:
                raise self._cut()
            self._position += len(part)
            self._unread -= len(part)
            yield part

    def _next(self) -> TarEntry | None:
        for _ in self.content():
            pass
        self._exactly(self._padding)
        self._padding = 0
        extensions: dict[bytes, bytes] = {}
        while (header := self._header(at_entry=not extensions)) is not None:
            kind = header[156:157]
            if kind not in _EXTENSIONS:
                return self._entry(header, self._extension(extensions))
            size = self._number(header[124:136], "size")
            room = EXTENSION_LIMIT - sum(map(len, extensions.values()))
            if size > room:
                raise self._wrong(
                    "extended header of an entry", f"at most {EXTENSION_LIMIT} bytes", f"{size} bytes"
                )
            content = self._exactly(size)
            self._exactly(-size % BLOCK)
            if kind == _PAX_GLOBAL:
                continue
            if kind in extensions:
                raise self._wrong("extended header of an entry", "one of a kind", "two")
            extensions[kind] = content
        if extensions:
            raise self._cut()
        return None

    def _header(self, *, at_entry: bool) -> bytes | None:
        """The next header; ``None`` at the end, which may lack its zeros only ``at_entry``."""
        header = self._upto(BLOCK)
        if header == _ZEROS or (at_entry and not header):
            return None
        if len(header) < BLOCK:
            raise self._cut()
        if not _has_checksum(header, self._number(header[148:156], "checksum")):
            raise self._wrong("header of an entry", "its checksum", "another")
        return header

    def _entry(self, header: bytes, said: _Extension) -> TarEntry:
        name = said.name if said.name is not None else _plain_name(header)
        target = said.target if said.target is not None else _text(header[157:257])
        kind = self._kind(header, name)
        is_file, is_link = kind is EntryKind.FILE, kind in {EntryKind.SYMLINK, EntryKind.HARD_LINK}
        size = said.size if said.size is not None else self._number(header[124:136], "size")
        return TarEntry(
            name=name,
            kind=kind,
            mode=self._number(header[100:108], "mode") & 0o7777,
            size=size if is_file else 0,
            target=target if is_link else b"",
            offset=self._position,
        )

    def _kind(self, header: bytes, name: bytes) -> EntryKind:
        mark = header[156:157]
        kind = _KINDS.get(mark)
        if kind is None:
            got = _NAMED.get(mark, f"an entry of kind {mark.decode('latin-1')!a}")
            raise self._wrong(
                "entry of an archive", "a file, a folder, a link or a device", f"{got}: {_shown(name)}"
            )
        # Before there was a mark for folders a slash was it.
        return EntryKind.FOLDER if kind is EntryKind.FILE and name.endswith(b"/") else kind

    def _extension(self, extensions: dict[bytes, bytes]) -> _Extension:
        if _PAX not in extensions:
            name, target = extensions.get(_LONG_NAME), extensions.get(_LONG_TARGET)
            return _Extension(
                name=None if name is None else _text(name),
                target=None if target is None else _text(target),
            )
        if len(extensions) > 1:
            raise self._wrong("extended header of an entry", "pax's or GNU's", "both")
        return self._pax(extensions[_PAX])

    def _pax(self, content: bytes) -> _Extension:
        records = dict(self._records(content))
        sparse = next((key for key in records if key.startswith(b"GNU.sparse.")), None)
        if sparse is not None:
            raise self._wrong(
                "entry of an archive",
                "a file, a folder, a link or a device",
                f"a sparse file: {_shown(records.get(b'GNU.sparse.name', records.get(b'path', b'')))}",
            )
        size = records.get(b"size")
        if size is not None and re.fullmatch(rb"[0-9]{1,18}", size) is None:
            raise self._wrong("size of an entry", "a decimal number", _shown(size))
        return _Extension(
            name=records.get(b"path"),
            target=records.get(b"linkpath"),
            size=None if size is None else int(size),
        )

    def _records(self, content: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Pairs of a pax header; an empty value takes the pair away, so the plain header counts again."""
        found: dict[bytes, bytes] = {}
        at = 0
        while at < len(content):
            match = _PAX_RECORD.match(content, at)
            end = at + int(match[1]) if match else 0
            if match is None or end > len(content) or end <= match.end() or content[end - 1] != ord("\n"):
                raise self._wrong("extended header of an entry", "LENGTH KEY=VALUE", _shown(content[at:]))
            key, value = match[2], content[match.end() : end - 1]
            if key in {b"path", b"linkpath"} and b"\0" in value:
                raise self._wrong("path of an entry", "no NUL", _shown(value))
            found.pop(key, None)
            if value:
                found[key] = value
            at = end
        yield from found.items()

    def _number(self, field: bytes, what: str) -> int:
        """Octal digits or, of GNU, a big-endian number behind a set bit."""
        if field[0] & 0x80:
            value = int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
            negative = bool(field[0] & 0x40)
        else:
            match = _OCTAL.fullmatch(field)
            value, negative = (int(match[1] or b"0", 8), False) if match else (0, True)
        if negative or value > _LARGEST:
            raise self._wrong(f"{what} of an entry", "a number", _shown(field))
        return value

    def _exactly(self, size: int) -> bytes:
        data = self._upto(size)
        if len(data) < size:
            raise self._cut()
        return data

    def _upto(self, size: int) -> bytes:
        """``size`` bytes, or fewer where the archive ends."""
        data = self._source.read(size) if size else b""
        while data and len(data) < size and (more := self._source.read(size - len(data))):
            data += more
        self._position += len(data)
        return data

    def _cut(self) -> FormatError:
        return self._wrong("tar archive", "all of it", f"the end after {self._position} bytes")

    def _wrong(self, subject: str, expected: str, got: str) -> FormatError:
        return FormatError(
            subject, expected=expected, got=got, where=f"{self._where}, before byte {self._position}"
        )


def _has_checksum(header: bytes, said: int) -> bool:
    """Whether the sum of all bytes is right, with spaces in the place of the sum itself."""
    total = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if said == total:
        return True
    # Old programs summed signed characters.
    blank = header[:148] + header[156:]
    return said == total - 256 * sum(byte > 127 for byte in blank)


def _plain_name(header: bytes) -> bytes:
    """The name of a header without extensions: ustar divides it in two, Star a little further in front."""
    name = _text(header[:100])
    if header[257:263] != b"ustar\0":
        return name
    prefix = _text(header[345:476] if header[508:512] == b"tar\0" else header[345:500])
    return prefix + b"/" + name if prefix else name


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _shown(data: bytes) -> str:
    """Bytes of a stranger in a message."""
    return ascii(data[:100].decode("utf-8", "backslashreplace"))
