"""The nodes of a syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator


def all_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes in the order of :func:`ast.walk`, which takes twice as long."""
    found: list[ast.AST] = [tree]
    for node in found:  # grows meanwhile
        yield node
        for value in vars(node).values():
            if isinstance(value, ast.AST):
                found.append(value)
            elif isinstance(value, list):
                found.extend([item for item in value if isinstance(item, ast.AST)])
