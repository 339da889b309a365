"""Files of a bundle that a stranger may have put there: regular ones, of a size that fits into memory."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

#: Bytes of a document or of the manifest; the largest document, ``tcb.json``, may have as many.
MOST_BYTES: Final = 256 * 1024 * 1024


def read_regular(path: Path, limit: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file; a link to one is followed.

    Args:
        path: The file.
        limit: Most bytes.

    Raises:
        OSError: It cannot be read, is no regular file, or has more bytes. ``strerror`` says which.
    """
    with open(path, "rb", opener=_open) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        data = file.read(limit + 1) if status.st_size <= limit else b""
    if max(status.st_size, len(data)) > limit:
        raise OSError(errno.EFBIG, f"more than {limit} bytes", str(path))
    return data


def _open(path: str, flags: int) -> int:
    # Not blocking: opening a pipe would wait for somebody to write into it.
    return os.open(path, flags | os.O_NONBLOCK)
