"""What is installed in an environment: distributions, the files that are theirs, and how they are described.

``RECORD`` (PyPA, "Recording installed projects") is written by whoever made the distribution, so nothing in
it is believed: a line counts when it is a relative path without ``..`` and without control characters, and
only for files that are there. Lines that name anything else are passed over; scripts outside the environment
are such lines in honest records, too. A record that is absent, larger than :data:`LARGEST_RECORD`, not UTF-8
or not CSV says nothing: then a distribution owns what its ``top_level.txt`` names, or else what is called as
it is. Debian's packages have none.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

#: Bytes; the record of a distribution with a hundred thousand files is smaller.
LARGEST_RECORD: Final = 32 << 20
_LARGEST_TEXT: Final = 1 << 20
#: No file can be called longer; asking for one fails in another way than asking for one that is not there.
_LONGEST_NAME: Final = 255
_LONGEST_PATH: Final = 1024
#: What :mod:`importlib.metadata` reads of a distribution to know its name, its requirements and its plugins.
_DESCRIPTION: Final = ("METADATA", "PKG-INFO", "entry_points.txt", "requires.txt")
_RECORDS: Final = ("RECORD", "installed-files.txt", "top_level.txt")
_TOP_LEVEL: Final = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """An installed distribution.

    Attributes:
        name: Its name, normalised (PEP 503).
        version: Its version, as the name of its folder has it; empty where that has none.
        folder: Its ``.dist-info`` or ``.egg-info``; the latter may be a file.
        files: What is its own, relative to ``root``, sorted; some of them may not exist.
    """

    name: str
    version: str
    folder: Path
    files: tuple[str, ...]

    @property
    def root(self) -> Path:
        """The folder in which it is installed."""
        return self.folder.parent

    def plugins(self) -> Iterator[tuple[str, str]]:
        """Groups of entry points, each with a module that one of its entry points names."""
        section = ""
        for line in (_text(self.folder / "entry_points.txt") or "").splitlines():
            text = line.strip()
            if text.startswith("["):
                section = text.strip("[]").strip()
            elif "=" in text:
                module = text.partition("=")[2].partition(":")[0].partition("[")[0].strip()
                yield section, module

    def metadata(self, *, records: bool) -> Iterator[Path]:
        """The files by which :mod:`importlib.metadata` knows it.

        Args:
            records: Whether the lists of its files and modules are among them.
        """
        if self.folder.is_file():
            yield self.folder
        for name in (*_DESCRIPTION, *(_RECORDS if records else ())):
            file = self.folder / name
            if file.is_file():
                yield file


def read_distributions(environment: tuple[Path, ...]) -> tuple[Distribution, ...]:
    """What is installed in the folders of ``environment``, in their order, sorted by folder in each."""
    return tuple(
        _distribution(folder)
        for root in environment
        for folder in sorted(root.iterdir() if root.is_dir() else ())
        if folder.suffix in {".dist-info", ".egg-info"} and folder.name.isprintable()
    )


def _distribution(folder: Path) -> Distribution:
    name, version = name_and_version(folder.name)
    return Distribution(name=name, version=version, folder=folder, files=tuple(sorted(set(_files(folder)))))


def name_and_version(folder: str) -> tuple[str, str]:
    """The normalised name and the version in the name of a ``.dist-info`` or ``.egg-info`` folder.

    The latter has the version of Python behind them.
    """
    if folder.endswith(".dist-info"):
        name, _, version = folder.removesuffix(".dist-info").rpartition("-")
    else:
        name, _, rest = folder.removesuffix(".egg-info").partition("-")
        version = rest.partition("-")[0]
    return re.sub(r"[-_.]+", "-", name).lower(), version


def _files(folder: Path) -> Iterator[str]:
    listed = _recorded(folder / "RECORD")
    if listed is not None:
        yield from (path for path in map(_own, listed) if path is not None)
        return
    yield from _named(folder)


def _recorded(record: Path) -> list[str] | None:
    """The first column; ``None`` for a record that says nothing."""
    text = _text(record, LARGEST_RECORD)
    if text is None:
        return None
    try:
        return [row[0] for row in csv.reader(text.splitlines()) if row]
    except csv.Error:
        return None


def _own(line: str) -> str | None:
    """``line`` of a record as a path inside the environment, in its shortest form."""
    path = PurePosixPath(line)
    if not path.parts or path.is_absolute() or ".." in path.parts or not line.isprintable():
        return None
    if len(line) > _LONGEST_PATH or any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
        return None
    return str(path)


def _named(folder: Path) -> Iterator[str]:
    """The files of the modules and packages that a distribution without a record has by its name."""
    text = _text(folder / "top_level.txt")
    names = text.split() if text is not None else [name_and_version(folder.name)[0].replace("-", "_")]
    for name in names:
        if _TOP_LEVEL.fullmatch(name):
            for entry in sorted(folder.parent.glob(f"{name}*")):
                if entry.name.partition(".")[0] == name and entry != folder:
                    yield from _below(entry, folder.parent)


def _below(entry: Path, root: Path) -> Iterator[str]:
    if entry.is_file():
        yield entry.relative_to(root).as_posix()
    for here, _, names in os.walk(entry):
        for name in names:
            yield Path(here, name).relative_to(root).as_posix()


def _text(file: Path, limit: int = _LARGEST_TEXT) -> str | None:
    """The text of ``file``; ``None`` when it is not there, too large or not UTF-8."""
    try:
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
        return data.decode("utf-8") if len(data) <= limit else None
    except (OSError, UnicodeDecodeError):
        return None
