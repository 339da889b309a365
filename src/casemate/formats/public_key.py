"""RSA public keys in PEM, as OpenSSL writes and reads them.

RFC 5280, section 4.1.2.7; RFC 8017, appendix A.1.1.
"""

from __future__ import annotations

import re
import warnings

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from casemate.errors import FormatError
from casemate.keys import RsaPublicKey

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_PRIVATE_KEY = re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----")


def parse_public_key(data: bytes, *, where: str) -> RsaPublicKey:
    """Read a public key. Not checked: what stands around it, and that it fits anything.

    Args:
        data: SubjectPublicKeyInfo, RSAPublicKey or a certificate with the key, in PEM. Of a certificate
            nothing but the key is looked at: neither who issued it nor whether it is valid.
        where: Which file, for messages.

    Raises:
        FormatError: Something else.
    """
    try:
        key = _certified_key(data) if _CERTIFICATE in data else load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise _no_public_key(data, where) from error
    if not isinstance(key, RSAPublicKey):
        raise _no_public_key(data, where)
    numbers = key.public_numbers()
    return RsaPublicKey(modulus=numbers.n, exponent=numbers.e)


def _certified_key(data: bytes) -> object:
    with warnings.catch_warnings():
        # What cryptography finds odd about a certificate is no matter where only its key counts.
        warnings.simplefilter("ignore")
        return x509.load_pem_x509_certificate(data).public_key()


def public_key_pem(key: RsaPublicKey) -> bytes:
    """``key`` as SubjectPublicKeyInfo.

    Raises:
        FormatError: Numbers that no RSA key has.
    """
    try:
        public = RSAPublicNumbers(key.exponent, key.modulus).public_key()
    except ValueError as error:
        raise FormatError(
            "public key", expected="modulus and exponent of RSA", got="other numbers"
        ) from error
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _no_public_key(data: bytes, where: str) -> FormatError:
    return FormatError(
        "public key",
        expected="an RSA public key in PEM, or a certificate of one",
        got="a private key" if _PRIVATE_KEY.search(data) else "something else",
        where=where,
        hint="casemate key show URI prints it, and so does: openssl rsa -in KEY.pem -pubout",
    )
