"""What code opens by name and not by import: libraries, time zones, locales, lists of installed files.

Reads calls whose argument is a constant, and in modules that open libraries every text that is the name of
one, because such names lie in tables and loops. In the application's own code, a name that only the running
code knows is told, too: it becomes a question.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from casemate.builder.closure.conditions import dotted_or_none
from casemate.builder.closure.nodes import all_nodes


class Opens(Enum):
    """What is opened."""

    LIBRARY = "library"  # a name or a path, as dlopen takes it
    FIND = "find"  # a name without lib and .so, as find_library takes it
    ZONE = "zone"
    LOCALE = "locale"
    RECORD = "record"  # the lists of the files of distributions


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """One thing that is opened.

    Attributes:
        what: Its kind.
        name: Its name; ``None`` when only the running code knows it.
        line: Where.
        text: The call, or the text.
    """

    what: Opens
    name: str | None
    line: int
    text: str


#: A module in whose text none of these occurs opens nothing of the kind.
_MARKS: Final = re.compile(rb"CDLL|PyDLL|LoadLibrary|dlopen|find_library|\bmetadata\b|importlib_metadata")
_OWN_MARKS: Final = re.compile(rb"ZoneInfo|timezone|gettz|[tT][zZ]|setlocale|[A-Z]\w+/[A-Z]")
_LIBRARY: Final = re.compile(r"lib[\w.+-]+\.so(\.\d+)*", re.ASCII)
_ZONE: Final = re.compile(r"[A-Z][A-Za-z]+/[A-Z][A-Za-z_]+(?:[/-][A-Za-z_]+)*|Etc/[\w+-]+", re.ASCII)
_OPENERS: Final = frozenset({"CDLL", "PyDLL", "LoadLibrary", "dlopen"})
_ZONE_CALLS: Final = frozenset({"ZoneInfo", "timezone", "gettz"})


def find_opened(source: bytes, tree: ast.Module, *, own: bool) -> tuple[Opened, ...]:
    """What a module opens by name.

    Args:
        source: Its text.
        tree: The same, parsed.
        own: Whether it is the application's own.
    """
    if not (_MARKS.search(source) or (own and _OWN_MARKS.search(source))):
        return ()
    found = tuple(_Reader(own=own).read(tree))
    if any(it.what in {Opens.LIBRARY, Opens.FIND} for it in found):
        found += tuple(_texts(tree))
    first: dict[tuple[Opens, str | None], Opened] = {}
    for it in found:
        first.setdefault((it.what, it.name if it.name is not None else it.text), it)
    return tuple(first.values())


class _Reader:
    def __init__(self, *, own: bool) -> None:
        self._own = own

    def read(self, tree: ast.Module) -> Iterator[Opened]:
        asks_for_distributions = False
        for node in all_nodes(tree):
            if isinstance(node, ast.Call):
                last = _last(node.func)
                asks_for_distributions = asks_for_distributions or last in {"distribution", "distributions"}
                yield from self._call(node, last)
            elif self._own and isinstance(node, ast.Constant) and _is_zone(node.value):
                text = str(node.value)
                yield Opened(what=Opens.ZONE, name=text, line=node.lineno, text=f'"{text}"')
        for node in all_nodes(tree) if asks_for_distributions else ():
            if isinstance(node, ast.Attribute) and node.attr == "files":
                yield Opened(what=Opens.RECORD, name="", line=node.lineno, text=ast.unparse(node))

    def _call(self, node: ast.Call, last: str) -> Iterator[Opened]:
        if last in _OPENERS:
            yield from self._opening(node)
        elif last == "find_library":
            yield from self._named(node, Opens.FIND, _first(node, "name"))
        elif last in _ZONE_CALLS and self._own:
            yield from self._zone(node, last)
        elif last == "setlocale" and self._own and len(node.args) > 1:
            yield from self._locale(node)
        elif last == "packages_distributions" or (dotted_or_none(node.func) or "").endswith("metadata.files"):
            yield Opened(what=Opens.RECORD, name="", line=node.lineno, text=ast.unparse(node.func))

    def _opening(self, node: ast.Call) -> Iterator[Opened]:
        argument = _first(node, "name")
        if argument is None or (isinstance(argument, ast.Constant) and argument.value is None):
            return  # the process itself
        texts = [
            it.value
            for it in all_nodes(argument)
            if isinstance(it, ast.Constant) and isinstance(it.value, str)
        ]
        named = [text for text in texts if ".so" in text]
        inner = [it for it in all_nodes(argument) if isinstance(it, ast.Call)]
        finds = any((dotted_or_none(it.func) or "").endswith("find_library") for it in inner)
        for text in named or (texts if isinstance(argument, ast.Constant) else ()):
            what = Opens.LIBRARY if ".so" in text else Opens.FIND
            yield Opened(what=what, name=text, line=node.lineno, text=_shown(node))
        if self._own and not named and not finds and not isinstance(argument, ast.Constant):
            yield Opened(what=Opens.LIBRARY, name=None, line=node.lineno, text=_shown(node))

    def _zone(self, node: ast.Call, last: str) -> Iterator[Opened]:
        """``datetime.timezone(timedelta())`` has nothing to do with a file."""
        argument = _first(node, "key", "zone", "name")
        if last == "timezone" and isinstance(argument, ast.Call):
            return
        yield from self._named(node, Opens.ZONE, argument)

    def _locale(self, node: ast.Call) -> Iterator[Opened]:
        """``""`` stands for the locale of the environment, which a name that is not known may be, too."""
        argument = node.args[1]
        if not (isinstance(argument, ast.Constant) and argument.value is None):  # asks, and sets nothing
            text = argument.value if isinstance(argument, ast.Constant) else ""
            yield Opened(what=Opens.LOCALE, name=str(text), line=node.lineno, text=_shown(node))

    def _named(
        self, node: ast.Call, what: Opens, argument: ast.expr | None, *, dynamic: bool = True
    ) -> Iterator[Opened]:
        if isinstance(argument, ast.Constant):
            if isinstance(argument.value, str) and argument.value:
                yield Opened(what=what, name=argument.value, line=node.lineno, text=_shown(node))
        elif argument is not None and self._own and dynamic:
            yield Opened(what=what, name=None, line=node.lineno, text=_shown(node))


def _is_zone(value: object) -> bool:
    return isinstance(value, str) and _ZONE.fullmatch(value) is not None


def _last(function: ast.expr) -> str:
    """The name by which a function is called: the last one of ``a.b().c``."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _texts(tree: ast.Module) -> Iterator[Opened]:
    """Names of libraries in a module that opens some."""
    for node in all_nodes(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _LIBRARY.fullmatch(node.value):
            yield Opened(what=Opens.LIBRARY, name=node.value, line=node.lineno, text=f'"{node.value}"')


def _first(node: ast.Call, *names: str) -> ast.expr | None:
    if node.args:
        return node.args[0]
    return next((keyword.value for keyword in node.keywords if keyword.arg in names), None)


def _shown(node: ast.Call) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 80 and text.isprintable() else f"{ast.unparse(node.func)}(…)"
