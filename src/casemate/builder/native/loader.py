"""Which files the dynamic loader opens for a process: the rules of ld.so(8), one by one.

The order for a name without a slash, as in glibc's ``elf/dl-load.c`` (``_dl_map_object``):

0. an object that is loaded already and was asked for by this name, or whose ``DT_SONAME`` it is;
1. unless the requester has ``DT_RUNPATH``: ``DT_RPATH`` of the requester, of the object that caused it to be
   loaded, and so on up; then of the executable. An object with ``DT_RUNPATH`` has no ``DT_RPATH``;
2. ``LD_LIBRARY_PATH``;
3. ``DT_RUNPATH`` of the requester alone: it is not inherited;
4. ``/etc/ld.so.cache``, but nothing from a default folder for a requester with ``DF_1_NODEFLIB``;
5. the default folders, but not for a requester with ``DF_1_NODEFLIB``.

Deliberately different: the subfolders ``glibc-hwcaps`` (and the older ``tls``, ``haswell`` …) are never
searched, because what they hold depends on the processor of the build host; and search paths that are not
absolute are passed over, because they depend on the working directory. Not followed: ``DT_FILTER``,
``DT_AUXILIARY``, ``LD_PRELOAD``.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from posixpath import dirname
from typing import Final, Protocol

from casemate.errors import ClosureError, FormatError
from casemate.formats.elf_dynamic import LOADABLE_TYPES, ElfDynamic, ElfIdentity

#: ``$ORIGIN`` and its like, alone or in braces (``is_dst`` in glibc's ``elf/dl-load.c``).
_TOKEN: Final = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")


class LibraryFiles(Protocol):
    """The files that a loader can see."""

    def identity(self, path: str) -> str | None:
        """A name that all paths of one regular file share; ``None`` when there is no such file."""
        ...

    def read(self, path: str) -> bytes:
        """The bytes of a file that has an identity."""
        ...


class FoundBy(Enum):
    """The rule by which a file was found. The value is how a person is told."""

    START = "the start of the process"
    PATH = "its path"
    RPATH = "DT_RPATH"
    LIBRARY_PATH = "LD_LIBRARY_PATH"
    RUNPATH = "DT_RUNPATH"
    CACHE = "ld.so.cache"
    DEFAULT = "the default folders"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRules:
    """What a loader was built with and told.

    Attributes:
        machine: ``e_machine`` of the files that it takes; others are passed over.
        library_path: Folders of ``LD_LIBRARY_PATH``.
        cache: Name -> path, from ``/etc/ld.so.cache``.
        default_folders: Built into the loader.
        lib: What ``$LIB`` stands for.
        platform: What ``$PLATFORM`` stands for.
    """

    machine: int
    library_path: tuple[str, ...]
    cache: Mapping[str, str]
    default_folders: tuple[str, ...]
    lib: str
    platform: str

    def expand(self, text: str, origin: str) -> str:
        """``text`` with its tokens replaced, for an object that lies in the folder ``origin``."""
        values = {"ORIGIN": origin, "LIB": self.lib, "PLATFORM": self.platform}
        return _TOKEN.sub(lambda found: values[found[1] or found[2]], text)


@dataclass(slots=True, kw_only=True, eq=False)
class LoadedObject:
    """A file in the memory of a process.

    Attributes:
        path: As the loader opened it: the base of its ``$ORIGIN``.
        identity: The same for every path of the file.
        dynamic: Its dynamic section.
        loader: The object that caused it to be loaded; ``None`` for what was opened by path.
        name: The name that was asked for when it was loaded.
        found_by: The rule that found it.
        owner: The object in whose ``DT_RPATH`` or ``DT_RUNPATH`` the folder stands.
        entry: That folder as written, or the folder of ``LD_LIBRARY_PATH``.
        names: All names that were asked for and gave this object.
    """

    path: str
    identity: str
    dynamic: ElfDynamic
    loader: LoadedObject | None
    name: str
    found_by: FoundBy
    owner: LoadedObject | None = None
    entry: str | None = None
    names: set[str] = field(default_factory=set)

    def answers_to(self, name: str) -> bool:
        """Whether the loader takes this object for ``name`` without looking further."""
        return name in self.names or name == self.dynamic.soname


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    path: str
    found_by: FoundBy
    owner: LoadedObject | None = None
    entry: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One ``DT_NEEDED`` entry and what the loader takes for it."""

    requester: LoadedObject
    name: str
    target: LoadedObject


class Loader:
    """Follows the loader through the start of a process and through what the process opens later.

    Args:
        files: The files to look at.
        rules: How the loader was built and what it was told.
        executable: Path of the program, links resolved, as ``/proc/self/exe`` would name it.

    Raises:
        ClosureError: The program is no ELF file that this loader can run, or a library of it is not found.
    """

    def __init__(self, files: LibraryFiles, rules: SearchRules, executable: str) -> None:
        self._files = files
        self._rules = rules
        self._parsed: dict[str, ElfDynamic] = {}
        self._program = self._load(_Place(path=executable, found_by=FoundBy.START), executable, None)
        self._started = [self._program]
        interpreter = self._program.dynamic.interpreter
        if interpreter is not None:
            place = _Place(path=interpreter, found_by=FoundBy.PATH)
            self._started.append(self._load(place, interpreter, None))
        self.start = tuple(self._needs(self._program, self._started))

    @property
    def program(self) -> LoadedObject:
        """The executable."""
        return self._program

    @property
    def interpreter(self) -> LoadedObject | None:
        """The loader itself, as ``PT_INTERP`` names it; ``None`` for a static program."""
        return self._started[1] if self._program.dynamic.interpreter is not None else None

    def open(self, path: str) -> tuple[LoadedObject, tuple[Edge, ...]]:
        """What ``dlopen`` of an absolute path adds to the process as it was after its start.

        Each call starts from there again, so that the order of calls does not matter.
        """
        loaded = list(self._started)
        opened = self._load(_Place(path=path, found_by=FoundBy.PATH), path, None)
        for candidate in loaded:
            if candidate.identity == opened.identity:
                return candidate, ()
        loaded.append(opened)
        return opened, tuple(self._needs(opened, loaded))

    def open_name(self, name: str, caller: LoadedObject) -> tuple[LoadedObject, tuple[Edge, ...]]:
        """What ``dlopen`` of a name without a slash gives, when ``caller`` calls it after the start."""
        loaded = list(self._started)
        opened = self._resolve(caller, name, loaded)
        return opened, tuple(self._needs(opened, loaded))

    def _needs(self, root: LoadedObject, loaded: list[LoadedObject]) -> Iterator[Edge]:
        """Breadth first, in the order of ``DT_NEEDED``, as ``_dl_map_object_deps`` does."""
        queue, seen = deque([root]), {id(root)}
        while queue:
            requester = queue.popleft()
            for name in requester.dynamic.needed:
                target = self._resolve(requester, name, loaded)
                yield Edge(requester=requester, name=name, target=target)
                if id(target) not in seen:
                    seen.add(id(target))
                    queue.append(target)

    def _resolve(self, requester: LoadedObject, name: str, loaded: list[LoadedObject]) -> LoadedObject:
        for candidate in loaded:
            if candidate.answers_to(name):
                return candidate
        places = list(self._places(requester, name))
        for place in places:
            identity = self._examine(place.path)
            if identity is None:
                continue
            for candidate in loaded:
                if candidate.identity == identity:
                    candidate.names.add(name)
                    return candidate
            found = self._load(place, name, requester)
            loaded.append(found)
            return found
        raise ClosureError(
            f"library {name}, needed by {requester.path}",
            expected="a file where the loader looks",
            got="none",
            where="searched " + (", ".join(place.path for place in places) or "nowhere"),
            hint="install the package that holds it, or name its folder in LD_LIBRARY_PATH",
        )

    def _places(self, requester: LoadedObject, name: str) -> Iterator[_Place]:
        if "/" in name:
            path = self._expand(name, requester)
            if path.startswith("/"):
                yield _Place(path=path, found_by=FoundBy.PATH, owner=requester, entry=dirname(name))
            return
        if requester.dynamic.runpath is None:
            for owner in self._rpath_chain(requester):
                yield from self._folders(owner, owner.dynamic.rpath, name, FoundBy.RPATH)
        for folder in self._rules.library_path:
            yield _Place(path=f"{folder}/{name}", found_by=FoundBy.LIBRARY_PATH, entry=folder)
        yield from self._folders(requester, requester.dynamic.runpath, name, FoundBy.RUNPATH)
        yield from self._system_places(name, hidden=requester.dynamic.no_default_libraries)

    def _system_places(self, name: str, *, hidden: bool) -> Iterator[_Place]:
        cached = self._rules.cache.get(name)
        if cached is not None and not (hidden and self._in_default_folder(cached)):
            yield _Place(path=cached, found_by=FoundBy.CACHE)
        if not hidden:
            for folder in self._rules.default_folders:
                yield _Place(path=f"{folder}/{name}", found_by=FoundBy.DEFAULT)

    def _rpath_chain(self, requester: LoadedObject) -> Iterator[LoadedObject]:
        """The requester, those that caused it to be loaded, and the executable, each once."""
        link: LoadedObject | None = requester
        program_seen = False
        while link is not None:
            program_seen = program_seen or link is self._program
            if link.dynamic.runpath is None:
                yield link
            link = link.loader
        if not program_seen and self._program.dynamic.runpath is None:
            yield self._program

    def _folders(
        self, owner: LoadedObject, path: str | None, name: str, found_by: FoundBy
    ) -> Iterator[_Place]:
        for entry in (path or "").split(":"):
            folder = self._expand(entry, owner)
            if folder.startswith("/"):
                yield _Place(path=f"{folder}/{name}", found_by=found_by, owner=owner, entry=entry)

    def _expand(self, text: str, owner: LoadedObject) -> str:
        return self._rules.expand(text, dirname(owner.path))

    def _in_default_folder(self, path: str) -> bool:
        return any(path.startswith(f"{folder}/") for folder in self._rules.default_folders)

    def _examine(self, path: str) -> str | None:
        """Identity of the file at ``path``, when it is there and meant for this machine (``open_verify``)."""
        identity = self._files.identity(path)
        if identity is None or identity in self._parsed:
            return identity
        data = self._files.read(path)
        try:
            header = ElfIdentity.parse(data)
            if header.bits != 64 or header.machine != self._rules.machine:
                return None
            dynamic = ElfDynamic.parse(data)
        except FormatError as error:
            raise _stops_here(path, str(error)) from error
        if header.type not in LOADABLE_TYPES:
            raise _stops_here(path, f"ELF type {header.type}")
        self._parsed[identity] = dynamic
        return identity

    def _load(self, place: _Place, name: str, loader: LoadedObject | None) -> LoadedObject:
        identity = self._examine(place.path)
        if identity is None:
            raise _stops_here(place.path, "no such file, or one for another machine")
        return LoadedObject(
            path=place.path,
            identity=identity,
            dynamic=self._parsed[identity],
            loader=loader,
            name=name,
            found_by=place.found_by,
            owner=place.owner,
            entry=place.entry,
            names={name},
        )


def _stops_here(path: str, got: str) -> ClosureError:
    """The loader does not look further when it meets such a file; neither do we."""
    return ClosureError(
        "file that the loader would open", expected="a shared object of this machine", got=got, where=path
    )
