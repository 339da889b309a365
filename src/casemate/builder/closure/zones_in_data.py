"""Time zones that the application's templates, settings and tables name, as in ``timezone:"Asia/Tokyo"``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from casemate.builder.closure.data import application_files

_ZONE: Final = re.compile(rb"(?<![\w/.-])([A-Z][A-Za-z_]+(?:/[A-Z][A-Za-z_-]+){1,2})(?![\w/])")
#: Endings of files in which people write them.
_TEXTS: Final = frozenset(
    {
        ".cfg", ".csv", ".htm", ".html", ".ini", ".j2", ".jinja", ".jinja2", ".json", ".tmpl", ".toml",
        ".txt", ".xml", ".yaml", ".yml",
    }
)  # fmt: skip
_LARGEST: Final = 1 << 20


def zones_in_data(source: Path) -> Iterator[tuple[str, str]]:
    """What may be the name of a zone, and the file relative to ``source`` that has it; each name once.

    Most of it is something else; who has the zones can tell.
    """
    seen: set[bytes] = set()
    for name in application_files(source):
        file = source / name
        if file.suffix in _TEXTS and file.stat().st_size <= _LARGEST:
            for zone in dict.fromkeys(_ZONE.findall(file.read_bytes())):
                if zone not in seen:
                    seen.add(zone)
                    yield zone.decode("ascii"), name
