"""What the kernel asks of a FUSE file system server: bytes to values."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

from casemate.errors import FormatError

#: The node that the kernel knows without asking.
ROOT_NODE: Final = 1

_HEADER = struct.Struct("<IIQQIIIHH")


class Opcode(IntEnum):
    """The requests that have a body of their own here; every other number becomes :class:`Other`."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    DESTROY = 38
    BATCH_FORGET = 42


class InitFlag(IntFlag):
    """Capabilities of ``INIT``: the kernel offers, the server takes."""

    ASYNC_READ = 1 << 0
    ATOMIC_O_TRUNC = 1 << 3
    BIG_WRITES = 1 << 5
    PARALLEL_DIROPS = 1 << 18
    MAX_PAGES = 1 << 22
    CACHE_SYMLINKS = 1 << 23


class OpenFlag(IntFlag):
    """What the kernel may do with an open file."""

    NONE = 0
    DIRECT_IO = 1 << 0
    KEEP_CACHE = 1 << 1
    CACHE_DIR = 1 << 3


class SetAttribute(IntFlag):
    """Which fields a ``SETATTR`` sets, as far as they are told apart."""

    MODE = 1 << 0
    SIZE = 1 << 3
    ATIME = 1 << 4
    MTIME = 1 << 5


@dataclass(frozen=True, slots=True)
class Init:
    """The first request: what the kernel speaks."""

    major: int
    minor: int
    max_readahead: int
    flags: int


@dataclass(frozen=True, slots=True)
class Lookup:
    """Find ``name`` in the directory ``node``."""

    name: bytes


@dataclass(frozen=True, slots=True)
class GetAttributes:
    """Describe ``node``."""


@dataclass(frozen=True, slots=True)
class SetAttributes:
    """Change ``node``; ``size`` counts only when ``valid`` has :attr:`SetAttribute.SIZE`."""

    valid: int
    size: int


@dataclass(frozen=True, slots=True)
class ReadLink:
    """Where the symbolic link ``node`` points."""


@dataclass(frozen=True, slots=True)
class Open:
    """Open the file ``node`` with the flags of open(2)."""

    flags: int


@dataclass(frozen=True, slots=True)
class Create:
    """Create ``name`` in the directory ``node`` and open it."""

    flags: int
    mode: int
    name: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """Make ``name`` in the directory ``node``, or remove it (``MKNOD``, ``MKDIR``, ``UNLINK``, ``RMDIR``)."""

    name: bytes


@dataclass(frozen=True, slots=True)
class Read:
    """Read at most ``size`` bytes of an open file."""

    handle: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class Write:
    """Write into an open file."""

    handle: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StatFs:
    """Describe the file system."""


@dataclass(frozen=True, slots=True)
class Release:
    """The last user of an open file is gone."""

    handle: int


@dataclass(frozen=True, slots=True)
class Flush:
    """A descriptor of an open file is closed."""

    handle: int


@dataclass(frozen=True, slots=True)
class OpenDirectory:
    """Open the directory ``node``."""

    flags: int


@dataclass(frozen=True, slots=True)
class ReadDirectory:
    """Entries of an open directory from ``offset`` on, at most ``size`` bytes of them."""

    handle: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ReleaseDirectory:
    """The last user of an open directory is gone."""

    handle: int


@dataclass(frozen=True, slots=True)
class Access:
    """access(2) with ``mask``."""

    mask: int


@dataclass(frozen=True, slots=True)
class Forget:
    """The kernel drops ``(node, lookups)``; never answered."""

    dropped: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Whoever waits for the answer to ``unique`` has had a signal."""

    unique: int


@dataclass(frozen=True, slots=True)
class Destroy:
    """The file system is unmounted."""


@dataclass(frozen=True, slots=True)
class Other:
    """A request that a rehearsal does not serve; its body is not read."""

    opcode: int


Body = (
    Init
    | Lookup
    | GetAttributes
    | SetAttributes
    | ReadLink
    | Open
    | Create
    | Change
    | Read
    | Write
    | StatFs
    | Release
    | Flush
    | OpenDirectory
    | ReadDirectory
    | ReleaseDirectory
    | Access
    | Forget
    | Interrupt
    | Destroy
    | Other
)


@dataclass(frozen=True, slots=True)
class Request:
    """One request of the kernel (``fuse_in_header`` and what follows it).

    Attributes:
        unique: Number that the reply repeats.
        node: The node that the request is about.
        pid: Thread that asks, as numbered in the PID namespace of the process that mounted; 0 when it has no
            number there.
        body: What it asks.
    """

    unique: int
    node: int
    pid: int
    body: Body


def parse_request(data: bytes) -> Request:
    """One request, as one read(2) of ``/dev/fuse`` gives it.

    Raises:
        FormatError: The bytes are shorter than the request they announce, or longer, or a name does not end
            where it must.
    """
    if len(data) < _HEADER.size:
        raise FormatError("FUSE request", expected=f"at least {_HEADER.size} bytes", got=str(len(data)))
    length, opcode, unique, node, _uid, _gid, pid, _extensions, _padding = _HEADER.unpack_from(data)
    if length != len(data):
        raise FormatError("FUSE request length", expected=str(length), got=str(len(data)), where="offset 0")
    parser = _PARSERS.get(opcode)
    body: Body = Other(opcode) if parser is None else parser(data, node)
    return Request(unique, node, pid, body)


def _fixed(layout: str, build: Callable[..., Body], *, longer: bool = False) -> Callable[[bytes, int], Body]:
    """A parser of a body of fixed layout; ``longer`` bodies keep fields that are not read."""
    fields = struct.Struct("<" + layout)
    size = _HEADER.size + fields.size

    def parse(data: bytes, node: int) -> Body:
        del node
        if len(data) < size or (len(data) > size and not longer):
            _refuse_size(data, size)
        return build(*fields.unpack_from(data, _HEADER.size))

    return parse


def _refuse_size(data: bytes, size: int) -> None:
    opcode = _HEADER.unpack_from(data)[1]
    raise FormatError(
        f"size of FUSE request {Opcode(opcode).name}", expected=f"{size} bytes", got=str(len(data))
    )


def _name(data: bytes, offset: int) -> bytes:
    """The one NUL-terminated name that fills a request from ``offset`` to its end."""
    if data.find(b"\0", offset) != len(data) - 1 or len(data) - 1 <= offset:
        raise FormatError("name in FUSE request", expected="one name, ended by NUL", where=f"offset {offset}")
    return data[offset:-1]


def _lookup(data: bytes, node: int) -> Body:
    del node
    return Lookup(_name(data, _HEADER.size))


def _change(skipped: int) -> Callable[[bytes, int], Body]:
    """A parser of a name behind ``skipped`` bytes that are not read."""

    def parse(data: bytes, node: int) -> Body:
        del node
        return Change(_name(data, _HEADER.size + skipped))

    return parse


def _create(data: bytes, node: int) -> Body:
    del node
    if len(data) < _HEADER.size + 16:
        _refuse_size(data, _HEADER.size + 16)
    flags, mode, _umask, _open_flags = struct.unpack_from("<IIII", data, _HEADER.size)
    return Create(flags, mode, _name(data, _HEADER.size + 16))


def _write(data: bytes, node: int) -> Body:
    del node
    start = _HEADER.size + 40
    if len(data) < start:
        _refuse_size(data, start)
    handle, offset, size = struct.unpack_from("<QQI", data, _HEADER.size)
    if size != len(data) - start:
        raise FormatError("data of FUSE write", expected=f"{size} bytes", got=str(len(data) - start))
    return Write(handle, offset, data[start:])


def _forget(data: bytes, node: int) -> Body:
    if len(data) != _HEADER.size + 8:
        _refuse_size(data, _HEADER.size + 8)
    (lookups,) = struct.unpack_from("<Q", data, _HEADER.size)
    return Forget(((node, lookups),))


def _batch_forget(data: bytes, node: int) -> Body:
    del node
    start = _HEADER.size + 8
    if len(data) < start:
        _refuse_size(data, start)
    (count,) = struct.unpack_from("<I", data, _HEADER.size)
    if count * 16 != len(data) - start:
        raise FormatError("FUSE batch forget", expected=f"{count * 16} bytes", got=str(len(data) - start))
    return Forget(tuple(struct.iter_unpack("<QQ", data[start:])))


_PARSERS: Final[dict[int, Callable[[bytes, int], Body]]] = {
    Opcode.INIT: _fixed("IIII", Init, longer=True),
    Opcode.LOOKUP: _lookup,
    Opcode.FORGET: _forget,
    Opcode.BATCH_FORGET: _batch_forget,
    Opcode.GETATTR: _fixed("16x", GetAttributes),
    Opcode.SETATTR: _fixed("I4x8xQ64x", SetAttributes),
    Opcode.READLINK: _fixed("", ReadLink),
    Opcode.MKNOD: _change(16),
    Opcode.MKDIR: _change(8),
    Opcode.UNLINK: _change(0),
    Opcode.RMDIR: _change(0),
    Opcode.OPEN: _fixed("I4x", Open),
    Opcode.CREATE: _create,
    Opcode.READ: _fixed("QQI20x", Read),
    Opcode.WRITE: _write,
    Opcode.STATFS: _fixed("", StatFs),
    Opcode.RELEASE: _fixed("Q16x", Release),
    Opcode.FLUSH: _fixed("Q16x", Flush),
    Opcode.OPENDIR: _fixed("I4x", OpenDirectory),
    Opcode.READDIR: _fixed("QQI20x", ReadDirectory),
    Opcode.RELEASEDIR: _fixed("Q16x", ReleaseDirectory),
    Opcode.ACCESS: _fixed("I4x", Access),
    Opcode.INTERRUPT: _fixed("Q", Interrupt),
    Opcode.DESTROY: _fixed("", Destroy),
}
