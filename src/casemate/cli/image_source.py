"""Images that a command line names: ``oci:``, ``docker-archive:``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from casemate.errors import UsageError

if TYPE_CHECKING:
    from casemate.sources import SourceImage


def open_image(text: str, *, work: Path) -> SourceImage:
    """The image that ``text`` names, its documents checked.

    Args:
        text: ``oci:DIR[:TAG]`` or ``docker-archive:FILE[:REF]``.
        work: A folder for what has to be kept beside it, for as long as the image is used.

    Raises:
        UsageError: It is none of these, or names nothing.
        FormatError: What it names is no image for this platform.
        ToolchainError: It cannot be read.
    """
    from casemate.sources import local_source, open_local

    source = local_source(text)
    if source is None:
        raise UsageError(
            "image", expected="oci:DIR[:TAG] or docker-archive:FILE[:REF]", got=text, where="the command line"
        )
    return open_local(source, work=work)
