"""Folders in which nobody but the user has a say."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Final

_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_own_folder(path: str, parent: int | None = None) -> int:
    """A descriptor of a folder that only the user can look into and change; it is made where there is none.

    Without ``parent`` the folder around it is one in which no other user could put another in its place.

    Args:
        path: The folder, no link.
        parent: Descriptor of the folder to which ``path`` is relative; its own parents are made without one.

    Raises:
        OSError: There is something else, it is another user's, or others have rights in it or around it.
    """
    if parent is None:
        around = os.path.dirname(path) or "."  # noqa: PTH120 - as below
        os.makedirs(around, mode=0o700, exist_ok=True)  # noqa: PTH103
        _require_own_names(around)
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


def _require_own_names(folder: str) -> None:
    """See that nobody but the user and root can rename what is in ``folder``.

    Its group is not looked at: where each user has one, home folders are open to it.
    """
    status = os.stat(folder)  # noqa: PTH116 - as above
    if status.st_uid not in {0, os.geteuid()}:
        raise PermissionError(None, "the folder around it belongs to another user")
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise PermissionError(None, "others can change the folder around it")
