"""RA-TLS certificates that other projects have made are read, and speak for their own keys."""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from tests.support.dcap_corpus import CORPUS, matrix, needs_corpus

from casemate.formats import der
from casemate.formats.eat import EVIDENCE_OID, AttestedCertificate, TaggedEvidence
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.quote import Quote
from casemate.formats.sgx.report import MrEnclave, ReportBody
from casemate.verifier.policy import AcceptedStatus, AppraisalPolicy, Exemption
from casemate.verifier.ratls import KEY_CHECK, appraise_certificate
from casemate.verifier.result import AttestationResult, Verdict
from casemate.verifier.roots import TrustRoots

pytestmark = needs_corpus
FOLDER = CORPUS / "ratls-certs"


def der_of(maker: str) -> bytes:
    pem = (FOLDER / f"{maker}-cert.pem").read_text()
    return ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE-----") :])


@pytest.mark.parametrize("maker", ["gramine", "rats-tls"])
def test_evidence_of_other_makers_binds_their_key(maker: str) -> None:
    attested = AttestedCertificate.parse(der_of(maker))
    evidence = attested.evidence
    assert isinstance(evidence, TaggedEvidence)
    assert evidence.quote == (FOLDER / f"ratls-{maker}.quote.bin").read_bytes()
    assert hashlib.new(evidence.key_hash_algorithm, attested.public_key).digest() == evidence.key_hash
    report_data = Quote.parse(evidence.quote).report.report_data
    assert report_data == hashlib.sha256(evidence.claims).digest().ljust(64, b"\0") == attested.report_data


def test_the_certificate_of_an_older_gramine_is_read_where_cryptography_refuses_it() -> None:
    """NULL parameters beside ecdsa-with-SHA256, as mbedTLS wrote them before 3.5."""
    with pytest.raises(ValueError, match="error parsing"):
        x509.load_der_x509_certificate(der_of("gramine")).signature_hash_algorithm  # noqa: B018 - read lazily
    assert AttestedCertificate.parse(der_of("gramine")).form == "interoperable RA-TLS"


def test_the_older_form_beside_it_binds_the_same_key() -> None:
    """What Gramine writes for its own older verifiers: its quote binds the key itself."""
    certificate = der_of("gramine")
    attested = AttestedCertificate.parse(certificate)
    hidden = certificate.replace(der.encode_oid(EVIDENCE_OID), der.encode_oid("2.23.133.5.4.8"))
    older = AttestedCertificate.parse(hidden)
    assert older.form == "Gramine before 1.8"
    assert older.public_key == attested.public_key
    assert Quote.parse(older.evidence.quote).report.report_data == older.report_data


@pytest.mark.parametrize("maker", ["gramine", "rats-tls"])
def test_any_other_key_is_refused(maker: str) -> None:
    """Every byte of the key changed in turn: the certificate no longer speaks for it."""
    certificate = der_of(maker)
    key = AttestedCertificate.parse(certificate).public_key
    at = certificate.index(key)
    for index in range(len(key) - 32, len(key)):
        changed = bytearray(certificate)
        changed[at + index] ^= 1
        attested = AttestedCertificate.parse(bytes(changed))
        assert isinstance(attested.evidence, TaggedEvidence)
        own = hashlib.new(attested.evidence.key_hash_algorithm, attested.public_key).digest()
        assert own != attested.evidence.key_hash


def judged(certificate: bytes, **policy: Any) -> AttestationResult:
    """As of the newest collateral of the corpus for the platform of both makers."""
    newest = max(
        (row for row in matrix() if "tcb/sgx-00606a000000" in row.values["tcb"]),
        key=lambda row: int(row.values["now"]),
    )
    accepted: dict[str, Any] = {
        "mrenclaves": every_measurement_of("gramine", "rats-tls"),
        "debug": Exemption(reason="samples of an interoperability event"),
        "statuses": (AcceptedStatus(status=TcbStatus.OUT_OF_DATE, reason="of 2022", any_advisory=True),),
    }
    return appraise_certificate(
        certificate,
        endorsements=newest.collateral(),
        trust_roots=TrustRoots.intel(),
        policy=AppraisalPolicy(**(accepted | policy)),
        at=datetime.fromtimestamp(newest.values["now"], UTC),
    )


def every_measurement_of(*makers: str) -> tuple[MrEnclave, ...]:
    quotes = [Quote.parse(AttestedCertificate.parse(der_of(maker)).evidence.quote) for maker in makers]
    return tuple(quote.report.mrenclave for quote in quotes if isinstance(quote.report, ReportBody))


@pytest.mark.parametrize("maker", ["gramine", "rats-tls"])
def test_certificates_of_other_makers_are_affirmed_under_intels_root(maker: str) -> None:
    result = judged(der_of(maker))
    assert result.refusals == ()
    assert (result.verdict, result.simulated) == (Verdict.AFFIRMING, False)
    assert [grant.what for grant in result.grants] == ["TCB status OutOfDate", "an enclave in debug mode"]


@pytest.mark.parametrize("maker", ["gramine", "rats-tls"])
def test_without_an_exception_they_are_refused_for_what_they_are(maker: str) -> None:
    result = judged(der_of(maker), debug=None, statuses=())
    assert [check.name for check in result.refusals] == ["TCB status", "enclave: not in debug mode"]


def test_what_one_maker_wrote_speaks_for_nobody_elses_key() -> None:
    """The evidence of one certificate in the other, which has another key."""
    gramine, other = der_of("gramine"), der_of("rats-tls")
    theirs = AttestedCertificate.parse(gramine).public_key
    mine = AttestedCertificate.parse(other).public_key
    stolen = spliced(gramine, theirs, mine)
    assert [check.name for check in judged(stolen).refusals if "certificate" in check.name] == [KEY_CHECK]


def spliced(certificate: bytes, old: bytes, new: bytes) -> bytes:
    """The certificate with another public key."""
    parts = der.children(der.parse(certificate, where="test"), where="test")
    fields = [field.encoded for field in der.children(parts[0], where="test")]
    changed = [new if field == old else field for field in fields]
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, *changed), *(part.encoded for part in parts[1:]))
