"""Files of a stranger, opened so that none of them makes us wait or gives more than it may."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from casemate.errors import FormatError, ToolchainError

_AT_ONCE: Final = 1 << 18


class FileRange:
    """Some bytes of an open file, read in order.

    Args:
        file: The file; its position moves.
        offset: Where they begin.
        size: How many there are.
    """

    def __init__(self, file: io.FileIO, offset: int, size: int) -> None:
        self._file = file
        self._left = size
        file.seek(offset)

    def read(self, size: int, /) -> bytes:
        """At most ``size`` further bytes; none only at the end."""
        data = self._file.read(min(size, self._left, _AT_ONCE)) or b""
        self._left -= len(data)
        return data


@contextmanager
def opened(path: Path, subject: str) -> Iterator[io.FileIO]:
    """The regular file at ``path``, for reading.

    Raises:
        ToolchainError: It is not there or may not be read.
        FormatError: It is another kind of file, such as one that keeps a reader waiting.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        got = (error.strerror if isinstance(error, OSError) else None) or "no path"
        raise ToolchainError(f"{subject} cannot be read", got=got, where=str(path)) from error
    with io.FileIO(descriptor) as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FormatError(subject, expected="a regular file", got="another kind of file", where=str(path))
        yield file


def read_small(path: Path, subject: str, *, limit: int) -> bytes:
    """All bytes of a regular file.

    Raises:
        ToolchainError: It is not there or cannot be read.
        FormatError: It has more than ``limit`` bytes, or is another kind of file.
    """
    try:
        with opened(path, subject) as file:
            data = bytearray()
            while len(data) <= limit and (part := file.read(limit + 1 - len(data))):
                data += part
    except OSError as error:
        raise ToolchainError(f"{subject} cannot be read", got=error.strerror, where=str(path)) from error
    if len(data) > limit:
        raise FormatError(subject, expected=f"at most {limit} bytes", got="more", where=str(path))
    return bytes(data)
