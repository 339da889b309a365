"""Files and folders that the application's code names: ``BASE / "locale"``, ``open("prices.csv")``.

A file is taken when a constant names it, beside the module or in a folder around it, as far as the
application's own goes. A folder is taken only where the constant is part of a path or is given to something
that takes one, because words such as ``data`` are names of many other things. Modules in such a folder are
loaded from their path, so they are taken as source. What is named in a file of settings that is taken counts
as well. Hidden files, what the application writes, and folders of tests and documents are left alone;
``include`` takes them in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casemate.builder.closure.data import NOT_DATA_FOLDERS, application_data, is_written
from casemate.builder.closure.file_names import FileName
from casemate.builder.closure.finder import Owner, Root
from casemate.builder.closure.graph import Graph, Step
from casemate.builder.contents import Rule

#: Files of settings, which name others.
_SETTINGS: Final = frozenset({".cfg", ".conf", ".ini", ".json", ".toml", ".yaml", ".yml"})
_LARGEST_SETTINGS: Final = 256 * 1024
#: A value: what stands behind = or :, perhaps in quotes, perhaps said to be beside the file.
_VALUE: Final = re.compile(r"[=:]\s*[\"']?(?:%\(here\)s/|\./)?([\w@+-][\w@+./ -]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedFile:
    """A file that the application's code names.

    Attributes:
        file: The file of this machine.
        root: The folder on the search path in which it lies.
        by: The module that names it.
        detail: By which words, and where.
    """

    file: Path
    root: Root
    by: str
    detail: str


def find_named_files(graph: Graph) -> tuple[NamedFile, ...]:
    """The files that modules of the application name, sorted, each once; those that are no modules.

    With them the stubs that packages read.
    """
    named = (found for found in (*_named(graph), *_stubs(graph)) if found.file.suffix != ".py")
    return tuple(sorted({found.file: found for found in named}.values(), key=lambda found: found.file))


def _stubs(graph: Graph) -> Iterator[NamedFile]:
    """Stubs that packages read while they run, to know where their names are (``lazy_loader``)."""
    for name, node in graph.nodes.items():
        root, file = node.found.root, node.found.file
        if node.scan.has_stub and root is not None and file is not None:
            stub = file.with_suffix(".pyi")
            if stub.is_file():
                yield NamedFile(file=stub, root=root, by=name, detail=f"{name} reads its stub")


def add_named_modules(graph: Graph) -> None:
    """Reach the modules that lie in folders which the application's code names."""
    for found in list(_named(graph)):
        if found.file.suffix == ".py":
            module = ".".join(found.file.relative_to(found.root.host).with_suffix("").parts)
            if graph.add(module, Step(rule=Rule.HIDDEN_IMPORT, by=found.by, detail=found.detail)):
                graph.by_path.add(module)


def _named(graph: Graph) -> Iterator[NamedFile]:
    for name, node in graph.nodes.items():
        root, file = node.found.root, node.found.file
        if root is None or file is None or root.owner is not Owner.APPLICATION:
            continue
        place = file.relative_to(root.host).as_posix()
        for constant in node.scan.files:
            for folder in _around(file.parent, root.host):
                for path, words in _meant(folder, constant, root.host, place):
                    yield NamedFile(file=path, root=root, by=name, detail=words)


def _meant(folder: Path, name: FileName, source: Path, place: str) -> Iterator[tuple[Path, str]]:
    """Files that ``name`` means when it is looked up in ``folder``, and words for it."""
    target = Path(os.path.normpath(folder / name.text))
    if not target.is_relative_to(source) or target == source or _is_left_alone(target.relative_to(source)):
        return
    words = f'"{name.text}" ({place}:{name.line})'
    if target.is_file():
        if target.suffix not in {".py", ".pyc"} and not is_written(target.name):
            yield target, words
            if place.endswith(".py"):  # one step is enough, and two could go in a circle
                yield from _named_by_settings(target, source)
    elif name.in_path and target.is_dir() and not (target / "__init__.py").exists():
        for file in (*application_data(target), *sorted(target.rglob("*.py"))):
            if not _is_left_alone(file.relative_to(source)):
                yield file, words


def _named_by_settings(file: Path, source: Path) -> Iterator[tuple[Path, str]]:
    """What a file of settings names, relative to itself."""
    if file.suffix not in _SETTINGS or file.stat().st_size > _LARGEST_SETTINGS:
        return
    place = file.relative_to(source).as_posix()
    for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
        for match in _VALUE.finditer(line):
            name = FileName(text=match[1].strip(), line=number, in_path=True)
            yield from _meant(file.parent, name, source, place)


def _around(folder: Path, source: Path) -> Iterator[Path]:
    """``folder`` and those around it, up to ``source``."""
    while folder.is_relative_to(source):
        yield folder
        folder = folder.parent


def _is_left_alone(path: Path) -> bool:
    return any(part.startswith(".") or part in NOT_DATA_FOLDERS for part in path.parts)
