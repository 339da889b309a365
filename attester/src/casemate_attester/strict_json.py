"""JSON that is read strictly and written canonically.

Reading refuses duplicate keys, numbers that JSON does not have, lone surrogates and anything that is not one
object of bounded size. Writing gives RFC 8785 (JSON Canonicalization Scheme) for the values that Casemate and
the key broker protocol use: objects, arrays, text, integers below 2**53, booleans and null. Floating point is
refused when reading, so the number forms of RFC 8785 section 3.2.2.3 never apply.

This module never says what a field is worth in its errors, only what kind of value it holds: documents carry
tokens and secrets.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from casemate_attester.errors import ExplainedError

__all__ = ["Fields", "canonical_json", "read_object"]

#: Integers from here on are not exact in every JSON implementation (RFC 8785, section 3.2.2.3).
_INTEGER_LIMIT = 2**53
#: Digits of ``_INTEGER_LIMIT`` and a sign.
_INTEGER_DIGITS = 17


class _RefusedError(Exception):
    """Carries a reason out of a hook of :mod:`json`."""


def canonical_json(value: object) -> bytes:
    """RFC 8785 bytes of ``value``.

    Keys are sorted by code point; that is RFC 8785's order by UTF-16 code unit as long as no key holds a
    character above U+FFFF. No key of ours does: all of them are ASCII.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def read_object(
    data: bytes, *, document: str, error: type[ExplainedError], limit: int, hint: str | None = None
) -> "Fields":
    """The object that ``data`` holds, ready to be read field by field.

    Args:
        data: UTF-8 text of one JSON object.
        document: What the bytes are, for the reader of an error.
        error: The class that is raised for everything that is wrong.
        limit: Largest accepted size in bytes.
        hint: What the reader of an error should do.
    """
    source = _Source(document=document, error=error, hint=hint)
    if len(data) > limit:
        source.refuse(document, f"at most {limit} bytes", f"{len(data)} bytes")
    try:
        text = data.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_float=_no_float,
            parse_int=_small_integer,
            parse_constant=_no_float,
        )
        # A lone surrogate is valid JSON but no Unicode text; it shows when the text is encoded again.
        canonical_json(value)
    except _RefusedError as reason:
        source.refuse(document, "strict JSON", str(reason))
    except json.JSONDecodeError as reason:
        source.refuse(document, "JSON", f"{reason.msg} at offset {reason.pos}")
    except UnicodeError:
        source.refuse(document, "UTF-8 text", "other bytes")
    except RecursionError:
        source.refuse(document, "a flat document", "very deep nesting")
    return Fields(value, path="", source=source)


def _without_duplicates(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """An object, or a refusal when a key comes twice."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _RefusedError("an object with a duplicate key")
    return result


def _no_float(_text: str) -> NoReturn:
    """Refuses fractions, exponents, NaN and infinities."""
    raise _RefusedError("a number that is not an integer")


def _small_integer(text: str) -> int:
    """An integer that every JSON implementation reads alike."""
    if len(text) > _INTEGER_DIGITS or abs(int(text)) >= _INTEGER_LIMIT:
        raise _RefusedError("an integer beyond 2**53")
    return int(text)


def _kind(value: object) -> str:
    """What kind of value it is; never what it is worth."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case str():
            return f"text of {len(value)} characters"
        case list():
            return f"an array of {len(value)}"
        case _:
            return "an object"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What a document is called, and how its faults are raised."""

    document: str
    error: type[ExplainedError]
    hint: str | None

    def refuse(self, subject: str, expected: str, got: str) -> NoReturn:
        where = None if subject == self.document else self.document
        raise self.error(subject, expected=expected, got=got, where=where, hint=self.hint) from None


class Fields:
    """The fields of one JSON object; each is taken once, and ``done`` refuses what nobody took."""

    __slots__ = ("_path", "_rest", "_source")

    def __init__(self, value: object, *, path: str, source: _Source) -> None:
        self._path = path
        self._source = source
        if not isinstance(value, dict):
            source.refuse(path or source.document, "an object", _kind(value))
        self._rest: dict[str, object] = dict(value)

    def _name(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _take(self, name: str, expected: str) -> object:
        if name not in self._rest:
            self.refuse(name, expected=expected, got="no such field")
        return self._rest.pop(name)

    def __contains__(self, name: str) -> bool:
        return name in self._rest

    def refuse(self, name: str, *, expected: str, got: str) -> NoReturn:
        """Raises for a field that has the wrong worth."""
        self._source.refuse(self._name(name), expected, got)

    def text(self, name: str, *, pattern: str = r"[^\x00]*", expected: str = "text") -> str:
        """A text field, the whole of which matches ``pattern``."""
        value = self._take(name, expected)
        if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
            self.refuse(name, expected=expected, got=_kind(value))
        return value

    def integer(self, name: str, *, low: int, high: int) -> int:
        """An integer field from ``low`` to ``high``, both included."""
        expected = str(low) if low == high else f"an integer from {low} to {high}"
        value = self._take(name, expected)
        if not isinstance(value, int) or isinstance(value, bool):
            self.refuse(name, expected=expected, got=_kind(value))
        if not low <= value <= high:
            self.refuse(name, expected=expected, got=str(value))
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """An array of texts."""
        expected = "an array of texts"
        value = self._take(name, expected)
        if not isinstance(value, list):
            self.refuse(name, expected=expected, got=_kind(value))
        for item in value:
            if not isinstance(item, str):
                self.refuse(name, expected=expected, got=f"one with {_kind(item)}")
        return tuple(value)

    def object(self, name: str) -> "Fields":
        """A field that is an object."""
        return Fields(self._take(name, "an object"), path=self._name(name), source=self._source)

    def object_or_null(self, name: str) -> "Fields | None":
        """A field that is an object or null, and is there."""
        value = self._take(name, "an object or null")
        return None if value is None else Fields(value, path=self._name(name), source=self._source)

    def object_or_empty(self, name: str) -> "Fields | None":
        """A field that is an object or the empty text, and is there."""
        value = self._take(name, 'an object or ""')
        return None if value == "" else Fields(value, path=self._name(name), source=self._source)

    def objects(self, name: str) -> "tuple[Fields, ...]":
        """A field that is an array of objects."""
        expected = "an array of objects"
        value = self._take(name, expected)
        if not isinstance(value, list):
            self.refuse(name, expected=expected, got=_kind(value))
        return tuple(
            Fields(item, path=f"{self._name(name)}[{index}]", source=self._source)
            for index, item in enumerate(value)
        )

    def nothing(self, name: str) -> None:
        """A field that may be absent or null and nothing else."""
        value = self._rest.pop(name, None)
        if value is not None:
            self.refuse(name, expected="null or no such field", got=_kind(value))

    def done(self) -> None:
        """Refuses the fields that nobody took."""
        if self._rest:
            unknown = ", ".join(ascii(name[:40]) for name in sorted(self._rest)[:3])
            self._source.refuse(self._path or self._source.document, "only known fields", unknown)
