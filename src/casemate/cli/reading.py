"""Files that a command line names."""

from __future__ import annotations

from pathlib import Path

from casemate.errors import ToolchainError


def read_file(path: Path) -> bytes:
    """The bytes of ``path``.

    Raises:
        ToolchainError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ToolchainError("file cannot be read", got=error.strerror, where=str(path)) from error
