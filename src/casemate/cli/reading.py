"""Files that a command line names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from casemate.errors import ToolchainError

if TYPE_CHECKING:
    from casemate.keys import RsaPublicKey


def read_file(path: Path, *, hint: str | None = None) -> bytes:
    """The bytes of ``path``.

    Args:
        path: The file.
        hint: What to do when it cannot be read.

    Raises:
        ToolchainError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ToolchainError("file cannot be read", got=error.strerror, where=str(path), hint=hint) from error


def read_public_key(path: Path) -> RsaPublicKey:
    """The public key in ``path``, PEM.

    Raises:
        ToolchainError: It cannot be read.
        FormatError: It is no public key.
    """
    from casemate.formats.public_key import parse_public_key

    return parse_public_key(read_file(path), where=str(path))
