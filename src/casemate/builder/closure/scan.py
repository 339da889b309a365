"""What one module asks for: its import statements, read and not run."""

from __future__ import annotations

import ast
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from casemate.builder.closure.calls import CallFinder, Dynamic, Pattern
from casemate.builder.closure.conditions import Conditions, dotted_or_none
from casemate.builder.closure.file_names import FileName, file_names
from casemate.builder.closure.lazy_names import LazyName, lazy_names
from casemate.builder.closure.nodes import all_nodes
from casemate.builder.closure.opened import Opened, find_opened

#: Exceptions whose handler also catches a failed import.
_CATCHES_IMPORT: Final = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
#: A module in whose text none of these occurs has no call that imports.
_CALL_MARKS: Final = re.compile(
    rb"import_module|__import__|entry_points|iter_modules|walk_packages|getsource|linecache"
    rb"|importlib[._](?:metadata|resources)|pkgutil|pkg_resources|PackageLoader"
    rb"|exec\(\s*[rbuf]*[\"'](?:from|import)\s"
)
#: In whose text one of these occurs may load plugins by their entry points.
_PLUGIN_MARKS: Final = re.compile(rb"entry_points|stevedore|load_entry_point")
#: In whose text one of these occurs may read the data of packages that it names in constants.
_RESOURCE_MARKS: Final = re.compile(
    rb"importlib[._]resources|import[^\n]*\bresources\b|pkgutil\.get_data|resource_filename"
)
_STUB_MARK: Final = b"attach_stub"
#: PEP 263; and encodings in which Python's keywords are written as in ASCII.
_ENCODING: Final = re.compile(rb"coding[:=][ \t]*([-\w.]+)")
_LIKE_ASCII: Final = frozenset(
    {b"utf-8", b"utf8", b"ascii", b"us-ascii", b"latin-1", b"latin1", b"iso-8859-1"}
)
_CODEC: Final = re.compile(
    rb"""(?:\.(?:en|de)code\(|\bencoding\s*=|\bcodecs\.\w+\()\s*["']([A-Za-z0-9][\w.-]*)["']"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One import.

    Attributes:
        module: Absolute name of the module.
        names: Names taken from it; ``("*",)`` for all; empty for ``import module``.
        line: Where the statement is.
        lazy: It stands in a function, and runs when that is called.
        guarded: The code goes on when it fails.
        sure: It runs whenever the module does.
        triggers: Names of attributes of the module; the import runs when one of them is asked for (PEP 562).
            Empty: it needs no trigger.
        unless: It runs only when one of these fails.
        hidden: No statement: a constant in a call, or a rule.
        detail: The reason in words.
    """

    module: str
    names: tuple[str, ...] = ()
    line: int = 0
    lazy: bool = False
    guarded: bool = False
    sure: bool = True
    triggers: frozenset[str] = frozenset()
    unless: tuple[Import, ...] = ()
    hidden: bool = False
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What was read in one module.

    Attributes:
        imports: In the order of the text.
        bound: Names that the module binds at its top level.
        stars: Modules whose names it takes whole.
        exported: ``__all__`` where it is a list of constants.
        answers_any_name: It has a ``__getattr__``.
        codecs: Names of codecs that it uses.
        patterns: Calls that import modules of which a part of the name is known.
        lazy: What its tables load for its ``__getattr__``.
        has_stub: That table is its stub, which is read while the program runs.
        dynamic: Calls that import something that only the running code knows.
        loads_plugins: It may load plugins, of groups that it or its neighbours name.
        groups: Entry point groups that it loads.
        described: Distributions whose metadata it asks for.
        listed: Packages whose modules it lists.
        reads_source: Line of a call that reads Python source; 0: none.
        strings: Constants that look like the name of a module, with their lines.
        files: Constants that look like the name of a file or folder.
        opened: What it opens by name: libraries, time zones, and the like.
    """

    imports: tuple[Import, ...]
    bound: frozenset[str] = frozenset()
    stars: tuple[str, ...] = ()
    exported: tuple[str, ...] = ()
    answers_any_name: bool = False
    codecs: tuple[str, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    lazy: tuple[LazyName, ...] = ()
    has_stub: bool = False
    dynamic: tuple[Dynamic, ...] = ()
    loads_plugins: bool = False
    groups: tuple[str, ...] = ()
    described: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    reads_source: int = 0
    strings: tuple[tuple[str, int], ...] = ()
    files: tuple[FileName, ...] = ()
    opened: tuple[Opened, ...] = ()


def scan_module(
    source: bytes, *, name: str, is_package: bool, version: tuple[int, int, int], own: bool, main: bool
) -> Scan:
    """Read one module.

    Args:
        source: Its text.
        name: Its absolute name.
        is_package: Whether it is the ``__init__`` of a package.
        version: Version of the interpreter that will run it.
        own: Whether it is the application's own: then calls and constants are read, too, whatever they cost.
        main: Whether it runs as ``__main__``.

    Raises:
        SyntaxError: It is not valid Python.
        ValueError: It holds zero bytes.
    """
    tree = ast.parse(source)
    package = name if is_package else name.rpartition(".")[0]
    reader = _Reader(package, Conditions(version, main=main), lines_with_imports(source))
    reader.block(tree.body)
    reads_resources = _RESOURCE_MARKS.search(source) is not None
    finder = CallFinder(
        name, package, texts="" if own else name.partition(".")[0] if reads_resources else None
    )
    if own or reads_resources or _CALL_MARKS.search(source):
        finder.visit(tree)
    called = tuple(
        Import(module=module, line=line, lazy=True, guarded=True, sure=False, hidden=True, detail=detail)
        for module, line, detail in finder.imports
    )
    codecs = {match.decode("ascii") for match in _CODEC.findall(source)}
    return Scan(
        imports=(*reader.imports, *called),
        bound=frozenset(reader.bound),
        stars=tuple(reader.stars),
        exported=reader.exported,
        answers_any_name="__getattr__" in reader.bound,
        codecs=tuple(sorted(codecs)),
        patterns=tuple(finder.patterns),
        lazy=lazy_names(all_nodes(tree)) if "__getattr__" in reader.bound and is_package else (),
        has_stub="__getattr__" in reader.bound and _STUB_MARK in source,
        dynamic=tuple(finder.dynamic),
        loads_plugins=_PLUGIN_MARKS.search(source) is not None,
        groups=tuple(finder.groups),
        described=tuple(finder.described),
        listed=tuple(finder.listed),
        reads_source=finder.reads_source,
        strings=tuple(finder.strings),
        files=file_names(tree) if own else (),
        opened=find_opened(source, tree, own=own),
    )


def lines_with_imports(source: bytes) -> tuple[int, ...] | None:
    """Numbers of the lines that hold the word with which every import is written, rising.

    Returns:
        ``None`` when the text cannot be searched because its encoding may write that word otherwise.
    """
    declared = _ENCODING.search(b"\n".join(source.split(b"\n", 2)[:2]))
    if declared is not None and declared[1].lower() not in _LIKE_ASCII:
        return None
    return tuple(number for number, line in enumerate(source.splitlines(), 1) if b"import" in line)


def resolve_relative(module: str | None, level: int, package: str) -> str | None:
    """The absolute name of ``from ..module import``; ``None`` when it leaves the top package."""
    if level == 0:
        return module
    parts = package.split(".") if package else []
    if level > len(parts):
        return None
    base = parts[: len(parts) - level + 1]
    return ".".join([*base, module] if module else base)


class _Reader:
    """Walks statements, not expressions, and knows in which circumstances each one runs."""

    def __init__(self, package: str, conditions: Conditions, lines: tuple[int, ...] | None) -> None:
        self._package = package
        self._conditions = conditions
        self._lines = lines
        self.imports: list[Import] = []
        self.bound: set[str] = set()
        self.stars: list[str] = []
        self.exported: tuple[str, ...] = ()
        self._circumstances = Import(module="")
        self._depth = 0  # of functions and classes

    def block(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            method = getattr(self, f"_{type(statement).__name__.lower()}", None)
            if method is not None:
                method(statement)

    @contextmanager
    def _under(self, **circumstances: object) -> Iterator[None]:
        before = self._circumstances
        self._circumstances = replace(before, **circumstances)  # type: ignore[arg-type]  # names of our own fields
        try:
            yield
        finally:
            self._circumstances = before

    def _bind(self, *names: str) -> None:
        if self._depth == 0:
            self.bound.update(names)
            for name in names:
                self._conditions.forget(name)

    def _add(self, module: str, names: tuple[str, ...], line: int) -> None:
        self.imports.append(replace(self._circumstances, module=module, names=names, line=line))

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name, (), node.lineno)
            self._bind(alias.asname or alias.name.partition(".")[0])

    def _importfrom(self, node: ast.ImportFrom) -> None:
        module = resolve_relative(node.module, node.level, self._package)
        if module is None or module == "__future__":
            return
        names = tuple(alias.name for alias in node.names)
        self._add(module, names, node.lineno)
        if names == ("*",):
            self.stars.append(module)
        self._bind(*(alias.asname or alias.name for alias in node.names))

    def _if(self, node: ast.If) -> None:
        answer = self._conditions.decide(node.test)
        with self._under(sure=self._circumstances.sure and answer is not None):
            if answer is not False:
                with self._triggered_by(node.test):
                    self.block(node.body)
            if answer is not True:
                self.block(node.orelse)

    @contextmanager
    def _triggered_by(self, test: ast.expr) -> Iterator[None]:
        """In ``__getattr__(name)``, ``if name == "x":`` says what makes the block run."""
        triggers = compared_constants(test) if self._in_getattr else frozenset()
        with self._under(triggers=triggers or self._circumstances.triggers):
            yield

    _in_getattr = False

    def _match(self, node: ast.Match) -> None:
        for case in node.cases:
            with self._under(sure=False):
                self.block(case.body)

    def _for(self, node: ast.For | ast.AsyncFor | ast.While) -> None:
        if not isinstance(node, ast.While):
            self._bind_target(node.target)
        with self._under(sure=False):
            self.block(node.body)
        self.block(node.orelse)

    _asyncfor = _for
    _while = _for

    def _with(self, node: ast.With | ast.AsyncWith) -> None:
        guards = any(_suppresses_import_error(item.context_expr) for item in node.items)
        with self._under(
            guarded=guards or self._circumstances.guarded, sure=self._circumstances.sure and not guards
        ):
            self.block(node.body)

    _asyncwith = _with

    def _try(self, node: ast.Try | ast.TryStar) -> None:
        caught = any(_catches_import_error(handler.type) for handler in node.handlers)
        start = len(self.imports)
        with self._under(
            guarded=caught or self._circumstances.guarded, sure=self._circumstances.sure and not caught
        ):
            self.block(node.body)
        attempted = tuple(self.imports[start:])
        for handler in node.handlers:
            only_imports = _catches_only_import_error(handler.type) and attempted
            unless = attempted if only_imports else self._circumstances.unless
            with self._under(unless=unless, sure=False):
                self.block(handler.body)
        with self._under(sure=self._circumstances.sure and not node.handlers):
            self.block(node.orelse)
        self.block(node.finalbody)

    _trystar = _try

    def _imports_within(self, node: ast.stmt) -> bool:
        """Whether an import can stand in ``node``; most functions hold none, and bind nothing outside."""
        if self._lines is None or node.end_lineno is None:
            return True
        at = bisect_left(self._lines, node.lineno)
        return at < len(self._lines) and self._lines[at] <= node.end_lineno

    def _functiondef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._bind(node.name)
        if not self._imports_within(node):
            return
        outer = self._in_getattr
        self._in_getattr = outer or (self._depth == 0 and node.name == "__getattr__")
        self._depth += 1
        with self._under(lazy=True, sure=False):
            self.block(node.body)
        self._depth -= 1
        self._in_getattr = outer

    _asyncfunctiondef = _functiondef

    def _classdef(self, node: ast.ClassDef) -> None:
        self._bind(node.name)
        self._depth += 1
        self.block(node.body)
        self._depth -= 1

    def _assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._bind_target(target)
            if self._depth == 0 and isinstance(target, ast.Name):
                if self._circumstances.sure:  # elsewhere, what it is bound to depends on which branch ran
                    self._conditions.remember(target.id, node.value)
                if target.id == "__all__":
                    self.exported = string_items(node.value)

    def _annassign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._bind_target(node.target)

    def _augassign(self, node: ast.AugAssign) -> None:
        self._bind_target(node.target)
        if isinstance(node.target, ast.Name) and node.target.id == "__all__":
            self.exported += string_items(node.value)

    def _typealias(self, node: ast.stmt) -> None:
        name = getattr(node, "name", None)
        if isinstance(name, ast.Name):
            self._bind(name.id)

    def _bind_target(self, target: ast.expr) -> None:
        if self._depth == 0:
            self._bind(*(node.id for node in all_nodes(target) if isinstance(node, ast.Name)))


def string_items(node: ast.expr) -> tuple[str, ...]:
    """The constant texts of a list or tuple."""
    if not isinstance(node, ast.List | ast.Tuple | ast.Set):
        return ()
    return tuple(
        item.value for item in node.elts if isinstance(item, ast.Constant) and isinstance(item.value, str)
    )


def compared_constants(test: ast.expr) -> frozenset[str]:
    """The texts with which ``name == "x"`` and ``name in {"x", "y"}`` compare."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.Or):
        parts = [compared_constants(value) for value in test.values]
        return frozenset().union(*parts) if all(parts) else frozenset()
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1):
        return frozenset()
    right = test.comparators[0]
    if isinstance(test.ops[0], ast.In):
        return frozenset(string_items(right))
    if isinstance(test.ops[0], ast.Eq) and isinstance(right, ast.Constant) and isinstance(right.value, str):
        return frozenset({right.value})
    return frozenset()


def _exception_names(node: ast.expr | None) -> Sequence[str]:
    if node is None:
        return ("BaseException",)
    items = node.elts if isinstance(node, ast.Tuple) else (node,)
    return tuple((dotted_or_none(item) or "").rpartition(".")[2] for item in items)


def _catches_import_error(node: ast.expr | None) -> bool:
    return any(name in _CATCHES_IMPORT for name in _exception_names(node))


def _catches_only_import_error(node: ast.expr | None) -> bool:
    return all(name in {"ImportError", "ModuleNotFoundError"} for name in _exception_names(node))


def _suppresses_import_error(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call) or (dotted_or_none(node.func) or "").rpartition(".")[2] != "suppress":
        return False
    return any(_catches_import_error(argument) for argument in node.args)
