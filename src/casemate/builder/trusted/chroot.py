"""Paths of a tree that is to be somebody's root, found from outside of it.

Links in the tree mean what they will mean inside: an absolute one begins at the tree's root, and ``..`` at
the root stays there. The operating system would follow them out of the tree.

Not checked: that nobody changes the tree meanwhile.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path, PurePosixPath

#: As many links as Linux follows in one path (path_resolution(7)).
MAX_LINKS = 40


def resolve(path: str, *, chroot: str) -> str:
    """``path``, which begins at the root of the tree, without links; the last part need not exist.

    Raises:
        OSError: ``ELOOP`` for links that lead back or are too many, ``ENOTDIR`` for a path through a file,
            ``ENOENT`` for one through nothing.
    """
    links = 0
    inner: list[str] = []
    parts = list(reversed(PurePosixPath(path).parts))
    while parts:
        part = parts.pop()
        if part.startswith("/"):
            inner.clear()
        elif part == "..":
            del inner[-1:]
        else:
            inner.append(part)
            outer = Path(chroot, *inner)
            if outer.is_symlink():
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                inner.pop()
                parts += reversed(outer.readlink().parts)
            elif parts and not outer.is_dir():
                number = errno.ENOTDIR if os.path.lexists(outer) else errno.ENOENT
                raise OSError(number, os.strerror(number), path)
    return "/" + "/".join(inner)


def outside(path: str, *, chroot: str) -> str:
    """The place on this machine of what is at ``path`` in the tree.

    Raises:
        OSError: As :func:`resolve`.
    """
    return str(PurePosixPath(chroot) / resolve(path, chroot=chroot)[1:])
