"""Whether a manifest has the form that Gramine reads: keys, types, words, ranges.

Gramine 1.9, "Manifest syntax"; ``gramine-manifest-check`` checks part of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any, Final

from casemate.builder.lint.other_forms import LIBOS, missing_keys, other_form
from casemate.builder.lint.problem import Problem, written
from casemate.builder.lint.schema import (
    REMOVED,
    REMOVED_VARIABLES,
    REQUIRED_IN_ITEMS,
    SCHEMA,
    Key,
    Kind,
    is_known,
    is_later,
)
from casemate.builder.lint.secrets import has_secret
from casemate.builder.lint.tree import UNKNOWN, UNKNOWN_VALUE, Other, Path
from casemate.builder.nearest import nearest
from casemate.errors import FormatError
from casemate.formats.manifest import MAX_ENCLAVE_SIZE, parse_size, type_name
from casemate.formats.trusted_files_text import all_hashed

_HEX_SIZE: Final = re.compile(r"0[xX]([0-9A-Fa-f]{1,13})")
_LOWER_SIZE: Final = re.compile(r"([0-9]{1,15})([kmg])")
_SPOKEN_SIZE: Final = re.compile(r"([0-9]{1,15}) ?([kmg])(?:i?b)?", re.IGNORECASE)
_UNITS: Final = ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))
_SHOWN_TEXT: Final = 60
_MANIFEST_TYPES: Final = (str, bool, int, dict, list)

_WORDS: Final[Mapping[Kind, str]] = {
    Kind.BOOL: "true or false",
    Kind.INT: "an integer",
    Kind.TEXT: "a string",
    Kind.SIZE: 'a string such as "512M"',
    Kind.HEX: "a string of hexadecimal digits",
    Kind.TEXTS: "an array of strings",
    Kind.TABLE: "a table",
    Kind.TABLES: "an array of tables",
    Kind.VARIABLE: 'a string, or { value = "…" }, or { passthrough = true }',
    Kind.TRUSTED: "an array",
}
_FITS: Final[Mapping[Kind, type | tuple[type, ...]]] = {
    Kind.BOOL: bool,
    Kind.INT: int,
    Kind.TEXT: str,
    Kind.SIZE: str,
    Kind.HEX: str,
    Kind.TEXTS: list,
    Kind.TABLE: dict,
    Kind.TABLES: list,
    Kind.VARIABLE: (str, dict),
    Kind.TRUSTED: list,
}


def is_open(value: object) -> bool:
    """Whether a value, or a piece of it, is told by rendering only."""
    return value is UNKNOWN_VALUE or (isinstance(value, str) and UNKNOWN in value)


def shown(value: object) -> str:
    """A value as a finding shows it; not for what may be a secret."""
    if value is UNKNOWN_VALUE:
        return "an expression"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Other | int):
        return str(value)[:_SHOWN_TEXT]
    if isinstance(value, str):
        text = value.replace(UNKNOWN, "")
        cut = text if len(text) <= _SHOWN_TEXT else text[: _SHOWN_TEXT - 1] + "…"
        return (
            '"'
            + "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cut)
            + '"'
        )
    return type_name(value)


def fits(value: object, kind: Kind) -> bool:
    """Whether ``value`` has the type of ``kind``."""
    if value is UNKNOWN_VALUE or kind is Kind.ANYTHING:
        return True
    if isinstance(value, Other) or (isinstance(value, bool) and kind is not Kind.BOOL):
        return False
    return isinstance(value, _FITS[kind])


def form_problems(tree: Mapping[str, Any], version: str) -> Iterator[Problem]:
    """Every key that Gramine ``version`` does not know or does not take as it stands."""
    yield from _table(tree, (), "", version)
    yield from missing_keys(tree, version)


def _table(table: Mapping[str, Any], path: Path, pattern: str, version: str) -> Iterator[Problem]:
    for name, value in table.items():
        inner = (*path, name)
        if UNKNOWN in name:
            continue
        place = f"{pattern}.{name}" if pattern else name
        key = SCHEMA.get(place) or SCHEMA.get(f"{pattern}.*")
        removed = REMOVED.get(place)
        if removed is not None and not is_known(removed, version):
            yield _removed(inner, place, table)
        elif key is None and removed is None:
            yield _unknown_key(inner, place)
        elif key is not None:
            yield from _value(inner, place, key, value, version)


def _removed(path: Path, place: str, table: Mapping[str, Any]) -> Problem:
    removed = REMOVED[place]
    since = f"Gramine {removed.until}" if removed.until else "versions before Gramine 1.6"
    name, mend = removed.renamed, removed.mend
    if name is not None and _is_there(table, name):
        mend = f"remove it; {place.rpartition('.')[0]}.{name} is there already"
    free = name is not None and name.partition(".")[0] not in table
    value = table[str(path[-1])] if free else None
    if removed.values and isinstance(value, bool):
        value = removed.values[value]
    return Problem(
        rule="removed-key",
        path=path,
        expected="a key that Gramine knows",
        found=f"one of {since}",
        mend=mend,
        at_key=True,
        key=name if free and (value is None or isinstance(value, str) or not removed.values) else None,
        value=value if free and removed.values and isinstance(value, str) else None,
    )


def _is_there(table: Any, name: str) -> bool:
    """Whether ``table`` has the key of this dotted name."""
    for step in name.split("."):
        if not isinstance(table, Mapping) or step not in table:
            return False
        table = table[step]
    return True


def _unknown_key(path: Path, place: str) -> Problem:
    near = nearest(place[:100], SCHEMA, likeness=0.75)
    return Problem(
        rule="unknown-key",
        path=path,
        expected="a key that Gramine knows",
        found="one that it does not",
        mend=f"did you mean {near}?"
        if near
        else "remove it; see Gramine's manifest syntax for what there is",
        at_key=True,
    )


def _value(path: Path, place: str, key: Key, value: Any, version: str) -> Iterator[Problem]:
    if is_later(key, version):
        yield Problem(
            rule="newer-key",
            path=path,
            expected=f"a key of Gramine {version}",
            found=f"one that came with {key.since}",
            at_key=True,
        )
    if key.kind is Kind.ANYTHING:
        return
    old = other_form(path, place, value, version)
    if old is not None:
        yield old
    elif not fits(value, key.kind) and not (place == LIBOS and isinstance(value, str)):
        yield _wrong_type(path, key.kind, value)
    elif key.kind is Kind.TABLE and isinstance(value, dict):
        yield from _table(value, path, place, version)
    elif isinstance(value, list):
        yield from _items(path, place, key.kind, value, version)
    elif not is_open(value):
        yield from _content(path, place, key, value)


def _wrong_type(path: Path, kind: Kind, value: Any) -> Problem:
    replacement = None
    if kind is Kind.BOOL and value in (0, 1) and not isinstance(value, bool):
        replacement = "true" if value else "false"
    elif kind is Kind.BOOL and value in ("true", "false"):
        replacement = str(value)
    elif kind is Kind.INT and isinstance(value, str) and re.fullmatch("0|[1-9][0-9]{0,9}", value):
        replacement = value
    elif kind is Kind.SIZE and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        replacement = f'"{value}"'
    return Problem(
        rule="wrong-type",
        path=path,
        expected=_WORDS[kind],
        found=_type(value),
        mend=f"Write {replacement or _array_of(kind, value) or _WORDS[kind]}.",
        value=replacement,
    )


def _array_of(kind: Kind, value: Any) -> str | None:
    """The one item that stands where an array has to, as an array; nothing that may be a secret."""
    if kind is not Kind.TEXTS or not isinstance(value, str) or isinstance(value, Other):
        return None
    plain = len(value) <= _SHOWN_TEXT and re.fullmatch(r"[\w./:+-]+", value) is not None
    return f'["{value}"]' if plain and not has_secret(value) else None


def _type(value: object) -> str:
    if isinstance(value, Other) or (value is not UNKNOWN_VALUE and not isinstance(value, _MANIFEST_TYPES)):
        return "a fraction, a date or a time"
    if isinstance(value, bool | int) or value is UNKNOWN_VALUE:
        return shown(value)
    return "a table" if isinstance(value, dict) else type_name(value)


def _items(path: Path, place: str, kind: Kind, items: list[Any], version: str) -> Iterator[Problem]:
    if kind is Kind.TRUSTED:
        yield from _trusted(path, items)
        return
    wanted = Kind.TEXT if kind is Kind.TEXTS else Kind.TABLE
    for number, item in enumerate(items):
        inner = (*path, number)
        if not fits(item, wanted):
            mend = f"Write {_WORDS[wanted]}."
            yield Problem(
                rule="wrong-type", path=inner, expected=_WORDS[wanted], found=_type(item), mend=mend
            )
        elif isinstance(item, dict):
            yield from _table(item, inner, f"{place}[]", version)
            for name in REQUIRED_IN_ITEMS.get(place, ()):
                if name not in item:
                    yield Problem(rule="missing-key", path=inner, expected=name, found="no such key")


def _trusted(path: Path, items: list[Any]) -> Iterator[Problem]:
    if _all_well(items):
        return
    seen: dict[str, tuple[int, object]] = {}
    for number, item in enumerate(items):
        uri, digest = (item.get("uri"), item.get("sha256")) if isinstance(item, dict) else (item, None)
        if item is UNKNOWN_VALUE or uri is UNKNOWN_VALUE:
            continue
        wrong = _trusted_entry((*path, number), item, uri, digest)
        if wrong is not None:
            yield wrong
        elif str(uri) in seen:
            other, other_digest = seen[str(uri)]
            known = isinstance(digest, str) and isinstance(other_digest, str)
            if known and str(digest).lower() != str(other_digest).lower():
                expected = f"the digest of entry {other}"
                yield Problem(rule="conflict", path=(*path, number), expected=expected, found="another one")
            else:
                expected = f"each file once; this one is entry {other} as well"
                yield Problem(rule="trusted-twice", path=(*path, number), expected=expected, found=shown(uri))
        else:
            seen[str(uri)] = (number, digest)


def _all_well(items: list[Any]) -> bool:
    """Whether all are files with digests, each once: what a signed manifest has thousands of."""
    if not all_hashed(items):
        return False
    uris = list(map(itemgetter("uri"), items))
    folders = "/\n" in "\n".join(uris) + "\n"  # no name that is well has a line break
    return len(set(uris)) == len(uris) and not folders


def _trusted_entry(path: Path, item: object, uri: object, digest: object) -> Problem | None:
    if not isinstance(item, str | dict) or isinstance(item, Other):
        expected = '"file:…" or { uri = "file:…", sha256 = "…" }'
        mend = f"Write {expected}."
        return Problem(rule="wrong-type", path=path, expected=expected, found=_type(item), mend=mend)
    if isinstance(item, dict) and not {"uri"} <= item.keys() <= {"uri", "sha256"}:
        more = sorted(shown(name) for name in item.keys() - {"uri", "sha256"} if UNKNOWN not in name)
        found = f"also {', '.join(more)}" if more else "no uri"
        mend = 'Write { uri = "file:PATH", sha256 = "…" }, or without sha256.'
        return Problem(
            rule="trusted-uri", path=path, expected="uri and perhaps sha256", found=found, mend=mend
        )
    is_uri = isinstance(uri, str) and not isinstance(uri, Other) and uri.startswith(("file:", UNKNOWN))
    if not is_uri or uri == "file:":
        mend = f"Write {as_file_uri(uri)}."
        return Problem(rule="trusted-uri", path=path, expected="file:PATH", found=shown(uri), mend=mend)
    return None if digest is None or is_open(digest) else _digest(path, str(uri), digest)


def _digest(path: Path, uri: str, digest: object) -> Problem | None:
    if not (isinstance(digest, str) and re.fullmatch("[0-9a-fA-F]{64}", digest)):
        inner = (*path, "sha256")
        mend = "Write the SHA-256 of the file, as sha256sum prints it; or nothing: signing fills it in."
        return Problem(
            rule="wrong-value", path=inner, expected="64 hexadecimal digits", found=shown(digest), mend=mend
        )
    if uri.endswith("/"):
        mend = "Remove sha256; signing finds the files in the folder."
        return Problem(
            rule="trusted-uri", path=path, expected="no digest of a folder", found=shown(uri), mend=mend
        )
    return None


def as_file_uri(uri: object) -> str:
    """What was probably meant by something that is no ``file:`` URI, as TOML."""
    plain = isinstance(uri, str) and not isinstance(uri, Other) and re.fullmatch(r"[\w./+-]+", uri)
    return f'"file:{uri}"' if plain and len(str(uri)) <= _SHOWN_TEXT else '"file:PATH"'


def _content(path: Path, place: str, key: Key, value: Any) -> Iterator[Problem]:
    if key.kind is Kind.VARIABLE:
        yield from _variable(path, value)
    elif key.kind is Kind.SIZE:
        yield from _size(path, place, value)
    elif key.choices and value not in key.choices:
        words = " or ".join(f'"{word}"' for word in key.choices)
        near = nearest(str(value)[:100].lower(), key.choices)
        mend = f'Did you mean "{near}"?' if near else f"Write {words}."
        yield Problem(rule="wrong-value", path=path, expected=words, found=shown(value), mend=mend)
    elif key.kind is Kind.INT and not key.low <= value <= key.high:
        mend = f"Write a number: {_range(key)}."
        yield Problem(rule="wrong-value", path=path, expected=_range(key), found=shown(value), mend=mend)
    elif key.kind is Kind.HEX:
        yield from _hex(path, place, key.high, value)


def _range(key: Key) -> str:
    return f"{key.low} to {key.high}" if key.high < (1 << 63) - 1 else f"at least {key.low}"


def _hex(path: Path, place: str, digits: int, value: str) -> Iterator[Problem]:
    is_mask = place.startswith("sgx.seal_key.")
    pattern = f"0x[0-9a-fA-F]{{{digits}}}" if is_mask else f"[0-9a-fA-F]{{{digits}}}"
    if re.fullmatch(pattern, value) is None:
        expected = f"{'0x and ' if is_mask else ''}{digits} hexadecimal digits"
        secret = place.startswith("fs.insecure__keys")
        found = f"{len(value)} characters" if secret else shown(value)
        yield Problem(
            rule="wrong-value", path=path, expected=expected, found=found, mend=f"Write {expected}."
        )


def _variable(path: Path, value: Any) -> Iterator[Problem]:
    name = str(path[-1])
    if name in REMOVED_VARIABLES:
        new = REMOVED_VARIABLES[name]
        yield Problem(
            rule="removed-variable",
            path=path,
            expected=new,
            found=name,
            mend=f"rename it to {new}",
            at_key=True,
            key=new,
        )
    if not isinstance(value, dict):
        return
    passthrough = value.get("passthrough")
    if "value" in value and "passthrough" in value:
        yield Problem(rule="conflict", path=path, expected="value or passthrough", found="both")
    elif "passthrough" in value and passthrough is not True and passthrough is not UNKNOWN_VALUE:
        mend = "remove the variable: what is not named here does not pass"
        yield Problem(
            rule="wrong-value", path=path, expected="passthrough = true", found=_type(passthrough), mend=mend
        )
    for inner in value:
        if inner not in ("value", "passthrough"):
            yield Problem(
                rule="unknown-key",
                path=(*path, inner),
                expected="value or passthrough",
                found="another key",
                at_key=True,
            )
    if "value" in value and not fits(value["value"], Kind.TEXT):
        yield Problem(
            rule="wrong-type",
            path=(*path, "value"),
            expected="a string",
            found=_type(value["value"]),
            mend="Write a string.",
        )


def _size(path: Path, place: str, value: str) -> Iterator[Problem]:
    try:
        size = parse_size(value, where=place)
    except FormatError:
        right, meant = _right_size(value), _meant_size(value)
        yield Problem(
            rule="size-syntax",
            path=path,
            expected="decimal digits and K, M, G or nothing",
            found=shown(value),
            mend=f'Write "{right or meant}".' if right or meant else None,
            value=f'"{right}"' if right else None,
        )
        return
    if place != "sgx.enclave_size":
        return
    if size == 0 or size & (size - 1):
        mend = f'the next one is "{_written_size(1 << size.bit_length())}"'
        yield Problem(
            rule="enclave-size", path=path, expected="a power of two", found=shown(value), mend=mend
        )
    elif size > MAX_ENCLAVE_SIZE:
        expected = f'at most "{_written_size(MAX_ENCLAVE_SIZE)}"'
        yield Problem(rule="enclave-size", path=path, expected=expected, found=shown(value))


def _right_size(value: str) -> str | None:
    """What ``value`` means to the one of Gramine's two readers that takes it."""
    lower = _LOWER_SIZE.fullmatch(value)
    if lower is not None:
        return value.upper()
    hexadecimal = _HEX_SIZE.fullmatch(value)
    return None if hexadecimal is None else _written_size(int(hexadecimal[1], 16))


def _meant_size(value: str) -> str | None:
    """What ``value`` says to a person, but to neither reader."""
    found = _SPOKEN_SIZE.fullmatch(value)
    return None if found is None else f"{found[1]}{found[2].upper()}"


def _written_size(size: int) -> str:
    for unit, suffix in _UNITS:
        if size and size % unit == 0:
            return f"{size // unit}{suffix}"
    return str(size)


def place_of(path: Path) -> str:
    """The path as a person writes it, without what only rendering would tell."""
    return written(path).replace(UNKNOWN, "")
