"""What a tool that converts everything would trust: interpreter and environment, whole."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from casemate.builder.closure.values import Interpreter
from casemate.builder.contents import Considered
from casemate.builder.layout import PYTHON_HOME, interpreter_path, site_packages, standard_library

#: Folders of other environments inside the standard library: what lies there is not the interpreter's.
_ENVIRONMENTS = frozenset({"site-packages", "dist-packages"})


def consider(interpreter: Interpreter, environment: tuple[Path, ...], taken: Collection[Path]) -> Considered:
    """Count every regular file, and name those that are not ``taken``.

    The packages that happen to be installed into the interpreter itself are not counted: the folders of
    ``environment`` stand in their place.
    """
    names = frozenset(map(str, taken))
    files = 0
    size = 0
    left_out: list[str] = []
    for host, path, bytes_of_file in _everything(interpreter, environment):
        files += 1
        size += bytes_of_file
        if host not in names:
            left_out.append(path)
    return Considered(files=files, size=size, left_out=tuple(sorted(set(left_out))))


def _everything(interpreter: Interpreter, environment: tuple[Path, ...]) -> Iterator[tuple[str, str, int]]:
    """Files of this machine, what the image would call them, and their bytes."""
    program = interpreter.executable
    yield str(program), interpreter_path(interpreter.version), program.stat().st_size
    library = interpreter.libpython
    if library is not None:
        yield str(library), f"{PYTHON_HOME}/lib/{library.name}", library.stat().st_size
    stdlib = standard_library(interpreter.version)
    yield from _below(str(interpreter.stdlib), stdlib)
    if not interpreter.dynload.is_relative_to(interpreter.stdlib):
        yield from _below(str(interpreter.dynload), f"{stdlib}/lib-dynload")
    for folder in environment:
        yield from _below(str(folder), site_packages(interpreter.version))


def _below(folder: str, path: str) -> Iterator[tuple[str, str, int]]:
    """Every regular file below ``folder``. Texts, not paths: these may be tens of thousands."""
    try:
        entries = os.scandir(folder)
    except OSError:  # not there, or not to be read: then no tool would trust what is in it
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _ENVIRONMENTS:
                    yield from _below(entry.path, f"{path}/{entry.name}")
            elif entry.is_file(follow_symlinks=False):
                yield entry.path, f"{path}/{entry.name}", entry.stat(follow_symlinks=False).st_size
