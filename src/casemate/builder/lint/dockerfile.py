"""A Dockerfile as its instructions, each word with its place.

Dockerfile reference of BuildKit, frontend 1.x: parser directives, comments and blank lines inside an
instruction, line continuation with either escape character, here-documents, flags, the JSON form.

Not checked: what instructions do; arguments of instructions that no rule asks about.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

#: Instructions that there are.
INSTRUCTIONS: Final = re.compile(
    "ADD|ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL|MAINTAINER|ONBUILD|RUN|SHELL|STOPSIGNAL|USER"
    "|VOLUME|WORKDIR"
)
#: Instructions whose words may begin here-documents.
_WITH_DOCUMENTS: Final = frozenset({"ADD", "COPY", "RUN"})
#: Characters of one instruction in the JSON form.
_MAX_JSON: Final = 1 << 20

_DIRECTIVE: Final = re.compile(r"#[ \t]*([A-Za-z][A-Za-z0-9]*)[ \t]*=[ \t]*(.+?)[ \t\r]*")
_BLANK: Final = re.compile(r"[ \t\r]*")
_COMMENT: Final = re.compile(r"[ \t]*#")
_NAME: Final = re.compile(r"[ \t]*([^ \t\r]+)")
_DOCUMENT: Final = re.compile(r"""(?<![0-9])[0-9]*+<<(-?)(?:"([^"<]+)"|'([^'<]+)'|([^"'<\s]+))""")
_FLAG: Final = re.compile(r"--([a-z][a-z0-9-]*)(?:=(.*))?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word of an instruction as the shell would see it.

    Attributes:
        text: Without quotation marks and escapes; variables are still there.
        offset: Where it begins in the file.
    """

    text: str
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction.

    Attributes:
        name: In capitals.
        offset: Where it begins in the file.
        flags: Its ``--flag=value`` words, by name.
        words: What follows them.
        rest: The same as one text.
        json: The items, when it is in the JSON form.
        triggered: Whether it stands behind ``ONBUILD``.
    """

    name: str
    offset: int
    flags: tuple[tuple[str, Word], ...]
    words: tuple[Word, ...]
    rest: str
    json: tuple[str, ...] | None
    triggered: bool

    def flag(self, name: str) -> str | None:
        """The value of a flag; ``None`` when it is not there."""
        return next((word.text for flag, word in self.flags if flag == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What Docker would refuse.

    Attributes:
        offset: Where.
        subject: What it is about.
        expected: What should be there.
        found: What is there.
    """

    offset: int
    subject: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """What a Dockerfile holds."""

    instructions: tuple[Instruction, ...]
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class _Joined:
    """An instruction on one line, with where each piece of it came from."""

    text: str
    starts: tuple[int, ...]
    offsets: tuple[int, ...]

    def offset(self, at: int) -> int:
        piece = bisect_right(self.starts, at) - 1
        return self.offsets[piece] + at - self.starts[piece]


def parse_dockerfile(text: str) -> Dockerfile:
    """Read a Dockerfile; what cannot be read becomes a fault."""
    lines = _lines(text)
    escape = _escape_character(lines)
    instructions: list[Instruction] = []
    faults: list[Fault] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        if _BLANK.fullmatch(line.text) or _COMMENT.match(line.text):
            number += 1
            continue
        joined, number = _join(lines, number, escape)
        instruction = _instruction(joined, escape, faults)
        if instruction is not None:
            instructions.append(instruction)
            number = _skip_documents(lines, number, instruction, faults)
    if not any(instruction.name == "FROM" for instruction in instructions):
        faults.append(Fault(offset=0, subject="Dockerfile", expected="FROM", found="no such instruction"))
    return Dockerfile(instructions=tuple(instructions), faults=tuple(faults))


def _lines(text: str) -> list[_Line]:
    lines: list[_Line] = []
    offset = 0
    for line in text.split("\n"):
        lines.append(_Line(line.removesuffix("\r"), offset))
        offset += len(line) + 1
    return lines


def _escape_character(lines: list[_Line]) -> str:
    """The escape character that a directive at the very top names, else the backslash."""
    for line in lines:
        directive = _DIRECTIVE.fullmatch(line.text)
        if directive is None:
            break
        if directive[1].lower() == "escape":
            return "`" if directive[2] == "`" else "\\"
    return "\\"


def _join(lines: list[_Line], number: int, escape: str) -> tuple[_Joined, int]:
    """The instruction that begins in line ``number``, and the number of the line after it."""
    ending = re.compile(f"(?<!{re.escape(escape)}){re.escape(escape)}[ \t]*$")
    parts: list[str] = []
    starts: list[int] = []
    offsets: list[int] = []
    length = 0
    first = True
    while number < len(lines):
        line = lines[number]
        number += 1
        if not first and (_BLANK.fullmatch(line.text) or _COMMENT.match(line.text)):
            continue
        first = False
        continued = ending.search(line.text)
        part = line.text if continued is None else line.text[: continued.start()]
        parts.append(part)
        starts.append(length)
        offsets.append(line.offset)
        length += len(part)
        if continued is None:
            break
    return _Joined("".join(parts), tuple(starts), tuple(offsets)), number


def _instruction(joined: _Joined, escape: str, faults: list[Fault]) -> Instruction | None:
    at, name, triggered = 0, "", False
    while True:
        match = _NAME.match(joined.text, at)
        if match is None:
            faults.append(
                Fault(
                    offset=joined.offset(0),
                    subject="ONBUILD",
                    expected="an instruction after it",
                    found="nothing",
                )
            )
            return None
        name, start, at = match[1].upper(), match.start(1), match.end()
        if INSTRUCTIONS.fullmatch(name) is None:
            near = f"{match[1][:20]!a}"
            faults.append(
                Fault(
                    offset=joined.offset(start),
                    subject="line",
                    expected="an instruction of Docker",
                    found=near,
                )
            )
            return None
        if name != "ONBUILD" or triggered:
            break
        triggered = True
    words = [Word(text=text, offset=joined.offset(first)) for text, first in _words(joined.text, at, escape)]
    flags: list[tuple[str, Word]] = []
    for word in words:
        flag = _FLAG.fullmatch(word.text)
        if flag is None:
            break
        flags.append((flag[1], Word(text=flag[2] or "", offset=word.offset)))
    body = joined.text[at:].strip()
    return Instruction(
        name=name,
        offset=joined.offset(start),
        flags=tuple(flags),
        words=tuple(words[len(flags) :]),
        rest=body,
        json=_json(body),
        triggered=triggered,
    )


def _json(body: str) -> tuple[str, ...] | None:
    if not body.startswith("[") or len(body) > _MAX_JSON:
        return None
    try:
        items = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in items):
        return None
    return tuple(items)


def _words(text: str, at: int, escape: str) -> Iterator[tuple[str, int]]:
    """Words as the shell splits them, with where they begin."""
    marks = re.escape(escape)
    pattern = re.compile(
        rf"""(?:[^\s"'{marks}]++|{marks}(?:.|\Z)|"(?:[^"{marks}]++|{marks}.)*+(?:"|\Z)|'[^']*+(?:'|\Z))++""",
        re.DOTALL,
    )
    pieces = re.compile(rf"""{marks}(.)|"((?:[^"{marks}]++|{marks}.)*+)"?|'([^']*+)'?""", re.DOTALL)

    def plain(piece: re.Match[str]) -> str:
        letter, double, single = piece.groups()
        if letter is not None:
            return letter
        return re.sub(rf"{marks}(.)", r"\1", double, flags=re.DOTALL) if double is not None else single

    for word in pattern.finditer(text, at):
        yield pieces.sub(plain, word[0]), word.start()


def _skip_documents(lines: list[_Line], number: int, instruction: Instruction, faults: list[Fault]) -> int:
    """The line after the here-documents of ``instruction``."""
    if instruction.name not in _WITH_DOCUMENTS or instruction.json is not None:
        return number
    for match in _DOCUMENT.finditer(instruction.rest):
        before = instruction.rest[match.start() - 1 : match.start()]
        if before and not before.isspace():
            continue
        end = match[2] or match[3] or match[4]
        strip = match[1] == "-"
        while number < len(lines):
            text = lines[number].text
            number += 1
            if (text.lstrip("\t") if strip else text) == end:
                break
        else:
            expected = f"a line {end[:40]!a} that ends the here-document"
            faults.append(
                Fault(
                    offset=instruction.offset,
                    subject=instruction.name,
                    expected=expected,
                    found="the end of the file",
                )
            )
    return number
