"""TOML's strings, numbers and words, and what is unknown in them."""

from __future__ import annotations

import re
from typing import Final

from casemate.builder.lint.toml_values import FaultFound
from casemate.builder.lint.tree import NOTHING, UNKNOWN, Other

_INTEGER: Final = re.compile(
    r"[+-]?(?:0|[1-9](?:_?[0-9])*)|0x[0-9A-Fa-f](?:_?[0-9A-Fa-f])*|0o[0-7](?:_?[0-7])*|0b[01](?:_?[01])*"
)
_FLOAT: Final = re.compile(
    r"[+-]?(?:inf|nan|(?:0|[1-9](?:_?[0-9])*)(?:\.[0-9](?:_?[0-9])*)?(?:[eE][+-]?[0-9](?:_?[0-9])*)?)"
)
_ESCAPE: Final = re.compile(
    r"\\(?:([btnfr\"\\])|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|([ \t\x01]*\r?\n[ \t\r\n\x01]*)|.?)", re.DOTALL
)
_ESCAPES: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
UNKNOWN_RUN: Final = re.compile(f"[{UNKNOWN}{NOTHING}]*{UNKNOWN}[{UNKNOWN}{NOTHING}]*")
_SPACES: Final = re.compile(r"\s+")
FIRST_BREAK: Final = re.compile("\\A\r?\n")
_LAST_CHARACTER: Final = 0x10FFFF
_SURROGATES: Final = range(0xD800, 0xE000)
#: Digits of an integer that is larger than any that Gramine or Python reads.
_LONG_NUMBER: Final = 1000


def worded(body: str, source: str, offset: int) -> str:
    """``body`` with the words of its expressions, each between two NULs.

    Args:
        body: A piece of a variant of a template, or of a document.
        source: The template.
        offset: Where ``body`` begins in it.
    """
    if UNKNOWN not in body and NOTHING not in body:
        return body

    def words(run: re.Match[str]) -> str:
        expression = source[offset + run.start() : offset + run.end()]
        return UNKNOWN + _SPACES.sub(" ", expression) + UNKNOWN

    return UNKNOWN_RUN.sub(words, body).replace(NOTHING, "")


def decoded(body: str, source: str, offset: int, *, long: bool = False) -> str:
    """``body`` without escapes, with the words of its expressions as :func:`worded` gives them.

    Args:
        body: What stands between the quotation marks of a basic string.
        source: The template, or the document.
        offset: Where ``body`` begins in it.
        long: Whether there are three quotation marks.

    Raises:
        FaultFound: An escape that TOML does not know.
    """
    parts = worded(body, source, offset).split(UNKNOWN)
    # The words of expressions, every second part, are not TOML's.
    parts[::2] = [_unescaped(part, offset, long=long) for part in parts[::2]]
    return UNKNOWN.join(parts)


def _unescaped(part: str, offset: int, *, long: bool) -> str:
    if long:
        part = FIRST_BREAK.sub("", part).replace("\r\n", "\n")

    def letter(match: re.Match[str]) -> str:
        short, four, eight, line_break = match.groups()
        if short is not None:
            return _ESCAPES[short]
        if line_break is not None and long:
            return ""
        code = int(four or eight or "110000", 16)
        if code > _LAST_CHARACTER or code in _SURROGATES:
            raise FaultFound(offset, "escapes that TOML knows", repr(match[0]))
        return chr(code)

    return _ESCAPE.sub(letter, part) if "\\" in part else part


def plain_value(word: str) -> bool | int | Other | None:
    """The value of a word without quotation marks; ``None`` when it is none."""
    if word in ("true", "false"):
        return word == "true"
    if _INTEGER.fullmatch(word):
        digits = word.replace("_", "")
        return int(digits, 0) if len(digits) < _LONG_NUMBER else Other(word)
    return Other(word) if _FLOAT.fullmatch(word) else None
