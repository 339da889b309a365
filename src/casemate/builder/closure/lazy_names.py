"""Tables by which a package loads its names when they are asked for (PEP 562).

A package with ``__getattr__`` keeps, in dictionaries of constants, which of its names are in which of its
modules, in one of two ways: ``{"Name": ".module"}``, where the module may stand in a tuple, and
``{"module": ["Name", …]}``, as ``lazy_loader.attach`` takes it. Both are read, and who knows the modules says
which one it was.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LazyName:
    """A text that may name a module of the package, and the names for which the package would load it."""

    text: str
    triggers: frozenset[str]


def lazy_names(nodes: Iterable[ast.AST]) -> tuple[LazyName, ...]:
    """What the dictionaries among ``nodes`` may mean, and what ``submodules=`` lists."""
    found: dict[str, set[str]] = {}
    for node in nodes:
        pairs: Iterable[tuple[str, str]] = ()
        if isinstance(node, ast.Dict):
            pairs = _of_dictionary(node)
        elif isinstance(node, ast.keyword) and node.arg == "submodules":
            pairs = ((text, text) for text in _texts(node.value))
        for text, trigger in pairs:
            found.setdefault(text, set()).add(trigger)
    return tuple(LazyName(text=text, triggers=frozenset(found[text])) for text in sorted(found))


def names_in_stub(stub: bytes) -> tuple[LazyName, ...]:
    """The same from the stub that ``lazy_loader.attach_stub`` reads while the program runs.

    Raises:
        SyntaxError: It is not valid Python.
        ValueError: It holds zero bytes.
    """
    found: list[LazyName] = []
    for node in ast.parse(stub).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            names = {alias.name for alias in node.names}
            if node.module is None:
                found += (LazyName(text=f".{name}", triggers=frozenset({name})) for name in sorted(names))
            else:
                triggers = names | {node.module.partition(".")[0]}
                found.append(LazyName(text=f".{node.module}", triggers=frozenset(triggers)))
    return tuple(found)


def _of_dictionary(node: ast.Dict) -> Iterator[tuple[str, str]]:
    for key, value in zip(node.keys, node.values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            continue
        name = key.value
        yield name, name
        for text in _texts(value):
            yield name, text  # {"module": ["Name"]}
            yield text, name  # {"Name": ".module"}


def _texts(node: ast.expr) -> Iterator[str]:
    items = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else [node]
    for item in items:
        if isinstance(item, ast.Constant) and isinstance(item.value, str):
            yield item.value
