"""Files that may go into an image: those of the folders that it is made from, under names that can be read.

An application comes from a repository, and a link in it can name any file of the build host.
"""

from __future__ import annotations

from pathlib import Path

from casemate.errors import ProjectError


def require_within(file: Path, folder: Path) -> None:
    """Refuse a file below ``folder`` that lies elsewhere in truth, or whose name hides something.

    Args:
        file: As it was found.
        folder: What the image is made from; it may itself be a link.

    Raises:
        ProjectError: A link leads out of ``folder``, or a name has control characters.
    """
    name = str(file.relative_to(folder))
    if not name.isprintable():
        raise ProjectError(
            "name of a file",
            expected="no control characters",
            got=ascii(name),
            where=str(folder),
            hint="rename it: it would be listed among the trusted files, and listings would not show it",
        )
    target = file.resolve()
    if not target.is_relative_to(folder.resolve()):
        raise ProjectError(
            "file that would go into the image",
            expected=f"one that lies in {folder}",
            got=f"a link to {target}",
            where=name,
            hint="copy what the image needs into that folder, or remove the link",
        )
