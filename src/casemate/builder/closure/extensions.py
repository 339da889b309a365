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


def names_in_extension(data: bytes, top: str) -> tuple[str, ...]:
    """Names in the data of an extension that may be modules.

    Args:
        data: Bytes of the extension module.
        top: Its top-level package: Rust keeps texts without an end mark, so those that begin with this name
            are looked for anywhere, and can be longer than the name of the module.

    Returns:
        Candidates, sorted; most of them are not modules.
    """
    texts = {match.decode("ascii") for match in _C_STRING.findall(data)}
    candidates = {text for text in texts if "." in text or text in _BARE}
    inside = re.compile(re.escape(top.encode()) + rb"(?:\.[A-Za-z0-9_]+)+")
    for text in (data, *_compressed_texts(data)):
        candidates |= {match.decode("ascii") for match in inside.findall(text)}
    return tuple(sorted(candidates))


#: How zlib's best compression begins. Cython 3.2 keeps the texts of a module that way.
_ZLIB: Final = re.compile(rb"\x78\xda")
_LARGEST_TEXT: Final = 4 << 20


def _compressed_texts(data: bytes) -> Iterator[bytes]:
    for match in _ZLIB.finditer(data):
        decompressor = zlib.decompressobj()
        try:
            text = decompressor.decompress(data[match.start() :], _LARGEST_TEXT)
        except zlib.error:
            continue
        if decompressor.eof:
            yield text
