"""What an application printed before it failed: modules and files that it missed, the attester's error.

The import system lists folders and never asks for a module that it does not see, and a missing file outside
the application's folder is mostly a guess of some library. What a failing application prints tells which of
them mattered.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from casemate.builder.layout import APPLICATION_ROOT
from casemate.rehearsal.findings import Frame

#: As the interpreter says it, and as the attester does, which says where in place of a traceback.
_NO_MODULE: Final = re.compile(
    r"(?:No module named '|ModuleNotFoundError for )(?P<name>[A-Za-z_][\w.]*)"
    r"(?:'| at (?P<file>\S+):(?P<line>\d+))"
)
_NO_FILE: Final = re.compile(
    r"FileNotFoundError(?:: \[Errno 2\] No such file or directory: '(?P<printed>/[^'\n]+)'"
    r"| for (?P<said>/\S+) at (?P<file>\S+):(?P<line>\d+))"
)
_TRACEBACK_LINE: Final = re.compile(r'^\s*File "(/[^"]+)", line (\d+), in (.+)$', re.MULTILINE)
#: An error that ends the application; one in a request or a thread does not.
_ERROR: Final = re.compile(
    r"^casemate: error: (?!request: |not caught in a thread: )(?P<message>.+)"
    r"(?:\ncasemate: hint: (?P<hint>.+))?$",
    re.MULTILINE,
)
#: How the attester describes a missing module, alone on its line where ``logging`` has put it.
_SURVIVED: Final = re.compile(
    r"^(?:casemate: error: (?:request|not caught in a thread): )?ModuleNotFoundError for \S+ at \S+:\d+$",
    re.MULTILINE,
)
_PLACED: Final = re.compile(r"^casemate: secret placed: (/.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the attester said of the end of the application.

    Attributes:
        error: Its last error.
        hint: What it advised, if anything.
        secret_folders: Folders in which it placed secrets, sorted.
    """

    error: str
    hint: str | None
    secret_folders: tuple[str, ...]


def said_by_attester(printed: str) -> Said | None:
    """The last error of the attester in ``printed``; ``None`` when it said none."""
    errors = list(_ERROR.finditer(printed))
    if not errors:
        return None
    folders = {posixpath.dirname(place) for place in _PLACED.findall(printed)}
    last = errors[-1]
    return Said(error=last["message"], hint=last["hint"], secret_folders=tuple(sorted(folders)))


def survived(printed: str) -> str:
    """The lines that say which module a request or a thread missed, while the application went on."""
    return "\n".join(_SURVIVED.findall(printed))


def missing_files(printed: str) -> tuple[tuple[str, Frame | None], ...]:
    """Files by absolute path that were not there, with the line that asked for each."""
    found = {}
    for match in _NO_FILE.finditer(printed):
        found[match["printed"] or match["said"]] = _asker(match, printed[: match.start()])
    return tuple(found.items())


def missing_modules(printed: str, known: Iterable[str]) -> tuple[tuple[str, Frame | None], ...]:
    """Modules that the application missed and the environment had, with the line that imported each.

    Args:
        printed: What the application wrote to its standard error, or the end of it.
        known: Paths of files that the environment had, as the application would see them.
    """
    by_stem: dict[str, str] = {}
    for path in known:
        stem, _, ending = path.rpartition("/")[2].partition(".")
        if ending in ("py", "pyc") or ending.endswith("so"):
            folder = path.rpartition("/")[0]
            by_stem[folder if stem == "__init__" else f"{folder}/{stem}"] = path
    found = {}
    for match in _NO_MODULE.finditer(printed):
        ending = "/" + match["name"].replace(".", "/")
        for path in _of_module(ending, by_stem):
            found[path] = _asker(match, printed[: match.start()])
    return tuple(found.items())


def _of_module(ending: str, by_stem: Mapping[str, str]) -> Iterator[str]:
    """The files that a module can be; of the application, which is imported from its folder, also a folder.

    A package without ``__init__`` is the folder in which its modules are.
    """
    own = f"{APPLICATION_ROOT}{ending}"
    if own in by_stem:
        yield by_stem[own]
    elif any(stem.startswith(f"{own}/") for stem in by_stem):
        yield own
    for stem, path in by_stem.items():
        if stem.endswith(ending) and not stem.startswith(f"{APPLICATION_ROOT}/"):
            yield path


def _asker(match: re.Match[str], before: str) -> Frame | None:
    """The line that asked: said with the name, or the innermost of the traceback ``before`` it.

    That is the application's own, else any that has a file: frozen modules have none.
    """
    if match["file"] is not None:
        return Frame(file=match["file"], line=int(match["line"]), function="<module>")
    lines = _TRACEBACK_LINE.findall(before.rpartition("Traceback (most recent call last)")[2])
    own = [line for line in lines if line[0].startswith(f"{APPLICATION_ROOT}/")]
    if not lines:
        return None
    file, line, function = (own or lines)[-1]
    return Frame(file=file, line=int(line), function=function)
