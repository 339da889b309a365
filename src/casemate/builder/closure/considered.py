"""What a tool that converts everything would trust, and what of it and of the application is not taken."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from casemate.builder.closure.data import application_files
from casemate.builder.closure.roots import Sources
from casemate.builder.contents import Considered
from casemate.builder.layout import (
    APPLICATION_ROOT,
    PYTHON_HOME,
    interpreter_path,
    site_packages,
    standard_library,
)

#: Folders of other environments inside the standard library: what lies there is not the interpreter's.
_ENVIRONMENTS = frozenset({"site-packages", "dist-packages"})
#: Files that can be imported by their path, but for those of tests.
_MODULE = re.compile(r"(?!tests?/)(?:[^\W\d]\w*/(?!tests?/))*(?!test_|conftest\.)[^\W\d]\w*(?<!_test)\.py")


def consider(sources: Sources, taken: Collection[Path]) -> Considered:
    """Count every regular file of interpreter and environment, and name those that are not ``taken``.

    Named, and not counted, are the application's own modules as well. The packages that happen to be
    installed into the interpreter itself are neither: the folders of the environment stand in their place.
    """
    names = frozenset(map(str, taken))
    files = 0
    size = 0
    left_out: list[str] = []
    for host, path, bytes_of_file in _everything(sources):
        files += 1
        size += bytes_of_file
        if host not in names:
            left_out.append(path)
    left_out += (path for host, path in _own_modules(sources) if host not in names)
    return Considered(files=files, size=size, left_out=tuple(sorted(set(left_out))))


def _own_modules(sources: Sources) -> Iterator[tuple[str, str]]:
    """The application's modules on this machine, and what the image would call their source."""
    for name in application_files(sources.application):
        host = sources.application / name
        if _MODULE.fullmatch(name) and not any(map(host.is_relative_to, sources.environment)):
            yield str(host), f"{APPLICATION_ROOT}/{name}"


def _everything(sources: Sources) -> Iterator[tuple[str, str, int]]:
    """Files of this machine, what the image would call them, and their bytes."""
    interpreter = sources.interpreter
    program = interpreter.executable
    yield str(program), interpreter_path(interpreter.version), program.stat().st_size
    library = interpreter.libpython
    if library is not None:
        yield str(library), f"{PYTHON_HOME}/lib/{library.name}", library.stat().st_size
    stdlib = standard_library(interpreter.version)
    yield from _below(str(interpreter.stdlib), stdlib)
    if not interpreter.dynload.is_relative_to(interpreter.stdlib):
        yield from _below(str(interpreter.dynload), f"{stdlib}/lib-dynload")
    for folder in sources.environment:
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
