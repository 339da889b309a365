"""What a build keeps for the next one: results that follow from bytes, found again by what they follow from.

A key is a digest of everything from which the result was made, the code that makes it included. So an entry
never becomes wrong; it is only no longer asked for. A build gives the same bytes whatever a cache answers, as
long as the answers are what was kept; where they are kept is not the builder's business.
"""

from __future__ import annotations

import hashlib
import sys
from enum import Enum
from pathlib import Path
from typing import Protocol


class Kind(Enum):
    """What is kept. The value is a word by which it is stored."""

    SCAN = "scan"  # what a module asks for
    ATTRIBUTES = "attributes"  # which attributes of modules a module asks for
    NAMES = "names"  # which names lie in an extension module
    BYTECODE = "bytecode"  # what a module is compiled to


class Cache(Protocol):
    """Keeps bytes. It may forget, and never gives other bytes than were kept."""

    def find(self, kind: Kind, key: str) -> bytes | None:
        """What was kept under ``key``; ``None`` when nothing is known."""
        ...

    def keep(self, kind: Kind, key: str, value: bytes) -> None:
        """Remember ``value``. Whoever cannot, does not say so."""
        ...


class NoCache:
    """Knows nothing, and keeps nothing."""

    def find(self, kind: Kind, key: str) -> bytes | None:
        """Nothing is known."""

    def keep(self, kind: Kind, key: str, value: bytes) -> None:
        """It is forgotten at once."""


def key_of(*parts: str | bytes) -> str:
    """The digest of ``parts``, hexadecimal; other parts give another one, wherever they are divided."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def key_of_code(*files: Path) -> str:
    """The digest of code that makes results, and of the Python that runs it."""
    return key_of(sys.version, *(file.read_bytes() for file in files))
