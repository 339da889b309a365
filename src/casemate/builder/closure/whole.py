"""Closure mode ``distribution``: of every distribution that is reached, everything that a program could use.

Its modules become part of the graph, so that what they import is reached in turn. Left out are tests,
headers, type stubs, static libraries, sources of other languages, texts for people, and bytecode beside its
source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from casemate.builder.closure.data import is_data
from casemate.builder.closure.distributions import Distribution
from casemate.builder.closure.graph import Graph, Step
from casemate.builder.contents import Rule

#: Folders of a distribution that are never taken, not even with the whole distribution.
_NOT_TAKEN: Final = frozenset({"tests", "test", "__pycache__", "include"})
_LIBRARY: Final = re.compile(r".*\.so(\.\d+)*")


def reached_distributions(graph: Graph, distributions: Sequence[Distribution]) -> dict[Distribution, str]:
    """Distributions of which a module is reached, each with the first such module.

    A file that several of them claim belongs to the last one.
    """
    owners = {owner.root / file: owner for owner in distributions for file in owner.files}
    reached: dict[Distribution, str] = {}
    for name, node in graph.nodes.items():
        owner = owners.get(node.found.file) if node.found.file is not None else None
        if owner is not None:
            reached.setdefault(owner, name)
    return reached


def add_whole(graph: Graph, distributions: Sequence[Distribution], suffixes: tuple[str, ...]) -> None:
    """Reach every module of the distributions that are reached.

    Args:
        graph: Grows, and is not yet followed.
        distributions: What is installed.
        suffixes: Endings of extension modules.
    """
    for distribution, module in reached_distributions(graph, distributions).items():
        step = Step(rule=Rule.HIDDEN_IMPORT, by=module, detail=_why(distribution))
        for path in _taken(distribution):
            name = _module(path, suffixes)
            if name is not None:
                graph.add(name, step)


def whole_files(distribution: Distribution) -> Iterator[tuple[Path, str]]:
    """Files of a distribution that are no modules, and why: its data, and libraries in its packages.

    Those that a wheel brings beside its packages (``pkg.libs``) are found where they are needed.
    """
    for path in _taken(distribution):
        file = distribution.root / path
        library = _LIBRARY.fullmatch(path.name) is not None and not path.parts[0].endswith(".libs")
        if (library or is_data(path.name)) and file.is_file():
            yield file, _why(distribution)


def _why(distribution: Distribution) -> str:
    return f"{distribution.name} is taken whole"


def _taken(distribution: Distribution) -> Iterator[PurePosixPath]:
    for name in distribution.files:
        path = PurePosixPath(name)
        description = path.parts[0].endswith((".dist-info", ".egg-info"))
        if not description and not _NOT_TAKEN & set(path.parts) and path.name != "conftest.py":
            yield path


def _module(path: PurePosixPath, suffixes: tuple[str, ...]) -> str | None:
    """The name of the module that the file at ``path`` holds, if it can be imported."""
    ending = next((suffix for suffix in (*suffixes, ".py") if path.name.endswith(suffix)), None)
    if ending is None:
        return None
    parts = [*path.parts[:-1], path.name.removesuffix(ending)]
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts) if all(part.isidentifier() for part in parts) else None
