"""What reading could not decide, and what it found missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from casemate.builder.closure.calls import Dynamic, Pattern
from casemate.builder.closure.families import expand
from casemate.builder.closure.finder import Owner
from casemate.builder.closure.graph import Graph, Node
from casemate.builder.closure.scan import Import
from casemate.builder.closure.values import Question
from casemate.errors import ProjectError
from casemate.project import Project

_PROVIDE: Final = "add what provides it to the requirements, and lock them again"
_PROVIDE_ANYTHING: Final = (
    "write what provides it into requirements.in, run `uv pip compile --generate-hashes requirements.in -o "
    'requirements.lock`, and write requirements = "requirements.lock" in casemate.toml, where it says ""'
)


def find_questions(graph: Graph, project: Project) -> tuple[Question, ...]:
    """Imports of the application's own code whose names only the running code knows, sorted by place.

    They are asked until ``include`` names a module as such. Files that a pattern takes in are no answer: they
    may be the very ones that ask.
    """
    if project.closure.included("module"):
        return ()
    questions: list[Question] = []
    for node in graph.nodes.values():
        if not _is_own(node) or node.found.file is None or node.found.root is None:
            continue
        place = node.found.file.relative_to(node.found.root.host).as_posix()
        asked: list[Dynamic | Pattern] = [*node.scan.dynamic, *_fruitless(graph, node)]
        questions.extend(
            Question(
                where=f"{place}:{call.line}",
                question=f"which modules does {call.call} import?",
                line='[closure] include = ["module:NAME"]  # NAME: what it may import, one entry for each',
            )
            for call in asked
        )
    return tuple(sorted(questions, key=lambda question: question.where))


def _fruitless(graph: Graph, node: Node) -> Iterator[Pattern]:
    """Calls that import a module of which a part of the name is known, where no module has such a name."""
    return (call for call in node.scan.patterns if next(expand(call.name, graph.finder), None) is None)


def refuse_missing_imports(graph: Graph, project: Project, first: str) -> None:
    """Refuse an application that cannot be imported: a module that it needs at once is nowhere.

    Follows only imports that run whenever the importing module does, and only the application's own modules.

    Raises:
        ProjectError: A module is missing.
    """
    missing: dict[str, Import] = {}
    for importer, wanted in graph.missing:
        if wanted.sure and not wanted.unless:
            missing.setdefault(importer, wanted)
    seen: set[str] = set()
    waiting = [first]
    while waiting:
        name = waiting.pop(0)
        node = graph.nodes.get(name)
        if name in seen or node is None or not _is_own(node):
            continue
        seen.add(name)
        if name in missing and node.found.file is not None and node.found.root is not None:
            place = node.found.file.relative_to(node.found.root.host).as_posix()
            raise ProjectError(
                f"import {missing[name].module}",
                expected="a module of the application, of its requirements or of the standard library",
                got="none",
                where=f"{place}:{missing[name].line}",
                hint=_PROVIDE if project.app.requirements is not None else _PROVIDE_ANYTHING,
            )
        parent = name.rpartition(".")[0]
        waiting.extend([parent] if parent else [])
        waiting.extend(module for module, wanted in node.needs if wanted.sure)


def _is_own(node: Node) -> bool:
    return node.found.root is not None and node.found.root.owner is Owner.APPLICATION
