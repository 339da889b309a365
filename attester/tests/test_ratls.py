import datetime as dt
import hashlib
import shutil
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from casemate_attester.binding import ReportData
from casemate_attester.ratls import EVIDENCE_OID, Identity, claims_for, issue_identity


@pytest.fixture(scope="module")
def asked() -> list[ReportData]:
    return []


@pytest.fixture(scope="module")
def identity(asked: list[ReportData]) -> Identity:
    def quote_for(report_data: ReportData) -> bytes:
        asked.append(report_data)
        return b"Q" * 300

    return issue_identity(quote_for)


def spki_hash(certificate: x509.Certificate) -> bytes:
    der = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).digest()


def test_claims_are_cbor_that_names_the_hash_of_the_key(identity: Identity) -> None:
    # {"pubkey-hash": << [1, h'…'] >>}
    expected = bytes.fromhex("a16b") + b"pubkey-hash" + bytes.fromhex("582482015820")
    assert claims_for(identity.private_key.public_key()) == expected + spki_hash(identity.certificate)


def test_the_extension_is_quote_and_claims_under_tag_60000(identity: Identity) -> None:
    extension = identity.certificate.extensions.get_extension_for_oid(EVIDENCE_OID)
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    claims = claims_for(identity.private_key.public_key())
    # 60000([h'5151…', h'a16b…'])
    expected = bytes.fromhex("d9ea608259012c") + b"Q" * 300 + bytes([0x58, len(claims)]) + claims
    assert extension.value.value == expected
    assert not extension.critical
    assert EVIDENCE_OID.dotted_string == "2.23.133.5.4.9"


def test_the_quote_was_asked_for_once_over_the_hash_of_the_claims(
    identity: Identity, asked: list[ReportData]
) -> None:
    digest = hashlib.sha256(claims_for(identity.private_key.public_key())).digest()
    assert asked == [digest + bytes(32)]


def test_the_certificate_is_for_the_key_and_signed_by_it(identity: Identity) -> None:
    certificate = identity.certificate
    public_key = certificate.public_key()
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    assert public_key == identity.private_key.public_key()
    assert isinstance(public_key.curve, ec.SECP256R1)
    certificate.verify_directly_issued_by(certificate)


def test_the_certificate_says_what_it_may_be_used_for(identity: Identity) -> None:
    extensions = identity.certificate.extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_cert_sign) == (True, False)
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]


def test_dates_hold_whatever_the_host_says_the_time_is(identity: Identity) -> None:
    assert identity.certificate.not_valid_before_utc == dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    assert identity.certificate.not_valid_after_utc == dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


def test_each_identity_has_its_own_key_and_number(identity: Identity) -> None:
    other = issue_identity(lambda _: b"Q")
    assert other.private_key.private_numbers() != identity.private_key.private_numbers()
    assert other.certificate.serial_number != identity.certificate.serial_number


def test_an_identity_does_not_show_its_key(identity: Identity) -> None:
    assert "private_key" not in repr(identity)


def test_openssl_reads_the_certificate(identity: Identity) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    result = subprocess.run(
        [openssl, "x509", "-noout", "-text"],
        input=identity.certificate.public_bytes(Encoding.PEM),
        capture_output=True,
        check=True,
    )
    text = result.stdout.decode()
    for line in (
        "Version: 3 (0x2)",
        "Signature Algorithm: ecdsa-with-SHA256",
        "Issuer: CN = Casemate workload",
        "Not Before: Jan  1 00:00:00 2001 GMT",
        "Not After : Dec 31 23:59:59 9999 GMT",
        "ASN1 OID: prime256v1",
        "CA:FALSE",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "DNS:localhost",
        "2.23.133.5.4.9:",
    ):
        assert line.replace(" = ", "=") in text.replace(" = ", "=")
