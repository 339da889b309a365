"""Collateral as people keep it: what Intel's service or a cache of it answered, one file for each thing.

Documents lie as they came, ``{"tcbInfo":…,"signature":…}``; a cache may have put the certificates of their
signer into further members. CRLs lie in DER, in PEM or in hexadecimal, all three of which Intel's libraries
read; certificates in DER, or in PEM with any text around it. Bytes under a signature are given as they lie.
Not checked here: signatures, and everything that :mod:`casemate.formats.sgx.collateral` and
:mod:`casemate.formats.certificates` check.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from casemate.formats.sgx.collateral import parse_signed
from casemate.formats.sgx.intel_json import read_json

#: Certificates that are looked at beside a document: a cache has put two there, its signer's and the root's.
MOST_CERTIFICATES: Final = 16
#: The members in which Intel's service gives its two documents.
TCB_INFO: Final = "tcbInfo"
ENCLAVE_IDENTITY: Final = "enclaveIdentity"

# The first byte of whatever is a SEQUENCE in DER: certificates and CRLs are.
_SEQUENCE = b"\x30"
_PEM_CRL = re.compile(rb"-----BEGIN X509 CRL-----([A-Za-z0-9+/=\s]*)-----END X509 CRL-----")
_PEM_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----")
# In a header, and so in what was copied from one, PEM is URL-encoded.
_URL_ENCODED = b"-----BEGIN%20CERTIFICATE-----"
_OCTET = re.compile(rb"%([0-9a-fA-F]{2})")
_HEXADECIMAL = re.compile(rb"\s*(?:0[xX])?([0-9a-fA-F]+)\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedDocument:
    """A document of Intel's service, and what lies in the same file.

    Attributes:
        document: The signed bytes, unchanged.
        signature: r and s, 64 bytes.
        certificates: DER of the certificates in further members, in no particular order; the first
            :data:`MOST_CERTIFICATES`.
    """

    document: bytes
    signature: bytes
    certificates: tuple[bytes, ...]

    @classmethod
    def parse(cls, data: bytes, member: str) -> SignedDocument:
        """Read what Intel's service answered.

        Args:
            data: JSON.
            member: :data:`TCB_INFO` or :data:`ENCLAVE_IDENTITY`.

        Raises:
            FormatError: Not JSON that is read strictly, or a member is missing or malformed.
        """
        document, signature = parse_signed(data, member)
        value = read_json(data, member)
        texts = _texts(value) if isinstance(value, dict) else ()
        found = (der for text in texts for der in certificates_in(text.encode()))
        return cls(
            document=document, signature=signature, certificates=tuple(islice(found, MOST_CERTIFICATES))
        )


def crl_in(data: bytes) -> bytes:
    """A CRL in DER, whether it lies in DER, in PEM or in hexadecimal; anything else as it lies.

    Reading what is given says whether it is a CRL.
    """
    digits = _HEXADECIMAL.fullmatch(data)
    if digits:
        return _from_hexadecimal(digits.group(1), data)
    pem = None if data.startswith(_SEQUENCE) else _PEM_CRL.search(data)
    return data if pem is None else _from_base64(pem.group(1)) or data


def certificates_in(data: bytes) -> tuple[bytes, ...]:
    """DER of every certificate in PEM, whatever lies around it; ``data`` itself, when it may be DER.

    Reading what is given says whether it is a certificate.
    """
    if data.startswith(_SEQUENCE):
        return (data,)
    text = _unquoted(data) if _URL_ENCODED in data else data
    return tuple(filter(None, (_from_base64(found) for found in _PEM_CERTIFICATE.findall(text))))


def _texts(members: dict[str, object]) -> Iterator[str]:
    """What the members say that are text or lists of text."""
    for value in members.values():
        texts = value if isinstance(value, list) else [value]
        yield from (text for text in texts if isinstance(text, str))


def _unquoted(text: bytes) -> bytes:
    return _OCTET.sub(lambda found: bytes.fromhex(found.group(1).decode()), text)


def _from_base64(text: bytes) -> bytes:
    """Nothing, where it is no base64."""
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        return b""


def _from_hexadecimal(digits: bytes, otherwise: bytes) -> bytes:
    try:
        return bytes.fromhex(digits.decode())
    except ValueError:
        return otherwise
