"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import NamedTemporaryFile

from casemate.errors import ToolchainError


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
