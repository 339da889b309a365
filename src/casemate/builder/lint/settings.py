"""The settings of a manifest as the rules ask for them: a value where it is known, and its path."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from posixpath import normpath
from typing import Any, Final

from casemate.builder.lint.tree import UNKNOWN, UNKNOWN_VALUE, Other, Path

#: Folders inside each other that are looked at.
MAX_FOLDERS: Final = 200

_PYTHON: Final = re.compile(r"(?:.*/)?python[0-9.]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One entry of ``fs.mounts``, or ``fs.root``.

    Attributes:
        path: Its path in the tree.
        kind: ``type``; ``chroot`` when it is not there.
        inside: Where it is seen; ``None`` when only rendering would tell.
        uri: What it shows; ``None`` likewise, or when there is none.
        key: ``key_name``; ``default`` when it is not there.
    """

    path: Path
    kind: str
    inside: str | None
    uri: str | None
    key: str


@dataclass(frozen=True, slots=True)
class Settings:
    """A manifest's tree.

    Attributes:
        tree: What the manifest says.
        ignored: Rules whose findings nobody asks for; those that look at every file are left out then.
    """

    tree: Mapping[str, Any]
    ignored: frozenset[str] = frozenset()
    _trusted: list[tuple[int, str]] = field(default_factory=list, init=False, repr=False, compare=False)

    def get(self, *path: str) -> Any:
        """The value at ``path``; ``None`` when it is not there, an expression when it may be."""
        value: Any = self.tree
        for step in path:
            if value is UNKNOWN_VALUE:
                return value
            if not isinstance(value, Mapping):
                return None
            value = value.get(step)
        return value

    def text(self, *path: str) -> str | None:
        """The string at ``path``, when it is one and wholly known."""
        return known_text(self.get(*path))

    def on(self, *path: str) -> bool:
        """Whether the switch at ``path`` is known to be on."""
        return self.get(*path) is True

    def maybe(self, *path: str) -> bool:
        """Whether the switch at ``path`` is on or may be."""
        return self.get(*path) in (True, UNKNOWN_VALUE)

    def items(self, *path: str) -> Iterator[tuple[Path, Any]]:
        """The items of the array at ``path``."""
        value = self.get(*path)
        if isinstance(value, list):
            for number, item in enumerate(value):
                yield (*path, number), item

    def entries(self, *path: str) -> Iterator[tuple[Path, str, Any]]:
        """The entries of the table at ``path``, without those whose name only rendering would tell."""
        value = self.get(*path)
        if isinstance(value, Mapping):
            for name, item in value.items():
                if UNKNOWN not in name:
                    yield (*path, name), name, item

    def variables(self) -> Iterator[tuple[Path, str, str]]:
        """The variables of ``loader.env`` that have a value, with the place of the value."""
        for path, name, item in self.entries("loader", "env"):
            if isinstance(item, str):
                yield path, name, item
            elif isinstance(item, Mapping) and isinstance(item.get("value"), str):
                yield (*path, "value"), name, item["value"]

    def variable(self, name: str) -> str | None:
        """The value of a variable, what is unknown in it included; ``None`` when it has none."""
        return next((value for _, key, value in self.variables() if key == name), None)

    def mounts(self) -> Iterator[Mount]:
        """The mounts, the root first when it is there."""
        root = self.get("fs", "root")
        if isinstance(root, Mapping):
            yield _mount(("fs", "root"), {**root, "path": "/"})
        for path, item in self.items("fs", "mounts"):
            if isinstance(item, Mapping):
                yield _mount(path, item)

    def trusted(self) -> Sequence[tuple[int, str]]:
        """Numbers and URIs of the trusted files, with expressions in them; found once, for they are many."""
        value = self.get("sgx", "trusted_files")
        if not self._trusted and isinstance(value, list):
            uris = [item.get("uri") if isinstance(item, dict) else item for item in value]
            self._trusted.extend(
                [
                    (number, uri)
                    for number, uri in enumerate(uris)
                    if isinstance(uri, str) and not isinstance(uri, Other)
                ]
            )
        return self._trusted

    def allowed(self) -> Iterator[tuple[Path, str]]:
        """URIs of the allowed files, likewise."""
        for path, item in self.items("sgx", "allowed_files"):
            if isinstance(item, str) and not isinstance(item, Other):
                yield path, item

    def arguments(self) -> tuple[str, ...]:
        """``loader.argv``, as far as it is text."""
        return tuple(item for _, item in self.items("loader", "argv") if isinstance(item, str))

    def is_python(self) -> bool:
        """Whether the program is a Python interpreter, as far as one can tell."""
        program = self.text("libos", "entrypoint")
        return program is not None and _PYTHON.fullmatch(program[:4096]) is not None

    def runs_attester(self) -> bool:
        """Whether the program is Casemate's attester."""
        arguments = self.arguments()
        return self.is_python() and ("-m", "casemate_attester") in pairwise(arguments)


def known_text(value: object) -> str | None:
    """``value`` when it is a string without expressions."""
    known = isinstance(value, str) and not isinstance(value, Other) and UNKNOWN not in value
    return str(value) if known else None


def host_path(uri: str) -> str:
    """The path of a ``file:`` URI, normalised; relative ones stay relative."""
    path = uri.removeprefix("file:")
    if not path.startswith("/"):
        return normpath(path)
    if "/." in path or "//" in path or path.endswith("/"):
        return "/" + normpath(path).lstrip("/")
    return path


def folders_over(path: str) -> Iterator[str]:
    """``path`` and the folders that it is in, :data:`MAX_FOLDERS` at most; normalised."""
    for _ in range(MAX_FOLDERS):
        yield path
        if "/" not in path[1:]:
            break
        path = path.rpartition("/")[0]
    yield "/" if path.startswith("/") else "."


def _mount(path: Path, item: Mapping[str, Any]) -> Mount:
    kind = item.get("type", "chroot")
    return Mount(
        path=path,
        kind=kind if isinstance(kind, str) else "",
        inside=known_text(item.get("path")),
        uri=known_text(item.get("uri")),
        key=known_text(item.get("key_name", "default")) or "",
    )
