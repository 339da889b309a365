"""The record of what runs of an application opened: a text that people review and commit.

::

    casemate-trace 1
    python 3.11.7
    distribution flask 3.0.3
    data certifi/cacert.pem
    module flask.app

The first two lines are always there. The others follow in this order of kinds, each kind sorted, no line
twice, no distribution twice; every line ends with a line feed. A module is named as Python names it, so that
a record outlives changes of the image's layout; data is a path relative to ``site-packages``. Not checked:
whether any of it exists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final, Self

from casemate.errors import FormatError, ProjectError

#: Bytes; a record of a hundred thousand modules is smaller.
SIZE_LIMIT: Final = 16 << 20
_FIRST: Final = "casemate-trace 1"
_RELEASE: Final = re.compile(r"python (3\.\d{1,3}\.\d{1,3})")
_NAME: Final = r"[a-z0-9]+(?:-[a-z0-9]+)*"
_DISTRIBUTION: Final = re.compile(rf"distribution ({_NAME}) ([A-Za-z0-9][A-Za-z0-9.!+_-]{{0,127}})")
_MODULE: Final = re.compile(r"[\w-]+(?:\.[\w-]+)*")
_LONGEST_LINE: Final = 4096
_AGAIN: Final = "record it again: casemate rehearse BUNDLE --record FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What was opened, and in which environment.

    Attributes:
        python: Release of the interpreter: ``"3.11.7"``.
        distributions: Normalised name and version of each distribution of the image, sorted.
        data: Files that are no modules, relative to ``site-packages``, sorted.
        modules: Names of modules, sorted.
    """

    python: str
    distributions: tuple[tuple[str, str], ...]
    data: tuple[str, ...]
    modules: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """The text."""
        lines = [
            _FIRST,
            f"python {self.python}",
            *(f"distribution {name} {version}" for name, version in self.distributions),
            *(f"data {path}" for path in self.data),
            *(f"module {name}" for name in self.modules),
        ]
        return "".join(f"{line}\n" for line in lines).encode()

    @classmethod
    def parse(cls, data: bytes, where: str) -> Self:
        """Read what :meth:`to_bytes` wrote.

        Args:
            data: The text.
            where: Name of the file, for errors.

        Raises:
            FormatError: Anything else.
        """
        lines = _lines(data, where)
        release = _RELEASE.fullmatch(lines[1]) if len(lines) > 1 else None
        if release is None:
            raise _error("python 3.X.Y", lines[1] if len(lines) > 1 else "nothing", f"{where}:2")
        collected: dict[str, list[str]] = {"distribution": [], "data": [], "module": []}
        for number, line in enumerate(lines[2:], 3):
            kind = line.partition(" ")[0]
            if kind not in collected or not _CHECKS[kind](line.partition(" ")[2]):
                raise _error("distribution, data or module, and a name", line, f"{where}:{number}")
            collected[kind].append(line.partition(" ")[2])
        pairs = [text.partition(" ") for text in collected["distribution"]]
        trace = cls(
            python=release[1],
            distributions=tuple((name, version) for name, _, version in pairs),
            data=tuple(collected["data"]),
            modules=tuple(collected["module"]),
        )
        one_version = len(dict(trace.distributions)) == len(trace.distributions)
        if trace != trace.in_order() or trace.to_bytes() != data or not one_version:
            raise _error(
                "sorted lines, none of them twice, distribution before data before module", "", where
            )
        return trace

    def in_order(self) -> Trace:
        """The same, sorted, nothing twice."""
        return replace(
            self,
            distributions=tuple(sorted(set(self.distributions))),
            data=tuple(sorted(set(self.data))),
            modules=tuple(sorted(set(self.modules))),
        )

    def united(self, later: Trace, where: str) -> Trace:
        """What this record and that of a ``later`` run hold together.

        Raises:
            ProjectError: They are of different environments; ``where`` names the file of this record.
        """
        if self.python != later.python:
            raise ProjectError(
                "record of another Python",
                expected=f"Python {later.python}",
                got=f"Python {self.python}",
                where=where,
                hint="begin a new record: remove the file, or name another one",
            )
        former = dict(self.distributions)
        for name, version in later.distributions:
            if former.get(name, version) != version:
                raise ProjectError(
                    "record of other requirements",
                    expected=f"{name} {version}",
                    got=f"{name} {former[name]}",
                    where=where,
                    hint="begin a new record: remove the file, or name another one",
                )
        return Trace(
            python=self.python,
            distributions=self.distributions + later.distributions,
            data=self.data + later.data,
            modules=self.modules + later.modules,
        ).in_order()


def _lines(data: bytes, where: str) -> list[str]:
    if len(data) > SIZE_LIMIT:
        raise _error(f"at most {SIZE_LIMIT} bytes", f"{len(data)} bytes", where)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _error("UTF-8", f"byte {data[error.start]:#04x} at offset {error.start}", where) from error
    lines = text.split("\n")
    if lines[0] != _FIRST:
        raise _error(_FIRST, lines[0][:60] or "nothing", f"{where}:1")
    if lines.pop():
        raise _error("a line feed at the end", "none", where)
    return lines


def is_data_path(path: str) -> bool:
    """Whether ``path`` is printable, and in its shortest form, which stays in the folder where it begins."""
    parts = path.split("/")
    return path.isprintable() and len(path) <= _LONGEST_LINE and set(parts).isdisjoint({"", ".", ".."})


def is_module_name(name: str) -> bool:
    """Whether ``name`` could be that of a module; one that no statement can import may have hyphens."""
    return len(name) <= _LONGEST_LINE and _MODULE.fullmatch(name) is not None


def is_distribution(text: str) -> bool:
    """Whether ``text`` is a normalised name and a version."""
    return _DISTRIBUTION.fullmatch(f"distribution {text}") is not None


_CHECKS: Final = {"distribution": is_distribution, "data": is_data_path, "module": is_module_name}


def _error(expected: str, got: str, where: str) -> FormatError:
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in got[:80])
    return FormatError("record of a run", expected=expected, got=shown or None, where=where, hint=_AGAIN)
