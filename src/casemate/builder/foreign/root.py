"""The unpacked root file system of an image, as a container of it would see it.

A link in an image can name any file of the build host: ``/srv/app/data -> /etc/shadow`` means the image's own
file in a container and the host's here. :func:`seal` therefore rewrites every link of the unpacked copy to
the place that it has inside, relative and without further links on the way, so that the operating system
follows it to the same file as in a container, whoever opens it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from posixpath import join, normpath, relpath
from typing import Final

from casemate.builder.trusted.chroot import resolve
from casemate.errors import ProjectError

#: Where programs are looked for when the image's environment does not say: Docker's own default.
DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: What :mod:`casemate.sources` unpacks; a file of this machine has a longer path.
_LONGEST_PATH: Final = 3072
_LONGEST_NAME: Final = 255
_SHOWN: Final = 80


def seal(folder: Path) -> None:
    """Make a private copy of a root file system one that no path leads out of.

    Links get the meaning that they have inside; those that lead nowhere, and whatever is neither file, folder
    nor link, are removed: no enclave opens them.

    Args:
        folder: The copy. Nobody else changes it meanwhile.
    """
    for here, folders, names in os.walk(folder):
        place = "/" + os.path.relpath(here, folder) if here != str(folder) else "/"
        for name in (*folders, *names):
            file = Path(here, name)
            mode = file.lstat().st_mode
            if stat.S_ISLNK(mode):
                _contain(file, join(place, name), folder)
            elif not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                file.unlink()


def _contain(link: Path, path: str, folder: Path) -> None:
    try:
        target = resolve(path, chroot=str(folder))
    except OSError:
        target = ""
    if not target or not os.path.lexists(f"{folder}{target}"):
        link.unlink()
        return
    inside = relpath(target, PurePosixPath(path).parent)
    if str(link.readlink()) != inside:
        link.unlink()
        link.symlink_to(inside)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRoot:
    """A sealed root, and folders of this machine that stand beside it.

    It is what a dynamic loader in a container would see
    (:class:`casemate.builder.native.loader.LibraryFiles`).

    Attributes:
        folder: The root on this machine, sealed.
        beside: Folders of this machine by the absolute path under which the image's programs see them.
    """

    folder: Path
    beside: Mapping[str, Path] = field(default_factory=dict)

    def file(self, path: str) -> Path:
        """The file of this machine for a path of the image, from its root on; it need not exist.

        Raises:
            ProjectError: No file can have such a path.
        """
        _require_possible(path)
        # What does not begin at the root could, put together, climb out of it.
        path = "/" + path.lstrip("/")
        path = normpath(path) if ".." not in path else _resolved(path, self.folder)
        for place, folder in self.beside.items():
            if PurePosixPath(path).is_relative_to(place):
                return folder / PurePosixPath(path).relative_to(place)
        return self.folder / path.lstrip("/")

    def path(self, file: Path) -> str:
        """The path in the image of a file of this machine.

        Raises:
            ProjectError: It is not in the image.
        """
        for place, folder in (*self.beside.items(), ("/", self.folder)):
            if file.is_relative_to(folder):
                return str(PurePosixPath(place, file.relative_to(folder)))
        raise ProjectError("file of the image", expected="one in it", got=str(file))

    def identity(self, path: str) -> str | None:
        """A name that all paths of one regular file share; ``None`` when there is no such file."""
        file = self.file(path)
        return os.path.realpath(file) if file.is_file() else None

    def read(self, path: str) -> bytes:
        """The bytes of a file that has an identity."""
        return self.file(path).read_bytes()

    def program(self, name: str, search: str, folder: str = "/") -> str | None:
        """The absolute path of a program, as ``execvp`` finds it; ``None`` when there is none.

        Args:
            name: As the image's configuration has it.
            search: ``PATH``.
            folder: The working folder.
        """
        if "/" in name:
            places = [str(PurePosixPath(folder, name))]
        else:
            places = [str(PurePosixPath(folder, place or ".", name)) for place in search.split(":")]
        for path in places:
            file = self.file(path)
            if file.is_file() and file.stat().st_mode & 0o111:
                return normpath(path)
        return None


def _require_possible(path: str) -> None:
    """Refuse what the operating system would not even look for."""
    encoded = path.encode("utf-8", "surrogatepass")
    if (
        len(encoded) > _LONGEST_PATH
        or any(len(part) > _LONGEST_NAME for part in encoded.split(b"/"))
        or b"\0" in encoded
    ):
        raise ProjectError(
            "path of the image",
            expected=f"no NUL, at most {_LONGEST_PATH} bytes, and {_LONGEST_NAME} between slashes",
            got=ascii(path[:_SHOWN])[1:-1] + ("…" if len(path) > _SHOWN else ""),
        )


def _resolved(path: str, folder: Path) -> str:
    """A path with ``..`` in it, which after a link leads elsewhere than it reads."""
    try:
        return resolve(path, chroot=str(folder))
    except OSError:
        return normpath(path)
