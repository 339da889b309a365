"""What reached code asks of the system by name: libraries, time zones, locales; and what it does not say.

The application's own zones and locales count, and libraries that any module names: a distribution names those
that it may use. Libraries of devices that no enclave has are left out; when the application's own code names
one, that is a question.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from casemate.builder.closure.finder import Found, Owner
from casemate.builder.closure.graph import Graph, Node, Step
from casemate.builder.closure.opened import Opened, Opens
from casemate.builder.closure.values import NamedByCode, Question
from casemate.builder.closure.zones_in_data import zones_in_data
from casemate.builder.contents import Reason, Rule
from casemate.project import Project

#: Of graphics and computing devices, screens and sound: none of them can be reached from an enclave.
_DEVICES: Final = re.compile(
    r"lib(?:cuda|cudart|cudnn|cublas|cufft|curand|cusolver|cusparse|cufile|nccl|nvidia|nvrtc|nvToolsExt|nvJitLink|"
    r"OpenCL|OpenGL|EGL|GL|GLX|GLESv2|vulkan|amdhip64|hip|roc|hsa|ze_loader|tpu|X11|Xext|xcb|wayland|asound|pulse)"
    r"[\w+-]*\.so[\d.]*"
)
#: Packages that hold time zones, and the one in which each lies.
ZONE_PACKAGES: Final = {"tzdata": "tzdata.zoneinfo", "pytz": "pytz"}
#: Modules that ask for it only to print a version for someone who has typed ``--version``.
_COMMAND_LINES: Final = frozenset({"click.decorators"})
#: Modules that read zones by name.
_ZONE_READERS: Final = ("zoneinfo", "dateutil.tz", "pytz")
_LIBRARY_KINDS: Final = {Opens.LIBRARY, Opens.FIND}


def libraries_named(
    graph: Graph, project: Project, path_of: Callable[[Found], str | None]
) -> Iterator[NamedByCode]:
    """Names of libraries, as ``dlopen`` and ``find_library`` take them; no paths.

    Args:
        graph: What is reached.
        project: What ``casemate.toml`` includes.
        path_of: The file of the image that holds a module.
    """
    for name in project.closure.included("library"):
        reason = Reason(rule=Rule.INCLUDED, of=None, detail=f'include = "library:{name}"')
        yield NamedByCode(name=name, reason=reason, required=True)
    for node, opened in _all(graph, _LIBRARY_KINDS):
        if opened.name is not None and "/" not in opened.name and not _DEVICES.fullmatch(opened.name):
            yield NamedByCode(name=opened.name, reason=_reason(Rule.NAMED_LIBRARY, node, opened, path_of))


def zones_named(
    graph: Graph, project: Project, path_of: Callable[[Found], str | None]
) -> Iterator[NamedByCode]:
    """Names of time zones."""
    for name in project.closure.included("zone"):
        reason = Reason(rule=Rule.INCLUDED, of=None, detail=f'include = "zone:{name}"')
        yield NamedByCode(name=name, reason=reason, required=True, file=_installed_zone(graph, name))
    for node, opened in _all(graph, {Opens.ZONE}):
        if opened.name is not None:
            reason = _reason(Rule.TIME_ZONE, node, opened, path_of)
            file = _installed_zone(graph, opened.name)
            yield NamedByCode(name=opened.name, reason=reason, file=file)
    if any(module in graph.nodes for module in _ZONE_READERS):
        for root in graph.finder.roots:
            if root.owner is Owner.APPLICATION:
                for name, place in zones_in_data(root.host):
                    reason = Reason(rule=Rule.TIME_ZONE, of=None, detail=f'"{name}" ({place})')
                    yield NamedByCode(name=name, reason=reason, file=_installed_zone(graph, name))


def _installed_zone(graph: Graph, name: str) -> Path | None:
    """The file of a zone in the distribution that brings zones."""
    package = graph.finder.find(ZONE_PACKAGES["tzdata"])
    if package is None or ".." in name.split("/") or name.startswith("/"):
        return None
    return next((folder / name for _, folder in package.search if (folder / name).is_file()), None)


def locales_named(graph: Graph, path_of: Callable[[Found], str | None]) -> Iterator[NamedByCode]:
    """Names of locales; an empty one is that of the environment."""
    for node, opened in _all(graph, {Opens.LOCALE}):
        if opened.name is not None:
            yield NamedByCode(name=opened.name, reason=_reason(Rule.LOCALE, node, opened, path_of))


def reads_records(graph: Graph) -> bool:
    """Whether code asks which files a distribution has installed, or which one has a module."""
    return any(node.found.name not in _COMMAND_LINES for node, _ in _all(graph, {Opens.RECORD}))


def asks_for_any_zone(graph: Graph) -> Iterator[tuple[Node, Opened]]:
    """Calls of the application's own code with zones that only the running code knows."""
    return ((node, opened) for node, opened in _all(graph, {Opens.ZONE}) if opened.name is None)


def add_zone_packages(graph: Graph) -> None:
    """Reach the zones that a distribution brings, where nobody can tell which ones the application uses."""
    asked = next(asks_for_any_zone(graph), None)
    package = graph.finder.find(ZONE_PACKAGES["tzdata"])
    if asked is None or package is None:
        return
    node, opened = asked
    step = Step(rule=Rule.HIDDEN_IMPORT, by=node.found.name, detail=f"{opened.text} ({_place(node, opened)})")
    waiting = [package]
    while waiting:
        found = waiting.pop()
        graph.add(found.name, step)
        inner = (graph.finder.find(name) for name in graph.finder.submodules(found))
        waiting.extend(it for it in inner if it is not None and it.is_package)


def is_unasked_zone(package: str, file: Path, names: frozenset[str]) -> bool:
    """Whether a file of ``package`` is a time zone, and none of ``names``."""
    if package.partition(".")[0] not in ZONE_PACKAGES:
        return False
    zone = file.as_posix().rpartition("/zoneinfo/")[2]
    with file.open("rb") as stream:
        return stream.read(4) == b"TZif" and zone not in names


def named_questions(graph: Graph, project: Project) -> Iterator[Question]:
    """What nobody can tell of the application's own code; none where ``include`` says so."""
    if not project.closure.included("library"):
        for node, opened in _all(graph, _LIBRARY_KINDS):
            if _is_own(node) and opened.name is None:
                yield Question(
                    where=_place(node, opened),
                    question=f"which library does {opened.text} open?",
                    line='[closure] include = ["library:NAME"]  # NAME: libfoo.so.1, one entry for each',
                )
            elif _is_own(node) and _DEVICES.fullmatch(opened.name or ""):
                yield Question(
                    where=_place(node, opened),
                    question=f"is {opened.name}, of a device that no enclave has, needed?",
                    line=f'[closure] include = ["library:{opened.name}"]',
                )
    if not project.closure.included("zone") and not any(graph.finder.find(name) for name in ZONE_PACKAGES):
        for node, opened in asks_for_any_zone(graph):
            yield Question(
                where=_place(node, opened),
                question=f"which time zones does {opened.text} ask for?",
                line='[closure] include = ["zone:Europe/Berlin"]  # or add tzdata to the requirements',
            )


def _all(graph: Graph, kinds: set[Opens]) -> Iterator[tuple[Node, Opened]]:
    """Not those of the standard library, which defines the functions, and has examples of their use."""
    for node in graph.nodes.values():
        for opened in () if _is_standard(node) else node.scan.opened:
            if opened.what in kinds:
                yield node, opened


def _reason(rule: Rule, node: Node, opened: Opened, path_of: Callable[[Found], str | None]) -> Reason:
    return Reason(rule=rule, of=path_of(node.found), detail=f"{opened.text} ({_place(node, opened)})")


def _place(node: Node, opened: Opened) -> str:
    found = node.found
    if found.root is None or found.file is None:
        return found.name
    return f"{found.file.relative_to(found.root.host).as_posix()}:{opened.line}"


def _is_own(node: Node) -> bool:
    return node.found.root is not None and node.found.root.owner is Owner.APPLICATION


def _is_standard(node: Node) -> bool:
    return node.found.root is None or node.found.root.owner is Owner.STANDARD_LIBRARY
