"""A Docker archive as a place where files are found by name."""

from __future__ import annotations

import io
import posixpath
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from casemate.errors import FormatError, ToolchainError
from casemate.formats.oci import SIZE_LIMIT
from casemate.formats.tar_entries import ByteSource, EntryKind, TarEntry, TarReader
from casemate.sources.files import FileRange, opened
from casemate.sources.layer import LayerStream
from casemate.sources.limits import UnpackLimits

#: Files in an archive; an image has one or three for each layer.
_MOST_MEMBERS: Final = 100_000
#: Links that lead to links; Docker writes links for layers that occur twice.
_MOST_LINKS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Bytes in a file.

    Attributes:
        path: The file.
        offset: Where they begin.
        size: How many there are.
    """

    path: Path
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A tar archive whose members are known.

    Attributes:
        path: The archive, uncompressed.
        where: Its name, for errors.
        members: Entries by their normal names.
    """

    path: Path
    where: str
    members: Mapping[str, TarEntry]

    @classmethod
    def open(cls, path: Path, work: Path, limits: UnpackLimits) -> Archive:
        """Find out what is in an archive; a compressed one is decompressed into ``work``.

        Raises:
            FormatError: No archive, or one that is larger than allowed.
            ToolchainError: It cannot be read, or ``work`` not be written.
        """
        where = str(path)
        try:
            with opened(path, "Docker archive") as file, _plain(path, file, work, limits) as (place, source):
                return cls(path=place, where=where, members=_members(source, where))
        except OSError as error:
            raise ToolchainError("Docker archive cannot be read", got=error.strerror, where=where) from error

    def has(self, name: str) -> bool:
        """Whether there is a file ``name``."""
        return name in self.members

    def read(self, name: str, subject: str) -> bytes:
        """A document.

        Raises:
            FormatError: There is none of this name, or it is too large.
            ToolchainError: It cannot be read.
        """
        stored = self.find(name, subject)
        if stored.size > SIZE_LIMIT:
            raise FormatError(
                subject, expected=f"at most {SIZE_LIMIT} bytes", got=str(stored.size), where=self._at(name)
            )
        data = bytearray()
        try:
            with opened(stored.path, subject) as file:
                source = FileRange(file, stored.offset, stored.size)
                while part := source.read(stored.size):
                    data += part
        except OSError as error:
            raise ToolchainError(f"{subject} cannot be read", got=error.strerror, where=self.where) from error
        return bytes(data)

    def find(self, name: str, subject: str) -> Stored:
        """Where the content of a member lies, through links within the archive.

        Raises:
            FormatError: There is none of this name, or no file.
        """
        at = _normal(name)
        for _ in range(_MOST_LINKS):
            entry = self.members.get(at)
            if entry is None:
                break
            if entry.kind is EntryKind.FILE:
                return Stored(path=self.path, offset=entry.offset, size=entry.size)
            target = _text(entry.target)
            if entry.kind is EntryKind.SYMLINK:
                target = posixpath.join(posixpath.dirname(at), target)
            at = _normal(target)
        raise FormatError(subject, expected="a file of the archive", got="none", where=self._at(name))

    def _at(self, name: str) -> str:
        return f"{self.where}, {ascii(name)[1:-1]}"


@contextmanager
def _plain(
    path: Path, file: io.FileIO, work: Path, limits: UnpackLimits
) -> Iterator[tuple[Path, ByteSource]]:
    """Where the archive lies uncompressed, and the bytes of it to be read."""
    size = file.seek(0, io.SEEK_END)
    stream = LayerStream(FileRange(file, 0, size), limits, where=str(path))
    if not stream.is_compressed:
        yield path, FileRange(file, 0, size)
        return
    with tempfile.NamedTemporaryFile(dir=work, prefix="docker-archive-", delete=False) as copy:
        yield Path(copy.name), _Copying(stream, copy)


class _Copying:
    """A source that also writes what it gives."""

    def __init__(self, source: ByteSource, copy: IO[bytes]) -> None:
        self._source = source
        self._copy = copy

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self._copy.write(data)
        return data


def _members(source: ByteSource, where: str) -> dict[str, TarEntry]:
    members: dict[str, TarEntry] = {}
    for entry in TarReader(source, where=where):
        members[_normal(_text(entry.name))] = entry
        if len(members) > _MOST_MEMBERS:
            raise FormatError(
                "files in a Docker archive", expected=f"at most {_MOST_MEMBERS}", got="more", where=where
            )
    return members


def _normal(name: str) -> str:
    """A name of an archive without ``.`` and ``..``; one that leads outside is no member's."""
    return posixpath.normpath("/" + name.lstrip("/"))[1:]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
