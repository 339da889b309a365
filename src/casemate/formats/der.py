"""DER, as little of it as certificates' outer shell and Intel's PCK extension need.

ITU-T X.690, distinguished encoding rules: definite lengths in the shortest form, tags below 31, minimal
integers. What DER forbids is refused; what is not needed here (high tags, strings, times) is absent. X.509 as
such is read by ``cryptography``.
"""

from __future__ import annotations

from dataclasses import dataclass

from casemate.errors import FormatError

BOOLEAN = 0x01
INTEGER = 0x02
BIT_STRING = 0x03
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
ENUMERATED = 0x0A
SEQUENCE = 0x30
SET = 0x31


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One element of DER.

    Attributes:
        tag: The identifier octet, class and constructed bit included.
        content: What is inside.
        encoded: The whole element, header included, as it was read.
    """

    tag: int
    content: bytes
    encoded: bytes


def parse(data: bytes, *, where: str) -> Element:
    """The one element that ``data`` is.

    Args:
        data: The encoding.
        where: What is read, for messages.

    Raises:
        FormatError: Not DER, or bytes follow the element.
    """
    element = _read(data, 0, where)
    if len(element.encoded) != len(data):
        raise FormatError(
            "DER length",
            expected=f"{len(element.encoded)} bytes",
            got=f"{len(data)} bytes",
            where=where,
            hint="Bytes follow the encoded value.",
        )
    return element


def children(element: Element, *, tag: int = SEQUENCE, where: str) -> tuple[Element, ...]:
    """The elements inside a SEQUENCE, or inside another constructed element with ``tag``.

    Raises:
        FormatError: Another tag, or content that is not DER.
    """
    content = content_of(element, tag, where=where)
    found: list[Element] = []
    offset = 0
    while offset < len(content):
        child = _read(content, offset, where)
        found.append(child)
        offset += len(child.encoded)
    return tuple(found)


def content_of(element: Element, tag: int, *, where: str) -> bytes:
    """The content of an element that must have ``tag``.

    Raises:
        FormatError: It has another tag.
    """
    if element.tag != tag:
        raise FormatError("DER tag", expected=f"0x{tag:02x}", got=f"0x{element.tag:02x}", where=where)
    return element.content


def integer_of(element: Element, *, tag: int = INTEGER, where: str) -> int:
    """The value of an INTEGER or ENUMERATED that is not negative.

    Raises:
        FormatError: Another tag, empty, negative, or with needless leading zeros.
    """
    content = content_of(element, tag, where=where)
    minimal = len(content) == 1 or (len(content) > 1 and not (content[0] == 0 and content[1] < 0x80))
    if not minimal or content[0] >= 0x80:
        raise FormatError(
            "DER integer",
            expected="a non-negative integer in its shortest form",
            got=content.hex() or "nothing",
            where=where,
        )
    return int.from_bytes(content, "big")


def boolean_of(element: Element, *, where: str) -> bool:
    """The value of a BOOLEAN.

    Raises:
        FormatError: Another tag, or neither 00 nor FF.
    """
    content = content_of(element, BOOLEAN, where=where)
    if content not in (b"\x00", b"\xff"):
        raise FormatError("DER boolean", expected="00 or ff", got=content.hex() or "nothing", where=where)
    return content == b"\xff"


def encode(tag: int, *parts: bytes) -> bytes:
    """An element with ``tag`` around the concatenation of ``parts``."""
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def encode_integer(value: int, *, tag: int = INTEGER) -> bytes:
    """An INTEGER or ENUMERATED of a value that is not negative."""
    return encode(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def encode_boolean(*, value: bool) -> bytes:
    """A BOOLEAN."""
    return encode(BOOLEAN, b"\xff" if value else b"\x00")


def encode_oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER from its dotted form."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    return encode(OBJECT_IDENTIFIER, b"".join(_base_128(arc) for arc in (first * 40 + second, *rest)))


def _base_128(number: int) -> bytes:
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(0x80 | number & 0x7F)
    return bytes(reversed(groups))


def _read(data: bytes, offset: int, where: str) -> Element:
    """The element at ``offset``."""
    header = data[offset : offset + 2]
    if len(header) < 2:
        raise FormatError(
            "DER element", expected="a tag and a length", got="the end of the data", where=where
        )
    tag, first = header
    if tag & 0x1F == 0x1F:
        raise FormatError("DER tag", expected="a tag number below 31", got=f"0x{tag:02x}", where=where)
    start = offset + 2
    size = first
    if first >= 0x80:
        length = data[start : start + (first & 0x7F)]
        size = int.from_bytes(length, "big")
        # Shortest form: 0x80 alone is the indefinite length, 0xff is reserved, and no length has a leading
        # zero.
        if first in (0x80, 0xFF) or len(length) != first & 0x7F or length[0] == 0 or size < 0x80:
            raise FormatError(
                "DER length",
                expected="a definite length in its shortest form",
                got=f"0x{first:02x}",
                where=where,
            )
        start += len(length)
    content = data[start : start + size]
    if len(content) != size:
        raise FormatError("DER element", expected=f"{size} bytes", got=f"{len(content)} bytes", where=where)
    return Element(tag=tag, content=content, encoded=data[offset : start + size])
