"""Which modules an extension module imports: names that lie in its data.

An extension imports by name (``PyImport_ImportModule("numpy._core._methods")``), and the name is in the
file. A name with a dot that is the name of a module is taken at its word; a bare name only if it is one
that C code is known to import, because words such as ``copy`` or ``code`` occur everywhere. This finds
more than is imported, never runs anything, and misses names that are put together while running.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Final

_C_STRING: Final = re.compile(rb"\0([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)(?=\0)")
#: Modules of the standard library that extensions import by a bare name.
_BARE: Final = frozenset(
    {
        "asyncio", "base64", "calendar", "contextvars", "copyreg", "dataclasses", "datetime", "decimal",
        "enum", "fractions", "ipaddress", "json", "numbers", "pathlib", "pickle", "secrets", "ssl",
        "tempfile", "traceback", "typing", "uuid", "warnings", "zoneinfo", "_cffi_backend",
    }
)  # fmt: skip


def names_in_extension(data: bytes, tops: tuple[str, ...]) -> tuple[str, ...]:
    """Names in the data of an extension that may be modules.

    Args:
        data: Bytes of the extension module.
        tops: Its top-level package, then those of all other distributions. Rust and Cython keep texts without
            an end mark, so those that begin with such a name are looked for anywhere, and can be longer than
            the name of the module: Rust's with the first of the names, Cython's with all of them.

    Returns:
        Candidates, sorted; most of them are not modules.
    """
    texts = {match.decode("ascii") for match in _C_STRING.findall(data)}
    candidates = {text for text in texts if "." in text or text in _BARE}
    candidates |= _beginning_with(tops[:1], data)
    for text in _compressed_texts(data):
        candidates |= _beginning_with(tops, text)
    return tuple(sorted(candidates))


def _beginning_with(tops: tuple[str, ...], data: bytes) -> set[str]:
    """Dotted names, also those that stand within another one: where it begins is known, not where it ends."""
    words = "|".join(map(re.escape, tops)).encode()
    # Bounded, because data that repeats a name would give every end of itself.
    name = re.compile(rb"(?=((?:" + words + rb")(?:\.[A-Za-z0-9_]{1,100}){1,16}))")
    return {match.decode("ascii") for match in name.findall(data)}


#: How zlib's best compression begins. Cython 3.2 keeps the texts of a module that way.
_ZLIB: Final = re.compile(rb"\x78\xda")
_LARGEST_TEXT: Final = 4 << 20
#: A module has one text; 100 MB have 1,500 of its beginnings by chance.
_MOST_TEXTS: Final = 16
_MOST_BEGINNINGS: Final = 20_000


def _compressed_texts(data: bytes) -> Iterator[bytes]:
    view, found = memoryview(data), 0
    for match in islice(_ZLIB.finditer(data), _MOST_BEGINNINGS):
        decompressor = zlib.decompressobj()
        part = view[match.start() : match.start() + _LARGEST_TEXT]
        try:
            text = decompressor.decompress(part, _LARGEST_TEXT)
        except zlib.error:
            continue
        if decompressor.eof:
            yield text
            found += 1
        if found == _MOST_TEXTS:
            return
