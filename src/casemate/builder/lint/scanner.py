"""TOML with the place of every key and value, and with room for text that is not known yet.

TOML 1.0. No library gives positions together with the values, and none reads a template; so this one does,
and is held against :mod:`tomllib` by tests: the same documents, the same values. It stops at the first fault.

Not checked: that a date or time exists; what an unknown piece of a template becomes.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Final

from casemate.builder.lint.scalars import FIRST_BREAK, UNKNOWN_RUN, decoded, plain_value, worded
from casemate.builder.lint.toml_values import Duplicate, Fault, FaultFound, Place, Scan
from casemate.builder.lint.tree import NOTHING, ROOT, UNKNOWN, UNKNOWN_VALUE, Other, Path

#: Tables and arrays inside each other, and parts of a key.
MAX_DEPTH: Final = 60
#: Values of one document, and keys that are there twice.
MAX_VALUES: Final = 1_000_000
MAX_DUPLICATES: Final = 1000

_BLANK: Final = re.compile(f"[ \t{NOTHING}]*+")
_GAP: Final = re.compile(f"(?:[ \t\n{NOTHING}]++|\r\n)*+")
_COMMENT: Final = re.compile("#[^\n]*+")
_TO_END_OF_LINE: Final = re.compile("[^#\n]*+")
_END_OF_LINE: Final = re.compile("\r?\n|\\Z")
_BARE: Final = re.compile(f"[A-Za-z0-9_{UNKNOWN}{NOTHING}-]++")
_BASIC: Final = re.compile(r'"((?:[^"\\\n]++|\\[^\n])*+)"')
_LITERAL: Final = re.compile(r"'([^'\n]*+)'")
_LONG_BASIC: Final = re.compile(r'"""((?:[^"\\]++|\\.|"(?!""))*+)"""("{0,2})', re.DOTALL)
_LONG_LITERAL: Final = re.compile(r"'''((?:[^']++|'(?!''))*+)'''('{0,2})", re.DOTALL)
_WORD: Final = re.compile(r"""[^\s,\]}#\[{"'=]++""")
_DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})?)?"
    r"|[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
)
_CONTROL: Final = re.compile("[\x02-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
_SHOWN: Final = {"": "the end of the file", "\n": "the end of the line", UNKNOWN: "an expression"}


def scan(text: str, source: str | None = None, *, wanted: Collection[Path] = frozenset()) -> Scan:
    """Read a document.

    Args:
        text: The document, or a variant of a template.
        source: The template itself, of the same length, for the words of its expressions.
        wanted: Keys and items whose places are to be noted; those of all would take much memory.
    """
    scanner = _Scanner(text, text if source is None else source, frozenset(wanted))
    fault = scanner.read()
    return Scan(
        tree=scanner.tree,
        places=scanner.places,
        comments=tuple(scanner.comments),
        duplicates=tuple(scanner.duplicates),
        partial=tuple(scanner.partial),
        fault=fault,
    )


@dataclass(frozen=True, slots=True)
class _Key:
    """A dotted key: its parts with their offsets."""

    parts: tuple[tuple[str, int, int], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _, _ in self.parts)

    @property
    def start(self) -> int:
        return self.parts[0][1]

    @property
    def last(self) -> tuple[int, int]:
        return self.parts[-1][1:]


class _Origin(Enum):
    """How a table came to be, which decides what may still add to it."""

    IMPLIED = auto()  # by the header of a table inside it
    HEADER = auto()
    DOTTED = auto()
    INLINE = auto()


class _Table(dict[str, Any]):
    """A table that knows its origin, and of dotted keys the table whose line made it."""

    __slots__ = ("origin", "owner")

    def __init__(self, origin: _Origin, owner: _Table | None = None) -> None:
        super().__init__()
        self.origin = origin
        self.owner = owner


class _Tables(list[_Table]):
    """An array of tables, each with a header."""

    __slots__ = ()


@dataclass(slots=True)
class _Scanner:
    text: str
    source: str
    wanted: frozenset[Path]
    at: int = 0
    values: int = 0
    tree: _Table = field(default_factory=lambda: _Table(_Origin.HEADER))
    places: dict[Path, Place] = field(default_factory=dict)
    comments: list[tuple[int, int]] = field(default_factory=list)
    duplicates: list[Duplicate] = field(default_factory=list)
    partial: list[int] = field(default_factory=list)

    def read(self) -> Fault | None:
        control = _CONTROL.search(self.text)
        try:
            self._document()
        except FaultFound as found:
            if control is None or found.fault.offset < control.start():
                return found.fault
        if control is None:
            return None
        shown = f"U+{ord(control[0]):04X}"
        return Fault(offset=control.start(), expected="no control characters but tabs", found=shown)

    def _document(self) -> None:
        table, path = self.tree, ROOT
        while True:
            self._gap()
            if self.at >= len(self.text):
                return
            if self.text.startswith("[[", self.at):
                table, path = self._array_header()
            elif self._peek() == "[":
                table, path = self._header()
            elif not self._foreign_line():
                self._pair(table, path, 0)
            self._end_of_line()

    # White space, comments, line ends.

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        """Go over what ``pattern`` matches here; says whether there was anything."""
        match = pattern.match(self.text, self.at)
        if match is None or match.end() == self.at:
            return False
        self.at = match.end()
        return True

    def _gap(self) -> None:
        self._skip(_GAP)
        while self._comment():
            self._skip(_GAP)

    def _comment(self) -> bool:
        start = self.at
        if not self._skip(_COMMENT):
            return False
        self.comments.append((start, self.at))
        return True

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _refusal(self, expected: str, offset: int | None = None) -> FaultFound:
        offset = self.at if offset is None else offset
        letter = self.text[offset : offset + 1]
        found = _SHOWN.get(letter, repr(letter))
        return FaultFound(offset, expected, found)

    def _take(self, mark: str, expected: str) -> None:
        if not self.text.startswith(mark, self.at):
            raise self._refusal(expected)
        self.at += len(mark)

    def _end_of_line(self) -> None:
        before = self.text[self.at - 1]
        self._skip(_BLANK)
        if UNKNOWN in (self._peek(), before) and _END_OF_LINE.match(self.text, self.at) is None:
            self._skip(_TO_END_OF_LINE)  # beside an expression anything may stand
        self._comment()
        if _END_OF_LINE.match(self.text, self.at) is None:
            raise self._refusal("the end of the line")
        self._skip(_END_OF_LINE)

    def _foreign_line(self) -> bool:
        """Go over an expression that stands alone on its line and may become anything."""
        start = self.at
        if not self._skip(UNKNOWN_RUN):
            return False
        self._skip(_BLANK)
        if self._peek() in ("=", "."):
            self.at = start
            return False
        self.partial.append(start)
        self._skip(_TO_END_OF_LINE)
        return True

    def _note(self, path: Path, key: tuple[int, int], value: tuple[int, int], dotted: int) -> None:
        if path in self.wanted:
            self.places[path] = Place(key=key, value=value, dotted=dotted)

    # Tables.

    def _header(self) -> tuple[_Table, Path]:
        start = self.at
        self.at += 1
        key = self._key()
        self._take("]", "] after the name of the table")
        outer, path = self._descend(key)
        name, inner = key.names[-1], (*path, key.names[-1])
        table = outer.get(name)
        if table is None:
            table = outer[name] = _Table(_Origin.HEADER)
        elif isinstance(table, _Table) and table.origin is _Origin.IMPLIED:
            table.origin = _Origin.HEADER
        else:
            return self._twice(inner, key.start)
        self._note(inner, key.last, (start, self.at), key.start)
        return table, inner

    def _array_header(self) -> tuple[_Table, Path]:
        start = self.at
        self.at += 2
        key = self._key()
        self._take("]]", "]] after the name of the array of tables")
        outer, path = self._descend(key)
        inner = (*path, key.names[-1])
        tables = outer.setdefault(key.names[-1], _Tables())
        if not isinstance(tables, _Tables):
            return self._twice(inner, key.start)
        item: Path = (*inner, len(tables))
        if not tables:
            self._note(inner, key.last, (start, self.at), key.start)
        self._note(item, key.last, (start, self.at), key.start)
        tables.append(_Table(_Origin.HEADER))
        return tables[-1], item

    def _twice(self, path: Path, offset: int) -> tuple[_Table, Path]:
        """Note a duplicate; gives a table outside the tree for what follows."""
        if len(self.duplicates) >= MAX_DUPLICATES:
            raise FaultFound(offset, f"at most {MAX_DUPLICATES} keys that are there twice", "more")
        self.duplicates.append(Duplicate(path=path, offset=offset))
        return _Table(_Origin.HEADER), (len(self.duplicates),)

    def _descend(self, key: _Key) -> tuple[_Table, Path]:
        """The table that the parts of a header before its last lead to."""
        table, path = self.tree, ROOT
        for name, start, end in key.parts[:-1]:
            path = (*path, name)
            if name not in table:
                table[name] = _Table(_Origin.IMPLIED)
                self._note(path, (start, end), (start, end), key.start)
            there = table[name]
            if isinstance(there, _Tables):
                path = (*path, len(there) - 1)
                there = there[-1]
            if not isinstance(there, _Table) or there.origin is _Origin.INLINE:
                there, path = self._twice(path, start)
            table = there
        return table, path

    def _dotted(self, outer: _Table, path: Path, key: _Key) -> tuple[_Table, Path]:
        """The table that the parts of a key before its last lead to."""
        table = outer
        for name, start, end in key.parts[:-1]:
            path = (*path, name)
            if name not in table:
                table[name] = _Table(_Origin.DOTTED, outer)
                self._note(path, (start, end), (start, end), key.start)
            there = table[name]
            mine = isinstance(there, _Table) and (
                there.origin is _Origin.IMPLIED or (there.origin is _Origin.DOTTED and there.owner is outer)
            )
            if not mine:
                there, path = self._twice(path, start)
            table = there
        return table, path

    def _pair(self, outer: _Table, path: Path, depth: int) -> None:
        key = self._key()
        self._take("=", "= after the key")
        self._skip(_BLANK)
        table, path = self._dotted(outer, path, key)
        inner = (*path, key.names[-1])
        start = self.at
        if key.names[-1] in table:
            _, inner = self._twice(inner, key.start)
            self._value(inner, depth + 1)
            return
        table[key.names[-1]] = self._value(inner, depth + 1)
        self._note(inner, key.last, (start, self.at), key.start)

    # Keys.

    def _key(self) -> _Key:
        parts: list[tuple[str, int, int]] = []
        while True:
            self._skip(_BLANK)
            if len(parts) >= MAX_DEPTH:
                raise self._refusal(f"at most {MAX_DEPTH} parts of a key")
            parts.append(self._key_part())
            self._skip(_BLANK)
            if self._peek() != ".":
                return _Key(tuple(parts))
            self.at += 1

    def _key_part(self) -> tuple[str, int, int]:
        start = self.at
        pattern = {'"': _BASIC, "'": _LITERAL}.get(self._peek(), _BARE)
        match = pattern.match(self.text, start)
        if match is None:
            raise self._refusal("a key")
        self.at = match.end()
        if pattern is _BASIC:
            return decoded(match[1], self.source, match.start(1)), start, self.at
        group = 1 if pattern is _LITERAL else 0
        return worded(match[group], self.source, match.start(group)), start, self.at

    # Values.

    def _value(self, path: Path, depth: int) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            raise self._refusal(f"at most {MAX_VALUES:,} values")
        if depth > MAX_DEPTH:
            raise self._refusal(f"at most {MAX_DEPTH} arrays and tables inside each other")
        match self._peek():
            case '"':
                return self._basic()
            case "'":
                return self._literal()
            case "[":
                return self._array(path, depth)
            case "{":
                return self._inline_table(path, depth)
            case _:
                return self._plain()

    def _basic(self) -> str:
        long = self.text.startswith('"""', self.at)
        match = (_LONG_BASIC if long else _BASIC).match(self.text, self.at)
        if match is None:
            raise self._refusal("quotation marks at the end of the string", self._end_of_string(long=long))
        self.at = match.end()
        if long:
            return decoded(match[1], self.source, match.start(1), long=True) + match[2]
        return decoded(match[1], self.source, match.start(1))

    def _literal(self) -> str:
        long = self.text.startswith("'''", self.at)
        match = (_LONG_LITERAL if long else _LITERAL).match(self.text, self.at)
        if match is None:
            raise self._refusal("quotation marks at the end of the string", self._end_of_string(long=long))
        self.at = match.end()
        named = worded(match[1], self.source, match.start(1))
        return FIRST_BREAK.sub("", named).replace("\r\n", "\n") + match[2] if long else named

    def _end_of_string(self, *, long: bool) -> int:
        end = -1 if long else self.text.find("\n", self.at)
        return len(self.text) if end < 0 else end

    def _array(self, path: Path, depth: int) -> list[Any]:
        self.at += 1
        items: list[Any] = []
        while True:
            self._gap()
            if self._peek() == "]":
                self.at += 1
                return items
            start = self.at
            item = (*path, len(items))
            items.append(self._value(item, depth + 1))
            self._note(item, (start, self.at), (start, self.at), start)
            expression = UNKNOWN in (self.text[self.at - 1], self._after_gap())
            if self._peek() == ",":
                self.at += 1
            elif self._peek() != "]" and not expression:
                raise self._refusal(", or ] after the item")

    def _after_gap(self) -> str:
        self._gap()
        return self._peek()

    def _inline_table(self, path: Path, depth: int) -> _Table:
        self.at += 1
        table = _Table(_Origin.INLINE)
        self._skip(_BLANK)
        if self._peek() == "}":
            self.at += 1
            return table
        while True:
            self._pair(table, path, depth)
            self._skip(_BLANK)
            if self._peek() != ",":
                self._take("}", ", or } after the value")
                return table
            self.at += 1

    def _plain(self) -> Any:
        date = _DATE.match(self.text, self.at)
        if date is not None:
            self.at = date.end()
            return Other(date[0])
        match = _WORD.match(self.text, self.at)
        word = "" if match is None else match[0].replace(NOTHING, "")
        value = UNKNOWN_VALUE if UNKNOWN in word else plain_value(word)
        if match is None or value is None:
            raise self._refusal("a value")
        self.at = match.start() + len(match[0].rstrip(NOTHING))
        return value
