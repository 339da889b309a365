"""Deterministic CBOR, the part of it that attestation evidence uses (RFC 8949, sections 3 and 4.2.1).

Integers, byte strings, text strings, arrays, maps, tags, ``true``, ``false`` and ``null``, all of definite
length. Floats, indefinite lengths and other simple values are refused: nothing that Casemate reads
carries them. Writing is not here; the only writer is inside the enclave (:mod:`casemate_attester.ratls`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, Union

from casemate.errors import FormatError

#: Arrays, maps and tags inside each other; evidence needs four.
MAX_DEPTH = 16

#: A decoded item. Arrays are tuples, maps are dictionaries with integer or text keys.
Item: TypeAlias = Union[int, bytes, str, tuple["Item", ...], dict["int | str", "Item"], "Tagged", None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tagged:
    """A tagged item (major type 6)."""

    tag: int
    item: Item


def loads(data: bytes) -> Item:
    """Decode exactly one item that fills ``data``.

    Raises:
        FormatError: Truncated or trailing bytes, lengths not in their shortest form, duplicate or compound
            map keys, types outside the part named above, or more than ``MAX_DEPTH`` levels.
    """
    item, end = _item(data, 0, 0)
    if end != len(data):
        raise FormatError(
            "CBOR item", expected=f"{end} bytes", got=f"{len(data)} bytes", where=f"offset {end}"
        )
    return item


def _item(data: bytes, at: int, depth: int) -> tuple[Item, int]:
    if depth > MAX_DEPTH:
        raise FormatError("CBOR nesting", expected=f"at most {MAX_DEPTH} levels", where=f"offset {at}")
    major, argument, after = _head(data, at)
    if major in (2, 3):
        return _string(data, after, argument, text=major == 3), after + argument
    if major in (4, 5):
        return (_array if major == 4 else _map)(data, after, argument, depth)
    if major == 6:
        item, end = _item(data, after, depth + 1)
        return Tagged(tag=argument, item=item), end
    if major == 7:
        return _simple(argument, at), after
    return (argument if major == 0 else -1 - argument), after


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Major type, argument and the offset after them; the argument must be in its shortest form."""
    first = _take(data, at, 1)[0]
    major, low = first >> 5, first & 0x1F
    if low < 24:
        return major, low, at + 1
    if low > 27 or major == 7:
        raise FormatError(
            "CBOR initial byte", expected="a definite length", got=f"0x{first:02x}", where=f"offset {at}"
        )
    width = 1 << (low - 24)
    argument = int.from_bytes(_take(data, at + 1, width), "big")
    smallest = 24 if width == 1 else 1 << (8 * width // 2)
    if argument < smallest:
        raise FormatError("CBOR length", expected="its shortest form", got=f"{width} bytes for {argument}")
    return major, argument, at + 1 + width


def _take(data: bytes, at: int, size: int) -> bytes:
    if len(data) - at < size:
        raise FormatError(
            "CBOR item", expected=f"{size} bytes", got=f"{len(data) - at} bytes", where=f"offset {at}"
        )
    return data[at : at + size]


def _string(data: bytes, at: int, size: int, *, text: bool) -> bytes | str:
    value = _take(data, at, size)
    if not text:
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise FormatError("CBOR text string", expected="UTF-8", where=f"offset {at}") from error


def _array(data: bytes, at: int, count: int, depth: int) -> tuple[Item, int]:
    items: list[Item] = []
    for _ in range(_bounded(data, at, count)):
        item, at = _item(data, at, depth + 1)
        items.append(item)
    return tuple(items), at


def _map(data: bytes, at: int, count: int, depth: int) -> tuple[Item, int]:
    entries: dict[int | str, Item] = {}
    for _ in range(_bounded(data, at, 2 * count) // 2):
        start = at
        key, at = _item(data, at, depth + 1)
        if not isinstance(key, int | str) or isinstance(key, bool) or key in entries:
            raise FormatError(
                "CBOR map key", expected="distinct integers or text strings", where=f"offset {start}"
            )
        entries[key], at = _item(data, at, depth + 1)
    return entries, at


def _bounded(data: bytes, at: int, items: int) -> int:
    """``items``, when the bytes that are left can hold so many; refused before anything is allocated."""
    if items > len(data) - at:
        raise FormatError("CBOR length", expected=f"at most {len(data) - at} items", got=str(items))
    return items


def _simple(argument: int, at: int) -> bool | None:
    values: dict[int, bool | None] = {20: False, 21: True, 22: None}
    if argument not in values:
        raise FormatError(
            "CBOR simple value", expected="true, false or null", got=str(argument), where=f"offset {at}"
        )
    return values[argument]
