"""Judges what the application's own code opens for writing, how it maps files, and which pools it makes."""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from casemate.builder.layout import APPLICATION_ROOT
from casemate.builder.preflight.code import OwnModule, argument_of
from casemate.builder.preflight.finding import Finding
from casemate.builder.preflight.rule import MAPPING, READ_ONLY, THREADS, TIME_ZONE
from casemate.builder.preflight.uses import Use

#: Calls whose first argument is written, whatever the others are.
_WRITES: Final = frozenset(
    {
        "logging.FileHandler", "logging.handlers.RotatingFileHandler",
        "logging.handlers.TimedRotatingFileHandler", "logging.handlers.WatchedFileHandler", "os.makedirs",
        "os.mkdir", "sqlite3.connect",
    }
)  # fmt: skip
_PATH_METHODS: Final = frozenset({".mkdir", ".touch", ".write_bytes", ".write_text"})
_WRITING: Final = frozenset("wax+")
_POOLS: Final = frozenset(
    {"concurrent.futures.ThreadPoolExecutor", "concurrent.futures.thread.ThreadPoolExecutor"}
)
_ZONES: Final = frozenset({"zoneinfo.ZoneInfo", "backports.zoneinfo.ZoneInfo"})
_MAP: Final = "mmap.mmap"
#: Positions of ``flags``, ``prot`` and ``access`` of :class:`mmap.mmap`.
_MAP_OPTIONS: Final = (("flags", 2), ("prot", 3), ("access", 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the enclave has for the application.

    Attributes:
        writable: Folders that it can write in.
        files: Paths of the image.
        threads: Most threads that the application can have.
    """

    writable: tuple[str, ...]
    files: Collection[str]
    threads: int


def check_places(own: OwnModule, around: Surroundings) -> Iterator[Finding]:
    """What one module of the application asks for and the enclave does not have."""
    for use in own.uses.uses:
        if use.call is not None:
            yield from _check(own, use, use.call, around)


def _check(own: OwnModule, use: Use, call: ast.Call, around: Surroundings) -> Iterator[Finding]:
    path = _written_path(own, use, call)
    if path is not None and not _is_writable(path, around.writable):
        yield own.finding(READ_ONLY, use.line, path, guarded=use.guarded)
    if use.name in _ZONES:
        zone = _text(argument_of(call, "key", 0))
        if zone and not _has_zone(zone, around.files):
            yield own.finding(TIME_ZONE, use.line, zone, guarded=use.guarded)
    if use.name in _POOLS:
        most = argument_of(call, "max_workers", 0)
        number = most.value if isinstance(most, ast.Constant) else None
        if isinstance(number, int) and number > around.threads:
            yield own.finding(THREADS, use.line, f"{number} threads, with room for {around.threads}")
    if use.name == _MAP and _maps_for_writing(call):
        yield own.finding(MAPPING, use.line, "mmap.mmap() of a file, shared and writable")


def _written_path(own: OwnModule, use: Use, call: ast.Call) -> str | None:
    """The constant path that a call writes, or the code's own folder; ``None`` for any other call."""
    if use.name in _WRITES:
        return _place(argument_of(call, "", 0))
    if use.name in {"open", "io.open"}:
        mode = _text(argument_of(call, "mode", 1)) or ""
        return _place(argument_of(call, "file", 0)) if _WRITING & set(mode) else None
    if not isinstance(call.func, ast.Attribute) or not use.name.startswith("."):
        return None
    mode = _text(argument_of(call, "mode", 0)) or "" if use.name == ".open" else ""
    if use.name in _PATH_METHODS or _WRITING & set(mode):
        made = call.func.value
        is_path = isinstance(made, ast.Call) and own.uses.resolve(made.func) == "pathlib.Path"
        if isinstance(made, ast.Call) and is_path and len(made.args) == 1:
            return _place(made.args[0])
        return _place(made) if _names_own_file(made) else None
    return None


def _place(node: ast.expr | None) -> str | None:
    if node is None:
        return None
    text = _text(node)
    if text is not None:
        is_path = text and not text.startswith((":memory:", "file:", "/dev/", "~"))
        return posixpath.normpath(posixpath.join(APPLICATION_ROOT, text)) if is_path else None
    return f"{APPLICATION_ROOT} (beside __file__)" if _names_own_file(node) else None


def _names_own_file(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Name) and part.id == "__file__" for part in ast.walk(node))


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _is_writable(path: str, folders: Collection[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _has_zone(zone: str, files: Collection[str]) -> bool:
    return any(path.endswith((f"/share/zoneinfo/{zone}", f"/tzdata/zoneinfo/{zone}")) for path in files)


def _maps_for_writing(call: ast.Call) -> bool:
    """Whether a file is mapped as :class:`mmap.mmap` does by default."""
    first = argument_of(call, "fileno", 0)
    is_memory = first is not None and ast.unparse(first) == "-1"
    return not is_memory and all(argument_of(call, name, place) is None for name, place in _MAP_OPTIONS)
