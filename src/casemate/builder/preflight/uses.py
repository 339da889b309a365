"""What a module of the application calls and imports, under the names that things really have.

Reads; runs nothing. Names are followed through import statements, not through assignments: what is handed
around in variables is not seen.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from casemate.builder.closure.conditions import Conditions, dotted_or_none

#: Exceptions whose handler also catches a system call that fails.
_CATCHES_FAILURE: Final = frozenset(
    {
        "OSError", "IOError", "EnvironmentError", "Exception", "BaseException", "NotImplementedError",
        "BlockingIOError", "shutil.Error",
    }
)  # fmt: skip
#: Exceptions whose handler also catches a variable that is not there.
_CATCHES_ABSENCE: Final = frozenset({"KeyError", "LookupError", "Exception", "BaseException"})
_ENVIRONMENT: Final = "os.environ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A call, or a name that is handed to one.

    Attributes:
        name: ``"os.utime"``; for a method of something that is not known, ``".symlink_to"``.
        line: Where it stands.
        guarded: The code goes on when it fails.
        call: The call; ``None`` for a name that is handed over.
    """

    name: str
    line: int
    guarded: bool
    call: ast.Call | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedName:
    """A module, or a name in one, that an import statement takes.

    Attributes:
        name: ``"psutil"``; for ``from a import b``, both ``"a"`` and ``"a.b"`` occur.
        line: Where the statement is.
    """

    name: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A constant text.

    Attributes:
        value: The text.
        line: Where it stands.
    """

    value: str
    line: int


@dataclass(slots=True)
class ModuleUses:
    """Everything that was seen in one module; ``names`` are those that its imports bind.

    ``required`` are variables of the environment that are read where their absence is not caught, ``settled``
    those that the code sets, or whose presence it asks for.
    """

    uses: list[Use] = field(default_factory=list)
    imports: list[ImportedName] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    required: list[Text] = field(default_factory=list)
    settled: set[str] = field(default_factory=set)

    def resolve(self, node: ast.expr) -> str | None:
        """What an expression really names: ``np.memmap`` is ``numpy.memmap``; ``None`` for any other."""
        dotted = dotted_or_none(node)
        first, _, rest = (dotted or "").partition(".")
        known = self.names.get(first)
        if known is None:
            return None
        return f"{known}.{rest}" if rest else known


def read_uses(source: bytes, *, version: tuple[int, int, int], main: bool) -> ModuleUses:
    """Read one module.

    Args:
        source: Its text.
        version: Version of the interpreter that will run it.
        main: Whether it runs as ``__main__``.

    Raises:
        SyntaxError: It is not valid Python.
        ValueError: It holds zero bytes.
    """
    tree = ast.parse(source)
    found = ModuleUses(names=dict(_bound(tree)))
    _Visitor(found, Conditions(version, main=main), _documentation(tree)).visit(tree)
    return found


def _bound(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                yield alias.asname or first, alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _documentation(tree: ast.Module) -> frozenset[int]:
    """Constants that stand alone, such as docstrings: nothing reads them."""
    return frozenset(id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr))


class _Visitor(ast.NodeVisitor):
    """Walks code that can run, and knows whether a failure is caught."""

    def __init__(self, found: ModuleUses, conditions: Conditions, documentation: frozenset[int]) -> None:
        self._found = found
        self._conditions = conditions
        self._documentation = documentation
        self._guarded = False
        self._may_lack = False

    def visit_If(self, node: ast.If) -> None:
        answer = self._conditions.decide(node.test)
        self.visit(node.test)
        for statement in node.body if answer is not False else ():
            self.visit(statement)
        for statement in node.orelse if answer is not True else ():
            self.visit(statement)

    def visit_Try(self, node: ast.Try | ast.TryStar) -> None:
        with self._under([handler.type for handler in node.handlers]):
            self._all(node.body)
        self._all((*node.handlers, *node.orelse, *node.finalbody))

    visit_TryStar = visit_Try  # noqa: N815 - as above

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        self._all(node.items)
        with self._under([caught for item in node.items for caught in _suppressed(item.context_expr)]):
            self._all(node.body)

    visit_AsyncWith = visit_With  # noqa: N815 - as above

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._import(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module and not node.level:
            self._import(node.module, node.lineno)
            for alias in node.names:
                self._import(f"{node.module}.{alias.name}", node.lineno)

    def visit_Call(self, node: ast.Call) -> None:
        name = self._found.resolve(node.func)
        if name is not None:
            self._use(name, node.func, node)
        elif isinstance(node.func, ast.Attribute):
            self._use(f".{node.func.attr}", node.func, node)
        elif isinstance(node.func, ast.Name) and node.func.id == "open":
            self._use("open", node.func, node)
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            handed = self._found.resolve(argument) if isinstance(argument, ast.Name | ast.Attribute) else None
            if handed is not None:
                self._use(handed, argument, None)
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in node.bases:
            name = self._found.resolve(base)
            if name is not None:
                self._use(name, base, None)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        name = _text(node.slice)
        if name is not None and self._found.resolve(node.value) == _ENVIRONMENT:
            if not isinstance(node.ctx, ast.Load):
                self._found.settled.add(name)
            elif not self._may_lack:
                self._found.required.append(Text(value=name, line=node.lineno))
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        name = _text(node.left)
        if name is not None and self._found.resolve(node.comparators[0]) == _ENVIRONMENT:
            self._found.settled.add(name)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and id(node) not in self._documentation:
            self._found.texts.append(Text(value=node.value, line=node.lineno))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """An annotation calls nothing."""
        if node.value is not None:
            self.visit(node.value)

    def visit_arg(self, node: ast.arg) -> None:
        """An annotation calls nothing."""

    def _all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _import(self, name: str, line: int) -> None:
        self._found.imports.append(ImportedName(name=name, line=line))

    def _use(self, name: str, node: ast.expr, call: ast.Call | None) -> None:
        self._found.uses.append(Use(name=name, line=node.lineno, guarded=self._guarded, call=call))
        if name == f"{_ENVIRONMENT}.setdefault" and call is not None and call.args:
            self._found.settled.add(_text(call.args[0]) or "")

    @contextmanager
    def _under(self, caught: list[ast.expr | None]) -> Iterator[None]:
        """What is visited inside goes on after the exceptions that ``caught`` names, ``None`` for all."""
        before = self._guarded, self._may_lack
        self._guarded |= any(_catches(node, _CATCHES_FAILURE) for node in caught)
        self._may_lack |= any(_catches(node, _CATCHES_ABSENCE) for node in caught)
        try:
            yield
        finally:
            self._guarded, self._may_lack = before


def _catches(node: ast.expr | None, exceptions: frozenset[str]) -> bool:
    if node is None:
        return True
    items = node.elts if isinstance(node, ast.Tuple) else (node,)
    return any(dotted_or_none(item) in exceptions for item in items)


def _suppressed(node: ast.expr) -> list[ast.expr]:
    """The exceptions that a context manager suppresses."""
    if not isinstance(node, ast.Call) or (dotted_or_none(node.func) or "").rpartition(".")[2] != "suppress":
        return []
    return node.args


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
