"""JSON documents, read strictly into frozen :class:`msgspec.Struct` values.

Duplicate keys are refused, which neither :mod:`json` nor msgspec does by itself; unknown fields are refused
by structures derived from :class:`Document`, as those of our own documents are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, TypeVar

import msgspec

from casemate.errors import FormatError

Hex4 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{8}\Z")]
Hex16 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]
UInt16 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]


class Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document, or part of one, in which every field is known."""


_Kind = TypeVar("_Kind", bound=msgspec.Struct)


def read_document(
    data: bytes,
    kind: type[_Kind],
    *,
    name: str,
    limit: int,
    expected: str = "a document that Casemate wrote",
    where: str | None = None,
    hint: str | None = None,
) -> _Kind:
    """Read a document.

    Args:
        data: JSON text in UTF-8.
        kind: Its structure.
        name: What it is, for errors.
        limit: Most bytes.
        expected: What would be right, for errors.
        where: Name of the file, for errors.
        hint: What to do about an error.

    Raises:
        FormatError: Too large, no JSON, a duplicate key, or not of the structure.
    """
    if len(data) > limit:
        raise FormatError(name, expected=f"at most {limit} bytes", got=str(len(data)), where=where, hint=hint)
    try:
        return msgspec.convert(json.loads(data.decode(), object_pairs_hook=_without_duplicates), kind)
    # Bytes that are no UTF-8, lone surrogates and integers of thousands of digits are ValueErrors, too.
    except (ValueError, RecursionError) as error:
        raise FormatError(name, expected=expected, got=str(error), where=where, hint=hint) from error


def _without_duplicates(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object with a duplicate key")
    return result
