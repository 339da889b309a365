"""Modules of which only a part of the name is known: ``formats.*``, ``locale.*.formats``."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from casemate.builder.closure.calls import ANYTHING
from casemate.builder.closure.finder import Finder

#: Modules of a package that no program imports by a name that it has put together.
_NOT_MEANT: Final = frozenset({"tests", "test", "conftest", "__main__"})


def expand(pattern: str, finder: Finder) -> Iterator[str]:
    """The modules that ``pattern`` may name, sorted; the part before its first ``*`` is a package.

    A ``*`` stands for one part of a name or some of it, never for a dot.
    """
    head, *parts = pattern.split(".")
    yield from sorted(_expand(head, tuple(parts), finder))


def _expand(name: str, parts: tuple[str, ...], finder: Finder) -> Iterator[str]:
    found = finder.find(name)
    if found is None:
        return
    if not parts:
        yield name
    elif ANYTHING not in parts[0]:
        yield from _expand(f"{name}.{parts[0]}", parts[1:], finder)
    else:
        for module in finder.submodules(found) if found.is_package else ():
            leaf = module.rpartition(".")[2]
            if leaf not in _NOT_MEANT and fnmatchcase(leaf, parts[0]):
                yield from _expand(module, parts[1:], finder)
