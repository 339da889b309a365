"""What a FUSE file system server answers: values to bytes."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from casemate.errors import FormatError
from casemate.formats.fuse.requests import Init, InitFlag, OpenFlag

MAJOR: Final = 7
#: The oldest minor version spoken, that of Linux 5.3, which is also the first with all that a rehearsal uses.
OLDEST_MINOR: Final = 31
#: The version that replies are laid out for; a kernel that speaks a later one falls back to it.
MINOR: Final = 31

_REPLY = struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
_ENTRY = struct.Struct("<QQQQII")
_ATTRIBUTES_REPLY = struct.Struct("<QII")
_OPEN_REPLY = struct.Struct("<QIi")
_INIT_REPLY = struct.Struct("<IIIIHHIIHHII24x")
_WRITE_REPLY = struct.Struct("<II")
_STATFS = struct.Struct("<QQQQQIIII24x")
_DIRECTORY_ENTRY = struct.Struct("<QQII")


def reply(unique: int, payload: bytes = b"") -> bytes:
    """A successful answer (``fuse_out_header`` and the payload)."""
    return _REPLY.pack(_REPLY.size + len(payload), 0, unique) + payload


def reply_header(unique: int, payload_length: int) -> bytes:
    """The header of a successful answer whose payload is written right behind it, without copying it."""
    return _REPLY.pack(_REPLY.size + payload_length, 0, unique)


def error(unique: int, number: int) -> bytes:
    """A refusal with a positive error ``number`` of errno(3)."""
    return _REPLY.pack(_REPLY.size, -number, unique)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What stat(2) shows (``fuse_attr``). The times are left at zero, as Gramine leaves them.

    Attributes:
        node: Inode number.
        size: Bytes.
        mode: Kind and permissions.
        links: Number of links.
        uid: Owner, as numbered in the user namespace of the mount.
        gid: Group, the same.
    """

    node: int
    size: int
    mode: int
    links: int
    uid: int
    gid: int

    def to_bytes(self) -> bytes:
        """The 88 bytes of ``fuse_attr``."""
        return _ATTRIBUTES.pack(
            *(self.node, self.size, 0, 0, 0, 0, 0, 0, 0),
            *(self.mode, self.links, self.uid, self.gid, 0, 4096, 0),
        )


def entry_payload(attributes: Attributes, *, seconds: int) -> bytes:
    """The answer to a lookup that found something; the kernel may believe it for ``seconds``."""
    return _ENTRY.pack(attributes.node, 0, seconds, seconds, 0, 0) + attributes.to_bytes()


def absent_entry_payload(*, seconds: int) -> bytes:
    """The answer to a lookup that found nothing and will find nothing for ``seconds``."""
    return _ENTRY.pack(0, 0, seconds, 0, 0, 0) + bytes(_ATTRIBUTES.size)


def attributes_payload(attributes: Attributes, *, seconds: int) -> bytes:
    """The answer to ``GETATTR`` and ``SETATTR``."""
    return _ATTRIBUTES_REPLY.pack(seconds, 0, 0) + attributes.to_bytes()


def open_payload(handle: int, flags: OpenFlag) -> bytes:
    """The answer to ``OPEN`` and ``OPENDIR``."""
    return _OPEN_REPLY.pack(handle, flags, 0)


def write_payload(size: int) -> bytes:
    """The answer to ``WRITE``: how much was taken."""
    return _WRITE_REPLY.pack(size, 0)


def statfs_payload(*, block_size: int, name_length: int) -> bytes:
    """The answer to ``STATFS`` of a file system that counts nothing."""
    return _STATFS.pack(0, 0, 0, 0, 0, block_size, name_length, block_size, 0)


def init_payload(offer: Init, *, take: InitFlag, max_write: int, max_pages: int) -> bytes:
    """The answer to ``INIT``.

    Args:
        offer: What the kernel offered; of ``take`` only what it offered is taken.
        take: Capabilities that the server wants.
        max_write: Largest write that the server reads in one request, in bytes.
        max_pages: Largest read, in pages.

    Raises:
        FormatError: The kernel's protocol is one that this codec does not speak.
    """
    if offer.major != MAJOR or offer.minor < OLDEST_MINOR:
        raise FormatError(
            "FUSE protocol of the kernel",
            expected=f"{MAJOR}.{OLDEST_MINOR} or later",
            got=f"{offer.major}.{offer.minor}",
            hint="a rehearsal needs Linux 5.3 or later",
        )
    return _INIT_REPLY.pack(
        *(MAJOR, MINOR, offer.max_readahead, int(take) & offer.flags, 0, 0),
        *(max_write, 1, max_pages, 0, 0, 0),
    )


def directory_entry(*, node: int, next_offset: int, mode: int, name: bytes) -> bytes:
    """One entry of a ``READDIR`` answer, padded to eight bytes.

    Args:
        node: Inode number.
        next_offset: Offset that continues behind this entry.
        mode: Kind of the file, as in ``st_mode``.
        name: Its name.
    """
    plain = _DIRECTORY_ENTRY.pack(node, next_offset, len(name), (mode >> 12) & 0o17) + name
    return plain + bytes(-len(plain) % 8)
