"""What reading a TOML document with places gives: its tree, places, faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from casemate.builder.lint.tree import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a key and its value stand, in offsets; of an item of an array both are the item.

    Attributes:
        key: First and last character of the last part of the key.
        value: Those of the value; of a table with a header those of the header.
        dotted: Where the whole key as it is written begins.
    """

    key: tuple[int, int]
    value: tuple[int, int]
    dotted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why the text is no TOML.

    Attributes:
        offset: Where.
        expected: What should be there.
        found: What is there.
    """

    offset: int
    expected: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """A key that is already there.

    Attributes:
        path: Which.
        offset: Where the second one stands.
    """

    path: Path
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What a document holds.

    Attributes:
        tree: Its values; what is not known is ``UNKNOWN_VALUE``, and a piece of text that is not known
            is the expression between two NULs.
        places: Of every key and item.
        comments: Offsets of every comment, from the number sign to the end of the line.
        duplicates: Keys that are there twice; the first one is in the tree.
        partial: Offsets of text that may be anything, keys included.
        fault: Where reading has stopped.
    """

    tree: dict[str, Any]
    places: dict[Path, Place]
    comments: tuple[tuple[int, int], ...]
    duplicates: tuple[Duplicate, ...]
    partial: tuple[int, ...]
    fault: Fault | None


class FaultFound(Exception):  # noqa: N818 - says where, and never leaves the scanner
    """Reading stops; :attr:`fault` says where and why."""

    def __init__(self, offset: int, expected: str, found: str) -> None:
        super().__init__()
        self.fault = Fault(offset=offset, expected=expected, found=found)
