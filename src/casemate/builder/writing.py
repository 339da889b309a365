"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from casemate.errors import ToolchainError, UsageError

#: A file that nobody else has made, or prepared as a link.
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write all of ``files`` beside their places, then rename them into place.

    Nothing has changed when writing fails; what is there already is replaced only by complete files. Mode
    0644 less the umask.

    Raises:
        ToolchainError: A folder that does not exist or cannot be written, a full disk.
    """
    with ExitStack() as leftovers:
        beside: dict[Path, Path] = {}
        for path, data in files.items():
            if path.is_dir():  # found out now, before anything else is renamed into place
                raise ToolchainError("file cannot be written", got="a folder of this name", where=str(path))
            draft = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
            try:
                descriptor = os.open(draft, _NEW, 0o644)
                leftovers.callback(draft.unlink, missing_ok=True)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
            except OSError as error:
                raise ToolchainError("file cannot be written", got=error.strerror, where=str(path)) from error
            beside[path] = draft
        for path, draft_path in beside.items():
            try:
                draft_path.replace(path)
            except OSError as error:
                raise ToolchainError("file cannot be written", got=error.strerror, where=str(path)) from error


def require_free(path: Path) -> None:
    """Refuse a name that is taken.

    Raises:
        UsageError: Something is at ``path`` already.
    """
    if os.path.lexists(path):
        raise UsageError(
            "new folder",
            expected="a name that is free",
            got="a folder" if path.is_dir() else "a file",
            where=str(path),
            hint="remove it, or name another one",
        )


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a new folder with ``files``; it appears whole or not at all. Modes 0755 and 0644 less the umask.

    Raises:
        UsageError: Something is at ``path`` already.
        ToolchainError: It cannot be written.
    """
    require_free(path)
    from tempfile import TemporaryDirectory  # noqa: PLC0415 (signatures are files, and would wait for it)

    try:
        with TemporaryDirectory(prefix=f".{path.name}.", dir=path.absolute().parent) as scratch:
            draft = Path(scratch) / "new"
            draft.mkdir()
            write_files({draft / name: data for name, data in files.items()})
            draft.rename(path)
    except OSError as error:
        raise ToolchainError("folder cannot be written", got=error.strerror, where=str(path)) from error
