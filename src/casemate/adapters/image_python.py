"""The Python interpreter of an image: what it is, where it looks for modules, how it compiles.

It always compiles itself, also where the build host has an interpreter of the same version: bytecode hangs on
the release and on the distribution's patches, and the magic number does not tell them apart.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from casemate.builder.closure import Interpreter, ModuleSource
from casemate.builder.closure.described import compiled_modules, interpreter_of
from casemate.builder.foreign import ImageRoot
from casemate.builder.foreign.running import ImagePrograms
from casemate.errors import FormatError, ToolchainError
from casemate.formats.elf_dynamic import MACHINE_X86_64, ElfDynamic, ElfIdentity

_HERE: Final = Path(__file__).parent
_DESCRIBE: Final = _HERE / "host_python_describe.py"
_COMPILE: Final = _HERE / "host_python_compile.py"
_PATHS: Final = _HERE / "image_python_paths.py"
#: Nothing of the image's environment changes what its interpreter says of itself, or how it compiles.
_CLEAN: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"}
#: Variables of the image that decide where modules are found.
_PATH_VARIABLES: Final = ("PATH", "HOME", "PYTHONHOME", "PYTHONPATH", "PYTHONNOUSERSITE", "LD_LIBRARY_PATH")
_MOST_PATHS: Final = 1000
_LONGEST_ANSWER: Final = 4 << 20
_GLIBC: Final = re.compile(r"glibc ([0-9]{1,3})\.([0-9]{1,3})(\..*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPath:
    """Where the application's interpreter looks for modules.

    Attributes:
        folders: Absolute paths of the image, in order; the standard library's are among them.
        finders: Import hooks that code at its start has installed, by name.
    """

    folders: tuple[str, ...]
    finders: tuple[str, ...]


class ImagePython:
    """An interpreter of ``root``.

    Args:
        root: The image.
        run: Runs its programs.
        program: The interpreter's absolute path in the image; of a virtual environment, that one's.
    """

    def __init__(self, root: ImageRoot, run: ImagePrograms, program: str) -> None:
        self._root = root
        self._run = run
        self._program = program
        _require_glibc(root, program)

    def describe(self) -> tuple[Interpreter, tuple[int, int]]:
        """What it is, and the version of its C library; its files are those of this machine below the root.

        Raises:
            ToolchainError: It does not start, or it is not a CPython 3.11 or newer with glibc.
        """
        facts = self._facts(self._program)
        base = facts.get("base_executable" if facts.get("virtual") else "running")
        if not isinstance(base, str):
            raise self._strange("another answer")
        if self._is_other(base):
            facts = self._facts(base)
        interpreter = interpreter_of(facts, where=self._where, file=self._root.file)
        glibc = _GLIBC.fullmatch(str(facts["libc"]))
        if glibc is None:
            raise self._strange("another answer")
        return interpreter, (int(glibc[1]), int(glibc[2]))

    def _is_other(self, base: str) -> bool:
        """Whether ``base`` is another program, or this one seen from a virtual environment."""
        folder = PurePosixPath(self._program).parent
        virtual = any(self._root.file(f"{place}/pyvenv.cfg").is_file() for place in (folder, folder.parent))
        return virtual or self._root.identity(base) != self._root.identity(self._program)

    def search_path(self, env: Mapping[str, str]) -> SearchPath:
        """Where it looks for modules when it is started with the image's environment.

        Code that runs at its start, of ``.pth`` files and ``sitecustomize``, is run, confined.

        Args:
            env: The image's environment.

        Raises:
            ToolchainError: It does not start.
        """
        own = {name: env[name] for name in _PATH_VARIABLES if name in env}
        command = [self._program, "-B", "-X", "utf8", "-c", _PATHS.read_text("utf-8")]
        answer = self._read(self._run(command, {"LC_ALL": "C.UTF-8", **own}))
        path, finders = _texts(answer.get("path")), _texts(answer.get("finders"))
        if path is None or finders is None:
            raise self._strange("another answer")
        return SearchPath(folders=tuple(entry for entry in path if entry.startswith("/")), finders=finders)

    def compile(self, sources: Sequence[ModuleSource], /) -> tuple[bytes | None, ...]:
        """The bytes of an unchecked-hash pyc for each source; ``None`` for what is not valid Python.

        Raises:
            ToolchainError: It fails.
        """
        # Sources that are not the image's are copied to where its interpreter sees them, one by one: it has
        # no business with what else lies beside them.
        with tempfile.TemporaryDirectory(prefix=".casemate-", dir=self._root.folder) as shown:
            request = json.dumps(
                [
                    [self._seen(number, source, Path(shown)), source.path]
                    for number, source in enumerate(sources)
                ]
            )
            return self._compiled(request.encode(), len(sources))

    def _seen(self, number: int, source: ModuleSource, shown: Path) -> str:
        if source.host.is_relative_to(self._root.folder):
            return self._root.path(source.host)
        copy = shown / str(number)
        shutil.copyfile(source.host, copy)
        return self._root.path(copy)

    def _compiled(self, request: bytes, count: int) -> tuple[bytes | None, ...]:
        # Not -I, which would ignore PYTHONHASHSEED.
        command = [*self._isolated("-P", "-s"), "-c", _COMPILE.read_text("utf-8")]
        modules = compiled_modules(self._run(command, _CLEAN, request), count)
        if modules is None:
            raise ToolchainError(
                "compiling", expected="bytecode of every module", got="another answer", where=self._where
            )
        return modules

    def _isolated(self, *options: str) -> list[str]:
        return [self._program, *options, "-S", "-B", "-X", "utf8"]

    def _facts(self, program: str) -> dict[str, Any]:
        command = [program, "-I", "-S", "-B", "-X", "utf8", "-c", _DESCRIBE.read_text("utf-8")]
        return self._read(self._run(command, _CLEAN))

    def _read(self, answer: bytes) -> dict[str, Any]:
        if len(answer) > _LONGEST_ANSWER:  # which would be many times larger as objects
            raise self._strange(f"{len(answer)} bytes")
        try:
            value = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise self._strange("another program") from error
        if not isinstance(value, dict):
            raise self._strange("another answer")
        return value

    @property
    def _where(self) -> str:
        return f"{self._program} in the image"

    def _strange(self, got: str) -> ToolchainError:
        return ToolchainError(
            "Python interpreter",
            expected="a program that starts and describes itself",
            got=got,
            where=self._where,
            hint="an image needs a CPython 3.11 or newer",
        )


def _texts(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list) or len(value) > _MOST_PATHS:
        return None
    return tuple(value) if all(isinstance(item, str) for item in value) else None


def _require_glibc(root: ImageRoot, program: str) -> None:
    """Refuse an interpreter that this machine's kernel, or Gramine with its glibc, does not run.

    Raises:
        ToolchainError: It is linked with musl or for another processor, or is no program at all.
    """
    where = f"{program} in the image"
    try:
        data = root.read(program)
        identity = ElfIdentity.parse(data)
        machine = identity.machine == MACHINE_X86_64 and identity.bits == 64
        interpreter = ElfDynamic.parse(data).interpreter if machine else None
    except (FormatError, OSError) as error:
        raise ToolchainError(
            "Python interpreter",
            expected="a program for x86-64",
            got="a script" if isinstance(error, FormatError) and data.startswith(b"#!") else str(error),
            where=where,
        ) from error
    if not machine:
        raise ToolchainError(
            "Python interpreter",
            expected="a program for x86-64",
            got="one for another processor",
            where=where,
            hint="SGX is a feature of Intel's processors; choose an image that is built for linux/amd64",
        )
    if interpreter is not None and "ld-musl" in interpreter:
        raise ToolchainError(
            "C library of the image",
            expected="glibc",
            got=f"musl ({interpreter})",
            where=where,
            hint="build the image on a base with glibc, such as python:3.12-slim-bookworm in place of "
            "python:3.12-alpine; wheels for musl do not work there, so its requirements are installed again",
        )
