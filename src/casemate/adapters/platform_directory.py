"""A simulated platform in a folder, so that several commands can run on the same one.

The folder holds private keys. They protect nothing but a simulation; they are kept from other users all the
same, so that nobody has to think about which keys of a machine are real.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import datetime
from pathlib import Path

from casemate.errors import ToolchainError, UsageError
from casemate.simulator.platform import SimulatedPlatform

#: Larger files are not those of a platform, in bytes.
_MAX_FILE_SIZE = 1 << 20


def save_platform(platform: SimulatedPlatform, folder: Path) -> None:
    """Write ``platform`` into a new folder: whole, or not at all.

    Raises:
        UsageError: The folder exists already; its platform may have sealed something.
        ToolchainError: It cannot be written.
    """
    if folder.exists():
        raise UsageError(
            "folder of the simulated platform",
            expected="a folder that does not exist yet",
            got="one that does",
            where=str(folder),
            hint="Remove it, or name another one. What was sealed on its platform opens on no other.",
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for name, content in platform.to_files().items():
                _write_private(draft / name, content)
            draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    except OSError as error:
        raise ToolchainError(
            "simulated platform", expected="a folder to write", got=str(error), where=str(folder)
        ) from error


def load_platform(folder: Path) -> SimulatedPlatform:
    """Read what :func:`save_platform` wrote.

    Raises:
        ToolchainError: The folder cannot be read.
        FormatError: A file is missing, or is not what its name says.
    """
    try:
        files = {path.name: _read(path) for path in sorted(folder.iterdir()) if path.is_file()}
    except OSError as error:
        raise ToolchainError(
            "simulated platform",
            expected="a folder that was made for one",
            got=error.strerror or str(error),
            where=str(folder),
        ) from error
    if not files:
        raise ToolchainError(
            "simulated platform",
            expected="a folder that was made for one",
            got="one without files",
            where=str(folder),
            hint="name a folder that does not exist yet, and one is made there",
        )
    return SimulatedPlatform.from_files(files)


def open_platform(folder: Path, now: datetime) -> SimulatedPlatform:
    """The platform in ``folder``; a fresh one, saved there, when the folder does not exist.

    Args:
        folder: Its folder.
        now: When a fresh one is endorsed; its endorsements end 30 days later.

    Raises:
        ToolchainError: The folder cannot be read or made.
        FormatError: A file is missing, or is not what its name says.
    """
    if not folder.exists():
        save_platform(SimulatedPlatform.create(now), folder)
    return load_platform(folder)


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_FILE_SIZE)
