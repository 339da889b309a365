"""Files whose content only their owner may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from casemate.errors import ServiceError


def require_private(what: str, path: Path, status: os.stat_result) -> None:
    """Refuse a file that anybody but its owner may read or write.

    Args:
        what: What the file holds, for the message.
        path: Its name, for the message.
        status: Of the file as it was opened.

    Raises:
        ServiceError: It has a permission for its group or for others.
    """
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise ServiceError(
            what,
            expected="permissions 0600",
            got=f"{mode:04o}",
            where=str(path),
            hint=f"chmod 600 {path}, and ask who has read it",
        )
