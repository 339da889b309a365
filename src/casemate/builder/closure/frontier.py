"""Which modules the import graph will probably ask for next.

It need not be right: what is named too much was read in vain, what is missing is read when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from casemate.builder.closure.finder import Found

if TYPE_CHECKING:
    from casemate.builder.closure.graph import Graph


def next_asked(graph: Graph, names: Iterable[str]) -> tuple[Found, ...]:
    """Modules that the imports of modules of ``graph`` lead to, packages before what is in them."""
    found: dict[str, Found] = {}
    for name in names:
        for module in _imported(graph, name):
            parts = module.split(".")
            for end in range(1, len(parts) + 1):
                one = graph.finder.find(".".join(parts[:end]))
                if one is not None:
                    found.setdefault(one.name, one)
    return tuple(found.values())


def _imported(graph: Graph, name: str) -> Iterator[str]:
    for wanted in graph.nodes[name].scan.imports:
        if wanted.triggers or wanted.unless or graph.cuts(name, wanted, wanted.module):
            continue
        yield wanted.module
        package = graph.finder.find(wanted.module)
        if package is not None and package.is_package:
            for leaf in wanted.names:
                if not graph.cuts(name, wanted, f"{wanted.module}.{leaf}"):
                    yield f"{wanted.module}.{leaf}"
