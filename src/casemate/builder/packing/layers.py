"""Layers of an image: tar archives whose bytes follow from their files and nothing else.

OCI Image Format 1.1.0, ``layer.md``. Files sorted by path, each folder before what it holds, owner 0, mode
0644 or 0755 (folders 0755), one time for all. Headers are ustar's; a name that ustar cannot hold gets a pax
record with nothing but the name. They are written here, field by field, because those of :mod:`tarfile` have
changed between versions of Python; uncompressed, because compressors differ, too.
"""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from casemate.errors import FormatError, ToolchainError

_BLOCK: Final = 512
_FOLDER: Final = b"5"
_FILE: Final = b"0"
_PAX: Final = b"x"
#: name, mode, uid, gid, size, mtime, checksum, type, (link), magic and version, (names of owner), device,
#: prefix
_USTAR: Final = struct.Struct("100s8s8s8s12s12s8sc100x8s64x8s8s155s12x")
#: ``layer.md``, "Whiteouts": an entry of that name removes files of lower layers.
_WHITEOUT: Final = ".wh."
_LONGEST_NAME: Final = 100
_LONGEST_PREFIX: Final = 155


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFile:
    """A regular file of a layer.

    Attributes:
        path: Absolute, in the image.
        content: The bytes, or the file that holds them.
        executable: Mode 0755 rather than 0644.
        sha256: Digest that the content must have, hexadecimal; ``None`` for bytes.
    """

    path: str
    content: bytes | Path
    executable: bool = False
    sha256: str | None = None


def layer_chunks(files: Iterable[LayerFile], mtime: int) -> Iterator[bytes]:
    """The bytes of a layer, file by file.

    Args:
        files: No two of one path.
        mtime: Seconds since 1970 that every entry carries.

    Raises:
        ToolchainError: A file has changed since it was hashed.
    """
    known: set[PurePosixPath] = set()
    for file in sorted(files, key=lambda file: file.path):
        for folder in reversed(PurePosixPath(file.path).parents):
            if folder not in known and folder != PurePosixPath("/"):
                known.add(folder)
                yield _header(folder, mtime, _FOLDER, 0o755, 0)
        content = _read(file)
        mode = 0o755 if file.executable else 0o644
        yield _header(PurePosixPath(file.path), mtime, _FILE, mode, len(content))
        yield content
        yield bytes(-len(content) % _BLOCK)
    yield bytes(2 * _BLOCK)


def _read(file: LayerFile) -> bytes:
    content = file.content if isinstance(file.content, bytes) else file.content.read_bytes()
    if file.sha256 is not None and hashlib.sha256(content).hexdigest() != file.sha256:
        raise ToolchainError(
            "file that goes into the image",
            expected=f"what was hashed, {file.sha256}",
            got="other bytes",
            where=str(file.content),
            hint="something wrote to it during the build; build again",
        )
    return content


def _header(path: PurePosixPath, mtime: int, kind: bytes, mode: int, size: int) -> bytes:
    """A ustar header, behind a pax one where ustar cannot hold the name (POSIX.1-2017, pax)."""
    name = str(path.relative_to("/")) + ("/" if kind == _FOLDER else "")
    split = _split(name)
    if split is not None:
        return _ustar(*split, mtime, kind, mode, size)
    record = _pax_record(name)
    padding = bytes(-len(record) % _BLOCK)
    extended = _ustar(b"", b"PaxHeader", mtime, _PAX, 0o644, len(record)) + record + padding
    return extended + _ustar(b"", b"see PaxHeader", mtime, kind, mode, size)


def _split(name: str) -> tuple[bytes, bytes] | None:
    """``name`` as prefix and name of ustar: at most 155 and 100 bytes of ASCII, divided at a slash."""
    if not name.isascii():
        return None
    if len(name) <= _LONGEST_NAME:
        return b"", name.encode()
    at = name.find("/", len(name) - _LONGEST_NAME - 1, len(name) - 1)
    if not 0 < at <= _LONGEST_PREFIX:
        return None
    return name[:at].encode(), name[at + 1 :].encode()


def _pax_record(name: str) -> bytes:
    """``LENGTH path=NAME``, where LENGTH counts itself."""
    rest = b" path=" + name.encode() + b"\n"
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length += 1
    return str(length).encode() + rest


def _ustar(prefix: bytes, name: bytes, mtime: int, kind: bytes, mode: int, size: int) -> bytes:
    if size >= 1 << 33:
        raise ToolchainError("size of a file", expected="less than 8 GiB", got=str(size), where=name.decode())
    numbers = (b"%07o" % mode, b"0000000", b"0000000", b"%011o" % size, b"%011o" % mtime)
    device = (b"0000000", b"0000000")
    blank = _USTAR.pack(name, *numbers, b" " * 8, kind, b"ustar\x0000", *device, prefix)
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEntry:
    """A folder or a regular file of a layer.

    Attributes:
        parts: Of its path, relative to the root of the image; never ``..``.
        content: ``None`` for a folder.
        executable: Whether the owner may run it.
    """

    parts: tuple[str, ...]
    content: bytes | None
    executable: bool

    @property
    def path(self) -> str:
        """Absolute, in the image."""
        return "/" + "/".join(self.parts)


def layer_entries(data: bytes, where: str) -> Iterator[LayerEntry]:
    """Entries of a layer in their order; only what Casemate writes is read.

    Args:
        data: The layer.
        where: Its name, for errors.

    Raises:
        FormatError: Not a tar archive; an entry that is a link or a device, or names a path outside of the
            image or one by which a layer deletes files of others.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for entry in archive:
                stream = archive.extractfile(entry) if entry.isreg() else None
                yield _entry(entry, stream.read() if stream is not None else None, where)
    # Besides its own errors tarfile lets out those of the numbers and texts that it reads.
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise FormatError(
            "layer of the image", expected="a tar archive", got=str(error), where=where
        ) from error


def _entry(entry: tarfile.TarInfo, content: bytes | None, where: str) -> LayerEntry:
    parts = PurePosixPath(entry.name).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in entry.name:
        raise FormatError(
            "path in a layer", expected="one inside the image", got=ascii(entry.name), where=where
        )
    if parts[-1].startswith(_WHITEOUT):
        raise FormatError("path in a layer", expected="no whiteout", got=ascii(entry.name), where=where)
    if not (entry.isreg() or entry.isdir()):
        raise FormatError(
            "entry of a layer", expected="a folder or a regular file", got=ascii(entry.name), where=where
        )
    return LayerEntry(parts=parts, content=content, executable=bool(entry.mode & 0o100))
