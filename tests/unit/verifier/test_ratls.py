"""An RA-TLS certificate is believed only for its own key, its own quote and an accepted enclave."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from casemate.formats import der
from casemate.formats.eat import COSMIAN_OID, EVIDENCE_OID, GRAMINE_OID, AttestedCertificate
from casemate.formats.sgx.quote import Tee
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.platform import SimulatedPlatform
from casemate.simulator.trust_domain import SimulatedTrustDomain
from casemate.verifier.policy import AppraisalPolicy
from casemate.verifier.ratls import EVIDENCE_CHECK, KEY_CHECK, appraise_certificate
from casemate.verifier.result import AttestationResult, Verdict
from casemate.verifier.roots import TrustRoots
from casemate_attester import cbor
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
    extensions = {} if evidence is None else {EVIDENCE_OID: evidence}
    return certificate_with(extensions, key or ec.generate_private_key(ec.SECP256R1()))


def certificate_with(extensions: dict[str, bytes], key: ec.EllipticCurvePrivateKey) -> bytes:
    """A self-signed certificate of ``key`` with these extensions."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anybody")])
    builder = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW)
    )
    for oid, value in extensions.items():
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
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
    assert result.checks[0].got == (
        "extensions of the certificate: expected each at most once, got 2.23.133.5.4.9 twice"
    )


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


# Certificates of other makers.


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def bound(data: bytes) -> bytes:
    return hashlib.sha256(data).digest().ljust(64, b"\0")


def tagged(quote_for: Callable[[bytes], bytes], claims: bytes) -> bytes:
    return cbor.encode(cbor.Tagged(tag=60000, item=(quote_for(bound(claims)), claims)))


KEYS = {
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
}


def gramine(quote_for: Callable[[bytes], bytes], key: ec.EllipticCurvePrivateKey, **changed: bytes) -> bytes:
    """As Gramine since 1.8 makes it: both forms, a quote in each."""
    extensions = {
        GRAMINE_OID: quote_for(bound(spki(key))),
        EVIDENCE_OID: tagged(quote_for, claims_for(key.public_key())),
    }
    named = {"legacy": GRAMINE_OID, "interoperable": EVIDENCE_OID}
    return certificate_with(extensions | {named[form]: value for form, value in changed.items()}, key)


@pytest.mark.parametrize("curve", KEYS)
def test_certificates_of_gramine_are_affirmed(
    platform: SimulatedPlatform, enclave: SimulatedEnclave, curve: str
) -> None:
    result = appraised(platform, gramine(enclave.quote, KEYS[curve]))
    assert (result.verdict, result.refusals) == (Verdict.AFFIRMING, ())
    assert result.checks[0].got == "a quote that speaks for the key (interoperable RA-TLS)"


def test_evidence_that_is_wrong_is_not_made_good_by_an_older_form(
    platform: SimulatedPlatform, enclave: SimulatedEnclave
) -> None:
    key = KEYS["P-384"]
    other = claims_for(KEYS["P-256"].public_key())
    broken = gramine(enclave.quote, key, interoperable=b"\xa0")
    assert refusals(appraised(platform, broken)) == [EVIDENCE_CHECK]
    foreign = gramine(enclave.quote, key, interoperable=tagged(enclave.quote, other))
    assert refusals(appraised(platform, foreign)) == [KEY_CHECK]
    unbound = gramine(enclave.quote, key, interoperable=tagged(enclave.quote, b"\xa0"))
    assert refusals(appraised(platform, unbound)) == [EVIDENCE_CHECK]


def test_claims_without_the_hash_of_a_key_are_refused_though_gramine_accepts_them(
    platform: SimulatedPlatform, enclave: SimulatedEnclave
) -> None:
    nonce = cbor.encode({"nonce": b"n"})
    certificate = certificate_with({EVIDENCE_OID: tagged(enclave.quote, nonce)}, KEYS["P-256"])
    result = appraised(platform, certificate)
    assert refusals(result) == [EVIDENCE_CHECK]
    assert result.checks[0].got == 'evidence claims: expected the claim "pubkey-hash", got none'


#: The extension, what of the key its report data bind, and whose form that is.
BARE = {
    "Gramine before 1.8": (GRAMINE_OID, spki),
    "Cosmian": (COSMIAN_OID, point),
}


@pytest.mark.parametrize("curve", KEYS)
@pytest.mark.parametrize("maker", BARE)
def test_bare_quotes_bind_the_key_by_their_report_data(
    platform: SimulatedPlatform, enclave: SimulatedEnclave, maker: str, curve: str
) -> None:
    (oid, of_key), key = BARE[maker], KEYS[curve]
    good = appraised(platform, certificate_with({oid: enclave.quote(bound(of_key(key)))}, key))
    assert (good.verdict, good.refusals) == (Verdict.AFFIRMING, ())
    assert good.checks[0].got == f"a quote that speaks for the key ({maker})"
    others = {
        "of another key": bound(of_key(ec.generate_private_key(ec.SECP256R1()))),
        "in the second half": bound(of_key(key))[:63] + b"\1",
        "of another encoding": bound((point if of_key is spki else spki)(key)),
    }
    for name, report_data in others.items():
        wrong = appraised(platform, certificate_with({oid: enclave.quote(report_data)}, key))
        assert refusals(wrong) == ["enclave: report data"], name


def with_public_key(certificate: bytes, public_key: bytes) -> bytes:
    """The same certificate with another SubjectPublicKeyInfo; nothing looks at its own signature."""
    content, *rest = (
        part.encoded for part in der.children(der.parse(certificate, where="test"), where="test")
    )
    fields = [field.encoded for field in der.children(der.parse(content, where="test"), where="test")]
    fields[6] = public_key
    return der.encode(der.SEQUENCE, der.encode(der.SEQUENCE, *fields), *rest)


def chosen_generator(generator: bytes) -> bytes:
    """P-256 by its parameters (X9.62), with a generator of one's own: the private key of that point is 1."""
    prime = 2**256 - 2**224 + 2**192 + 2**96 - 1
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    octets = [der.encode(der.OCTET_STRING, value.to_bytes(32, "big")) for value in (prime - 3, b)]
    return der.encode(
        der.SEQUENCE,
        der.encode_integer(1),
        der.encode(der.SEQUENCE, der.encode_oid("1.2.840.10045.1.1"), der.encode_integer(prime)),
        der.encode(der.SEQUENCE, *octets),
        der.encode(der.OCTET_STRING, generator),
        der.encode_integer(order),
        der.encode_integer(1),
    )


def test_a_point_is_no_key_without_a_curve_that_has_a_name(
    platform: SimulatedPlatform, enclave: SimulatedEnclave
) -> None:
    key = KEYS["P-256"]
    good = certificate_with({COSMIAN_OID: enclave.quote(bound(point(key)))}, key)
    ec_key, bits = der.encode_oid("1.2.840.10045.2.1"), der.encode(der.BIT_STRING, b"\0", point(key))
    stolen = {
        "its own generator": der.encode(der.SEQUENCE, ec_key, chosen_generator(point(key))),
        "no curve": der.encode(der.SEQUENCE, ec_key),
        "another kind of key": der.encode(der.SEQUENCE, der.encode_oid("1.3.101.112")),
    }
    for name, algorithm in stolen.items():
        public_key = der.encode(der.SEQUENCE, algorithm, bits)
        result = appraised(platform, with_public_key(good, public_key))
        assert refusals(result) == [EVIDENCE_CHECK], name
        assert result.checks[0].got == (
            "public key of the certificate: expected a point of a named curve (RFC 5480), which is all that "
            "this form binds, got another kind of key, or a curve with parameters of its own"
        )
    algorithm = der.children(der.parse(spki(key), where="test"), where="test")[0].encoded
    cut = der.encode(der.SEQUENCE, algorithm, der.encode(der.BIT_STRING, b"\1", point(key)))
    result = appraised(platform, with_public_key(good, cut))
    assert refusals(result) == [EVIDENCE_CHECK]
    assert result.checks[0].got == ("public key of the certificate: expected a point, uncompressed, got 0104")


def test_two_bare_quotes_are_refused(platform: SimulatedPlatform, enclave: SimulatedEnclave) -> None:
    key = KEYS["P-256"]
    both = {oid: enclave.quote(bound(of_key(key))) for oid, of_key in BARE.values()}
    result = appraised(platform, certificate_with(both, key))
    assert refusals(result) == [EVIDENCE_CHECK]
    assert result.checks[0].got == "certificate: expected one evidence extension (2.23.133.5.4.9), got 2"


@pytest.mark.parametrize(
    ("oid", "maker"),
    [
        ("1.2.840.113741.1.13.1", "Intel's SGX SDK in its older form"),
        ("1.2.840.113556.10.1.1", "Open Enclave (report)"),
        ("1.2.840.113556.10.1.2", "Open Enclave (evidence)"),
        ("1.3.6.1.4.1.311.105.1", "Open Enclave (evidence)"),
    ],
)
def test_forms_whose_binding_is_not_read_are_refused_by_name(
    platform: SimulatedPlatform, enclave: SimulatedEnclave, oid: str, maker: str
) -> None:
    key = KEYS["P-256"]
    alone = appraised(platform, certificate_with({oid: enclave.quote(bound(spki(key)))}, key))
    assert refusals(alone) == [EVIDENCE_CHECK]
    assert alone.checks[0].got == (
        "certificate: expected one evidence extension (2.23.133.5.4.9),"
        f" got one that is not read ({oid}, {maker})"
    )
    beside = certificate_with(
        {oid: b"anything", EVIDENCE_OID: tagged(enclave.quote, claims_for(key.public_key()))}, key
    )
    assert appraised(platform, beside).verdict is Verdict.AFFIRMING


def test_any_extension_that_stands_there_twice_is_refused(
    platform: SimulatedPlatform, enclave: SimulatedEnclave
) -> None:
    shell = der.children(der.parse(gramine(enclave.quote, KEYS["P-256"]), where="test"), where="test")
    *fields, extensions = (field.encoded for field in der.children(shell[0], where="test"))
    first, second = der.children(
        der.children(der.parse(extensions, where="test"), tag=0xA3, where="test")[0], where="test"
    )
    thrice = der.encode(0xA3, der.encode(der.SEQUENCE, first.encoded, first.encoded, second.encoded))
    doubled = der.encode(
        der.SEQUENCE, der.encode(der.SEQUENCE, *fields, thrice), *(part.encoded for part in shell[1:])
    )
    result = appraised(platform, doubled)
    assert refusals(result) == [EVIDENCE_CHECK]
    assert result.checks[0].got == (
        f"extensions of the certificate: expected each at most once, got {GRAMINE_OID} twice"
    )


def test_a_trust_domain_speaks_for_its_key_in_the_same_form(platform: SimulatedPlatform) -> None:
    domain = SimulatedTrustDomain(platform=platform)
    identity = issue_identity(lambda report_data: domain.quote(bytes(report_data)))

    def judged(policy: AppraisalPolicy, certificate: bytes) -> AttestationResult:
        return appraise_certificate(
            certificate,
            endorsements=platform.sign(platform.statements(NOW, tee=Tee.TDX)),
            trust_roots=TrustRoots.simulated(platform.root_certificate),
            policy=policy,
            at=NOW,
        )

    policy = AppraisalPolicy(mrtds=(domain.report.mr_td,))
    assert judged(policy, as_der(identity)).verdict is Verdict.AFFIRMING
    assert refusals(judged(policy, certificate_around(evidence_of(identity)))) == [KEY_CHECK]
    of_enclave = AppraisalPolicy(mrenclaves=(MRENCLAVE,))
    assert refusals(judged(of_enclave, as_der(identity))) == ["policy names an enclave"]
