"""Where the import graph begins: the interpreter, the attester, the server, the application."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from casemate.builder.closure.data import application_files, included
from casemate.builder.closure.entry import ApplicationCode
from casemate.builder.closure.finder import Finder, Kind, Owner, Root
from casemate.builder.closure.graph import Graph, Step
from casemate.builder.closure.reader import ModuleReader
from casemate.builder.closure.rules import Cut, Hidden, Rules
from casemate.builder.closure.values import Interpreter
from casemate.builder.contents import Rule
from casemate.builder.layout import APPLICATION_ROOT, site_packages, standard_library
from casemate.errors import ProjectError
from casemate.formats.trace import Trace
from casemate.project import PROJECT_FILE, Interface, Project

ATTESTER: Final = "casemate_attester"
#: The module that each interface does not use, and with it a whole server.
_OTHER_SERVERS: Final = {
    Interface.WSGI: (f"{ATTESTER}.asgi_server",),
    Interface.ASGI: (f"{ATTESTER}.wsgi_server",),
    None: (f"{ATTESTER}.asgi_server", f"{ATTESTER}.wsgi_server"),
}
_SERVERS: Final = {Interface.WSGI: f"{ATTESTER}.wsgi_server", Interface.ASGI: f"{ATTESTER}.asgi_server"}
#: An argument that is a module, or ``MODULE:NAME``, or an option with one.
_NAMED: Final = re.compile(
    r"(?:-A|--[a-z]+=)?(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?::[A-Za-z_][\w.]*(?:\(.*\))?)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Folders of this machine from which an image is made.

    Attributes:
        application: The application's own files (``app.source``).
        environment: Folders of installed distributions, in the order in which Python searches them. In the
            enclave they are one folder; where two of them have the same file, the first one's is taken.
        attester: The folder that holds the package ``casemate_attester``.
        interpreter: The interpreter.
        trace: What recorded runs opened; given exactly in closure mode ``trace``.
    """

    application: Path
    environment: tuple[Path, ...]
    attester: Path
    interpreter: Interpreter
    trace: Trace | None = None

    def search_path(self) -> tuple[Root, ...]:
        """What ``sys.path`` is in the enclave, and where this machine has it."""
        stdlib = standard_library(self.interpreter.version)
        packages = site_packages(self.interpreter.version)
        return (
            Root(host=self.application, path=APPLICATION_ROOT, owner=Owner.APPLICATION),
            Root(host=self.attester, path=packages, owner=Owner.ATTESTER, only=ATTESTER),
            Root(host=self.interpreter.stdlib, path=stdlib, owner=Owner.STANDARD_LIBRARY),
            Root(host=self.interpreter.dynload, path=f"{stdlib}/lib-dynload", owner=Owner.STANDARD_LIBRARY),
            *(Root(host=folder, path=packages, owner=Owner.DISTRIBUTION) for folder in self.environment),
        )


def interface_of(project: Project, application: Path) -> Interface | None:
    """How the application is served; ``None`` for a command.

    Raises:
        ProjectError: The callable does not show it, and ``[app] interface`` does not say it; or it only makes
            the application.
    """
    serve = project.app.serve
    if serve is None:
        return None
    module, _, name = serve.partition(":")
    code = ApplicationCode(application)
    read = code.interface(module, name)
    if read is None and code.made_by(module, name) is not None:
        raise ProjectError(
            "serve",
            expected="an application that a module has made when it is imported",
            got=f"a factory, {module}.{name}",
            where=f"{PROJECT_FILE}: app.serve",
            hint=f'add wsgi.py with: from {module} import {name}; app = {name}(), and say serve = "wsgi:app"',
        )
    found = project.app.interface or read
    if found is None:
        raise ProjectError(
            f'interface of "{serve}"',
            expected="a WSGI or ASGI application that reading the code recognises",
            where=f"{PROJECT_FILE}: app.serve",
            hint='say which it is: interface = "wsgi" (Flask, Django) or interface = "asgi" (FastAPI)',
        )
    return found


def new_graph(sources: Sources, rules: Rules, interface: Interface | None, reader: ModuleReader) -> Graph:
    """An empty graph that knows which server is not used."""
    unused = Cut(by=ATTESTER + "*", of=_OTHER_SERVERS[interface], reason="the other kind of server")
    release = (int(part) for part in sources.interpreter.release.split("."))
    major, minor, micro = release
    built = Hidden(imports=(sources.interpreter.build_time_module,), reason="imported by a name put together")
    rules = replace(rules, hidden={**rules.hidden, "sysconfig": built}, cuts=(*rules.cuts, unused))
    return Graph(Finder(sources.search_path(), sources.interpreter), rules, (major, minor, micro), reader)


def add_roots(graph: Graph, project: Project, sources: Sources, interface: Interface | None) -> str:
    """Reach the roots, in the order in which the enclave runs them; gives the application's first module."""
    for module in sources.interpreter.start_up:
        graph.add(module, Step(rule=Rule.START_UP, by=None, detail="loaded when the interpreter starts"))
    graph.add("runpy", Step(rule=Rule.START_UP, by=None, detail="python -m"))
    graph.add(
        "os", Step(rule=Rule.INTERPRETER, by=None, detail="the interpreter finds its home by this file")
    )
    first = _add_application(graph, project, sources)
    graph.add(
        f"{ATTESTER}.__main__", Step(rule=Rule.ATTESTER, by=None, detail="PID 1 of the enclave"), main=True
    )
    if interface is not None:
        step = Step(rule=Rule.SERVER, by=f"{ATTESTER}.__main__", detail=f"serves {interface.value.upper()}")
        graph.add(_SERVERS[interface], step)
    _add_included(graph, project, sources)
    return first


def _add_application(graph: Graph, project: Project, sources: Sources) -> str:
    app = project.app
    place = f"{PROJECT_FILE}: app.{'serve' if app.serve else 'command'}"
    if app.serve is not None:
        module, _, name = app.serve.partition(":")
        _add_entry(graph, module, f'serve = "{app.serve}"', place, main=False)
        _require_name(graph, module, name.partition(".")[0], place)
        return module
    command = app.command or ()
    detail = f"command: {' '.join(command)}"
    module = command[2] if command[1] == "-m" else command[1].removesuffix(".py").replace("/", ".")
    found = graph.finder.find(module)
    if command[1] == "-m" and found is not None and found.is_package:
        module = f"{module}.__main__"
    if command[1] != "-m" and not (sources.application / command[1]).is_file():
        raise ProjectError(
            "entry point", expected=f"a file {command[1]} in app.source", got="none", where=place
        )
    _add_entry(graph, module, detail, place, main=True)
    for argument in command[3 if command[1] == "-m" else 2 :]:
        _add_named(graph, argument, detail)
    return module


def _add_named(graph: Graph, argument: str, detail: str) -> None:
    """The application's own module that an argument names, as for uvicorn, ``flask --app``, ``celery -A``.

    The server imports it by that name, which no import statement shows.
    """
    named = _NAMED.fullmatch(argument)
    found = None if named is None else graph.finder.find(named["module"])
    if found is not None and found.root is not None and found.root.owner is Owner.APPLICATION:
        graph.add(found.name, Step(rule=Rule.ENTRY_POINT, by=None, detail=detail))


def _add_entry(graph: Graph, module: str, detail: str, place: str, *, main: bool) -> None:
    if not graph.add(module, Step(rule=Rule.ENTRY_POINT, by=None, detail=detail), main=main):
        raise ProjectError(
            "entry point",
            expected=f"a module {module} that can be imported",
            got="none in app.source and in the requirements",
            where=place,
            hint="app.source is the folder in which Python would look for the module",
        )


def _require_name(graph: Graph, module: str, name: str, place: str) -> None:
    """Refuse a callable that its module does not define, as far as reading can tell."""
    scan = graph.nodes[module].scan
    found = graph.nodes[module].found
    if found.kind not in {Kind.SOURCE, Kind.NAMESPACE}:
        return
    if name in scan.bound or scan.answers_any_name or scan.stars:
        return
    raise ProjectError(
        "entry point",
        expected=f"a name {name} in module {module}",
        got="none",
        where=place,
        hint=f"{found.file.name if found.file else module} has to define it at its top level",
    )


def _add_included(graph: Graph, project: Project, sources: Sources) -> None:
    """Modules among the files that ``[closure] include`` names."""
    files = tuple(application_files(sources.application))
    for name in project.closure.included("module"):
        step = Step(rule=Rule.INCLUDED, by=None, detail=f'include = "module:{name}"')
        if not graph.add(name, step):
            raise ProjectError(
                f'include "module:{name}"',
                expected="a module that can be imported",
                got="none",
                where=f"{PROJECT_FILE}: closure.include",
            )
    for pattern in project.closure.patterns:
        step = Step(rule=Rule.INCLUDED, by=None, detail=f'include = "{pattern}"')
        for file in included(pattern, files, PROJECT_FILE):
            if file.endswith(".py"):
                graph.add(file.removesuffix(".py").removesuffix("/__init__").replace("/", "."), step)
