"""A long list of trusted files in the text of a manifest, read and written in one piece.

A manifest of a real application is a few settings and many thousand trusted files, which all look alike. A
TOML parser takes most of a second for them, character by character; here they are cut out of the text,
which is then short. What is cut out is only what can be nothing else than TOML says: plain strings between
quotation marks, in the form in which tools write the list. Everything else is left to the parser.

The parser still decides everything: where the list stood it finds one entry that stands for all of them, and
what it makes of that entry says whether the list was where it seemed to be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

#: Stands for the entries that were cut out; nobody names a file like this, and a text that does is not cut.
_MARK: Final = "file:\N{WHITE SQUARE}casemate\N{WHITE SQUARE}entries\N{WHITE SQUARE}cut\N{WHITE SQUARE}out"
_MARKED_DIGEST: Final = "0" * 64
#: Characters that mean themselves in every kind of string, to TOML and to Gramine's parser.
_PLAIN: Final = "[^\0-\x1f\x7f\"'\\\\\ufffe\uffff]+"
_DIGEST: Final = "[0-9a-fA-F]{64}"
_HEADER: Final = "[[sgx.trusted_files]]\n"
#: Entries as an array of tables has them, which is what Gramine's tools and ours write.
_TABLES: Final = re.compile(
    rf'(?:\[\[sgx\.trusted_files\]\]\nuri = "{_PLAIN}+"\nsha256 = "{_DIGEST}"\n\n*+)++', re.ASCII
)
_ARRAY_START: Final = re.compile(r"^(?:sgx\.)?trusted_files[ \t]*=[ \t]*\[", re.MULTILINE)
#: One entry of an array, which is what people and templates write.
_ITEM: Final = re.compile(
    rf'[ \t\n]*(?:"({_PLAIN})"|\{{[ \t]*uri[ \t]*=[ \t]*"({_PLAIN})"'
    rf'(?:[ \t]*,[ \t]*sha256[ \t]*=[ \t]*"({_DIGEST})")?[ \t]*\}})[ \t\n]*(?:,|(?=\]))'
)
_ARRAY_END: Final = re.compile(r"[ \t\n]*\]")
#: ``tomli_w`` writes an array of tables when an entry does not fit into a line of this many characters.
_LINE: Final = 100

Entry = str | dict[str, str]


class CutText(NamedTuple):
    """A text without most of its trusted files.

    Attributes:
        text: What is left, with one entry that stands for all that were cut out.
        entries: What was cut out, as a TOML parser would give it.
    """

    text: str
    entries: list[Entry]


def cut(text: str) -> CutText | None:
    """``text`` without its list of trusted files; ``None`` when there is no list that can be cut out."""
    if _MARK in text:
        return None
    tables = text.find("\n" + _HEADER) + 1
    short = _cut_tables(text, tables) if tables else _cut_array(text)
    # In a string of several lines anything can look like a list; it would begin in what is left.
    if short is None or '"""' in short.text or "'''" in short.text or "\r" in short.text:
        return None
    return short


def put_back(manifest: dict[str, Any], entries: list[Entry]) -> dict[str, Any] | None:
    """``manifest`` with ``entries`` for the one that stands for them.

    ``None`` when that is not where it should be, or is more than it was: then the text was not what it
    seemed, and has to be parsed as a whole.
    """
    sgx = manifest.get("sgx")
    found = sgx.get("trusted_files") if isinstance(sgx, dict) else None
    if not isinstance(sgx, dict) or not isinstance(found, list):
        return None
    if _marks(manifest) != 1:  # an escape can write what the text does not show
        return None
    for mark in (_MARK, {"uri": _MARK}):
        if mark in found:
            place = found.index(mark)
            sgx["trusted_files"] = [*found[:place], *entries, *found[place + 1 :]]
            return manifest
    return None


def all_hashed(entries: Sequence[Any]) -> bool:
    """Whether all ``entries`` are plain tables of a URI ``file:…`` and a digest; False decides nothing."""
    try:
        pairs = {2}.issuperset(map(len, entries))
        uris = '"' + '""'.join(map(itemgetter("uri"), entries)) + '"' if entries else ""
        digests = list(map(itemgetter("sha256"), entries))
        hexadecimal = len(bytes.fromhex("".join(digests))) == 32 * len(entries)  # it skips blanks
    except (KeyError, TypeError, ValueError):  # no table, another key, no string, other digits
        return False
    plain = uris.isprintable() and "'" not in uris and "\\" not in uris
    files = uris.count('"file:') == len(entries) and '"file:"' not in uris
    apart = uris.count('"') == 2 * len(entries)
    return pairs and plain and files and apart and hexadecimal and {64}.issuperset(map(len, digests))


def shortened(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """``manifest`` with one entry for all its trusted files; ``None`` when it has to be written as it is."""
    sgx = manifest.get("sgx")
    entries = sgx.get("trusted_files") if isinstance(sgx, Mapping) else None
    if (
        not isinstance(sgx, Mapping)
        or not isinstance(entries, list)
        or not entries
        or not all_hashed(entries)
    ):
        return None
    longest = max(len(entry["uri"]) for entry in entries)
    if len(f'    {{ uri = "", sha256 = "{_MARKED_DIGEST}" }},') + longest <= _LINE:
        return None
    return dict(manifest) | {"sgx": dict(sgx) | {"trusted_files": [{"uri": _MARK, "sha256": _MARKED_DIGEST}]}}


def lengthened(text: str, entries: Sequence[Mapping[str, str]]) -> str | None:
    """The text of what :func:`shortened` gave, with all its entries; ``None`` when it is ambiguous."""
    one = f'{_HEADER}uri = "{_MARK}"\nsha256 = "{_MARKED_DIGEST}"\n'
    if text.count(_MARK) != 1 or one not in text:
        return None
    tables = [f'{_HEADER}uri = "{entry["uri"]}"\nsha256 = "{entry["sha256"]}"\n' for entry in entries]
    return text.replace(one, "\n".join(tables))


def _marks(value: object) -> int:
    """How often the mark stands in ``value``, as a key or as a value."""
    if isinstance(value, dict):
        return sum(_marks(key) + _marks(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(map(_marks, value))
    return int(value == _MARK)


def _cut_tables(text: str, start: int) -> CutText | None:
    found = _TABLES.match(text, start)
    if found is None:
        return None
    # In these tables quotation marks stand nowhere but around a URI and then a digest.
    _, *parts = found[0].split('"')
    entries: list[Entry] = [
        {"uri": uri, "sha256": digest} for uri, digest in zip(parts[0::4], parts[2::4], strict=True)
    ]
    return CutText(f'{text[:start]}{_HEADER}uri = "{_MARK}"\n{text[found.end() :]}', entries)


def _cut_array(text: str) -> CutText | None:
    start = _ARRAY_START.search(text)
    if start is None:
        return None
    entries: list[Entry] = []
    end, match = start.end(), _ITEM.match
    while found := match(text, end):
        plain, uri, digest = found.groups()
        entries.append(plain or ({"uri": uri, "sha256": digest} if digest else {"uri": uri}))
        end = found.end()
    if not entries or _ARRAY_END.match(text, end) is None:
        return None
    return CutText(f'{text[: start.end()]}"{_MARK}"{text[end:]}', entries)
