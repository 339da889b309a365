"""Libraries that lie in a package and are no modules: code opens them by their path.

A wheel brings ``pkg/libthing.so`` and loads it with ``CDLL(dirname(__file__) + "/libthing.so")``, or by a
table of names, or hands ``"thing"`` to a database. So a library counts when a reached module of the same
top-level package has its name in quotation marks, alone or behind a slash, with or without ``lib`` and
``.so``. Extension modules are found as modules, and what another library needs by ``DT_NEEDED`` is found with
that one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casemate.builder.closure.finder import Found, Kind, Owner, Root
from casemate.builder.closure.graph import Graph

_LIBRARY: Final = re.compile(r"(?:lib)?(?P<name>.+?)\.so(?:\.\d+)*")
#: What the import system alone gives extension modules.
_EXTENSION: Final = re.compile(r".*\.(?:cpython-\d+[\w-]*|abi3)\.so")
_OWNERS: Final = frozenset({Owner.APPLICATION, Owner.DISTRIBUTION})


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageLibrary:
    """A library in a package.

    Attributes:
        file: The file.
        root: The folder on the module search path in which it lies.
        by: The module that has its name.
    """

    file: Path
    root: Root
    by: str


def package_libraries(graph: Graph) -> Iterator[PackageLibrary]:
    """Libraries that reached code opens by their path, in the order of the packages."""
    texts: dict[str, dict[str, bytes]] = {}
    modules = {node.found.file for node in graph.nodes.values()}
    for name, node in graph.nodes.items():
        for root, folder in _folders(node.found):
            for file in _libraries(folder):
                if file in modules:
                    continue
                top = name.partition(".")[0]
                if top not in texts:
                    texts[top] = dict(_sources(graph, top))
                by = _named_by(file.name, texts[top])
                if by is not None:
                    yield PackageLibrary(file=file, root=root, by=by)


def _folders(found: Found) -> Iterator[tuple[Root, Path]]:
    """The folders of a package, or of a module of the application that is in none."""
    for root, folder in found.search:
        if root.owner in _OWNERS:
            yield root, folder
    alone = not found.search and "." not in found.name and found.file is not None
    if alone and found.root is not None and found.root.owner is Owner.APPLICATION and found.file is not None:
        yield found.root, found.file.parent


def _libraries(folder: Path) -> Iterator[Path]:
    """Libraries in ``folder`` and in its subfolders that are no packages."""
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if entry.is_dir(follow_symlinks=False):
            inner = folder / entry.name
            if (
                entry.name.isidentifier()
                and not (inner / "__init__.py").exists()
                and entry.name != "__pycache__"
            ):
                yield from _libraries(inner)
        elif entry.is_file() and _is_library(entry.name):
            yield folder / entry.name


def _is_library(name: str) -> bool:
    return ".so" in name and _LIBRARY.fullmatch(name) is not None and _EXTENSION.fullmatch(name) is None


def _sources(graph: Graph, top: str) -> Iterator[tuple[str, bytes]]:
    for name, node in graph.nodes.items():
        file = node.found.file
        if name.partition(".")[0] == top and node.found.kind is Kind.SOURCE and file is not None:
            yield name, file.read_bytes()


def _named_by(file: str, sources: dict[str, bytes]) -> str | None:
    match = _LIBRARY.fullmatch(file)
    word = re.escape(match["name"].encode()) if match is not None else b""
    text = re.compile(rb"[\"'/](?:lib)?" + word + rb"(?:\.so[\d.]*)?[\"']")
    return next((name for name, source in sources.items() if text.search(source)), None)
