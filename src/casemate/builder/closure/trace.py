"""Closure mode ``trace``: what recorded runs opened, united with what must never be missing.

The static floor is found in the graph of mode ``module``, so that a trace never holds a module whose reason
cannot be told. It begins at the roots (start of the interpreter, attester and server, the application's entry
point, ``[closure] include``, what reports errors), and follows:

1. imports that run whenever the importing module does: at module level, under no condition, in no ``try``;
2. every import of the attester and of the server, whatever it stands in: they survive what no run showed;
3. what C code imports by name and ``rules.toml`` knows, for the standard library and extension modules;
4. codecs that are named;
5. packages of all of these.

A recorded module brings what it needs in the same way. Data of distributions is taken when it was opened;
the application's own data always is.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from casemate.builder.closure.distributions import Distribution, name_and_version
from casemate.builder.closure.finder import Found, Kind, Owner
from casemate.builder.closure.graph import Graph, Step, codec_module
from casemate.builder.contents import Rule
from casemate.builder.layout import APPLICATION_ROOT, site_packages, standard_library
from casemate.errors import ProjectError
from casemate.formats.trace import SIZE_LIMIT, Trace, is_data_path, is_distribution, is_module_name

#: What an exception needs to be reported, and text to be read and written.
_ERROR_PATHS: Final = ("codecs", "encodings", "linecache", "tokenize", "traceback", "warnings")
#: Packages that serve: a request that no run made must find them whole.
_SERVING: Final = frozenset({"casemate_attester", "cheroot", "uvicorn"})
_OPENED: Final = "opened in a recorded run"
_ENDINGS: Final = re.compile(r"(\.cpython-\d+[\w-]*|\.abi3)?\.so|\.pyc?")
#: Descriptions of distributions, and libraries that are found where they are needed.
_FOUND_OTHERWISE: Final = re.compile(r"[^/]+\.(?:dist-info|egg-info|libs)/")
_AGAIN: Final = 'build in mode "module", and record again: casemate rehearse BUNDLE --record FILE'


def trace_of(paths: Iterable[str], image: Iterable[str], release: str) -> Trace:
    """The record of one run.

    Args:
        paths: Files that were opened or asked for, as the application sees them.
        image: All files of the image, the same way.
        release: Release of its interpreter: ``"3.11.7"``.
    """
    version = release.rpartition(".")[0]
    modules: list[str] = []
    data: list[str] = []
    packages = site_packages(version) + "/"
    for path in paths:
        name = _module_at(path, version)
        if name is not None:
            modules.append(name)
        elif path.startswith(packages) and is_data_path(path.removeprefix(packages)):
            data.append(path.removeprefix(packages))
    distributions = {
        name_and_version(folder)
        for folder in (path.removeprefix(packages).partition("/")[0] for path in image)
        if folder.endswith((".dist-info", ".egg-info"))
    }
    return Trace(
        python=release,
        distributions=tuple(pair for pair in distributions if is_distribution(" ".join(pair))),
        data=tuple(path for path in data if not _FOUND_OTHERWISE.match(path)),
        modules=tuple(modules),
    ).in_order()


def _module_at(path: str, version: str) -> str | None:
    """The module whose file lies at ``path``."""
    stdlib = standard_library(version)
    for root in (APPLICATION_ROOT, site_packages(version), f"{stdlib}/lib-dynload", stdlib):
        if path.startswith(f"{root}/"):
            folder, _, file = path.removeprefix(f"{root}/").rpartition("/")
            ending = _ENDINGS.search(file)
            if ending is None or ending.end() != len(file) or "." in folder:
                return None
            parts = [*(folder.split("/") if folder else ()), file[: ending.start()]]
            if parts[-1] == "__init__" and len(parts) > 1:
                parts.pop()
            name = ".".join(parts)
            return name if is_module_name(name) else None
    return None


def read_trace(file: Path, where: str) -> Trace:
    """The record of runs in ``file``, which errors call ``where``.

    Raises:
        ProjectError: It is not there.
        FormatError: It is no such record.
    """
    try:
        with file.open("rb") as stream:
            return Trace.parse(stream.read(SIZE_LIMIT + 1), where)
    except OSError as error:
        raise ProjectError(
            "record of runs", expected="a file", got=error.strerror, where=where, hint=_AGAIN
        ) from error


def add_recorded(graph: Graph, trace: Trace) -> None:
    """Reach what was opened, and what reports errors; names that are no longer there are passed over."""
    for name in _ERROR_PATHS:
        graph.add(name, Step(rule=Rule.START_UP, by=None, detail="reports errors, reads and writes text"))
    for name in trace.modules:
        graph.add(name, Step(rule=Rule.RECORDED, by=None, detail=_OPENED))


def keep_traced(graph: Graph, trace: Trace) -> None:
    """Leave in ``graph`` only what the trace and the static floor hold, with the reasons that hold there."""
    steps = _Floor(graph).steps(trace)
    graph.nodes = {
        name: replace(node, step=steps[name]) for name, node in graph.nodes.items() if name in steps
    }


class _Floor:
    """Follows what must never be missing."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._steps: dict[str, Step] = {}
        self._queue: deque[str] = deque()

    def steps(self, trace: Trace) -> Mapping[str, Step]:
        """Every module that stays, and why."""
        for name, node in self._graph.nodes.items():
            if node.step.by is None and node.step.rule is not Rule.RECORDED:
                self._reach(name, node.step)
        self._follow()
        for name in trace.modules:
            self._reach(name, Step(rule=Rule.RECORDED, by=None, detail=_OPENED))
        self._follow()
        return self._steps

    def _reach(self, name: str, step: Step) -> None:
        if name in self._steps or name not in self._graph.nodes:
            return
        parent = name.rpartition(".")[0]
        if parent:
            self._reach(parent, replace(step, detail=f"package of {name}: {step.detail}"))
        self._steps[name] = step
        self._queue.append(name)

    def _follow(self) -> None:
        while self._queue:
            name = self._queue.popleft()
            node = self._graph.nodes[name]
            serves = name.partition(".")[0] in _SERVING
            for module, wanted in node.needs:
                if serves or (wanted.sure and not wanted.unless and not wanted.triggers):
                    self._reach(module, self._graph.step(name, wanted))
            for codec in node.scan.codecs:
                self._reach(codec_module(codec), _hidden(name, f'codec "{codec}"'))
            hidden = self._graph.rules.hidden.get(name)
            if hidden is not None and (serves or _is_c(node.found)):
                for module in hidden.imports:
                    self._reach(module, _hidden(name, hidden.reason))


def _is_c(found: Found) -> bool:
    """Whether no source shows what the module imports; the standard library's rules are of that kind, too."""
    standard = found.root is None or found.root.owner is Owner.STANDARD_LIBRARY
    return standard or found.kind in {Kind.EXTENSION, Kind.INSIDE}


def _hidden(by: str, detail: str) -> Step:
    return Step(rule=Rule.HIDDEN_IMPORT, by=by, detail=detail)


def refuse_other_environment(
    trace: Trace, release: str, reached: Iterable[Distribution], where: str | None
) -> None:
    """Refuse a record that is of another Python or of other versions of what is reached.

    Args:
        trace: The record.
        release: Release of the interpreter that is built with.
        reached: Distributions that go into the image.
        where: Name of the record.

    Raises:
        ProjectError: It is; what such a run opened says little about this environment.
    """
    difference = next(_differences(trace, release, reached), None)
    if difference is not None:
        subject, recorded, found = difference
        raise ProjectError(subject, expected=recorded, got=found, where=where, hint=_AGAIN)


def _differences(
    trace: Trace, release: str, reached: Iterable[Distribution]
) -> Iterator[tuple[str, str, str]]:
    if trace.python != release:
        yield "Python of the recorded runs", f"{release}, with which the image is built", trace.python
    recorded = dict(trace.distributions)
    for distribution in reached:
        former = recorded.get(distribution.name)
        if former != distribution.version:
            name = f"{distribution.name} of the recorded runs"
            yield name, f"{distribution.version}, which is installed", former or "none"
