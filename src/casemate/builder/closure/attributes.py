"""Which attributes of modules a module asks for, wherever in its code."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from casemate.builder.closure.conditions import dotted_or_none
from casemate.builder.closure.nodes import all_nodes


def attributes_asked(source: bytes) -> frozenset[tuple[str, str]]:
    """Pairs of module and attribute, for every attribute of a name that an import has bound.

    Raises:
        SyntaxError: ``source`` is not valid Python.
    """
    attributes: list[ast.Attribute] = []
    imports: list[ast.Import | ast.ImportFrom] = []
    for node in all_nodes(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            attributes.append(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imports.append(node)
    bound = dict(_modules_bound(imports))
    pairs: set[tuple[str, str]] = set()
    for attribute in attributes:
        first, _, rest = (dotted_or_none(attribute.value) or "").partition(".")
        if first in bound:
            pairs.add((f"{bound[first]}.{rest}" if rest else bound[first], attribute.attr))
    return frozenset(pairs)


def _modules_bound(imports: Iterable[ast.Import | ast.ImportFrom]) -> Iterator[tuple[str, str]]:
    """Names, and the modules for which imports let them stand."""
    for node in imports:
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                yield alias.asname or first, alias.name if alias.asname else first
        elif node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"
