"""X.509 certificates and CRLs in the one profile that Intel's SGX authorities use.

RFC 5280, and Intel SGX PCK Certificate and Certificate Revocation List Profile Specification 1.5: P-256 keys,
ECDSA with SHA-256, no critical extension but key usage and basic constraints. ``cryptography`` reads the
signed part; the shell around it, which no signature protects, is read here and has one spelling only. Not
checked here: signatures, names, validity, revocation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID, NameOID

from casemate.errors import FormatError
from casemate.formats import der
from casemate.formats.sgx.pck import EXTENSION_OID

_SHA256_WITH_ECDSA = der.encode(der.SEQUENCE, der.encode_oid("1.2.840.10045.4.3.2"))
_KNOWN_CRITICAL = {ExtensionOID.KEY_USAGE, ExtensionOID.BASIC_CONSTRAINTS}
_CRL_EXTENSIONS = {ExtensionOID.CRL_NUMBER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER}


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One certificate.

    Attributes:
        subject: Name of the subject, DER.
        common_name: Its common name.
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
        signed, signature = _open_shell(data, "certificate")
        with _foreign_errors("certificate"):
            read = x509.load_der_x509_certificate(data)
            extensions = read.extensions
            usage = extensions.get_extension_for_class(x509.KeyUsage).value
            constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
            key = _p256_key(read)
            return cls(
                subject=read.subject.public_bytes(),
                common_name=_common_name(read.subject),
                issuer=read.issuer.public_bytes(),
                serial=read.serial_number,
                not_before=read.not_valid_before_utc,
                not_after=read.not_valid_after_utc,
                public_key=key,
                point=key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
                is_authority=_is_authority(constraints, usage),
                key_id=extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest,
                sgx_extension=_sgx_extension(extensions),
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
        signed, signature = _open_shell(data, "CRL")
        with _foreign_errors("CRL"):
            read = x509.load_der_x509_crl(data)
            extensions = read.extensions
            if {extension.oid for extension in extensions} != _CRL_EXTENSIONS:
                raise FormatError(
                    "CRL extensions",
                    expected="CRL number and authority key identifier",
                    got=", ".join(sorted(extension.oid.dotted_string for extension in extensions)) or "none",
                )
            key_id = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
            next_update = read.next_update_utc
            if next_update is None or key_id is None:
                raise FormatError("CRL", expected="nextUpdate and the identifier of a key", got="none")
            return cls(
                issuer=read.issuer.public_bytes(),
                this_update=read.last_update_utc,
                next_update=next_update,
                authority_key_id=key_id,
                revoked=frozenset(entry.serial_number for entry in read),
                signed=signed,
                signature=signature,
            )


def _open_shell(data: bytes, where: str) -> tuple[bytes, bytes]:
    """What is signed, and the signature, of SEQUENCE { signed, algorithm, BIT STRING }."""
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
    return content.encoded, bits[1:]


@contextmanager
def _foreign_errors(what: str) -> Iterator[None]:
    """Turn what ``cryptography`` raises for malformed input into our error."""
    try:
        yield
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.ExtensionNotFound,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise FormatError(what, expected="Intel's X.509 profile", got=str(error)) from error


def _p256_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise FormatError("certificate", expected="a P-256 key", got="another kind of key")
    return key


def _common_name(name: x509.Name) -> str:
    names = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    if len(names) != 1 or not isinstance(names[0].value, str):
        raise FormatError("certificate subject", expected="one common name", got=str(len(names)))
    return names[0].value


def _is_authority(constraints: x509.BasicConstraints, usage: x509.KeyUsage) -> bool:
    """Whether it may sign; the two extensions must agree."""
    if constraints.ca != (usage.key_cert_sign and usage.crl_sign) or usage.key_cert_sign != usage.crl_sign:
        raise FormatError(
            "certificate", expected="key usage that agrees with basic constraints", got="a contradiction"
        )
    return constraints.ca


def _sgx_extension(extensions: x509.Extensions) -> bytes | None:
    found = None
    for extension in extensions:
        if extension.critical and extension.oid not in _KNOWN_CRITICAL:
            raise FormatError(
                "certificate", expected="no other critical extension", got=extension.oid.dotted_string
            )
        if extension.oid.dotted_string == EXTENSION_OID and isinstance(
            extension.value, x509.UnrecognizedExtension
        ):
            found = extension.value.value
    return found
