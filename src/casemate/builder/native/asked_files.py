"""Files of the system that code or ``casemate.toml`` asks for by name: time zones, locales, and any other.

They keep the path that they have on the build host, because programs know them by it. What code asks for
and the host does not have is left out, as it would be missed there, too; what ``casemate.toml`` asks for has
to be there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from casemate.builder.closure.data import refuse_private_key
from casemate.builder.closure.values import NamedByCode, PythonClosure
from casemate.builder.contents import ImageFile, Reason, Rule
from casemate.builder.enclave.environment import DEFAULT_LOCALE
from casemate.builder.layout import LOCALE_FOLDER
from casemate.builder.native.libraries import Places
from casemate.builder.native.system_files import ZONE_FOLDER
from casemate.errors import ProjectError
from casemate.project import PROJECT_FILE, Project

_TZIF: Final = b"TZif"
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]{1,80}(?:/[A-Za-z0-9_+-]{1,80}){0,4}")
_LOCALE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}(?:\.[A-Za-z0-9-]{1,40})?(?:@[A-Za-z]{1,40})?")
#: Part of the C library itself. C.UTF-8 is not: glibc 2.35 and newer bring its files.
_BUILT_IN: Final = frozenset({"C", "POSIX"})
#: The first that is set decides (setlocale(3)).
_LOCALE_VARIABLES: Final = (
    "LC_ALL",
    "LC_CTYPE",
    "LC_NUMERIC",
    "LC_TIME",
    "LC_COLLATE",
    "LC_MONETARY",
    "LANG",
)
#: Files taken over by one item of ``include``; more than that is a whole system.
_MOST_FILES: Final = 10_000


def asked_files(
    project: Project, closure: PythonClosure, zones: Path, places: Places, present: Iterable[str]
) -> tuple[ImageFile, ...]:
    """The files to add, sorted by path.

    Args:
        project: What ``casemate.toml`` says.
        closure: What code asks for.
        zones: The build host's folder of compiled time zones.
        places: Where the files of the build host are.
        present: Paths that the image has already.

    Raises:
        ProjectError: ``casemate.toml`` includes what is not there, what is a private key, or what Casemate
            writes itself.
    """
    taken = set(present)
    files: dict[str, ImageFile] = {}
    for file in _included(project, places, taken):
        files[file.path] = file
    for file in (*_zones(closure.zones, zones), *_locales(project, closure.locales, places)):
        if file.path not in taken:
            files.setdefault(file.path, file)
    return tuple(files[path] for path in sorted(files))


def _zones(named: Iterable[NamedByCode], zones: Path) -> Iterator[ImageFile]:
    for zone in named:
        if not _ZONE.fullmatch(zone.name):
            continue  # no name of a zone; as a path it could lead anywhere
        sources = (zones / zone.name, *((zone.file,) if zone.file is not None else ()))
        file = next((file for file in sources if _is_zone(file)), None)
        if file is not None:
            yield ImageFile(path=f"{ZONE_FOLDER}/{zone.name}", content=file, reason=zone.reason)
        elif zone.required:
            raise _not_there(f"zone:{zone.name}", "a time zone of this machine", "install tzdata")


def _is_zone(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(len(_TZIF)) == _TZIF


def _locales(project: Project, named: Iterable[NamedByCode], places: Places) -> Iterator[ImageFile]:
    """A folder for each locale, or the archive that holds all of them."""
    for asked in named:
        for name in (asked.name,) if asked.name else _of_environment(project):
            if _LOCALE.fullmatch(name) and name not in _BUILT_IN:
                own = list(_below(f"{LOCALE_FOLDER}/{_normal(name)}", places))
                for path in own or [f"{LOCALE_FOLDER}/locale-archive"]:
                    if places.file(path).is_file():
                        yield ImageFile(path=path, content=places.file(path), reason=asked.reason)


def _of_environment(project: Project) -> tuple[str, ...]:
    """The locales that an empty name stands for."""
    given = dict(project.env)
    return tuple(given[name] for name in _LOCALE_VARIABLES if given.get(name)) or (DEFAULT_LOCALE,)


def _normal(name: str) -> str:
    """``de_DE.UTF-8`` as the C library calls its folder: ``de_DE.utf8``."""
    language, dot, rest = name.partition(".")
    codeset, at, modifier = rest.partition("@")
    return f"{language}{dot}{''.join(c for c in codeset.lower() if c.isalnum())}{at}{modifier}"


def _included(project: Project, places: Places, taken: set[str]) -> Iterator[ImageFile]:
    for path in project.closure.included("file"):
        item = f"file:{path}"
        found = [path] if places.file(path).is_file() else list(_below(path, places))
        if not found:
            raise _not_there(item, "a file of this machine, or a folder with files", "look for it there")
        if len(found) > _MOST_FILES:
            raise _refused(item, f"at most {_MOST_FILES} files", str(len(found)), "name folders inside it")
        for each in found:
            if each in taken:
                hint = "leave it out: a container runtime or Casemate decides what it holds"
                raise _refused(item, "files that the image does not have already", each, hint)
            refuse_private_key(places.file(each), each)
            reason = Reason(rule=Rule.INCLUDED, of=None, detail=f'include = "{item}"')
            yield ImageFile(path=each, content=places.file(each), reason=reason)


def _below(path: str, places: Places) -> Iterator[str]:
    """Paths of the regular files below a folder; links to folders are not followed."""
    top = places.file(path)
    for here, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            file = Path(here, name)
            if file.is_file() and os.access(file, os.R_OK):
                yield f"{path}/{file.relative_to(top).as_posix()}"


def _not_there(item: str, expected: str, hint: str) -> ProjectError:
    return _refused(item, expected, "none", hint)


def _refused(item: str, expected: str, got: str, hint: str) -> ProjectError:
    return ProjectError(
        f'include "{item}"',
        expected=expected,
        got=got,
        where=f"{PROJECT_FILE}: closure.include",
        hint=hint,
    )
