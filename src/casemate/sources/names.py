"""What the names in a layer mean: places in the image, files that are deleted, or nothing we can keep."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from casemate.errors import FormatError
from casemate.sources.limits import UnpackLimits

#: OCI Image Format, layer.md, "Whiteouts".
_WHITEOUT: Final = b".wh."
_OPAQUE: Final = b".wh..wh..opq"
#: Of aufs, which wrote its own books into layers.
_BOOKKEEPING: Final = b".wh..wh."
#: What Linux's file systems allow in one part of a path (NAME_MAX).
_LONGEST_PART: Final = 255
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")

Parts = tuple[bytes, ...]


class Unwritable(Enum):
    """Why a name cannot be kept: nobody could write it into a manifest."""

    NOT_UTF8 = "its name is not UTF-8"
    CONTROL_CHARACTER = "its name has a control character"


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere in the image; the root has no parts."""

    parts: Parts


@dataclass(frozen=True, slots=True)
class Whiteout:
    """A file or folder of lower layers that is deleted."""

    parts: Parts


@dataclass(frozen=True, slots=True)
class Opaque:
    """A folder whose contents from lower layers are deleted."""

    parts: Parts


def read_name(
    name: bytes, limits: UnpackLimits, *, where: str
) -> Place | Whiteout | Opaque | Unwritable | None:
    """What a name in a layer means; ``None`` for the bookkeeping of aufs, which means nothing.

    Slashes at the beginning are taken away, and so are ``.`` and empty parts.

    Raises:
        FormatError: A name with ``..``, one that is too long or too deep, or one that begins as a deletion
            and names nothing.
    """
    parts = _parts(name, limits, where)
    if any(part.startswith(_BOOKKEEPING) and part != _OPAQUE for part in parts):
        return None
    unwritable = unwritable_text(name)
    if unwritable is not None:
        return unwritable
    *folder, last = parts or (b"",)
    if any(part.startswith(_WHITEOUT) for part in folder):
        raise _wrong("a folder without the mark of deletions", name, where)
    if last == _OPAQUE:
        return Opaque(tuple(folder))
    if last.startswith(_WHITEOUT):
        deleted = last.removeprefix(_WHITEOUT)
        if deleted in {b"", b".", b".."}:
            raise _wrong("the name of a file behind the mark of deletions", name, where)
        return Whiteout((*folder, deleted))
    return Place(parts)


def target_parts(target: bytes, limits: UnpackLimits, *, where: str) -> Parts:
    """The parts of the path to which a hard link leads, from the root of the image.

    Raises:
        FormatError: As :func:`read_name`.
    """
    return _parts(target, limits, where)


def unwritable_text(text: bytes) -> Unwritable | None:
    """Why ``text`` cannot be kept, if so."""
    if _CONTROL.search(text) is not None:
        return Unwritable.CONTROL_CHARACTER
    try:
        text.decode()
    except UnicodeDecodeError:
        return Unwritable.NOT_UTF8
    return None


def shown(name: bytes) -> str:
    """A name in a message or a note."""
    return name[:200].decode("utf-8", "backslashreplace").encode("unicode_escape").decode("ascii")


def _parts(name: bytes, limits: UnpackLimits, where: str) -> Parts:
    parts = tuple(part for part in name.split(b"/") if part not in {b"", b"."})
    if b".." in parts:
        raise _wrong("one inside the image, without ..", name, where)
    if len(name) > limits.path_bytes or any(len(part) > _LONGEST_PART for part in parts):
        raise _wrong(f"at most {limits.path_bytes} bytes, and {_LONGEST_PART} between slashes", name, where)
    if len(parts) > limits.depth:
        raise _wrong(f"at most {limits.depth} parts", name, where)
    return parts


def _wrong(expected: str, name: bytes, where: str) -> FormatError:
    return FormatError("path in a layer", expected=expected, got=shown(name), where=where)
