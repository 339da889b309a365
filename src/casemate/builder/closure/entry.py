"""The application's own code, read without an environment: what is served, and how."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casemate.builder.closure.conditions import dotted_or_none
from casemate.builder.closure.scan import resolve_relative
from casemate.project import Interface

_WSGI, _ASGI = Interface.WSGI, Interface.ASGI

#: What makes an application, and what it makes.
_MAKERS: Final = {
    "bottle.Bottle": _WSGI,
    "bottle.default_app": _WSGI,
    "django.core.asgi.get_asgi_application": _ASGI,
    "django.core.wsgi.get_wsgi_application": _WSGI,
    "falcon.App": _WSGI,
    "falcon.asgi.App": _ASGI,
    "fastapi.FastAPI": _ASGI,
    "fastapi.applications.FastAPI": _ASGI,
    "flask.Flask": _WSGI,
    "flask.app.Flask": _WSGI,
    "litestar.Litestar": _ASGI,
    "litestar.app.Litestar": _ASGI,
    "quart.Quart": _ASGI,
    "starlette.applications.Starlette": _ASGI,
}
#: Methods that make one, whatever they belong to, and attributes that are one.
_MAKING_METHODS: Final = {"make_wsgi_app": _WSGI, "wsgi_app": _WSGI}
_DEPTH: Final = 8
_NAME: Final = re.compile(r"[\w-]{1,200}(\.[\w-]{1,200})*")

Scope = dict[str, ast.expr]


@dataclass(frozen=True, slots=True)
class _Module:
    name: str
    package: str
    bound: dict[str, ast.stmt]


class ApplicationCode:
    """Reads modules of the application in ``source``; runs nothing."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self._modules: dict[str, _Module | None] = {}

    def interface(self, module: str, name: str) -> Interface | None:
        """How the object ``name`` of ``module`` is called; ``None`` when reading does not tell."""
        return self._of_name(module, name.partition(".")[0], _DEPTH)

    def made_by(self, module: str, factory: str) -> Interface | None:
        """How the result of calling ``factory`` is called; ``None`` when reading does not tell."""
        found = self._module(module)
        statement = found.bound.get(factory) if found else None
        if found is None or not isinstance(statement, ast.FunctionDef):
            return None
        return self._of_result(found, statement, _DEPTH)

    def _module(self, name: str) -> _Module | None:
        if name not in self._modules:
            self._modules[name] = self._read(name)
        return self._modules[name]

    def _read(self, name: str) -> _Module | None:
        if _NAME.fullmatch(name) is None:
            return None
        stem = self._source.joinpath(*name.split("."))
        for file, package in ((stem / "__init__.py", name), (stem.with_name(f"{stem.name}.py"), None)):
            if file.is_file():
                try:
                    tree = ast.parse(file.read_bytes())
                except (SyntaxError, ValueError, RecursionError, MemoryError):
                    return None
                parent = name.rpartition(".")[0] if package is None else package
                return _Module(name, parent, dict(_bindings(tree.body)))
        return None

    def _of_name(self, module: str, name: str, depth: int) -> Interface | None:
        found = self._module(module)
        statement = found.bound.get(name) if found else None
        if found is None or statement is None or depth == 0:
            return None
        if isinstance(statement, ast.ImportFrom):
            target = resolve_relative(statement.module, statement.level, found.package)
            original = next((a.name for a in statement.names if (a.asname or a.name) == name), name)
            return self._of_name(target, original, depth - 1) if target else None
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            return _of_signature(statement)
        if isinstance(statement, ast.ClassDef):
            return None
        return self._of_statement(found, statement, {}, depth)

    def _of_statement(self, module: _Module, node: ast.stmt, scope: Scope, depth: int) -> Interface | None:
        if isinstance(node, ast.AnnAssign):
            made = self._maker(module, node.annotation)
            if made is not None:
                return made
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        return self._of_expression(module, value, scope, depth) if value is not None else None

    def _of_expression(self, module: _Module, node: ast.expr, scope: Scope, depth: int) -> Interface | None:
        if depth == 0:
            return None
        if isinstance(node, ast.Name):
            if node.id in scope:
                rest = {name: value for name, value in scope.items() if name != node.id}
                return self._of_expression(module, scope[node.id], rest, depth - 1)
            return self._of_name(module.name, node.id, depth - 1)
        if isinstance(node, ast.Attribute):
            return _MAKING_METHODS.get(node.attr)
        if isinstance(node, ast.Call):
            return self._of_call(module, node, scope, depth)
        return None

    def _of_call(self, module: _Module, node: ast.Call, scope: Scope, depth: int) -> Interface | None:
        made = self._maker(module, node.func)
        if made is None and isinstance(node.func, ast.Attribute):
            made = _MAKING_METHODS.get(node.func.attr)
        if made is None and isinstance(node.func, ast.Name):
            made = self._of_function(module.name, node.func.id, depth - 1)
        if made is not None:
            return made
        # Middleware: ProxyFix(app) is called as app is.
        answers = (self._of_expression(module, argument, scope, depth - 1) for argument in node.args)
        return next((answer for answer in answers if answer is not None), None)

    def _of_function(self, module: str, name: str, depth: int) -> Interface | None:
        """What a function or class of the application gives when it is called."""
        found = self._module(module)
        statement = found.bound.get(name) if found else None
        if found is None or depth == 0:
            return None
        if isinstance(statement, ast.ImportFrom):
            target = resolve_relative(statement.module, statement.level, found.package)
            original = next((a.name for a in statement.names if (a.asname or a.name) == name), name)
            return self._of_function(target, original, depth - 1) if target else None
        if isinstance(statement, ast.FunctionDef):
            return self._of_result(found, statement, depth)
        if isinstance(statement, ast.ClassDef):
            return self._of_class(found, statement)
        return None

    def _of_class(self, module: _Module, node: ast.ClassDef) -> Interface | None:
        for base in node.bases:
            made = self._maker(module, base)
            if made is not None:
                return made
        for statement in node.body:
            if getattr(statement, "name", "") == "__call__":
                return _ASGI if isinstance(statement, ast.AsyncFunctionDef) else _WSGI
        return None

    def _of_result(self, module: _Module, node: ast.FunctionDef, depth: int) -> Interface | None:
        made = self._maker(module, node.returns) if node.returns is not None else None
        if made is not None:
            return made
        local = dict(_bindings(node.body))
        imports = {name: s for name, s in local.items() if isinstance(s, ast.Import | ast.ImportFrom)}
        inner = _Module(module.name, module.package, module.bound | imports)
        scope = {
            name: s.value
            for name, s in local.items()
            if isinstance(s, ast.Assign | ast.AnnAssign) and s.value is not None
        }
        for statement in ast.walk(node):
            if isinstance(statement, ast.Return) and statement.value is not None:
                answer = self._of_expression(inner, statement.value, scope, depth - 1)
                if answer is not None:
                    return answer
        return None

    def _maker(self, module: _Module, node: ast.expr) -> Interface | None:
        """What the class or function that ``node`` names makes."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            try:
                node = ast.parse(node.value, mode="eval").body
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                return None
        dotted = dotted_or_none(node)
        if dotted is None:
            return None
        first, _, rest = dotted.partition(".")
        statement = module.bound.get(first)
        if isinstance(statement, ast.ImportFrom) and not statement.level:
            original = next(a.name for a in statement.names if (a.asname or a.name) == first)
            dotted = f"{statement.module}.{original}" + (f".{rest}" if rest else "")
        elif isinstance(statement, ast.Import):
            alias = next((a for a in statement.names if a.asname == first), None)
            dotted = alias.name + (f".{rest}" if rest else "") if alias else dotted
        return _MAKERS.get(dotted)


def _bindings(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Names that the statements bind, and the statement that binds each; the last one counts."""
    for node in body:
        if isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
            for field in ("body", "orelse", "finalbody"):
                yield from _bindings(getattr(node, field, ()))
        else:
            yield from ((name, node) for name in _bound_by(node))


def _bound_by(node: ast.stmt) -> list[str]:
    """Names that one statement binds."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []


def _of_signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Interface | None:
    """``def app(environ, start_response)`` and ``async def app(scope, receive, send)``."""
    count = len(node.args.posonlyargs) + len(node.args.args)
    if isinstance(node, ast.AsyncFunctionDef):
        return _ASGI if count == 3 else None
    return _WSGI if count == 2 else None
