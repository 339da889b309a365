"""Calls that import: ``import_module``, ``__import__``, plugins and entry points; and names in constants.

A name that is put together keeps what is known of it: ``f"formats.{kind}"`` is the pattern ``formats.*``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from casemate.builder.closure.conditions import dotted_or_none

#: ``a.b``, ``a.b:c`` and ``a:c``: what names a module, or something in one.
_MODULE_LIKE: Final = re.compile(r"[A-Za-z_]\w*(?:(?:\.[A-Za-z_]\w*)+(?::[A-Za-z_][\w.]*)?|:[A-Za-z_][\w.]*)")
#: ``%s``, ``%(name)s``, ``{}``, ``{name}``.
_FIELD: Final = re.compile(r"%(?:\(\w+\))?[sdr]|\{[^{}]*\}")
#: Where something in a name is not known.
ANYTHING: Final = "*"
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
        # python-dotenv looks for the file of who asks, to begin its search there.
        "load_dotenv",
        "find_dotenv",
        "dotenv_values",
        "dotenv.load_dotenv",
        "dotenv.find_dotenv",
        "dotenv.dotenv_values",
    }
)
#: Functions of :mod:`importlib.metadata` that are given the name of a distribution.
_ASKS_METADATA: Final = frozenset(
    {"version", "distribution", "metadata", "requires", "files", "get_distribution", "require"}
)
#: Functions that are given the name of a package, to read its data.
_ASKS_RESOURCES: Final = frozenset(
    {
        "files", "open_binary", "open_text", "read_binary", "read_text", "get_data", "resource_filename",
        "resource_stream", "resource_string", "PackageLoader",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """A call that imports one of several modules.

    Attributes:
        name: Absolute name, with ``*`` for what is not known; it does not begin with one.
        line: Where the call is.
        call: Its text.
        answers: It stands in the module's ``__getattr__``: who asks for an attribute gets the module.
    """

    name: str
    line: int
    call: str
    answers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamic:
    """A call that imports what only the running code knows."""

    line: int
    call: str


class CallFinder(ast.NodeVisitor):
    """Collects the calls of one module.

    Args:
        module: Name of the module.
        package: Its package, for relative names.
        texts: Constants that look like the name of a module are collected when it is in this package; all of
            them for an empty text, none for ``None``.
    """

    def __init__(self, module: str, package: str, *, texts: str | None) -> None:
        self._module = module
        self._package = package
        self._texts = texts
        self._functions: list[str] = []
        self.imports: list[tuple[str, int, str]] = []
        self.patterns: list[Pattern] = []
        self.dynamic: list[Dynamic] = []
        self.described: list[str] = []
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
        dotted = "." * node.level + (node.module or "")
        base = self._relative(dotted, self._package) if node.level else node.module
        for alias in node.names:
            self._imported_as[alias.asname or alias.name] = f"{base}.{alias.name}"

    def visit_Constant(self, node: ast.Constant) -> None:
        """A text that may name a module."""
        text = node.value
        if self._texts is None or not isinstance(text, str) or not _MODULE_LIKE.fullmatch(text):
            return
        if not self._texts or text.startswith(f"{self._texts}."):
            self.strings.append((text, node.lineno))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Which function a call stands in."""
        self._functions.append(node.name)
        self.generic_visit(node)
        self._functions.pop()

    def visit_Call(self, node: ast.Call) -> None:
        """A call that may import."""
        function = dotted_or_none(node.func) or ""
        last = function.rpartition(".")[2]
        if last == "import_module" or function in {"__import__", "_import_module", "importlib.__import__"}:
            self._importing(node, function)
        elif last == "entry_points":
            self._entry_points(node)
        elif last in {"iter_modules", "walk_packages"}:
            self._listing(node)
        elif function in _SOURCE_READERS and not self.reads_source:
            self.reads_source = node.lineno
        elif node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
            self._asking(last, node.args[0].value, node.lineno)
        self.generic_visit(node)

    def _asking(self, function: str, text: str, line: int) -> None:
        """A function that is given the name of something that is no module."""
        if function in _ASKS_METADATA:
            self.described.append(text)
        if function in _ASKS_RESOURCES:
            self.imports.append((text, line, f'{function}("{text}")'))
        if function.endswith("exec"):
            self._executing(text, line)

    def _executing(self, text: str, line: int) -> None:
        """``exec("from package import *")``, by that name or by a wrapper's."""
        try:
            nodes = ast.parse(text).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                self.imports.append((node.module, line, f'exec("{text}")'))
            elif isinstance(node, ast.Import):
                self.imports.extend((alias.name, line, f'exec("{text}")') for alias in node.names)

    def _importing(self, node: ast.Call, function: str) -> None:
        named = {keyword.arg: keyword.value for keyword in node.keywords}
        argument = node.args[0] if node.args else named.get("name")
        if argument is None:
            return
        name = self._text(argument)
        anchor = node.args[1] if len(node.args) == 2 else named.get("package")
        package = self._text(anchor) if anchor is not None and function != "__import__" else None
        module = self._relative(name, package or self._package)
        call = ast.unparse(node)
        if module is None or ANYTHING in module.partition(".")[0]:
            self.dynamic.append(Dynamic(line=node.lineno, call=call))
        elif ANYTHING in module:
            answers = self._functions[:1] == ["__getattr__"]
            self.patterns.append(Pattern(name=module, line=node.lineno, call=call, answers=answers))
        elif module:
            self.imports.append((module, node.lineno, f'{function}("{name}")'))

    def _text(self, node: ast.expr) -> str:
        """The text that an expression gives, with ``*`` for what is not known."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.Name | ast.Attribute):
            return self._known_name(dotted_or_none(node) or "") or ANYTHING
        if isinstance(node, ast.FormattedValue) and node.conversion == -1 and node.format_spec is None:
            return self._text(node.value)
        if isinstance(node, ast.JoinedStr):
            return _joined(self._text(value) for value in node.values)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return _joined((self._text(node.left), self._text(node.right)))
        return self._formatted(node) or ANYTHING

    def _formatted(self, node: ast.expr) -> str | None:
        """``"a.%s" % x``, ``"a.{}".format(x)`` and ``".".join(("a", x))``."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
            return _FIELD.sub(ANYTHING, self._text(node.left))
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            return None
        text = self._text(node.func.value)
        if node.func.attr == "format":
            return _FIELD.sub(ANYTHING, text)
        items = node.args[0] if len(node.args) == 1 else None
        if node.func.attr == "join" and text == "." and isinstance(items, ast.List | ast.Tuple):
            return ".".join(self._text(item) for item in items.elts)
        return None

    def _known_name(self, dotted: str) -> str | None:
        """``__name__``, ``__package__`` and ``module.__name__``."""
        if dotted in {"__package__", "__spec__.parent"}:
            return self._package or None
        if dotted in {"__name__", "__spec__.name"}:
            return self._module
        first, _, rest = dotted.partition(".")
        if rest.endswith("__name__") and first in self._imported_as:
            middle = rest.removesuffix("__name__").strip(".")
            return f"{self._imported_as[first]}.{middle}" if middle else self._imported_as[first]
        return None

    def _relative(self, name: str, package: str) -> str | None:
        level = len(name) - len(name.lstrip("."))
        if level == 0:
            return name
        parts = package.split(".")
        if not package or level > len(parts):
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


def _joined(parts: Iterable[str]) -> str:
    """One text; neighbouring unknown parts are one."""
    return re.sub(r"\*+", ANYTHING, "".join(parts))
