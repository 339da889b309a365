"""Certificates and CRLs of Intel's profile, and everything that is none."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from casemate.errors import FormatError
from casemate.formats import der
from casemate.formats.certificates import Certificate, RevocationList

NOW = datetime(2026, 11, 20, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Somebody")])
KEY_ID = x509.SubjectKeyIdentifier(b"k" * 20)
AKI = x509.AuthorityKeyIdentifier(b"k" * 20, None, None)
ORGANIZATION = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "No common name")])


def usage(*, signs: bool, crls: bool | None = None) -> x509.KeyUsage:
    others = dict.fromkeys(
        ("key_encipherment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_cert_sign=signs,
        crl_sign=signs if crls is None else crls,
        **others,
    )


LEAF = (
    (usage(signs=False), True),
    (x509.BasicConstraints(ca=False, path_length=None), True),
    (KEY_ID, False),
)
AUTHORITY = (
    (usage(signs=True), True),
    (x509.BasicConstraints(ca=True, path_length=0), True),
    (KEY_ID, False),
)


def certificate(
    *extensions: tuple[x509.ExtensionType, bool],
    key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | None = None,
    subject: x509.Name = NAME,
    signed_with: hashes.HashAlgorithm | None = None,
) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(NAME)
        .public_key(key or KEY.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(KEY, signed_with or hashes.SHA256()).public_bytes(Encoding.DER)


def crl(*extensions: x509.ExtensionType, revoked: tuple[int, ...] = ()) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(NAME).last_update(NOW)
    builder = builder.next_update(NOW + timedelta(days=1))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_certificate_is_read() -> None:
    data = certificate(*LEAF)
    read = Certificate.parse(data)
    assert (read.subject, read.issuer) == (NAME.public_bytes(), NAME.public_bytes())
    assert read.common_name == "Somebody"
    assert read.serial == 7
    assert (read.not_before, read.not_after) == (NOW, NOW + timedelta(days=1))
    assert read.point == KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert not read.is_authority
    assert read.key_id == b"k" * 20
    assert read.sgx_extension is None
    KEY.public_key().verify(read.signature, read.signed, ec.ECDSA(hashes.SHA256()))


def test_an_authority_is_recognised() -> None:
    assert Certificate.parse(certificate(*AUTHORITY)).is_authority


def test_the_sgx_extension_is_found() -> None:
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.840.113741.1.13.1"), b"content")
    assert Certificate.parse(certificate(*LEAF, (extension, False))).sgx_extension == b"content"


OTHER_CRITICAL = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (certificate(*LEAF[1:]), "certificate: expected the extension 2.5.29.15, got none"),
        (certificate(LEAF[0], LEAF[2]), "certificate: expected the extension 2.5.29.19, got none"),
        (certificate(*LEAF[:2]), "certificate: expected the extension 2.5.29.14, got none"),
        (certificate(), "certificate: expected 8 fields, got 7"),
        (
            certificate(*LEAF, (OTHER_CRITICAL, True)),
            "certificate: expected no other critical extension, got 06022a03",
        ),
        (
            certificate(LEAF[0], AUTHORITY[1], LEAF[2]),
            "certificate: expected key usage that agrees with basic constraints, got a contradiction",
        ),
        (
            certificate(AUTHORITY[0], *LEAF[1:]),
            "certificate: expected key usage that agrees with basic constraints, got a contradiction",
        ),
        (
            certificate((usage(signs=True, crls=False), True), *AUTHORITY[1:]),
            "certificate: expected key usage that agrees with basic constraints, got a contradiction",
        ),
        (
            certificate(*LEAF, subject=ORGANIZATION),
            "certificate subject: expected one common name, got 0",
        ),
        (
            certificate(*LEAF, subject=x509.Name([*NAME, *NAME])),
            "certificate subject: expected one common name, got 2",
        ),
        (
            certificate(*LEAF, key=ec.generate_private_key(ec.SECP384R1()).public_key()),
            "certificate: expected a P-256 key, got another kind of key",
        ),
        (
            certificate(*LEAF, key=rsa.generate_private_key(65537, 2048).public_key()),
            "certificate: expected a P-256 key, got another kind of key",
        ),
        (
            certificate(*LEAF, signed_with=hashes.SHA384()),
            "signature algorithm: expected ecdsa-with-SHA256, got 300a06082a8648ce3d040303 (certificate)",
        ),
        (
            der.encode(der.SEQUENCE, b"\x05\x00"),
            "certificate: expected 3 parts: content, algorithm, signature, got 1",
        ),
    ],
)
def test_what_is_not_of_the_profile_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as refusal:
        Certificate.parse(data)
    assert str(refusal.value) == message


def test_a_signature_with_unused_bits_is_refused() -> None:
    """No signature covers this octet, so a certificate would have several encodings."""
    content, algorithm, signature = der.children(der.parse(certificate(*LEAF), where="test"), where="test")
    bits = der.encode(der.BIT_STRING, b"\x01" + signature.content[1:])
    with pytest.raises(FormatError) as refusal:
        Certificate.parse(der.encode(der.SEQUENCE, content.encoded, algorithm.encoded, bits))
    assert str(refusal.value) == "signature: expected whole bytes, got unused bits (certificate)"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (b"\x00", "serial number: expected a positive number, got 0 (certificate)"),
        (
            b"\x87",
            "DER integer: expected a non-negative integer in its shortest form, got 87 (certificate)",
        ),
    ],
)
def test_a_serial_number_is_positive(number: bytes, message: str) -> None:
    """``cryptography`` only warns about others."""
    with pytest.raises(FormatError) as refusal:
        Certificate.parse(certificate(*LEAF).replace(b"\x02\x01\x07", b"\x02\x01" + number, 1))
    assert str(refusal.value) == message


def test_a_strange_name_makes_nothing_warn() -> None:
    """``cryptography`` warns about a country of three letters; who sends a quote chooses the names."""
    with warnings.catch_warnings(action="ignore"):
        country = x509.NameAttribute(NameOID.COUNTRY_NAME, "USA", _validate=False)
        data = certificate(*LEAF, subject=x509.Name([*NAME, country]))
    assert Certificate.parse(data).common_name == "Somebody"


def named(text: str) -> bytes:
    """A certificate whose name ``cryptography`` would not write."""
    with warnings.catch_warnings(action="ignore"):
        name = x509.NameAttribute(NameOID.COMMON_NAME, text, _validate=False)
    return certificate(*LEAF, subject=x509.Name([name]))


def test_a_common_name_has_at_most_64_characters() -> None:
    assert Certificate.parse(named("ä" * 64)).common_name == "ä" * 64
    with pytest.raises(FormatError) as refusal:
        Certificate.parse(named("ä" * 65))
    assert str(refusal.value) == (
        "certificate subject: expected a common name of at most 64 characters, got one of 65"
    )


def test_a_crl_is_read() -> None:
    read = RevocationList.parse(crl(x509.CRLNumber(1), AKI, revoked=(3, 5)))
    assert read.issuer == NAME.public_bytes()
    assert (read.this_update, read.next_update) == (NOW, NOW + timedelta(days=1))
    assert read.authority_key_id == b"k" * 20
    assert read.revoked == {3, 5}
    KEY.public_key().verify(read.signature, read.signed, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (crl(AKI), "CRL: expected the extension 2.5.29.20, got none"),
        (crl(x509.CRLNumber(1)), "CRL: expected the extension 2.5.29.35, got none"),
        (crl(), "CRL: expected 6 or 7 fields, got 5"),
        (
            crl(x509.CRLNumber(1), AKI, x509.DeltaCRLIndicator(1)),
            "CRL extensions: expected CRL number and authority key identifier, got 3 extensions",
        ),
        (
            crl(x509.CRLNumber(1), x509.AuthorityKeyIdentifier(b"k" * 20, [x509.DirectoryName(NAME)], 7)),
            "authority key identifier: expected one field, got 3",
        ),
        (certificate(*LEAF), "CRL: expected 6 or 7 fields, got 8"),
    ],
)
def test_another_crl_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as refusal:
        RevocationList.parse(data)
    assert str(refusal.value) == message


def rebuilt(data: bytes, fields: list[bytes]) -> bytes:
    """A certificate or CRL with other signed fields, under the same signature."""
    _, algorithm, signature = der.children(der.parse(data, where="test"), where="test")
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, *fields), algorithm.encoded, signature.encoded)


def fields_of(data: bytes) -> list[bytes]:
    content = der.children(der.parse(data, where="test"), where="test")[0]
    return [field.encoded for field in der.children(content, where="test")]


def test_a_crl_without_an_end_is_refused() -> None:
    data = crl(x509.CRLNumber(1), AKI, revoked=(3,))
    fields = fields_of(data)
    del fields[4]
    with pytest.raises(FormatError) as refusal:
        RevocationList.parse(rebuilt(data, fields))
    assert str(refusal.value) == "CRL: expected nextUpdate, got none"


def extension(oid: str, *rest: bytes) -> bytes:
    return der.encode(der.SEQUENCE, der.encode_oid(oid), *rest)


EMPTY = der.encode(der.OCTET_STRING)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ((), "certificate: expected one list of extensions, got 0"),
        (
            (der.encode(der.SEQUENCE), der.encode(der.SEQUENCE)),
            "certificate: expected one list of extensions, got 2",
        ),
        (
            (der.encode(der.SEQUENCE, extension("1.2.3", EMPTY), extension("1.2.3", EMPTY)),),
            "certificate: expected well-formed extensions, each once, got 06022a03",
        ),
        (
            (der.encode(der.SEQUENCE, extension("1.2.3")),),
            "certificate: expected well-formed extensions, each once, got 06022a03",
        ),
        (
            (der.encode(der.SEQUENCE, extension("1.2.3", b"\x01\x01\xff", EMPTY, EMPTY)),),
            "certificate: expected well-formed extensions, each once, got 06022a03",
        ),
    ],
)
def test_a_malformed_list_of_extensions_is_refused(content: tuple[bytes, ...], message: str) -> None:
    data = certificate(*LEAF)
    fields = [*fields_of(data)[:-1], der.encode(0xA3, *content)]
    with pytest.raises(FormatError) as refusal:
        Certificate.parse(rebuilt(data, fields))
    assert str(refusal.value) == message
