"""What a closure is made from, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from casemate.builder.contents import Considered, ImageFile, Reason
from casemate.project import Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A CPython of this machine, as it describes itself when isolated (``-I -B -X utf8``).

    Attributes:
        version: ``"3.11"``.
        release: ``"3.11.7"``.
        executable: The program itself, no link and no shim.
        prefix: Its installation.
        stdlib: Folder of the standard library.
        dynload: Folder of the standard library's extension modules.
        suffixes: Endings of extension modules, in the order in which the import system tries them.
        libpython: The shared library that holds the interpreter; ``None`` when the program does.
        builtin: Modules that are part of the program.
        frozen: Modules whose code is part of the program, so that no file is read for them.
        start_up: Modules of the standard library that are loaded before any other code.
        build_time_module: The module in which :mod:`sysconfig` looks up how Python was built.
        finds_site_packages: Whether ``lib/pythonX.Y/site-packages`` of its home is on its path by itself.
            Debian's interpreter looks elsewhere.
    """

    version: str
    release: str
    executable: Path
    prefix: Path
    stdlib: Path
    dynload: Path
    suffixes: tuple[str, ...]
    libpython: Path | None
    builtin: frozenset[str]
    frozen: frozenset[str]
    start_up: tuple[str, ...]
    build_time_module: str
    finds_site_packages: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleSource:
    """A source file that is to be compiled.

    Attributes:
        host: The file of this machine.
        path: Where the application would see the source; it goes into tracebacks.
    """

    host: Path
    path: str


class Compiler(Protocol):
    """Compiles with the interpreter that will run the code."""

    def __call__(self, sources: Sequence[ModuleSource], /) -> tuple[bytes | None, ...]:
        """The bytes of an unchecked-hash pyc for each source; ``None`` where it is not valid Python."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something that reading the code cannot decide, and that the developer can.

    Attributes:
        where: ``"notes/plugins.py:12"``.
        question: What could not be decided.
        line: A line for ``casemate.toml`` that answers it, to be adapted.
    """

    where: str
    question: str
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedByCode:
    """Something outside Python that code asks for by name.

    Attributes:
        name: As the code has it: ``"libz.so.1"``, ``"z"`` for ``find_library``, ``"Europe/Berlin"``.
        reason: Who asks.
        required: Whether it has to be there: ``casemate.toml`` says so. Code may have other names to try.
        file: A file of this machine that will do where the system has none.
    """

    name: str
    reason: Reason
    required: bool = False
    file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReachedModule:
    """A module of the closure.

    Attributes:
        name: Its absolute name.
        is_own: Whether it is the application's own.
        file: Where it lies, relative to the folder in which Python looks for it: ``"notes/store.py"``; empty
            for what has no file.
        source: Its text, when it is the application's own and there is one.
        is_package: Whether it can have submodules.
        asked_by: Name of the module that asked for it; ``None`` for a root.
        detail: How it asked: ``"import json (notes/store.py:3)"``.
    """

    name: str
    is_own: bool
    file: str
    source: bytes | None
    is_package: bool
    asked_by: str | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonClosure:
    """The Python part of an image.

    Attributes:
        files: Sorted by path: interpreter, modules, extension modules, package data, metadata.
        questions: Sorted by place.
        considered: What interpreter and environment hold altogether.
        interface: How the application is served; ``None`` for a command.
        modules: Those that are reached, in the order in which they were.
        libraries: Those that are opened by name.
        zones: Time zones that are asked for.
        locales: Locales that are set.
    """

    files: tuple[ImageFile, ...]
    questions: tuple[Question, ...]
    considered: Considered
    interface: Interface | None
    modules: tuple[ReachedModule, ...] = ()
    libraries: tuple[NamedByCode, ...] = ()
    zones: tuple[NamedByCode, ...] = ()
    locales: tuple[NamedByCode, ...] = ()
