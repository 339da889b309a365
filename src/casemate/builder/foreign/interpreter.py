"""Which interpreter of an image runs the application: the one that its command line leads to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from posixpath import basename
from typing import Final

from casemate.builder.foreign.root import DEFAULT_PATH, ImageRoot
from casemate.errors import ProjectError

_PYTHON: Final = re.compile(r"python(3(\.\d+)?)?")
#: What to look for when the command line does not lead to an interpreter.
_USUAL: Final = ("python3", "python")
_FIRST_LINE: Final = 4096


def find_interpreter(root: ImageRoot, argv: Sequence[str], env: Mapping[str, str], folder: str) -> str:
    """The absolute path of the interpreter in the image; that of a virtual environment stays its own.

    Args:
        root: The image.
        argv: Programs and arguments of its start; the first that is Python, or is a script for it, decides.
        env: Its environment.
        folder: Its working folder.

    Raises:
        ProjectError: There is none.
    """
    search = env.get("PATH", DEFAULT_PATH)
    for word in (*argv, *_USUAL):
        program = root.program(word, search, folder) if _may_be_program(word) else None
        python = _python(root, program, search) if program is not None else None
        if python is not None:
            return python
    raise ProjectError(
        "Python in the image",
        expected="a program python3",
        got="none",
        where=f"PATH={search}",
        hint="build from an image whose application is written in Python",
    )


def _may_be_program(word: str) -> bool:
    return bool(word) and not word.startswith("-") and word.isprintable() and len(word) < _FIRST_LINE


def _python(root: ImageRoot, program: str, search: str) -> str | None:
    """``program`` itself, or the interpreter that its first line names."""
    if _PYTHON.fullmatch(basename(program)):
        return program
    with root.file(program).open("rb") as stream:
        line = stream.readline(_FIRST_LINE)
    if not line.startswith(b"#!"):
        return None
    words = line[2:].decode(errors="replace").split()
    if len(words) > 1 and basename(words[0]) == "env":
        words = [word for word in words[1:] if not word.startswith("-")]
    if not words or not _PYTHON.fullmatch(basename(words[0])):
        return None
    return root.program(words[0], search)


def home_folder(root: ImageRoot, user: str, env: Mapping[str, str]) -> str:
    """The home of the image's user, below which ``pip install --user`` puts distributions."""
    if env.get("HOME", "").startswith("/"):
        return env["HOME"]
    name = user.partition(":")[0] or "root"
    if root.identity("/etc/passwd") is not None:
        for line in root.read("/etc/passwd").decode(errors="replace").splitlines():
            fields = line.split(":")
            if len(fields) == 7 and name in (fields[0], fields[2]) and fields[5].startswith("/"):
                return fields[5]
    return "/root" if name in {"root", "0"} else "/"
