"""X.509 certificates and CRLs in the one profile that Intel's SGX authorities use.

RFC 5280, and Intel SGX PCK Certificate and Certificate Revocation List Profile Specification 1.5: P-256 keys,
ECDSA with SHA-256, no critical extension but key usage and basic constraints. Keys, times and revoked entries
are read by ``cryptography``. The shell, which no signature protects, names and extensions are read here: they
have one spelling only, and nothing in them makes ``cryptography`` warn about what a stranger has sent. Not
checked
here: signatures, roles, validity, revocation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from casemate.errors import FormatError
from casemate.formats import der
from casemate.formats.sgx.pck import EXTENSION_OID

_SHA256_WITH_ECDSA = der.encode(der.SEQUENCE, der.encode_oid("1.2.840.10045.4.3.2"))
_COMMON_NAME = der.encode_oid("2.5.4.3")
_SUBJECT_KEY_ID = "2.5.29.14"
_KEY_USAGE = "2.5.29.15"
_BASIC_CONSTRAINTS = "2.5.29.19"
_CRL_NUMBER = "2.5.29.20"
_AUTHORITY_KEY_ID = "2.5.29.35"
_KNOWN_CRITICAL = {der.encode_oid(_KEY_USAGE), der.encode_oid(_BASIC_CONSTRAINTS)}
# Key usage: keyCertSign and cRLSign, bits 5 and 6 from the left of the first byte.
_SIGNS = 0b110
# Context tags: extensions of a certificate and of a CRL, key identifier inside an authority key identifier.
_CERTIFICATE_EXTENSIONS, _CRL_EXTENSIONS, _KEY_IDENTIFIER = 0xA3, 0xA0, 0x80
# Characters of a common name: ub-common-name of X.520, RFC 5280 appendix A.1.
_LONGEST_COMMON_NAME = 64
# version, serial, algorithm, issuer, validity, subject, key, extensions
_CERTIFICATE_FIELDS = 8
# version, algorithm, issuer, thisUpdate, nextUpdate, [revoked certificates], extensions
_CRL_FIELDS = (6, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One certificate.

    Attributes:
        subject: Name of the subject, DER.
        common_name: Its common name, at most 64 characters, not all of them printable.
        issuer: Name of the issuer, DER.
        serial: Serial number.
        not_before: Beginning of its validity.
        not_after: End of its validity, inclusive.
        public_key: The certified P-256 key.
        point: The same, uncompressed, 65 bytes.
        is_authority: It may sign certificates and CRLs: basic constraints and key usage say so.
        key_id: Subject key identifier.
        sgx_extension: Content of Intel's SGX extension, where there is one.
        signed: What the issuer signed.
        signature: The issuer's signature, DER.
    """

    subject: bytes
    common_name: str
    issuer: bytes
    serial: int
    not_before: datetime
    not_after: datetime
    public_key: ec.EllipticCurvePublicKey
    point: bytes
    is_authority: bool
    key_id: bytes
    sgx_extension: bytes | None
    signed: bytes
    signature: bytes

    @classmethod
    def parse(cls, data: bytes) -> Certificate:
        """Read a DER certificate.

        Raises:
            FormatError: Not X.509, or not of the profile.
        """
        where = "certificate"
        fields, signed, signature = _open_shell(data, where)
        if len(fields) != _CERTIFICATE_FIELDS:
            raise FormatError(where, expected=f"{_CERTIFICATE_FIELDS} fields", got=str(len(fields)))
        _, number, _, issuer, _, subject, _, extensions = fields
        serial = der.integer_of(number, where=where)
        if serial == 0:
            raise FormatError("serial number", expected="a positive number", got="0", where=where)
        known = _extensions(extensions, _CERTIFICATE_EXTENSIONS, where)
        key_id = der.parse(_need(known, _SUBJECT_KEY_ID, where), where=where)
        with _foreign_errors(where):
            read = x509.load_der_x509_certificate(data)
            key = _p256_key(read)
            return cls(
                subject=subject.encoded,
                common_name=_common_name(subject),
                issuer=issuer.encoded,
                serial=serial,
                not_before=read.not_valid_before_utc,
                not_after=read.not_valid_after_utc,
                public_key=key,
                point=key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
                is_authority=_is_authority(known),
                key_id=der.content_of(key_id, der.OCTET_STRING, where=where),
                sgx_extension=known.get(der.encode_oid(EXTENSION_OID)),
                signed=signed,
                signature=signature,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationList:
    """One CRL.

    Attributes:
        issuer: Name of the issuer, DER.
        this_update: When it was issued.
        next_update: When the next one is due.
        authority_key_id: Identifier of the issuer's key.
        revoked: Serial numbers of revoked certificates.
        signed: What the issuer signed.
        signature: The issuer's signature, DER.
    """

    issuer: bytes
    this_update: datetime
    next_update: datetime
    authority_key_id: bytes
    revoked: frozenset[int]
    signed: bytes
    signature: bytes

    @classmethod
    def parse(cls, data: bytes) -> RevocationList:
        """Read a DER CRL.

        Raises:
            FormatError: Not a CRL, without the end of its validity, or with other extensions than CRL number
                and authority key identifier, both of which the profile demands.
        """
        where = "CRL"
        fields, signed, signature = _open_shell(data, where)
        if len(fields) not in _CRL_FIELDS:
            raise FormatError(where, expected="6 or 7 fields", got=str(len(fields)))
        known = _extensions(fields[-1], _CRL_EXTENSIONS, where)
        _need(known, _CRL_NUMBER, where)
        key_id = der.parse(_need(known, _AUTHORITY_KEY_ID, where), where=where)
        if len(known) != 2:
            raise FormatError(
                "CRL extensions",
                expected="CRL number and authority key identifier",
                got=f"{len(known)} extensions",
            )
        with _foreign_errors(where):
            read = x509.load_der_x509_crl(data)
            next_update = read.next_update_utc
            if next_update is None:
                raise FormatError(where, expected="nextUpdate", got="none")
            return cls(
                issuer=fields[2].encoded,
                this_update=read.last_update_utc,
                next_update=next_update,
                authority_key_id=_key_identifier(key_id),
                revoked=frozenset(entry.serial_number for entry in read),
                signed=signed,
                signature=signature,
            )


def _open_shell(data: bytes, where: str) -> tuple[tuple[der.Element, ...], bytes, bytes]:
    """The signed fields, their encoding, and the signature of SEQUENCE { signed, algorithm, BIT STRING }."""
    parts = der.children(der.parse(data, where=where), where=where)
    if len(parts) != 3:
        raise FormatError(where, expected="3 parts: content, algorithm, signature", got=str(len(parts)))
    content, algorithm, signature = parts
    if algorithm.encoded != _SHA256_WITH_ECDSA:
        raise FormatError(
            "signature algorithm", expected="ecdsa-with-SHA256", got=algorithm.encoded.hex(), where=where
        )
    bits = der.content_of(signature, der.BIT_STRING, where=where)
    if not bits.startswith(b"\x00"):
        raise FormatError("signature", expected="whole bytes", got="unused bits", where=where)
    return der.children(content, where=where), content.encoded, bits[1:]


@contextmanager
def _foreign_errors(what: str) -> Iterator[None]:
    """Turn what ``cryptography`` raises for malformed input into our error."""
    try:
        yield
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise FormatError(what, expected="Intel's X.509 profile", got=str(error)) from error


def _p256_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise FormatError("certificate", expected="a P-256 key", got="another kind of key")
    return key


def _common_name(name: der.Element) -> str:
    """The one common name of a name: SEQUENCE OF SET OF SEQUENCE { type, value }."""
    where = "certificate subject"
    found: list[bytes] = []
    for relative in der.children(name, where=where):
        for attribute in der.children(relative, tag=der.SET, where=where):
            pair = der.children(attribute, where=where)
            if len(pair) == 2 and pair[0].encoded == _COMMON_NAME:
                found.append(pair[1].content)
    if len(found) != 1:
        raise FormatError(where, expected="one common name", got=str(len(found)))
    text = found[0].decode("utf-8", "backslashreplace")
    if len(text) > _LONGEST_COMMON_NAME:
        raise FormatError(
            where,
            expected=f"a common name of at most {_LONGEST_COMMON_NAME} characters",
            got=f"one of {len(text)}",
        )
    return text


def _extensions(element: der.Element, tag: int, where: str) -> dict[bytes, bytes]:
    """The extensions by their encoded identifiers; an unknown critical one is refused (RFC 5280)."""
    wrapped = der.children(element, tag=tag, where=where)
    if len(wrapped) != 1:
        raise FormatError(where, expected="one list of extensions", got=str(len(wrapped)))
    found: dict[bytes, bytes] = {}
    for extension in der.children(wrapped[0], where=where):
        oid, *rest = der.children(extension, where=where) or (extension,)
        is_critical = len(rest) == 2 and der.boolean_of(rest[0], where=where)
        if len(rest) not in (1, 2) or oid.encoded in found:
            raise FormatError(where, expected="well-formed extensions, each once", got=oid.encoded.hex())
        if is_critical and oid.encoded not in _KNOWN_CRITICAL:
            raise FormatError(where, expected="no other critical extension", got=oid.encoded.hex())
        found[oid.encoded] = der.content_of(rest[-1], der.OCTET_STRING, where=where)
    return found


def _need(extensions: Mapping[bytes, bytes], oid: str, where: str) -> bytes:
    value = extensions.get(der.encode_oid(oid))
    if value is None:
        raise FormatError(where, expected=f"the extension {oid}", got="none")
    return value


def _is_authority(extensions: Mapping[bytes, bytes]) -> bool:
    """Whether it may sign certificates and CRLs; key usage and basic constraints must agree."""
    where = "certificate"
    usage = der.parse(_need(extensions, _KEY_USAGE, where), where=where)
    bits = der.content_of(usage, der.BIT_STRING, where=where)
    constraints = der.parse(_need(extensions, _BASIC_CONSTRAINTS, where), where=where)
    fields = der.children(constraints, where=where)
    signs = bits[1] & _SIGNS if len(bits) > 1 else 0
    is_authority = bool(fields) and der.boolean_of(fields[0], where=where)
    if signs != (_SIGNS if is_authority else 0):
        raise FormatError(
            where, expected="key usage that agrees with basic constraints", got="a contradiction"
        )
    return is_authority


def _key_identifier(element: der.Element) -> bytes:
    """The key of an authority key identifier that names nothing else."""
    fields = der.children(element, where="authority key identifier")
    if len(fields) != 1:
        raise FormatError("authority key identifier", expected="one field", got=str(len(fields)))
    return der.content_of(fields[0], _KEY_IDENTIFIER, where="authority key identifier")
