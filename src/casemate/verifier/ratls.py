"""Appraisal of an RA-TLS certificate: evidence for the key of a TLS connection.

"Interoperable RA-TLS" of the CCC Attestation SIG: the certificate carries a quote and claims; the quote's
report data is the hash of the claims, the claims hold the hash of the certificate's public key. The chain of
three links (key, claims, quote) is what makes the connection that of the enclave. In older forms there are no
claims, and the report data are the hash of the key. All 64 bytes of the report data are judged.

Not checked here, because nothing follows from it: the certificate's names, dates and self-signature. The time
inside an enclave is the host's, anybody can take any name, and the quote tells who made the certificate.
That the peer holds the private key is proved by the TLS handshake, which the caller made.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime
from hmac import compare_digest

from casemate.errors import FormatError
from casemate.formats.eat import AttestedCertificate, TaggedEvidence
from casemate.formats.sgx.collateral import Collateral
from casemate.verifier.appraisal import appraise
from casemate.verifier.policy import Policy
from casemate.verifier.result import EVIDENCE_CHECK, AttestationResult, Check, Verdict
from casemate.verifier.roots import TrustRoots

_PROFILE = "Interoperable RA-TLS"
_EXPECTED = "a quote that speaks for the key"
#: Name of the other check that this module adds to those of the quote.
KEY_CHECK = "certificate: key that the evidence speaks for"


def appraise_certificate(
    certificate: bytes,
    *,
    endorsements: Collateral,
    trust_roots: TrustRoots,
    policy: Policy,
    at: datetime,
    pck_chain: bytes | None = None,
) -> AttestationResult:
    """Judge the evidence of a certificate at one instant, and whether it speaks for the certificate's key.

    Args:
        certificate: DER; the peer has proved that it holds its key.
        endorsements: Intel's collateral for the platform.
        trust_roots: The roots that are trusted.
        policy: What is accepted. The report data that it names do not count: those of the certificate do.
        at: The instant, with a time zone.
        pck_chain: See :meth:`casemate.verifier.appraisal.Verifier.appraise`.
    """
    try:
        attested = AttestedCertificate.parse(certificate)
    except FormatError as error:
        return _without_evidence(str(error))
    result = appraise(
        attested.evidence.quote,
        endorsements=endorsements,
        trust_roots=trust_roots,
        policy=policy,
        at=at,
        report_data=attested.report_data,
        pck_chain=pck_chain,
    )
    made = [_evidence_check(f"{_EXPECTED} ({attested.form})")]
    if isinstance(attested.evidence, TaggedEvidence):
        made.append(_key_check(attested.evidence, attested.public_key))
    passed = all(check.passed for check in made)
    verdict = result.verdict if passed else Verdict.CONTRAINDICATED
    return replace(result, verdict=verdict, checks=(*made, *result.checks))


def refused_without_evidence(certificate: bytes) -> AttestationResult | None:
    """The refusal of a certificate that carries no evidence, for which nobody needs endorsements.

    Args:
        certificate: DER.

    Returns:
        ``None`` when it carries evidence, which is to be judged.
    """
    try:
        AttestedCertificate.parse(certificate)
    except FormatError as error:
        return _without_evidence(str(error))
    return None


def _key_check(evidence: TaggedEvidence, public_key: bytes) -> Check:
    """The claims speak of the certificate's key. A bare quote binds it by its report data."""
    own = hashlib.new(evidence.key_hash_algorithm, public_key).digest()
    return Check(
        name=KEY_CHECK,
        passed=compare_digest(own, evidence.key_hash),
        expected=evidence.key_hash.hex(),
        got=own.hex(),
        reference=f"{_PROFILE}, pubkey-hash",
    )


def _evidence_check(got: str, *, passed: bool = True) -> Check:
    return Check(
        name=EVIDENCE_CHECK,
        passed=passed,
        expected=_EXPECTED,
        got=got,
        reference=f"{_PROFILE}, evidence extension",
    )


def _without_evidence(reason: str) -> AttestationResult:
    return AttestationResult(
        verdict=Verdict.CONTRAINDICATED,
        genuine=False,
        tcb_status=None,
        advisory_ids=(),
        report=None,
        simulated=False,
        earliest_expiration=None,
        evidence_digest=None,
        checks=(_evidence_check(reason, passed=False),),
    )
