"""Paths that ``casemate.toml`` and a manifest may name as writable folders, as rules on their text alone."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

#: Folders of the enclave that hold measured files, or that Gramine provides.
MEASURED: Final = (
    *("/opt/python", "/app", "/lib", "/etc", "/usr/share/zoneinfo"),
    *("/dev", "/proc", "/sys", "/gramine", "/casemate"),
)


def is_plain(path: str) -> bool:
    """Whether ``path`` is absolute, in its shortest form, printable, and not the root itself."""
    first, *parts = path.split("/")
    return not first and bool(parts) and path.isprintable() and set(parts).isdisjoint(("", ".", ".."))


def hides_measured(path: str) -> bool:
    """Whether a folder mounted at the plain path ``path`` lies within measured files, or lies over them."""
    place = PurePosixPath(path)
    return any(
        place.is_relative_to(folder) or PurePosixPath(folder).is_relative_to(place) for folder in MEASURED
    )
