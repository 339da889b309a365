"""What an application's folder shows to someone who looks: how it is started, what it asks for.

Reads; runs nothing.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casemate.builder.closure.conditions import dotted_or_none
from casemate.builder.closure.data import application_files
from casemate.builder.closure.entry import ApplicationCode
from casemate.errors import ProjectError
from casemate.project import Interface

#: Names that people give to what is served, the likeliest first.
_NAMES: Final = ("app", "application", "wsgi_app", "asgi_app", "wsgi", "asgi", "api", "server")
#: Modules in which people put it, the likeliest first.
_MODULES: Final = ("wsgi", "asgi", "app", "main", "application", "server", "api")
_FACTORIES: Final = ("create_app", "make_app", "get_app", "create_application", "make_application")
_LOCKS: Final = ("uv.lock", "requirements.lock", "requirements.txt")
_NOT_THE_APPLICATION: Final = frozenset(
    {"tests", "test", "docs", "doc", "examples", "benchmarks", "scripts", "migrations"}
)
_NOT_MODULES: Final = frozenset({"conftest.py", "setup.py", "noxfile.py", "manage.py", "tasks.py"})
_DEEPEST: Final = 3
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Something that the application's code names: a variable that it reads, a module that it imports.

    Attributes:
        name: Its name.
        where: ``"notes/settings.py:28"``.
    """

    name: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What was seen.

    Attributes:
        name: A name for the workload.
        source: The folder in which Python would look for the application's modules, relative to this one.
        requirements: The file with the locked requirements; ``None``: there is no sign of any.
        is_locked: Whether that file exists; otherwise it is what the developer has to make.
        serve: ``"notes:app"``; ``None`` for a program that brings its own server.
        interface: How ``serve`` is called.
        command: How the program is started otherwise.
        variables: Sorted by name.
        foreign: Modules that are neither Python's nor the application's, imported at the start of a module;
            sorted by name, each with the first place.
    """

    name: str
    source: str
    requirements: str | None
    is_locked: bool
    serve: str | None
    interface: Interface | None
    command: tuple[str, ...] | None
    variables: tuple[Named, ...]
    foreign: tuple[Named, ...]


def survey_application(folder: Path) -> Survey:
    """Look at the application in ``folder``.

    Raises:
        ProjectError: There is nothing that could be started.
    """
    source = "src" if any((folder / "src").glob("*/__init__.py")) else "."
    code = ApplicationCode(folder / source)
    modules = tuple(_modules(folder / source))
    served = _served(code, modules)
    command = None if served else _command(modules)
    if served is None and command is None:
        raise _nothing_to_start(code, modules, folder)
    requirements, is_locked = _requirements(folder)
    return Survey(
        name=_name(folder),
        source=source,
        requirements=requirements,
        is_locked=is_locked,
        serve=served[0] if served else None,
        interface=served[1] if served else None,
        command=command,
        variables=_variables(modules),
        foreign=_foreign(modules, folder / source),
    )


@dataclass(frozen=True, slots=True)
class _Module:
    name: str
    file: str
    tree: ast.Module

    @property
    def depth(self) -> int:
        return self.name.count(".")


def _modules(source: Path) -> Iterator[_Module]:
    for file in application_files(source):
        parts = file.split("/")
        usual = not _NOT_THE_APPLICATION & set(parts[:-1]) and parts[-1] not in _NOT_MODULES
        if not (
            file.endswith(".py") and usual and len(parts) <= _DEEPEST and not parts[-1].startswith("test_")
        ):
            continue
        name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if not all(part.isidentifier() for part in name.split(".")):
            continue
        try:
            yield _Module(name, file, ast.parse((source / file).read_bytes()))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # Python itself will tell; nothing to see here


def _served(code: ApplicationCode, modules: tuple[_Module, ...]) -> tuple[str, Interface] | None:
    """The likeliest thing to serve among the modules' top-level names."""
    candidates = []
    for module in modules:
        for name in _assigned(module.tree):
            interface = code.interface(module.name, name)
            if interface is not None:
                last = module.name.rpartition(".")[2]
                rank = (_rank(_NAMES, name), module.depth, _rank(_MODULES, last), module.name, name)
                candidates.append((rank, f"{module.name}:{name}", interface))
    return min(candidates)[1:] if candidates else None


def _rank(names: tuple[str, ...], name: str) -> int:
    return names.index(name) if name in names else len(names)


def _assigned(tree: ast.Module) -> Iterator[str]:
    """Names that are assigned when the module is imported, in branches as well."""
    for node in _executed(tree.body):
        targets: list[ast.expr] = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def _executed(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With):
            for field in ("body", "orelse", "finalbody"):
                yield from _executed(getattr(node, field, []))


def _command(modules: tuple[_Module, ...]) -> tuple[str, ...] | None:
    """``python -m`` of a package with ``__main__``, or of a module that runs as a program."""
    for module in sorted(modules, key=lambda module: (module.depth, module.name)):
        if module.name.endswith(".__main__"):
            return ("python", "-m", module.name.removesuffix(".__main__"))
    for module in sorted(modules, key=lambda m: (m.depth, _rank(_MODULES, m.name), m.name)):
        if any(_is_main_guard(node) for node in module.tree.body):
            return ("python", "-m", module.name)
    return None


def _is_main_guard(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Compare)
        and isinstance(node.test.left, ast.Name)
        and node.test.left.id == "__name__"
    )


def _nothing_to_start(code: ApplicationCode, modules: tuple[_Module, ...], folder: Path) -> ProjectError:
    """The refusal, with the way out when there is a factory."""
    for module in modules:
        for factory in _FACTORIES:
            if code.made_by(module.name, factory) is not None:
                return ProjectError(
                    "application",
                    expected="an application that a module has made when it is imported",
                    got=f"a factory, {module.name}.{factory}",
                    where=str(folder),
                    hint=f"add a module wsgi.py with: from {module.name} import {factory}; app = {factory}()",
                )
    hint = "give the folder in which the application lies"
    files = [module.file for module in modules if not module.file.endswith("__init__.py")]
    if files:
        hint = (
            'put what starts the program below `if __name__ == "__main__":`, or write casemate.toml by hand, '
            f'with command = ["python", "{files[0]}"] in [app]'
        )
    return ProjectError(
        "application",
        expected="a WSGI or ASGI application, a package with __main__, or a module with "
        '`if __name__ == "__main__":`',
        got="none of them",
        where=str(folder),
        hint=hint,
    )


def _name(folder: Path) -> str:
    """A DNS label made from the project's name, or from that of the folder."""
    name = folder.resolve().name
    try:
        document = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
        name = str(document["project"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no pyproject.toml, or one that says nothing about it
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63].strip("-") or "application"


def _requirements(folder: Path) -> tuple[str | None, bool]:
    for lock in _LOCKS:
        if (folder / lock).is_file():
            return lock, True
    return ("uv.lock", False) if (folder / "pyproject.toml").is_file() else (None, False)


def _variables(modules: tuple[_Module, ...]) -> tuple[Named, ...]:
    first: dict[str, str] = {}
    for module in modules:
        for name, line in _environment_reads(module.tree):
            first.setdefault(name, f"{module.file}:{line}")
    return tuple(Named(name=name, where=first[name]) for name in sorted(first))


def _foreign(modules: tuple[_Module, ...], source: Path) -> tuple[Named, ...]:
    first: dict[str, str] = {}
    for module in modules:
        for node in module.tree.body:
            for name in _imported(node):
                own = (source / name).is_dir() or any(source.glob(f"{name}.*"))
                if not own and name not in sys.stdlib_module_names:
                    first.setdefault(name, f"{module.file}:{node.lineno}")
    return tuple(Named(name=name, where=first[name]) for name in sorted(first))


def _imported(node: ast.stmt) -> list[str]:
    """The first parts of the names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module.partition(".")[0]]
    return []


def _environment_reads(tree: ast.Module) -> Iterator[tuple[str, int]]:
    with_default = {
        id(value)
        for node in ast.walk(tree)
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or)
        for value in node.values[:-1]
    }
    for node in ast.walk(tree):
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and _is_environment(node.value):
            key = node.slice
        elif isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords:
            function = dotted_or_none(node.func) or ""
            gets = isinstance(node.func, ast.Attribute) and node.func.attr == "get"
            if function.endswith("getenv") or (gets and _is_environment(node.func.value)):  # type: ignore[attr-defined]  # an attribute
                key = node.args[0]
        name = key.value if isinstance(key, ast.Constant) and id(node) not in with_default else None
        if key is not None and isinstance(name, str) and _VARIABLE.fullmatch(name):
            yield name, key.lineno


def _is_environment(node: ast.expr) -> bool:
    name = (dotted_or_none(node) or "").rpartition(".")[2]
    return name in {"environ", "environment", "env"}
