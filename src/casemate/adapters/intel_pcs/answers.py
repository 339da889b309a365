"""From answers with status 200 to documents: headers, encodings of CRLs, lists of PCK certificates.

What is refused here could not be stored; whether it is true is somebody else's question.
"""

from __future__ import annotations

import re
from email.message import Message
from typing import Annotated, Final
from urllib.parse import unquote_to_bytes

import msgspec

from casemate.collateral.names import CertificateAuthority
from casemate.collateral.store import PckCertificate
from casemate.errors import FormatError

PCK_CHAIN: Final = "SGX-PCK-Certificate-Issuer-Chain"
_NOT_AVAILABLE: Final = "Not available"
#: The first byte of everything in DER that a CRL can be: a sequence. As text it is the digit 0, and
#: hexadecimal text of a sequence begins with the digit 3.
_SEQUENCE: Final = b"\x30"
#: TCB levels that a platform may have certificates for; Intel's have about a dozen.
_MOST_LEVELS: Final = 1000


class _PckLevel(msgspec.Struct, frozen=True):
    tcbm: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{36}\Z")]
    cert: str


_LEVELS: Final = msgspec.json.Decoder(
    Annotated[tuple[_PckLevel, ...], msgspec.Meta(max_length=_MOST_LEVELS)],
)


def header(headers: Message, name: str) -> str:
    """The header that there has to be once.

    Raises:
        FormatError: There is none, or more than one.
    """
    found = headers.get_all(name, [])
    if len(found) != 1:
        raise FormatError(f"header {name}", expected="one", got=str(len(found)))
    return str(found[0]).strip()


def chain(headers: Message, name: str) -> bytes:
    """The certificates in a header, PEM.

    Raises:
        FormatError: There is no such header, or it is not URL-encoded text.
    """
    return _unquoted(header(headers, name), f"header {name}")


def fmspc(headers: Message) -> str:
    """The family of a platform, lower case.

    Raises:
        FormatError: There is no such header, or it says something else.
    """
    return _digits(header(headers, "SGX-FMSPC"), 12, "header SGX-FMSPC")


def tcbm(headers: Message) -> str:
    """The TCB that a certificate was chosen for, lower case.

    Raises:
        FormatError: There is no such header, or it says something else.
    """
    return _digits(header(headers, "SGX-TCBm"), 36, "header SGX-TCBm")


def authority(headers: Message) -> CertificateAuthority:
    """Who certifies a platform.

    Raises:
        FormatError: There is no such header, or it names nobody.
    """
    name = "SGX-PCK-Certificate-CA-Type"
    word = header(headers, name)
    try:
        return CertificateAuthority(word.lower())
    except ValueError as error:
        raise FormatError(f"header {name}", expected="processor or platform", got=ascii(word)[:50]) from error


def crl(body: bytes) -> bytes:
    """A CRL in DER, from DER or from the hexadecimal text that caches have.

    Raises:
        FormatError: Neither.
    """
    if body.startswith(_SEQUENCE):
        return body
    try:
        decoded = bytes.fromhex(body.decode("ascii"))
    except ValueError:
        decoded = b""
    if not decoded.startswith(_SEQUENCE):
        raise FormatError("CRL", expected="DER, or DER in hexadecimal", got=f"{len(body)} other bytes")
    return decoded


def pck_certificates(body: bytes) -> tuple[tuple[PckCertificate, ...], tuple[str, ...]]:
    """The certificates in a list, and for which TCBs there are none.

    Raises:
        FormatError: Not the JSON of such a list, or one TCB twice.
    """
    try:
        levels = _LEVELS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError("PCK certificates", expected="their JSON form", got=str(error)) from error
    if len({level.tcbm.lower() for level in levels}) != len(levels):
        raise FormatError("PCK certificates", expected="one for each TCB", got="two for one")
    missing = tuple(level.tcbm.lower() for level in levels if level.cert == _NOT_AVAILABLE)
    certificates = tuple(
        PckCertificate(tcbm=level.tcbm.lower(), pem=_unquoted(level.cert, "PCK certificate"))
        for level in levels
        if level.cert != _NOT_AVAILABLE
    )
    return certificates, missing


def _unquoted(text: str, where: str) -> bytes:
    """URL-decoded (RFC 3986, section 2.1); a plus is a plus, because base64 has it."""
    if re.fullmatch(r"(?:[ !-$&-~]|%[0-9A-Fa-f]{2})+", text) is None:
        raise FormatError(where, expected="URL-encoded text", got="something else")
    return unquote_to_bytes(text)


def _digits(text: str, length: int, where: str) -> str:
    if re.fullmatch(f"[0-9a-fA-F]{{{length}}}", text) is None:
        raise FormatError(where, expected=f"{length} hexadecimal digits", got=ascii(text)[:50])
    return text.lower()
