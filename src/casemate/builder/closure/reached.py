"""The modules of a closure, for those who judge what they do: names, owners, the application's own text."""

from __future__ import annotations

from casemate.builder.closure.finder import Kind, Owner
from casemate.builder.closure.graph import Graph, Node
from casemate.builder.closure.values import ReachedModule


def reached_modules(graph: Graph) -> tuple[ReachedModule, ...]:
    """Every module of ``graph``, in the order in which it was reached."""
    return tuple(_reached(name, node) for name, node in graph.nodes.items())


def _reached(name: str, node: Node) -> ReachedModule:
    found = node.found
    root, file = found.root, found.file
    is_own = root is not None and root.owner is Owner.APPLICATION
    return ReachedModule(
        name=name,
        is_own=is_own,
        file=file.relative_to(root.host).as_posix() if root is not None and file is not None else "",
        source=file.read_bytes() if is_own and file is not None and found.kind is Kind.SOURCE else None,
        is_package=found.is_package,
        asked_by=node.step.by,
        detail=node.step.detail,
    )
