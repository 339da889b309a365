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
    files = 0
    size = 0
    left_out: list[str] = []
    for host, path in _everything(interpreter, environment):
        files += 1
        size += host.stat().st_size
        if host not in taken:
            left_out.append(path)
    return Considered(files=files, size=size, left_out=tuple(sorted(set(left_out))))


def _everything(interpreter: Interpreter, environment: tuple[Path, ...]) -> Iterator[tuple[Path, str]]:
    yield interpreter.executable, interpreter_path(interpreter.version)
    if interpreter.libpython is not None:
        yield interpreter.libpython, f"{PYTHON_HOME}/lib/{interpreter.libpython.name}"
    stdlib = standard_library(interpreter.version)
    yield from _below(interpreter.stdlib, stdlib)
    if not interpreter.dynload.is_relative_to(interpreter.stdlib):
        yield from _below(interpreter.dynload, f"{stdlib}/lib-dynload")
    for folder in environment:
        yield from _below(folder, site_packages(interpreter.version))


def _below(folder: Path, path: str) -> Iterator[tuple[Path, str]]:
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in _ENVIRONMENTS)
        for name in sorted(names):
            file = Path(here, name)
            if file.is_file() and not file.is_symlink():
                yield file, f"{path}/{file.relative_to(folder).as_posix()}"
