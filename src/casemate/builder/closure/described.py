"""What interpreters answer: who they are, and what they have compiled.

The programs that they run for it are ``host_python_describe.py`` and ``host_python_compile.py``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from casemate.builder.closure.values import Interpreter
from casemate.errors import ToolchainError

_OLDEST: Final = (3, 11)
_MODULE: Final = re.compile(r"[\w-]+(\.[\w-]+)*")
_SUFFIX: Final = re.compile(r"(\.[\w-]+)+")
_NOT_PYTHON: Final = (1 << 64) - 1
_VERSION: Final = re.compile(r"[0-9]{1,2}\.[0-9]{1,3}")
_RELEASE: Final = re.compile(r"[0-9]{1,2}\.[0-9]{1,3}\.[0-9]{1,3}")


def interpreter_of(
    facts: Mapping[str, Any], *, where: str, file: Callable[[str], Path] = Path
) -> Interpreter:
    """The interpreter that has described itself.

    Args:
        facts: Its answer. That of an image's interpreter is a stranger's: no more is made of it than paths
            and names, which are looked up in the image.
        where: What it was called, for errors.
        file: The file of this machine for a path that the interpreter sees.

    Raises:
        ToolchainError: It is not a CPython 3.11 or newer for x86-64 Linux with glibc, or the answer is none.
    """
    try:
        _require_supported(facts, where)
        _require_shapes(facts)
        builtin = frozenset(facts["builtin"])
        frozen = frozenset(facts["frozen"]) if facts["frozen_is_used"] else frozenset()
        stdlib, dynload = facts["stdlib"], facts["dynload"]
        return Interpreter(
            version=facts["version"],
            release=facts["release"],
            executable=file(facts["running"]),
            prefix=file(facts["prefix"]),
            stdlib=file(stdlib),
            dynload=file(dynload),
            suffixes=tuple(facts["suffixes"]),
            libpython=file(facts["libpython"]) if facts["libpython"] else None,
            builtin=builtin,
            frozen=frozen,
            start_up=_start_up(facts["loaded"], builtin | frozen, (stdlib, dynload)),
            build_time_module=facts["build_time_module"],
            finds_site_packages=str(PurePosixPath(stdlib, "site-packages")) in facts["site_packages"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ToolchainError(
            "Python interpreter",
            expected="a program that starts and describes itself",
            got="another answer",
            where=where,
            hint="give a CPython 3.11 or newer",
        ) from error


def _require_shapes(facts: Mapping[str, Any]) -> None:
    """See that everything that is made into paths and names has the form of one."""
    names = [facts["build_time_module"], *facts["builtin"], *facts["frozen"], *facts["loaded"]]
    paths = [facts[name] for name in ("running", "prefix", "stdlib", "dynload")]
    paths += [path for path in (facts["libpython"], *facts["loaded"].values()) if path is not None]
    right = (
        _VERSION.fullmatch(facts["version"]) is not None,
        _RELEASE.fullmatch(facts["release"]) is not None,
        facts["release"].startswith(f"{facts['version']}."),
        all(_MODULE.fullmatch(name) for name in names),
        all(_SUFFIX.fullmatch(suffix) for suffix in facts["suffixes"]),
        all(isinstance(path, str) and path.isprintable() and path.startswith("/") for path in paths),
    )
    if not all(right):
        raise ValueError("shape")


def _require_supported(facts: Mapping[str, Any], where: str) -> None:
    version = tuple(int(part) for part in facts["version"].split("."))
    libc = facts["libc"] or "another C library"
    refusals = (
        (facts["implementation"] == "cpython", "CPython", facts["implementation"]),
        (version >= _OLDEST, "Python 3.11 or newer", facts["version"]),
        (facts["system"] == "Linux x86_64", "Linux x86_64", facts["system"]),
        (libc.startswith("glibc"), "glibc", libc),
        (not facts["free_threaded"], "an interpreter with its lock", "a free-threaded one"),
    )
    for right, expected, got in refusals:
        if not right:
            raise ToolchainError(
                "Python interpreter",
                expected=expected,
                got=got,
                where=where,
                hint="Gramine runs CPython 3.11 or newer for x86-64 Linux with glibc",
            )


def _start_up(
    loaded: Mapping[str, str | None], inside: frozenset[str], folders: tuple[str, str]
) -> tuple[str, ...]:
    """Modules of the standard library that were loaded; their files have their links resolved."""

    def belongs(name: str, file: str | None) -> bool:
        if name in inside or file is None:
            return name in inside
        return any(PurePosixPath(file).is_relative_to(folder) for folder in folders)

    names = {name for name, file in loaded.items() if belongs(name, file)}
    return tuple(sorted(names | {"site", "encodings.utf_8", "encodings.aliases"}))


def compiled_modules(data: bytes, count: int) -> tuple[bytes | None, ...] | None:
    """The bytecode of each of ``count`` modules, ``None`` for what is not valid Python; ``None``: no answer.

    Args:
        data: Eight bytes with a length (big endian), and so many bytes, for each.
        count: How many were asked for.
    """
    pycs: list[bytes | None] = []
    offset = 0
    while offset + 8 <= len(data):
        (length,) = struct.unpack_from(">Q", data, offset)
        offset += 8
        if length == _NOT_PYTHON:
            pycs.append(None)
        else:
            pycs.append(data[offset : offset + length])
            offset += length
    return tuple(pycs) if offset == len(data) and len(pycs) == count else None
