"""Files that are not modules: data of packages, metadata of distributions, the application's templates."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from casemate.errors import ProjectError

#: Endings of files that are code, or made from code, or read by a compiler or a person only.
_NOT_DATA: Final = frozenset(
    {
        ".py", ".pyc", ".pyo", ".pyi", ".pyx", ".pxd", ".pxi", ".so", ".a", ".la", ".o", ".lib", ".dll",
        ".dylib", ".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".f", ".f90", ".rs", ".go", ".in", ".build",
        ".cmake", ".pc", ".orig", ".rej", ".swp", ".md", ".rst", ".map", ".po", ".pot",
    }
)  # fmt: skip
_TEXTS: Final = frozenset({".md", ".rst"})
_CODE: Final = frozenset({".py", ".so", ".pyx"})
#: The only module of a package that is there for its data.
_MODULES_OF_DATA: Final = frozenset({"__init__.py"})
#: Names of such files.
_NOT_DATA_NAMES: Final = re.compile(
    r"(py\.typed|licen[cs]e.*|copying.*|notice.*|authors.*|readme.*|changes.*|changelog.*|makefile)",
    re.IGNORECASE,
)
#: Folders that no application opens while it runs.
NOT_DATA_FOLDERS: Final = frozenset(
    {
        "__pycache__", "benchmarks", "cmake", "doc", "docs", "examples", "include", "node_modules",
        "npy-pkg-config", "pkgconfig", "test", "tests",
    }
)  # fmt: skip
#: Files of an application's folder that are never part of it, whatever a pattern says.
_NEVER: Final = frozenset(
    {"casemate.toml", "pyproject.toml", "uv.lock", "poetry.lock", "pdm.lock", "setup.py"}
)
#: What an application writes, rather than reads.
_WRITTEN: Final = (".db", ".sqlite", ".sqlite3", ".log", ".db-journal", ".pid", ".sock")
_PRIVATE_KEY: Final = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----")
_MODULE: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_PATTERNS: Final = "patterns are relative to app.source; ** stands for any number of folders"
_LARGEST_KEY: Final = 64 * 1024


def package_data(folder: Path) -> Iterator[Path]:
    """Data files of the package in ``folder``, sorted, with those of subfolders that are not packages."""
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    code = {entry.name for entry in entries if PurePosixPath(entry.name).suffix in _CODE}
    is_nothing_but_data = code == _MODULES_OF_DATA
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in NOT_DATA_FOLDERS and not (path / "__init__.py").exists():
                yield from package_data(path)
        elif entry.is_file() and (is_data(entry.name) or (is_nothing_but_data and _is_text(entry.name))):
            yield path


def _is_text(name: str) -> bool:
    """Whether a file is a text for people: in a package without code, a program shows it to them."""
    return PurePosixPath(name).suffix.lower() in _TEXTS and _NOT_DATA_NAMES.fullmatch(name) is None


def is_data(name: str) -> bool:
    """Whether a file of that name is read by a program that runs."""
    return (
        PurePosixPath(name).suffix.lower() not in _NOT_DATA
        and ".so." not in name
        and _NOT_DATA_NAMES.fullmatch(name) is None
        and name not in _NEVER
    )


def application_data(folder: Path) -> Iterator[Path]:
    """The same for a package of the application: without what the application itself writes."""
    return (file for file in package_data(folder) if not is_written(file.name))


def is_written(name: str) -> bool:
    """Whether an application writes files of that name, rather than reads them."""
    return name.endswith(_WRITTEN)


def application_files(source: Path) -> Iterator[str]:
    """All files in the application's folder that a pattern may name, relative to it, sorted."""
    for folder, folders, names in os.walk(source):
        here = Path(folder)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name not in {"__pycache__", "node_modules"}
            if not (here / name / "pyvenv.cfg").exists()
        )
        for name in sorted(names):
            if name not in _NEVER and not name.startswith(".") and (here / name).is_file():
                yield (here / name).relative_to(source).as_posix()


def included(pattern: str, files: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Those of ``files`` that ``pattern`` names; ``**`` stands for any number of folders.

    Raises:
        ProjectError: It names none.
    """
    expression = _glob(pattern)
    chosen = tuple(file for file in files if expression.fullmatch(file))
    if not chosen:
        raise ProjectError(
            f'include "{pattern}"',
            expected="a pattern that names a file",
            got="none",
            where=f"{where}: closure.include",
            hint=f'write "module:{pattern}" if it is a module; {_PATTERNS}'
            if _MODULE.fullmatch(pattern) and pattern not in _NEVER
            else _PATTERNS,
        )
    return chosen


def _glob(pattern: str) -> re.Pattern[str]:
    parts = PurePosixPath(pattern).parts
    text = ""
    for number, part in enumerate(parts, 1):
        if part == "**":
            text += "(?:[^/]+/)*" + ("[^/]+" if number == len(parts) else "")
        else:
            text += re.escape(part).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
            text += "" if number == len(parts) else "/"
    return re.compile(text)


def refuse_private_key(file: Path, path: str) -> None:
    """Nothing secret goes into an image.

    Raises:
        ProjectError: ``file``, which would become part of the image, is a private key.
    """
    if file.stat().st_size <= _LARGEST_KEY and _PRIVATE_KEY.search(file.read_bytes()):
        raise ProjectError(
            "private key in the application's files",
            expected="nothing secret in an image",
            where=path,
            hint="move it out of the package; [secrets] delivers it to the enclave after attestation",
        )
