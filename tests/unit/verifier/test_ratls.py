"""An RA-TLS certificate is believed only for its own key, its own quote and an accepted enclave."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from casemate.formats import der
from casemate.formats.eat import EVIDENCE_OID, AttestedCertificate
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.platform import SimulatedPlatform
from casemate.verifier.policy import AppraisalPolicy
from casemate.verifier.ratls import EVIDENCE_CHECK, KEY_CHECK, appraise_certificate
from casemate.verifier.result import AttestationResult, Verdict
from casemate.verifier.roots import TrustRoots
from casemate_attester.ratls import Identity, claims_for, issue_identity

NOW = datetime(2026, 6, 1, tzinfo=UTC)
MRENCLAVE = MrEnclave(bytes(range(32)))


@pytest.fixture(scope="module")
def platform() -> SimulatedPlatform:
    return SimulatedPlatform.create(now=NOW)


@pytest.fixture(scope="module")
def enclave(platform: SimulatedPlatform) -> SimulatedEnclave:
    return SimulatedEnclave(
        platform=platform,
        mrenclave=MRENCLAVE,
        mrsigner=MrSigner(bytes(32)),
    )


@pytest.fixture(scope="module")
def identity(enclave: SimulatedEnclave) -> Identity:
    return issue_identity(lambda report_data: enclave.quote(bytes(report_data)))


def appraised(platform: SimulatedPlatform, certificate: bytes, **policy: object) -> AttestationResult:
    return appraise_certificate(
        certificate,
        endorsements=platform.collateral,
        trust_roots=TrustRoots.simulated(platform.root_certificate),
        policy=replace(AppraisalPolicy(mrenclaves=(MRENCLAVE,)), **policy),
        at=NOW,
    )


def refusals(result: AttestationResult) -> list[str]:
    assert result.verdict is Verdict.CONTRAINDICATED
    return [check.name for check in result.refusals]


def certificate_around(evidence: bytes | None, key: ec.EllipticCurvePrivateKey | None = None) -> bytes:
    """A self-signed certificate of ``key`` (a new one when left out) that carries ``evidence``."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anybody")])
    builder = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW)
    )
    if evidence is not None:
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(EVIDENCE_OID), evidence)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def as_der(identity: Identity) -> bytes:
    return identity.certificate.public_bytes(Encoding.DER)


def evidence_of(identity: Identity) -> bytes:
    found = identity.certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(EVIDENCE_OID))
    return found.value.value


def test_the_attesters_own_certificate_is_affirmed(platform: SimulatedPlatform, identity: Identity) -> None:
    result = appraised(platform, as_der(identity))
    assert (result.verdict, result.simulated, result.refusals) == (Verdict.AFFIRMING, True, ())
    assert [check.name for check in result.checks[:2]] == [EVIDENCE_CHECK, KEY_CHECK]


def test_stolen_evidence_does_not_speak_for_another_key(
    platform: SimulatedPlatform, identity: Identity
) -> None:
    assert refusals(appraised(platform, certificate_around(evidence_of(identity)))) == [KEY_CHECK]


def test_a_quote_over_other_claims_is_refused(
    platform: SimulatedPlatform, enclave: SimulatedEnclave, identity: Identity
) -> None:
    """The adversary writes claims for his own key around a quote that was made for others."""
    key = ec.generate_private_key(ec.SECP256R1())
    genuine = AttestedCertificate.parse(as_der(identity)).evidence
    forged = evidence_of(identity).replace(genuine.claims, claims_for(key.public_key()))
    result = appraised(platform, certificate_around(forged, key))
    assert refusals(result) == ["enclave: report data"]
    assert result.refusals[0].got == hashlib.sha256(genuine.claims).digest().ljust(64, b"\0").hex()


def test_a_second_half_of_the_report_data_is_refused(
    platform: SimulatedPlatform, enclave: SimulatedEnclave
) -> None:
    filled = issue_identity(lambda report_data: enclave.quote(bytes(report_data)[:32] + b"\1" * 32))
    assert refusals(appraised(platform, as_der(filled))) == ["enclave: report data"]


def test_another_enclave_is_refused(platform: SimulatedPlatform, identity: Identity) -> None:
    other = appraised(platform, as_der(identity), mrenclaves=(MrEnclave(bytes(32)),))
    assert refusals(other) == ["enclave: MRENCLAVE"]


def test_a_certificate_without_evidence_is_refused(platform: SimulatedPlatform) -> None:
    result = appraised(platform, certificate_around(None))
    assert refusals(result) == [EVIDENCE_CHECK]
    assert result.checks[0].got == "certificate: expected one evidence extension (2.23.133.5.4.9), got none"
    assert result.claims is None


def test_bytes_that_are_no_certificate_are_refused(platform: SimulatedPlatform) -> None:
    result = appraised(platform, b"not a certificate")
    assert refusals(result) == [EVIDENCE_CHECK]
    assert result.checks[0].got == "DER element: expected 111 bytes, got 15 bytes (certificate)"


def test_two_pieces_of_evidence_are_refused(platform: SimulatedPlatform, identity: Identity) -> None:
    """Whoever reads the other one would believe something else."""
    shell = der.children(der.parse(certificate_around(evidence_of(identity)), where="test"), where="test")
    *fields, extensions = (field.encoded for field in der.children(shell[0], where="test"))
    once = der.children(der.parse(extensions, where="test"), tag=0xA3, where="test")[0].content
    twice = der.encode(0xA3, der.encode(der.SEQUENCE, once, once))
    doubled = der.encode(
        der.SEQUENCE, der.encode(der.SEQUENCE, *fields, twice), *(part.encoded for part in shell[1:])
    )
    result = appraised(platform, doubled)
    assert refusals(result) == [EVIDENCE_CHECK]
    assert result.checks[0].got == "certificate: expected one evidence extension (2.23.133.5.4.9), got 2"


@pytest.mark.parametrize("size", range(0, 800, 7))
def test_a_certificate_that_is_cut_is_refused_by_name(
    platform: SimulatedPlatform, identity: Identity, size: int
) -> None:
    assert refusals(appraised(platform, as_der(identity)[:size])) == [EVIDENCE_CHECK]


def test_a_quote_that_is_cut_is_refused_with_the_quotes_reason(
    platform: SimulatedPlatform, enclave: SimulatedEnclave
) -> None:
    cut = issue_identity(lambda report_data: enclave.quote(bytes(report_data))[:-1])
    assert refusals(appraised(platform, as_der(cut))) == ["quote format"]
