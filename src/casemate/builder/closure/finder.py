"""Where a module would be loaded from, by the rules of the import system, without importing it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from casemate.builder.closure.containment import require_within
from casemate.builder.closure.values import Interpreter


class Owner(Enum):
    """Whose a file is."""

    APPLICATION = "application"
    ATTESTER = "attester"
    STANDARD_LIBRARY = "standard library"
    DISTRIBUTION = "distribution"


_MODULE_NAME: Final = re.compile(r"\w+")
#: Whose files could be links to anything: the interpreter and Casemate itself are this machine's own.
_CHECKED: Final = frozenset({Owner.APPLICATION, Owner.DISTRIBUTION})


class Kind(Enum):
    """What the import system finds."""

    SOURCE = "source"
    BYTECODE = "bytecode"
    EXTENSION = "extension"
    NAMESPACE = "namespace"
    INSIDE = "inside"  # built in or frozen: no file is read


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """A folder on the module search path.

    Attributes:
        host: The folder of this machine.
        path: Where the enclave sees it.
        owner: Whose modules these are.
        only: The only top-level name that is taken from it; ``None``: all.
    """

    host: Path
    path: str
    owner: Owner
    only: str | None = None

    def inside(self, file: Path) -> str:
        """Where the enclave sees ``file``."""
        return f"{self.path}/{file.relative_to(self.host).as_posix()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A module, found.

    Attributes:
        name: Its absolute name.
        kind: What holds it.
        file: The file of this machine; for what is inside the interpreter, its source if that is there.
        root: The search path entry; ``None`` for a namespace and for what has no file.
        search: Folders in which its submodules lie; empty for a plain module.
    """

    name: str
    kind: Kind
    file: Path | None
    root: Root | None
    search: tuple[tuple[Root, Path], ...] = ()

    @property
    def is_package(self) -> bool:
        """Whether it can have submodules."""
        return bool(self.search)

    @property
    def path(self) -> str:
        """Where the enclave sees its file; empty when there is none."""
        if self.root is None or self.file is None:
            return ""
        return self.root.inside(self.file)


class Finder:
    """Finds modules in ``roots``, in that order, after those inside the interpreter.

    A module of the application or of a distribution that is a link out of its folder is a
    :class:`ProjectError`.
    """

    def __init__(self, roots: Sequence[Root], interpreter: Interpreter) -> None:
        self.roots = tuple(roots)
        self._inside = interpreter.builtin | interpreter.frozen
        self._suffixes = interpreter.suffixes
        self._listings: dict[Path, dict[str, bool]] = {}
        self._found: dict[str, Found | None] = {}

    def find(self, name: str) -> Found | None:
        """The module ``name``; ``None`` when no import of it could succeed."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def submodules(self, package: Found) -> tuple[str, ...]:
        """Names of the modules directly in ``package``, sorted."""
        names: set[str] = set()
        for _, folder in package.search:
            for entry, is_folder in self._list(folder).items():
                name = entry if is_folder else self._module_name(entry)
                # Not every one is an identifier: "0001_initial" is imported by a call.
                if name and _MODULE_NAME.fullmatch(name) and name not in {"__init__", "__pycache__"}:
                    names.add(f"{package.name}.{name}")
        return tuple(sorted(names))

    def tops(self) -> tuple[str, ...]:
        """Names of the packages that distributions have brought, sorted."""
        folders = (root.host for root in self.roots if root.owner is Owner.DISTRIBUTION)
        names = {name for folder in folders for name, is_folder in self._list(folder).items() if is_folder}
        return tuple(sorted(name for name in names if name.isidentifier() and name != "__pycache__"))

    def _module_name(self, entry: str) -> str | None:
        for suffix in (*self._suffixes, ".py", ".pyc"):
            if entry.endswith(suffix):
                return entry.removesuffix(suffix)
        return None

    def _find(self, name: str) -> Found | None:
        parent, _, leaf = name.rpartition(".")
        if not parent:
            if name in self._inside:
                return self._inside_module(name)
            places: Iterable[tuple[Root, Path]] = (
                (root, root.host) for root in self.roots if root.only in {None, name}
            )
        else:
            package = self.find(parent)
            if package is None or not package.is_package:
                return None
            if name in self._inside:
                return self._inside_module(name)
            places = package.search
        return self._in_places(name, leaf, places)

    def _inside_module(self, name: str) -> Found:
        """A built-in or frozen module; its source tells what it imports."""
        for root in self.roots:
            if root.owner is Owner.STANDARD_LIBRARY:
                file = root.host / f"{name.replace('.', '/')}.py"
                if file.is_file():
                    return Found(name=name, kind=Kind.INSIDE, file=file, root=root)
        return Found(name=name, kind=Kind.INSIDE, file=None, root=None)

    def _in_places(self, name: str, leaf: str, places: Iterable[tuple[Root, Path]]) -> Found | None:
        portions: list[tuple[Root, Path]] = []
        for root, folder in places:
            listing = self._list(folder)
            if listing.get(leaf):
                found = self._load(name, root, folder / leaf, "__init__", package=True)
                if found is not None:
                    return found
                portions.append((root, folder / leaf))
            found = self._load(name, root, folder, leaf, package=False)
            if found is not None:
                return found
        if portions:
            return Found(name=name, kind=Kind.NAMESPACE, file=None, root=None, search=tuple(portions))
        return None

    def _load(self, name: str, root: Root, folder: Path, stem: str, *, package: bool) -> Found | None:
        listing = self._list(folder)
        search = ((root, folder),) if package else ()
        for suffix, kind in self._kinds():
            entry = stem + suffix
            if entry in listing and not listing[entry]:
                if root.owner in _CHECKED:
                    require_within(folder / entry, root.host)
                return Found(name=name, kind=kind, file=folder / entry, root=root, search=search)
        return None

    def _kinds(self) -> Iterator[tuple[str, Kind]]:
        for suffix in self._suffixes:
            yield suffix, Kind.EXTENSION
        yield ".py", Kind.SOURCE
        yield ".pyc", Kind.BYTECODE

    def _list(self, folder: Path) -> dict[str, bool]:
        """Entries of ``folder``, and whether each is a folder."""
        if folder not in self._listings:
            try:
                with os.scandir(folder) as entries:
                    self._listings[folder] = {entry.name: entry.is_dir() for entry in entries}
            except (FileNotFoundError, NotADirectoryError):
                self._listings[folder] = {}
        return self._listings[folder]
