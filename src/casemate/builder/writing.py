"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

from casemate.errors import ToolchainError, UsageError


def write_files(files: Mapping[Path, bytes]) -> None:
    """Write all of ``files`` beside their places, then rename them into place.

    Nothing has changed when writing fails; what is there already is replaced only by complete files. Mode
    0644 less the umask.

    Raises:
        ToolchainError: A folder that does not exist or cannot be written, a full disk.
    """
    umask = os.umask(0)
    os.umask(umask)
    with ExitStack() as leftovers:
        beside: dict[Path, Path] = {}
        for path, data in files.items():
            if path.is_dir():  # found out now, before anything else is renamed into place
                raise ToolchainError("file cannot be written", got="a folder of this name", where=str(path))
            try:
                with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as draft:
                    leftovers.callback(Path(draft.name).unlink, missing_ok=True)
                    draft.write(data)
                Path(draft.name).chmod(0o644 & ~umask)
            except OSError as error:
                raise ToolchainError("file cannot be written", got=error.strerror, where=str(path)) from error
            beside[path] = Path(draft.name)
        for path, draft_path in beside.items():
            try:
                draft_path.replace(path)
            except OSError as error:
                raise ToolchainError("file cannot be written", got=error.strerror, where=str(path)) from error


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a new folder with ``files``; it appears whole or not at all. Modes 0755 and 0644 less the umask.

    Raises:
        UsageError: Something is at ``path`` already.
        ToolchainError: It cannot be written.
    """
    if os.path.lexists(path):
        raise UsageError(
            "new folder",
            expected="a name that is free",
            got="a folder" if path.is_dir() else "a file",
            where=str(path),
            hint="remove it, or name another one",
        )
    try:
        with TemporaryDirectory(prefix=f".{path.name}.", dir=path.absolute().parent) as scratch:
            draft = Path(scratch) / "new"
            draft.mkdir()
            write_files({draft / name: data for name, data in files.items()})
            draft.rename(path)
    except OSError as error:
        raise ToolchainError("folder cannot be written", got=error.strerror, where=str(path)) from error
