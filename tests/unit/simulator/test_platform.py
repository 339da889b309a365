"""A simulated platform: Intel's profile in everything but the root, and a root of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.support.dcap_corpus import CORPUS, needs_corpus

from casemate.errors import FormatError
from casemate.formats.certificates import Certificate
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.quote import Quote
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.endorsements import Standing
from casemate.simulator.pki import PckAuthority
from casemate.simulator.platform import SimulatedPlatform

NOW = datetime(2026, 11, 20, 12, 0, 0, 500, tzinfo=UTC)


def quote_of(platform: SimulatedPlatform) -> bytes:
    return SimulatedEnclave(
        platform=platform, mrenclave=MrEnclave(bytes(32)), mrsigner=MrSigner(bytes(32))
    ).quote(bytes(64))


def test_every_platform_has_a_root_of_its_own() -> None:
    first, second = (SimulatedPlatform.create(NOW) for _ in range(2))
    assert first.root_certificate != second.root_certificate
    points = {Certificate.parse(p.authorities.root.certificate).point for p in (first, second)}
    assert len(points) == 2


@needs_corpus
@pytest.mark.parametrize(
    ("authority", "quote_id"),
    [
        (PckAuthority.PLATFORM, "sgx-v3-00606a000000-22c0df5d"),
        (PckAuthority.PROCESSOR, "sgx-v3-00906ed50000-0b5bc73c"),
    ],
)
def test_certificates_have_the_shape_of_intels(authority: PckAuthority, quote_id: str) -> None:
    """Names, key usage, constraints and the order of extensions: all but keys, numbers and dates."""
    simulated = Quote.parse(quote_of(SimulatedPlatform.create(NOW, authority=authority)))
    genuine = Quote.parse((CORPUS / "quotes" / quote_id / "quote.bin").read_bytes())
    assert [shape(c) for c in chain(simulated)] == [shape(c) for c in chain(genuine)]
    assert simulated.certification_data[-2:] == genuine.certification_data[-2:]
    assert simulated.qe_auth_data == genuine.qe_auth_data
    assert simulated.header.qe_vendor_id == genuine.header.qe_vendor_id
    assert simulated.header.user_data[16:] == genuine.header.user_data[16:]


def chain(quote: Quote) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(quote.certification_data)


def shape(certificate: x509.Certificate) -> tuple[object, ...]:
    extensions = [(item.oid.dotted_string, item.critical) for item in certificate.extensions]
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    names = certificate.subject.public_bytes(), certificate.issuer.public_bytes()
    return names, extensions, usage, constraints, certificate.signature_algorithm_oid


def test_a_platform_comes_back_from_its_files() -> None:
    platform = SimulatedPlatform.create(NOW)
    again = SimulatedPlatform.from_files(platform.to_files())
    assert again.to_files() == platform.to_files()
    assert again.sgx_extension == platform.sgx_extension
    assert again.derive_key(b"x") == platform.derive_key(b"x")
    assert Quote.parse(quote_of(again)).attestation_key == Quote.parse(quote_of(platform)).attestation_key
    assert again.quoting_enclave.body == platform.quoting_enclave.body


@pytest.mark.parametrize("name", sorted(SimulatedPlatform.create(NOW).to_files()))
def test_a_missing_file_is_named(name: str) -> None:
    files = SimulatedPlatform.create(NOW).to_files()
    del files[name]
    with pytest.raises(FormatError) as refusal:
        SimulatedPlatform.from_files(files)
    assert str(refusal.value) == f"simulated platform: expected the file {name}, got none"


def other_kinds_of_key() -> dict[str, bytes]:
    keys = (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048))
    p384, of_rsa = (key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for key in keys)
    return {"p384": p384, "rsa": of_rsa}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("root.key", b"no key", "private key: expected PKCS #8 PEM, got something else (root)"),
        (
            "attestation.key",
            other_kinds_of_key()["p384"],
            "private key: expected a P-256 key, got another kind of key (attestation.key)",
        ),
        (
            "pck.key",
            other_kinds_of_key()["rsa"],
            "private key: expected a P-256 key, got another kind of key (pck)",
        ),
        ("platform.secret", bytes(47), "platform secret: expected 48 bytes, got 47 bytes (platform.secret)"),
        (
            "pck.pem",
            SimulatedPlatform.create(NOW).authorities.root.certificate_pem(),
            "PCK certificate: expected the extension 1.2.840.113741.1.13.1, got none",
        ),
        (
            "pck-ca.pem",
            SimulatedPlatform.create(NOW).collateral.tcb_info_issuer_chain,
            "certificate: expected one, got 2 (pck-ca)",
        ),
    ],
)
def test_a_file_with_other_content_is_refused(name: str, content: bytes, message: str) -> None:
    files = SimulatedPlatform.create(NOW).to_files() | {name: content}
    with pytest.raises(FormatError) as refusal:
        SimulatedPlatform.from_files(files)
    assert str(refusal.value) == message


def test_endorsing_again_renews_collateral_and_nothing_else() -> None:
    platform = SimulatedPlatform.create(NOW)
    later = platform.endorsed(NOW + timedelta(days=60), Standing(platform=TcbStatus.OUT_OF_DATE))
    assert replace(later, collateral=platform.collateral) == platform
    assert b'"issueDate":"2027-01-19T12:00:00Z"' in later.collateral.tcb_info
    assert b'"tcbStatus":"OutOfDate"' in later.collateral.tcb_info


def test_the_time_of_another_zone_is_the_same_instant() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=9)))
    collateral = SimulatedPlatform.create(elsewhere).collateral
    assert b'"issueDate":"2026-11-20T12:00:00Z"' in collateral.tcb_info


def test_secrets_are_not_printed() -> None:
    platform = SimulatedPlatform.create(NOW)
    assert platform.secret.hex() not in repr(platform)
    assert repr(platform.secret) not in repr(platform)
    assert "PrivateKey" not in repr(platform)
