"""The dynamic loader of this machine: the files that it sees, and how it was built."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from casemate.builder.native.loader import SearchRules
from casemate.builder.native.loader_diagnostics import search_rules
from casemate.errors import FormatError, ToolchainError
from casemate.formats.elf_dynamic import ElfDynamic
from casemate.formats.loader_cache import LoaderCache

_CACHE: Final = Path("/etc/ld.so.cache")
_SECONDS: Final = 20


class HostFiles:
    """Libraries in the file system of this machine."""

    def identity(self, path: str) -> str | None:
        """The path with all links resolved, when it is a regular file that can be read."""
        if not os.path.isfile(path) or not os.access(path, os.R_OK):  # noqa: PTH113 - str in, str out
            return None
        return os.path.realpath(path)

    def read(self, path: str) -> bytes:
        """The bytes of the file."""
        return Path(path).read_bytes()


def host_search_rules(executable: Path, library_path: tuple[str, ...]) -> SearchRules:
    """How the loader of ``executable`` finds libraries on this machine.

    It is asked itself (``ld.so --list-diagnostics``, glibc 2.33 and newer).

    Args:
        executable: A program that this machine can run.
        library_path: Folders of ``LD_LIBRARY_PATH``.

    Raises:
        ToolchainError: The program has no loader, or its loader does not answer as glibc's does.
    """
    diagnostics = _diagnostics(executable)
    return search_rules(diagnostics, library_path=library_path, cache=_cache(), where=str(executable))


def _diagnostics(executable: Path) -> str:
    try:
        loader = ElfDynamic.parse(executable.read_bytes()).interpreter
    except (FormatError, OSError) as error:
        raise ToolchainError("Python interpreter", got=str(error), where=str(executable)) from error
    if loader is None:
        raise ToolchainError(
            "Python interpreter", expected="a dynamic program", got="a static one", where=str(executable)
        )
    command = [loader, "--list-diagnostics"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True, env={})
    except (OSError, subprocess.SubprocessError) as error:
        raise ToolchainError(
            "dynamic loader",
            expected="an answer to --list-diagnostics",
            got=str(error),
            where=loader,
            hint="build with a Python that is linked with glibc 2.33 or newer",
        ) from error
    return answer.stdout


def _cache() -> dict[str, str]:
    try:
        return LoaderCache.parse(_CACHE.read_bytes()).paths()
    except FileNotFoundError:
        return {}
    except (FormatError, OSError) as error:
        raise ToolchainError(
            "loader cache", got=str(error), where=str(_CACHE), hint="run ldconfig"
        ) from error
