"""TOML as far as Gramine reads it: documents of a bounded depth, and what its parser reads as TOML says.

TOML 1.0; tomlc99, which Gramine 1.9 brings. Depth is bounded because whoever walks through a document, and
the standard library's parser of keys, would take too long for one without bounds, or run out of stack.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from casemate.errors import FormatError
from casemate.formats.trusted_files_text import all_hashed, cut, put_back

#: Tables and arrays inside each other, and parts of a key; a manifest has six at most.
MAX_DEPTH: Final = 60

_PART: Final = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
#: A key with more parts than that. The parser takes quadratic time for it.
_LONG_KEY: Final = re.compile(
    rf"(?:^|[\[{{,])[ \t]*+(?:{_PART}[ \t]*+\.[ \t]*+){{{MAX_DEPTH}}}", re.MULTILINE
)
_INT64: Final = 1 << 63
#: What TOML allows in the text of a document, and Gramine's parser reads as something else.
_TWO_MEANINGS: Final = ('"""', "'''", "\r")
#: What TOML can write in a string, and Gramine's parser cuts off there (NUL) or does not take.
_UNREADABLE: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]|'''")


def parsed_toml(text: str) -> dict[str, Any]:
    """What the TOML says; a long list of trusted files does not go through the parser.

    Raises:
        FormatError: Tables, arrays or keys of more than :data:`MAX_DEPTH` levels; what only looks like such a
            key, in a string after a comma or a bracket, is refused as well.
        RecursionError: Far more levels.
        ValueError: No TOML.
    """
    short = cut(text)
    if short is not None:
        try:
            manifest = put_back(_bounded(short.text), short.entries)
        except (RecursionError, ValueError):
            manifest = None  # the whole text is parsed, so that the error names the line in it
        if manifest is not None:
            return manifest
    return _bounded(text)


def _bounded(text: str) -> dict[str, Any]:
    if _LONG_KEY.search(text) is not None:
        raise _too_deep()
    document = tomllib.loads(text)
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        inner = [child for one in level for child in (one.values() if isinstance(one, dict) else one)]
        level = [child for child in inner if isinstance(child, dict | list)]
        if not level:
            return document
    raise _too_deep()


def _too_deep() -> FormatError:
    return FormatError(
        "manifest",
        expected=f"at most {MAX_DEPTH} tables, arrays and parts of a key inside each other",
        got="more",
    )


def require_one_meaning(text: str) -> None:
    """Refuse text that Gramine's parser reads otherwise than TOML says.

    Raises:
        FormatError: Three quotation marks, or a carriage return.
    """
    # One character is found sooner than three, and that one of them is missing is the rule.
    places = sorted((text.find(sign), sign) for sign in _TWO_MEANINGS if sign[0] in text and sign in text)
    if places:
        place, sign = places[0]
        raise FormatError(
            "text of a manifest",
            expected="strings in one pair of quotation marks, and no carriage return",
            got="a carriage return" if sign == "\r" else sign,
            where=f"line {text.count(chr(10), 0, place) + 1}",
            hint="Gramine may read it otherwise than TOML says; write line breaks in strings as \\n",
        )


def _leaves(place: str, value: object) -> Iterator[tuple[str, object]]:
    """Every key and every value that is neither array nor table, with its place."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            inner = f"{place}.{key}" if place else str(key)
            yield inner, key
            yield from _leaves(inner, item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(place, item)
    else:
        yield place, value


def require_readable(manifest: Mapping[str, Any]) -> None:
    """Refuse keys and values that Gramine's parser does not read, or reads as something else.

    Raises:
        FormatError: Such a key or value, with its place.
    """
    sgx = manifest.get("sgx")
    if isinstance(sgx, Mapping):
        entries = sgx.get("trusted_files")
        if isinstance(entries, list) and all_hashed(entries):  # then they are plain, all of them
            manifest = dict(manifest) | {"sgx": dict(sgx) | {"trusted_files": []}}
    for place, leaf in _leaves("", manifest):
        where = _UNREADABLE.sub("\N{REPLACEMENT CHARACTER}", place)
        if isinstance(leaf, str):
            found = _UNREADABLE.search(leaf)
            if found is not None:
                raise FormatError(
                    "text in a manifest",
                    expected="no control characters but tabs and line breaks, and no '''",
                    got=found[0] if found[0] == "'''" else f"U+{ord(found[0]):04X}",
                    where=where,
                    hint="Gramine's parser does not take it: encode it, and decode it in the application",
                )
        elif not (isinstance(leaf, int) and -_INT64 <= leaf < _INT64):
            raise FormatError(
                "manifest value",
                expected="true, false, a 64-bit integer or a string",
                got=repr(leaf),
                where=where,
            )
