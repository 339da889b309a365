"""Deterministic CBOR (RFC 8949, section 4.2.1), as much of it as evidence needs, and encoding only.

Lengths are definite, heads are the shortest, keys are sorted by their encoded bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Item", "Tagged", "encode"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A data item under a tag (major type 6)."""

    tag: int
    item: "Item"


#: What can be encoded.
Item: TypeAlias = "int | bytes | str | tuple[Item, ...] | Mapping[str, Item] | Tagged"


def _head(major: int, argument: int) -> bytes:
    """Major type and argument in the shortest form (section 3)."""
    if argument < 24:
        return bytes([major << 5 | argument])
    for extra, size in ((24, 1), (25, 2), (26, 4)):
        if argument < 1 << (8 * size):
            return bytes([major << 5 | extra]) + argument.to_bytes(size, "big")
    return bytes([major << 5 | 27]) + argument.to_bytes(8, "big")


def encode(item: Item) -> bytes:
    """The bytes of ``item``; integers are unsigned."""
    match item:
        case int():
            return _head(0, item)
        case bytes():
            return _head(2, len(item)) + item
        case str():
            text = item.encode("utf-8")
            return _head(3, len(text)) + text
        case tuple():
            return _head(4, len(item)) + b"".join(encode(member) for member in item)
        case Tagged():
            return _head(6, item.tag) + encode(item.item)
        case _:
            pairs = sorted((encode(key), encode(value)) for key, value in item.items())
            return _head(5, len(pairs)) + b"".join(key + value for key, value in pairs)
