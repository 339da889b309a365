"""Folders in which nobody but the user has a say."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Final

_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_own_folder(path: str, parent: int | None = None) -> int:
    """A descriptor of a folder that only the user can look into and change; it is made where there is none.

    Args:
        path: The folder, no link.
        parent: Descriptor of the folder to which ``path`` is relative; its own parents are made without one.

    Raises:
        OSError: There is something else, it is another user's, or others have rights in it.
    """
    if parent is None:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)  # noqa: PTH103, PTH120 - as below
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700, dir_fd=parent)
    descriptor = os.open(path, _FLAGS, dir_fd=parent)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise PermissionError(None, "it belongs to another user")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(None, "others can look into it, or change it")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
