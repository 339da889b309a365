"""Calls that import: ``import_module``, ``__import__``, plugins and entry points; and names in constants."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Final

from casemate.builder.closure.conditions import dotted_or_none

_MODULE_LIKE: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_SOURCE_READERS: Final = frozenset(
    {
        "inspect.getsource",
        "inspect.getsourcelines",
        "inspect.getsourcefile",
        "inspect.findsource",
        "getsource",
        "getsourcelines",
        "findsource",
        "linecache.getline",
        "linecache.getlines",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamic:
    """A call that imports what only the running code knows."""

    line: int
    call: str


class CallFinder(ast.NodeVisitor):
    """Collects the calls of one module.

    Args:
        package: Package of the module, for relative names.
        own: Whether constants that look like the name of a module are collected.
    """

    def __init__(self, package: str, *, own: bool) -> None:
        self._package = package
        self._own = own
        self.imports: list[tuple[str, int, str]] = []
        self.dynamic: list[Dynamic] = []
        self.groups: list[str] = []
        self.listed: list[str] = []
        self.reads_source = 0
        self.strings: list[tuple[str, int]] = []
        self._imported_as: dict[str, str] = {}

    def visit_Import(self, node: ast.Import) -> None:
        """Which name stands for which module."""
        for alias in node.names:
            self._imported_as[alias.asname or alias.name.partition(".")[0]] = (
                alias.name if alias.asname else alias.name.partition(".")[0]
            )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """The same for ``from``."""
        base = self._relative("." * node.level + (node.module or "")) if node.level else node.module
        for alias in node.names:
            self._imported_as[alias.asname or alias.name] = f"{base}.{alias.name}"

    def visit_Constant(self, node: ast.Constant) -> None:
        """A text that may name a module."""
        if self._own and isinstance(node.value, str) and _MODULE_LIKE.fullmatch(node.value):
            self.strings.append((node.value, node.lineno))

    def visit_Call(self, node: ast.Call) -> None:
        """A call that may import."""
        function = dotted_or_none(node.func) or ""
        last = function.rpartition(".")[2]
        if last == "import_module" or function == "__import__":
            self._importing(node, function)
        elif last == "entry_points":
            self._entry_points(node)
        elif last in {"iter_modules", "walk_packages"}:
            self._listing(node)
        elif function in _SOURCE_READERS and not self.reads_source:
            self.reads_source = node.lineno
        self.generic_visit(node)

    def _importing(self, node: ast.Call, function: str) -> None:
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        argument = node.args[0] if node.args else named.get("name")
        name = None if argument is None else self._text(argument)
        if name is not None:
            module = self._relative(name)
            if module:
                self.imports.append((module, node.lineno, f'{function}("{name}")'))
        elif argument is not None:
            self.dynamic.append(Dynamic(line=node.lineno, call=ast.unparse(node)))

    def _text(self, node: ast.expr) -> str | None:
        """The text that an expression of constants and ``__package__`` gives; ``None`` for any other."""
        if isinstance(node, ast.Constant):
            return node.value if isinstance(node.value, str) else None
        if isinstance(node, ast.Name):
            return self._package if node.id == "__package__" and self._package else None
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            parts = [self._text(node.left), self._text(node.right)]
        elif isinstance(node, ast.JoinedStr):
            parts = [self._text(value) for value in node.values]
        elif isinstance(node, ast.FormattedValue) and node.conversion == -1 and node.format_spec is None:
            parts = [self._text(node.value)]
        else:
            return None
        known = [part for part in parts if part is not None]
        return "".join(known) if len(known) == len(parts) else None

    def _relative(self, name: str) -> str | None:
        level = len(name) - len(name.lstrip("."))
        if level == 0:
            return name
        parts = self._package.split(".")
        if not self._package or level > len(parts):
            return None
        base = ".".join(parts[: len(parts) - level + 1])
        return f"{base}.{name[level:]}" if name[level:] else base

    def _entry_points(self, node: ast.Call) -> None:
        for keyword in node.keywords:
            if (
                keyword.arg == "group"
                and isinstance(keyword.value, ast.Constant)
                and isinstance(keyword.value.value, str)
            ):
                self.groups.append(keyword.value.value)

    def _listing(self, node: ast.Call) -> None:
        """``pkgutil.iter_modules(package.__path__)`` lists a package that is known."""
        argument = next(iter(node.args), None) or next(
            (k.value for k in node.keywords if k.arg == "path"), None
        )
        name = dotted_or_none(argument) if argument is not None else None
        if name == "__path__":
            self.listed.append(self._package)
        elif name is not None and name.endswith(".__path__"):
            first, _, rest = name.removesuffix(".__path__").partition(".")
            module = self._imported_as.get(first, first)
            self.listed.append(f"{module}.{rest}" if rest else module)
        elif argument is not None:
            self.dynamic.append(Dynamic(line=node.lineno, call=ast.unparse(node)))
