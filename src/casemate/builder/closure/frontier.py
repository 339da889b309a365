"""Which modules the import graph will probably ask for next.

It need not be right: what is named too much was read in vain, what is missing is read when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from casemate.builder.closure.finder import Found

if TYPE_CHECKING:
    from casemate.builder.closure.graph import Graph


class Frontier:
    """What is beyond the modules of a graph, each module once.

    Args:
        graph: The graph, which grows meanwhile.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._seen: set[str] = set()

    def beyond(self, names: Iterable[str]) -> Iterator[Found]:
        """Modules that the imports of ``names`` lead to, packages before what is in them."""
        for name in names:
            for module in self._imported(name):
                parts = module.split(".")
                for end in range(1, len(parts)):
                    yield from self._found(".".join(parts[:end]))
                yield from self._found(module)

    def _imported(self, name: str) -> Iterator[str]:
        graph = self._graph
        for wanted in graph.nodes[name].scan.imports:
            if wanted.triggers or wanted.unless:
                continue
            package = graph.finder.find(wanted.module)
            leaves = wanted.names if package is not None and package.is_package else ()
            for module in (wanted.module, *(f"{wanted.module}.{leaf}" for leaf in leaves)):
                if module not in self._seen and not graph.cuts(name, wanted, module):
                    yield module

    def _found(self, module: str) -> Iterator[Found]:
        if module not in self._seen:
            self._seen.add(module)
            found = self._graph.finder.find(module)
            if found is not None:
                yield found
