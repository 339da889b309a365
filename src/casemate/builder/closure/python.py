"""The Python part of an image: from a project and an installed environment to files with reasons."""

from __future__ import annotations

import sys
from pathlib import Path

from casemate.builder.closure.considered import consider
from casemate.builder.closure.containment import require_within
from casemate.builder.closure.data import (
    application_data,
    application_files,
    included,
    package_data,
    refuse_private_key,
)
from casemate.builder.closure.distributions import Distribution, read_distributions
from casemate.builder.closure.finder import Found, Kind, Owner
from casemate.builder.closure.graph import Graph, Step
from casemate.builder.closure.named import (
    add_zone_packages,
    asks_for_any_zone,
    is_unasked_zone,
    libraries_named,
    locales_named,
    named_questions,
    reads_records,
    zones_named,
)
from casemate.builder.closure.named_files import add_named_modules, find_named_files
from casemate.builder.closure.package_libraries import package_libraries
from casemate.builder.closure.plugins import add_plugins, described_distributions
from casemate.builder.closure.questions import find_questions, refuse_missing_imports
from casemate.builder.closure.reached import reached_modules
from casemate.builder.closure.reader import DirectReader, ModuleReader
from casemate.builder.closure.roots import Sources, add_roots, interface_of, new_graph
from casemate.builder.closure.rules import load_rules
from casemate.builder.closure.trace import add_recorded, keep_traced, refuse_other_environment
from casemate.builder.closure.values import Compiler, Interpreter, ModuleSource, PythonClosure, Question
from casemate.builder.closure.whole import add_whole, reached_distributions, whole_files
from casemate.builder.contents import ImageFile, Reason, Rule
from casemate.builder.layout import APPLICATION_ROOT, interpreter_path, site_packages, standard_library
from casemate.errors import ClosureError, ProjectError
from casemate.project import PROJECT_FILE, ClosureMode, Project

#: The module that site imports at start, from wherever it finds it.
_SITE_CUSTOMIZATION = "sitecustomize"


def find_python_closure(
    project: Project,
    sources: Sources,
    compile_modules: Compiler,
    reader: ModuleReader | None = None,
) -> PythonClosure:
    """Everything of Python that the application needs, and nothing else that can be told apart.

    Args:
        project: The application's ``casemate.toml``.
        sources: Where its files, its environment and its interpreter are.
        compile_modules: Compiles with that interpreter.
        reader: Reads modules; ``None`` for one that remembers nothing.

    Raises:
        ProjectError: The entry point does not exist, or needs a module that is not there; a pattern names
            nothing; a private key is among the application's data; a file is a link out of its folder.
        ProjectError: The recorded runs are of another environment; the command reaches nothing of the
            application.
        ClosureError: A module of the application is not valid Python, or the interpreter is too new.
    """
    _require_readable(sources.interpreter)
    interface = interface_of(project, sources.application)
    graph = new_graph(sources, load_rules(), interface, reader or DirectReader())
    first = add_roots(graph, project, sources, interface)
    distributions = read_distributions(sources.environment)
    if sources.trace is not None:
        add_recorded(graph, sources.trace)
    _grow(graph, project, distributions, sources.interpreter.suffixes)
    refuse_missing_imports(graph, project, first)
    if sources.trace is not None:
        keep_traced(graph, sources.trace)
        reached = reached_distributions(graph, distributions)
        refuse_other_environment(sources.trace, sources.interpreter.release, reached, project.closure.trace)
    files = _Files(graph, project, sources, distributions)
    files.collect()
    images = files.compiled(compile_modules)
    _require_application(images)
    return PythonClosure(
        files=images,
        questions=_questions(graph, project) if sources.trace is None else (),
        considered=consider(sources, files.taken),
        interface=interface,
        modules=reached_modules(graph),
        libraries=tuple(libraries_named(graph, project, files.path_in_image)),
        zones=tuple(zones_named(graph, project, files.path_in_image)),
        locales=tuple(locales_named(graph, files.path_in_image)),
    )


def _questions(graph: Graph, project: Project) -> tuple[Question, ...]:
    questions = (*find_questions(graph, project), *named_questions(graph, project))
    return tuple(sorted(questions, key=lambda question: question.where))


def _require_application(files: tuple[ImageFile, ...]) -> None:
    """Refuse a command that reaches nothing of the application, whose folder would not be there."""
    if not any(file.path.startswith(f"{APPLICATION_ROOT}/") for file in files):
        raise ProjectError(
            "command",
            expected="one that reaches a module of the application",
            got="only the interpreter's and those of the requirements",
            where=f"{PROJECT_FILE}: app.command",
            hint=(
                'let Casemate serve it: serve = "module:callable"; or name what the program imports: '
                '[closure] include = ["module:NAME"]'
            ),
        )


def _require_readable(interpreter: Interpreter) -> None:
    """Refuse code that the Python which runs Casemate may not be able to read."""
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if tuple(int(part) for part in interpreter.version.split(".")) > sys.version_info[:2]:
        raise ClosureError(
            f"code for Python {interpreter.version}",
            expected="a Casemate that runs on that version or a newer one",
            got=f"one that runs on {own}",
            where=str(interpreter.executable),
            hint=f"install Casemate with Python {interpreter.version}, or build with --python for {own}",
        )


def _grow(
    graph: Graph, project: Project, distributions: tuple[Distribution, ...], suffixes: tuple[str, ...]
) -> None:
    """Follow imports, then plugins and listed packages and, when asked for, whole distributions."""
    before = -1
    while len(graph.nodes) != before:
        before = len(graph.nodes)
        graph.grow()
        graph.accompany()
        add_plugins(graph, distributions)
        add_named_modules(graph)
        for name, node in list(graph.nodes.items()):
            for package in node.scan.listed:
                _add_package(graph, package, name)
        add_zone_packages(graph)
        if project.closure.mode is ClosureMode.DISTRIBUTION:
            add_whole(graph, distributions, suffixes)


def _step(by: str, detail: str) -> Step:
    return Step(rule=Rule.HIDDEN_IMPORT, by=by, detail=detail)


def _add_package(graph: Graph, package: str, by: str) -> None:
    """All modules of a package whose modules are listed while running."""
    found = graph.finder.find(package)
    for module in graph.finder.submodules(found) if found is not None else ():
        if graph.add(module, _step(by, f"{by} lists the modules of {package}")):
            inner = graph.finder.find(module)
            if inner is not None and inner.is_package:
                _add_package(graph, module, by)


class _Files:
    """Turns a graph into files of the image.

    Attributes:
        taken: Files of this machine that are in the image as they are or compiled.
    """

    def __init__(
        self, graph: Graph, project: Project, sources: Sources, distributions: tuple[Distribution, ...]
    ) -> None:
        self._graph = graph
        self._project = project
        self._sources = sources
        self._distributions = distributions
        self._trace = sources.trace
        self._interpreter = sources.interpreter
        self._program = interpreter_path(self._interpreter.version)
        self._readable = _packages_with_source(graph, project)
        self._zones = frozenset(zone.name for zone in zones_named(graph, project, self.path_in_image))
        self._any_zone = next(asks_for_any_zone(graph), None) is not None
        self._compile: list[tuple[Found, Reason]] = []
        self._files: dict[str, ImageFile] = {}
        self.taken: set[Path] = set()

    def collect(self) -> None:
        """Decide about every file."""
        detail = f"Python {self._interpreter.release}"
        reason = Reason(rule=Rule.INTERPRETER, of=None, detail=detail)
        self._put(self._program, self._interpreter.executable, reason, executable=True)
        if not self._interpreter.finds_site_packages:
            self._put_path_file()
        for node in self._graph.nodes.values():
            self._module(node.found, self._reason(node.step))
        for name, node in self._graph.nodes.items():
            own = any(root.owner is Owner.APPLICATION for root, _ in node.found.search)
            if node.found.is_package and node.found.kind is not Kind.INSIDE and (own or self._trace is None):
                self._package_data(name, node.found)
            elif node.found.root is not None and node.found.root.owner is Owner.APPLICATION:
                self._folders_beside(name, node.found)
        if self._trace is None:
            self._package_libraries()
        for named in find_named_files(self._graph):
            of = self.path_in_image(self._graph.nodes[named.by].found)
            self._data(named.root.inside(named.file), named.file, Rule.PACKAGE_DATA, of, named.detail)
        self._recorded()
        self._metadata()
        self._included()

    def compiled(self, compile_modules: Compiler) -> tuple[ImageFile, ...]:
        """All files, sorted by path, modules as bytecode."""
        asked = tuple(ModuleSource(host=_file(found), path=found.path) for found, _ in self._compile)
        for (found, reason), code in zip(self._compile, compile_modules(asked), strict=True):
            if code is not None:
                path = _bytecode_path(found)
                self._files[path] = ImageFile(path=path, content=code, reason=reason)
                self.taken.add(_file(found))
            elif found.root is not None and found.root.owner is Owner.APPLICATION:
                raise ClosureError("application's code", expected="valid Python", where=found.path)
        return tuple(self._files[path] for path in sorted(self._files))

    def _put(self, path: str, host: Path, reason: Reason, *, executable: bool = False) -> None:
        if path not in self._files:
            for folder in (self._sources.application, *self._sources.environment):
                if host.is_relative_to(folder):
                    require_within(host, folder)
            self._files[path] = ImageFile(path=path, content=host, executable=executable, reason=reason)
            self.taken.add(host)

    def _put_path_file(self) -> None:
        """For an interpreter that looks for distributions elsewhere than in ``site-packages``."""
        stdlib = standard_library(self._interpreter.version)
        text = 'import site\n\nsite.addsitedir(__file__.rpartition("/")[0] + "/site-packages")\n'
        detail = "this interpreter would not look for distributions there"
        path = f"{stdlib}/{_SITE_CUSTOMIZATION}.py"
        reason = Reason(rule=Rule.INTERPRETER, of=self._program, detail=detail)
        self._files[path] = ImageFile(path=path, content=text.encode(), reason=reason)

    def _module(self, found: Found, reason: Reason) -> None:
        if found.file is None or (found.kind is Kind.INSIDE and found.name != "os"):
            return
        if self._is_replaced(found):
            return
        if found.kind in {Kind.EXTENSION, Kind.BYTECODE} or self._is_readable(found.name):
            self._put(found.path, found.file, reason)
        else:
            self._compile.append((found, reason))

    def _is_replaced(self, found: Found) -> bool:
        """Whether our own path file stands in the place of the interpreter's."""
        return found.name == _SITE_CUSTOMIZATION and not self._interpreter.finds_site_packages

    def _is_readable(self, name: str) -> bool:
        return any(name == package or name.startswith(f"{package}.") for package in self._readable)

    def _reason(self, step: Step) -> Reason:
        return Reason(rule=step.rule, of=self._asker(step), detail=step.detail)

    def _asker(self, step: Step) -> str | None:
        """The file of the image that asked; what has no file of its own stands behind who asked for it."""
        while step.by is not None:
            node = self._graph.nodes[step.by]
            path = self.path_in_image(node.found)
            if path is not None:
                return path
            step = node.step
        return self._program if step.rule in {Rule.START_UP, Rule.INTERPRETER} else None

    def path_in_image(self, found: Found) -> str | None:
        """The file of the image that holds a module; ``None`` for one without a file of its own."""
        if found.file is None or (found.kind is Kind.INSIDE and found.name != "os"):
            return None
        plain = found.kind in {Kind.EXTENSION, Kind.BYTECODE} or self._is_readable(found.name)
        plain = plain or self._is_replaced(found)
        return found.path if plain else _bytecode_path(found)

    def _package_data(self, name: str, found: Found) -> None:
        own = any(root.owner is Owner.APPLICATION for root, _ in found.search)
        if found.kind is Kind.NAMESPACE and not own:
            return
        for root, folder in found.search:
            if root.owner is Owner.STANDARD_LIBRARY:
                continue
            of = self.path_in_image(found) or self._asker(self._graph.nodes[name].step)
            for file in application_data(folder) if own else package_data(folder):
                if not self._any_zone and is_unasked_zone(name, file, self._zones):
                    continue
                self._data(root.inside(file), file, Rule.PACKAGE_DATA, of, f"data of package {name}")

    def _package_libraries(self) -> None:
        for library in package_libraries(self._graph):
            asker = self._graph.nodes[library.by]
            reason = Reason(
                rule=Rule.NAMED_LIBRARY,
                of=self.path_in_image(asker.found) or self._asker(asker.step),
                detail=f"{library.by} has its name, and opens it by its path",
            )
            self._put(library.root.inside(library.file), library.file, reason)

    def _recorded(self) -> None:
        """Data of distributions that recorded runs opened; what is no longer there is passed over."""
        packages = site_packages(self._interpreter.version)
        reason = Reason(rule=Rule.RECORDED, of=None, detail="opened in a recorded run")
        for name in self._trace.data if self._trace is not None else ():
            for folder in self._sources.environment:
                if (folder / name).is_file():
                    self._put(f"{packages}/{name}", folder / name, reason)

    def _folders_beside(self, name: str, found: Found) -> None:
        """``templates`` and ``static`` beside a module that is not in a package."""
        if "." in name or found.root is None or found.file is None:
            return
        for folder in ("templates", "static"):
            path = found.file.parent / folder
            for file in application_data(path) if path.is_dir() else ():
                detail = f"{folder} beside {found.file.name}"
                of = self.path_in_image(found)
                self._data(found.root.inside(file), file, Rule.PACKAGE_DATA, of, detail)

    def _data(self, path: str, file: Path, rule: Rule, of: str | None, detail: str) -> None:
        if file.is_relative_to(self._sources.application):
            require_within(file, self._sources.application)
            refuse_private_key(file, path)
        self._put(path, file, Reason(rule=rule, of=of, detail=detail))

    def _metadata(self) -> None:
        packages = site_packages(self._interpreter.version)
        whole = self._project.closure.mode is ClosureMode.DISTRIBUTION
        records = whole or reads_records(self._graph)
        reached = described_distributions(self._graph, self._distributions)
        for distribution, module in reached.items():
            of = self.path_in_image(self._graph.nodes[module].found)
            for file in distribution.metadata(records=records):
                path = f"{packages}/{file.relative_to(distribution.root).as_posix()}"
                detail = f"metadata of {distribution.name}"
                self._put(path, file, Reason(rule=Rule.METADATA, of=of, detail=detail))
            for file, detail in whole_files(distribution) if whole else ():
                path = f"{packages}/{file.relative_to(distribution.root).as_posix()}"
                self._put(path, file, Reason(rule=Rule.PACKAGE_DATA, of=of, detail=detail))

    def _included(self) -> None:
        names = tuple(application_files(self._sources.application))
        for pattern in self._project.closure.patterns:
            for name in included(pattern, names, PROJECT_FILE):
                if not name.endswith(".py"):
                    file = self._sources.application / name
                    detail = f'include = "{pattern}"'
                    self._data(f"/app/{name}", file, Rule.INCLUDED, None, detail)


def _packages_with_source(graph: Graph, project: Project) -> tuple[str, ...]:
    """Packages shipped as source: those that casemate.toml names, and the application's that read theirs."""
    found = set(project.closure.source) | graph.by_path
    for name, node in graph.nodes.items():
        root = node.found.root
        if node.scan.reads_source and root is not None and root.owner is Owner.APPLICATION:
            found.add(name.partition(".")[0])
    return tuple(sorted(found))


def _bytecode_path(found: Found) -> str:
    return found.path + "c"


def _file(found: Found) -> Path:
    assert found.file is not None  # noqa: S101 - what is compiled is a file; says so to the type checker
    return found.file
