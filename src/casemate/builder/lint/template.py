"""A Jinja template of a manifest, read as ``gramine-manifest`` would render it, without rendering it.

Jinja 3, "Template Designer Documentation", with the settings of Gramine's tools: the usual delimiters, no
line statements, ``trim_blocks`` and ``lstrip_blocks`` off, the last line break kept. Nothing is executed. An
expression stands for text that is not known; each branch of a condition is read in some variant; the body of
a loop is read once. Every variant has the length of the template, so that offsets stay what they are.

Not checked: expressions and tests themselves, what a macro or an included file renders to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice
from typing import Final

from casemate.builder.lint.tree import NOTHING, UNKNOWN

#: Conditions inside conditions.
MAX_DEPTH: Final = 50
#: More variants than this are not read, nor more characters in all of them together, but for the first.
MAX_VARIANTS: Final = 64
MAX_TEXT: Final = 8_000_000

_OPEN: Final = re.compile(r"\{([{%#])([-+]?)")
_INSIDE: Final = re.compile(
    r"""'(?:[^'\\]++|\\.)*+'|"(?:[^"\\]++|\\.)*+"|[-+]?%\}|-?\}\}|[\[({})\]"']""", re.DOTALL
)
_WORD: Final = re.compile(r"\s*([A-Za-z_]+)")
_RAW_END: Final = re.compile(r"\{%([-+]?)\s*endraw\s*([-+]?)%\}")
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}
#: Blocks whose content is not part of the document where it stands.
_ELSEWHERE: Final = frozenset({"macro", "set", "call", "filter"})
#: Blocks whose content is.
_PLAIN: Final = frozenset({"with", "block", "autoescape"})
#: Statements without a block that render to nothing here.
_SILENT: Final = frozenset({"import", "from", "do"})
#: Statements that bring in text from elsewhere.
_FOREIGN: Final = frozenset({"include", "extends"})


class _Part(Enum):
    TEXT = auto()
    EXPRESSION = auto()
    STATEMENT = auto()
    COMMENT = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What Jinja would refuse.

    Attributes:
        offset: Where.
        expected: What should be there.
        found: What is there.
    """

    offset: int
    expected: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """A part of a template that cannot be read without rendering it.

    Attributes:
        offset: Where it begins.
        what: What it is.
    """

    offset: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What a template holds.

    Attributes:
        variants: The text with one branch of each condition; all of the template's length.
        code: Where expressions and statements stand, as pairs of offsets, in order.
        unread: What is in none of the variants.
        fault: Why it cannot be rendered; the variants then hold what stands before it.
    """

    variants: tuple[str, ...]
    code: tuple[tuple[int, int], ...]
    unread: tuple[Unread, ...]
    fault: Fault | None


class _FaultFound(Exception):  # noqa: N818 - says where, and never leaves this module
    def __init__(self, offset: int, expected: str, found: str) -> None:
        super().__init__()
        self.fault = Fault(offset=offset, expected=expected, found=found)


@dataclass(slots=True)
class _Block:
    """An open block; ``identity`` and ``branch`` are those of a condition."""

    word: str
    offset: int
    identity: int | None = None
    branch: int = 0
    has_else: bool = False


_Conditions = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class _Reader:
    text: str
    pieces: list[tuple[int, int, str | None, _Conditions]] = field(default_factory=list)
    blocks: list[_Block] = field(default_factory=list)
    branches: dict[int, int] = field(default_factory=dict)
    outer: dict[int, _Conditions] = field(default_factory=dict)
    code: list[tuple[int, int]] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)

    def conditions(self) -> _Conditions:
        return tuple((b.identity, b.branch) for b in self.blocks if b.identity is not None)

    def add(self, start: int, end: int, stands_for: str | None) -> None:
        if start < end:
            self.pieces.append((start, end, stands_for, self.conditions()))

    def read(self) -> Fault | None:
        try:
            for part, start, end, body in _parts(self.text):
                self._take(part, start, end, body)
        except _FaultFound as found:
            return found.fault
        if not self.blocks:
            return None
        expected = f"{{% end{self.blocks[-1].word} %}} further down"
        return Fault(offset=self.blocks[-1].offset, expected=expected, found="the end of the file")

    def _take(self, part: _Part, start: int, end: int, body: str) -> None:
        if part is _Part.TEXT:
            self.add(start, end, None)
        elif part is _Part.EXPRESSION:
            self.code.append((start, end))
            self.add(start, end, UNKNOWN)
        elif part is _Part.COMMENT:
            self.add(start, end, NOTHING)
        else:
            self.code.append((start, end))
            self._statement(start, end, body)

    def _statement(self, start: int, end: int, body: str) -> None:
        match = _WORD.match(body)
        word = match[1] if match else ""
        if word in ("elif", "else"):
            self._next_branch(word, start)
            self.add(start, end, NOTHING)
        elif word.startswith("end"):
            self._close(word.removeprefix("end"), start)
            self.add(start, end, NOTHING)
        else:
            self._begin(word, start, end, body)

    def _begin(self, word: str, start: int, end: int, body: str) -> None:
        if word in ("call", "filter", *_FOREIGN):
            self.unread.append(Unread(offset=start, what=f"{{% {word} %}}"))
            self.add(start, end, UNKNOWN)
        else:
            self.add(start, end, NOTHING)
        if word == "macro":
            self.unread.append(Unread(offset=start, what="the body of a macro"))
        if word in ("if", "for"):
            self._open_condition(word, start)
        elif word in _PLAIN:
            self._push(_Block(word, start))
        elif word in _ELSEWHERE and not (word == "set" and "=" in body):
            self._open_condition(word, start)
            self.blocks[-1].branch = -1
        elif word not in _SILENT and word not in _FOREIGN and word != "set":
            what = f"{{% {word} %}}" if word else "an empty statement"
            raise _FaultFound(start, "a statement that Jinja knows", what)

    def _push(self, block: _Block) -> None:
        if len(self.blocks) >= MAX_DEPTH:
            raise _FaultFound(block.offset, f"at most {MAX_DEPTH} blocks inside each other", "more")
        self.blocks.append(block)

    def _open_condition(self, word: str, start: int) -> None:
        identity = len(self.branches)
        self.outer[identity] = self.conditions()
        # A loop without `else` has one branch, a condition without one a second that is empty.
        self.branches[identity] = 2 if word == "if" else 1
        self._push(_Block(word, start, identity))

    def _next_branch(self, word: str, start: int) -> None:
        block = self.blocks[-1] if self.blocks else None
        if block is None or block.identity is None or block.word not in ("if", "for") or block.has_else:
            raise _FaultFound(start, "an open {% if %} or {% for %}", f"{{% {word} %}}")
        block.branch += 1
        block.has_else = word == "else"
        self.branches[block.identity] = block.branch + (1 if block.has_else else 2)

    def _close(self, word: str, start: int) -> None:
        if not self.blocks or self.blocks[-1].word != word:
            expected = f"{{% end{self.blocks[-1].word} %}}" if self.blocks else "no end of a block"
            raise _FaultFound(start, expected, f"{{% end{word} %}}")
        self.blocks.pop()


def read_template(text: str) -> Template:
    """Read a template.

    Args:
        text: It must not contain :data:`UNKNOWN` or :data:`NOTHING`.
    """
    reader = _Reader(text)
    fault = reader.read()
    limit = max(1, min(MAX_VARIANTS, MAX_TEXT // (len(text) + 1)))
    choices = list(islice(_choices(reader), limit + 1))
    if len(choices) > limit:
        what = f"what only further combinations of its conditions hold, after {limit} of them"
        reader.unread.append(Unread(offset=0, what=what))
    return Template(
        variants=tuple(_variant(reader, chosen) for chosen in choices[:limit]),
        code=tuple(reader.code),
        unread=tuple(reader.unread),
        fault=fault,
    )


def _choices(reader: _Reader) -> Iterator[Mapping[int, int]]:
    """Selections of one branch for each condition, such that each branch is in one of them."""
    open_branches = {
        (identity, branch) for identity, count in reader.branches.items() for branch in range(count)
    }
    waiting = sorted(open_branches)
    yield_first = True
    for identity, branch in waiting:
        if (identity, branch) not in open_branches and not yield_first:
            continue
        wanted = dict(reader.outer[identity]) | {identity: branch}
        if -1 in wanted.values():  # in a macro or the like, which is read nowhere
            open_branches.discard((identity, branch))
            continue
        yield_first = False
        chosen = _complete(reader, wanted, open_branches)
        open_branches -= set(chosen.items())
        yield chosen
    if yield_first:
        yield {}


def _complete(
    reader: _Reader, wanted: Mapping[int, int], open_branches: set[tuple[int, int]]
) -> dict[int, int]:
    """``wanted`` with a branch for every other condition, one that was in no variant yet where there is."""
    chosen: dict[int, int] = {}
    for identity, count in reader.branches.items():
        fresh = (branch for branch in range(count) if (identity, branch) in open_branches)
        reached = all(chosen.get(outer) == branch for outer, branch in reader.outer[identity])
        chosen[identity] = wanted.get(identity, next(fresh, 0) if reached else 0)
        if not reached:
            chosen[identity] = wanted.get(identity, -2)
    return chosen


def _variant(reader: _Reader, chosen: Mapping[int, int]) -> str:
    parts: list[str] = []
    at = 0
    for start, end, stands_for, conditions in reader.pieces:
        visible = all(chosen.get(identity) == branch for identity, branch in conditions)
        if not visible:
            parts.append(NOTHING * (end - start))
        elif stands_for is None:
            parts.append(reader.text[start:end])
        else:
            parts.append(stands_for * (end - start))
        at = end
    # What stands after a fault is not read.
    parts.append(NOTHING * (len(reader.text) - at))
    return "".join(parts)


def _parts(text: str) -> Iterator[tuple[_Part, int, int, str]]:
    """The parts in order; white space that ``-`` takes away is a comment."""
    at, strip = 0, False
    while (opening := _OPEN.search(text, at)) is not None:
        yield from _text(text, at, opening.start(), strip_left=strip, strip_right=opening[2] == "-")
        end, part, strip = _end_of(text, opening)
        body = text[opening.end() : end - 2]
        word = _WORD.match(body) if part is _Part.STATEMENT else None
        if word is not None and word[1] == "raw":
            yield (_Part.COMMENT, opening.start(), end, "")
            closing = _RAW_END.search(text, end)
            if closing is None:
                raise _FaultFound(opening.start(), "{% endraw %} further down", "the end of the file")
            right = closing[1] == "-"
            yield from _text(text, end, closing.start(), strip_left=strip, strip_right=right)
            yield (_Part.COMMENT, closing.start(), closing.end(), "")
            at, strip = closing.end(), closing[2] == "-"
            continue
        yield (part, opening.start(), end, body)
        at = end
    yield from _text(text, at, len(text), strip_left=strip, strip_right=False)


def _text(
    text: str,
    start: int,
    end: int,
    *,
    strip_left: bool,
    strip_right: bool,
) -> Iterator[tuple[_Part, int, int, str]]:
    first = start + (len(text[start:end]) - len(text[start:end].lstrip()) if strip_left else 0)
    last = first + len(text[first:end].rstrip()) if strip_right else end
    yield (_Part.COMMENT, start, first, "")
    yield (_Part.TEXT, first, last, "")
    yield (_Part.COMMENT, last, end, "")


def _end_of(text: str, opening: re.Match[str]) -> tuple[int, _Part, bool]:
    """Offset after a construct, its kind, and whether it takes away the white space that follows."""
    start = opening.start()
    if opening[1] == "#":
        end = text.find("#}", opening.end())
        if end < 0:
            raise _FaultFound(start, "#} further down", "the end of the file")
        return end + 2, _Part.COMMENT, text[end - 1] == "-" and end - 1 >= opening.end()
    closing = "}}" if opening[1] == "{" else "%}"
    brackets: list[str] = []
    at = opening.end()
    while (token := _INSIDE.search(text, at)) is not None:
        mark, at = token[0], token.end()
        if mark in ('"', "'"):
            raise _FaultFound(token.start(), "a string that ends", "the end of the file")
        if mark[0] in ("'", '"'):
            continue
        if not brackets and mark.endswith(closing):
            kind = _Part.EXPRESSION if closing == "}}" else _Part.STATEMENT
            return at, kind, mark[0] == "-"
        if mark[-1] == "}":  # of two that stand together only the first is known to be a bracket
            at = token.start() + mark.index("}") + 1
            mark = "}"
        _balance(brackets, mark, token.start())
    raise _FaultFound(start, f"{closing} further down", "the end of the file")


def _balance(brackets: list[str], mark: str, offset: int) -> None:
    if mark in _PAIRS:
        if not brackets or brackets.pop() != _PAIRS[mark]:
            raise _FaultFound(offset, "brackets in pairs", repr(mark))
    else:
        brackets.append(mark)
