"""PEM chains of certificates, in one spelling only.

RFC 7468 with its strict production: 64 characters a line, line feeds, nothing between or around the
certificates. One chain of certificates has one encoding, so that no byte can be changed without a refusal.
Not checked here: that the content is a certificate.
"""

from __future__ import annotations

import base64
import binascii

from casemate.errors import FormatError

_BEGIN = b"-----BEGIN CERTIFICATE-----\n"
_END = b"-----END CERTIFICATE-----\n"
_LINE = 64


def parse_certificates(data: bytes, *, where: str) -> tuple[bytes, ...]:
    """The DER of each certificate of a chain, in the order in which they stand.

    Intel's libraries end a chain in three ways, and these three are accepted: with a line feed, without one,
    and with a line feed and the NUL of a C string.

    Args:
        data: The chain, PEM.
        where: Which chain, for messages.

    Raises:
        FormatError: Anything but certificates in strict PEM.
    """
    text = data.removesuffix(b"\x00") if data.endswith(b"\n\x00") else data
    text = text if text.endswith(b"\n") else text + b"\n"
    blocks = text.split(_END)
    if blocks.pop() != b"" or not blocks:
        raise FormatError(
            "certificate chain",
            expected='PEM that ends with "-----END CERTIFICATE-----"',
            got=f"{len(data)} bytes that end otherwise" if data else "nothing",
            where=where,
            hint="Nothing may follow the last certificate." if data else "There are no certificates.",
        )
    found = tuple(_decode(block) for block in blocks)
    if encode_certificates(found) != text:
        raise FormatError(
            "certificate chain",
            expected="strict PEM (RFC 7468): lines of 64 characters and nothing between the certificates",
            got="another spelling",
            where=where,
        )
    return found


def encode_certificates(chain: tuple[bytes, ...]) -> bytes:
    """A chain of DER certificates as PEM."""
    return b"".join(_encode(der) for der in chain)


def _encode(der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = b"".join(text[start : start + _LINE] + b"\n" for start in range(0, len(text), _LINE))
    return _BEGIN + lines + _END


def _decode(block: bytes) -> bytes:
    """The content of one block; spelling is judged by encoding it again."""
    try:
        return base64.b64decode(block.removeprefix(_BEGIN).replace(b"\n", b""), validate=True)
    except binascii.Error:
        return b""
