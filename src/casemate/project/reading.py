"""Typed reading of one table of a TOML document, with errors that name file and key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from casemate.errors import ProjectError

_T = TypeVar("_T")

_SIZE: Final = re.compile(r"([1-9][0-9]{0,18})([KMGT]?)")
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

_TYPE_NAMES: Final[tuple[tuple[type, str], ...]] = (
    (bool, "true or false"),
    (int, "a number"),
    (float, "a fraction"),
    (str, "a text"),
    (list, "a list"),
    (dict, "a table"),
)


def type_name(value: object) -> str:
    """The TOML type of ``value`` in words."""
    for kind, name in _TYPE_NAMES:
        if isinstance(value, kind):
            return name
    return "a date or time"


def quote(text: str) -> str:
    """``text`` in quotation marks, shortened, control characters visible."""
    shown = text if len(text) <= 60 else text[:57] + "…"
    return '"' + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown) + '"'


def one_of(names: Iterable[str]) -> str:
    """``"a", "b" or "c"``."""
    quoted = [f'"{name}"' for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def nearest_hint(name: str, known: Iterable[str]) -> str:
    """``did you mean "port"?``, or the list of what exists when nothing is near."""
    candidates = sorted(known)
    near = difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"the known names are {', '.join(candidates)}"


class Table:
    """One table of the document; reads are typed and name the key in their errors."""

    def __init__(self, values: Mapping[str, Any], *, name: str, where: str) -> None:
        self.values = values
        self.name = name
        self.where = where

    def place(self, key: str) -> str:
        """``casemate.toml: app.port``."""
        return f"{self.where}: {self.name}.{key}" if self.name else f"{self.where}: {key}"

    def error(
        self, key: str, subject: str, *, expected: str, got: str, hint: str | None = None
    ) -> ProjectError:
        """An error about the value of ``key``."""
        return ProjectError(subject, expected=expected, got=got, where=self.place(key), hint=hint)

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """Refuse keys that are not in ``known``, with the nearest name."""
        names = tuple(known)
        for key in self.values:
            if key not in names:
                raise ProjectError(
                    f"unknown key {quote(key)}",
                    expected=f"a key of [{self.name}]" if self.name else "a table of casemate.toml",
                    where=self.place(key),
                    hint=nearest_hint(key, names),
                )

    def _typed(self, key: str, kind: type[_T], default: _T, subject: str) -> _T:
        value = self.values.get(key, default)
        right = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        if not right and value is not default:
            expected = next(name for known, name in _TYPE_NAMES if known is kind)
            raise self.error(key, subject, expected=expected, got=type_name(value))
        return value  # type: ignore[no-any-return]  # checked a line above

    def text(self, key: str, default: str) -> str:
        """A non-empty text without control characters."""
        value = self._typed(key, str, default, f"type of {key}")
        check_text(value, self, key)
        return value

    def optional_text(self, key: str) -> str | None:
        """The same, or ``None`` when the key is absent."""
        return self.text(key, "") if key in self.values else None

    def required_text(self, key: str, hint: str) -> str:
        """The same, refusing its absence."""
        if key not in self.values:
            raise ProjectError(f"missing key {quote(key)}", where=self.place(key), hint=hint)
        return self.text(key, "")

    def boolean(self, key: str, *, default: bool) -> bool:
        """``true`` or ``false``."""
        return self._typed(key, bool, default, f"type of {key}")

    def number(self, key: str, default: int, *, lowest: int, highest: int) -> int:
        """A whole number from ``lowest`` to ``highest``."""
        value = self._typed(key, int, default, f"type of {key}")
        if not lowest <= value <= highest:
            raise self.error(key, key, expected=f"{lowest} to {highest}", got=str(value))
        return value

    def size(self, key: str, default: int) -> int:
        """A size such as ``"512M"``, in bytes."""
        if key not in self.values:
            return default
        value = self.values[key]
        match = _SIZE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            got = quote(value) if isinstance(value, str) else type_name(value)
            raise self.error(key, f"{key} as a size", expected='a text such as "512M" or "1G"', got=got)
        return int(match[1]) * _UNITS[match[2]]

    def choice(
        self, key: str, choices: Mapping[str, _T], later: Mapping[str, str] | None = None
    ) -> _T | None:
        """One of ``choices``, or ``None`` when the key is absent.

        Args:
            key: The key.
            choices: What may be written, and what it becomes.
            later: Words that the design knows and this version has not built, with what to use until then.
        """
        text = self.optional_text(key)
        if text is None:
            return None
        if text not in choices:
            hint = (later or {}).get(text) or nearest_hint(text, choices)
            raise self.error(key, key, expected=one_of(choices), got=quote(text), hint=hint)
        return choices[text]

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """A list of non-empty texts."""
        if key not in self.values:
            return default
        value = self.values[key]
        if not isinstance(value, list):
            raise self.error(key, f"type of {key}", expected="a list of texts", got=type_name(value))
        for item in value:
            if not isinstance(item, str):
                raise self.error(key, f"type of an item of {key}", expected="a text", got=type_name(item))
            check_text(item, self, key)
        return tuple(value)

    def table(self, key: str) -> Table:
        """The table ``key``, empty when it is absent."""
        value = self._typed(key, dict, {}, f"type of {key}")
        return Table(value, name=key, where=self.where)

    def matching(
        self,
        key: str,
        value: str,
        pattern: re.Pattern[str],
        *,
        subject: str,
        expected: str,
        hint: str | None = None,
    ) -> str:
        """``value``, refused unless ``pattern`` matches all of it."""
        if pattern.fullmatch(value) is None:
            raise self.error(key, subject, expected=expected, got=quote(value), hint=hint)
        return value

    def each(self, read: Callable[[str], _T]) -> tuple[_T, ...]:
        """``read`` of each key, in the order of the keys' names."""
        return tuple(read(key) for key in sorted(self.values))


def check_text(value: str, table: Table, key: str) -> None:
    """Refuse an empty text and one with control characters; no path, name or URL of ours may hold them."""
    if not value:
        raise table.error(key, key, expected="a text that is not empty", got='""')
    if any(not c.isprintable() for c in value):
        raise table.error(key, key, expected="a text without control characters", got=quote(value))
