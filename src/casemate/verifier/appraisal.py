"""The appraisal procedure, from bytes to an attestation result.

It follows the driver of Intel's Quote Verification Library and its ``VerifyQuote``, for SGX quotes of version
3, and is stricter where that library is lax: bytes after the quote or after a certificate chain, chains in
another order, JSON that was changed without changing its meaning, validity that has not begun, debug enclaves
and expired endorsements are refused. Not done: versions 4 and 5 of quotes, TDX, and comparing the time of
endorsements with each other (``tcbEvaluationDataNumber``).
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from casemate.formats.certificates import Certificate
from casemate.formats.sgx.collateral import Collateral, EnclaveIdentity, TcbInfo
from casemate.formats.sgx.quote import Quote
from casemate.formats.sgx.report import ReportBody
from casemate.verifier import chains
from casemate.verifier.chains import ChainRule, check_revocation, verify_chain, verify_crl
from casemate.verifier.checklist import Checklist
from casemate.verifier.endorsements import verify_qe_identity, verify_tcb_info
from casemate.verifier.evidence import (
    AuthenticEvidence,
    authenticate,
    check_enclave,
    check_quoting_enclave,
    compare_with_policy,
    read_quote,
)
from casemate.verifier.policy import AppraisalPolicy
from casemate.verifier.requirements import Requirement
from casemate.verifier.result import AttestationResult, Claims, Verdict
from casemate.verifier.roots import TrustRoot, TrustRoots
from casemate.verifier.tcb import Standing, judge_status, match_level, read_pck


def appraise(
    evidence: bytes,
    *,
    endorsements: Collateral,
    trust_roots: TrustRoots,
    policy: AppraisalPolicy,
    at: datetime,
) -> AttestationResult:
    """Judge a quote at one instant; a refusal is a value and carries every reason that could be found.

    A step that needs what an earlier step refused is not made, and its checks are missing from the result;
    with any check missing the verdict is not affirming.

    Args:
        evidence: The quote.
        endorsements: Intel's collateral for the platform.
        trust_roots: The roots that are trusted; the platform's chain decides which of them holds for
            everything.
        policy: What is accepted.
        at: The instant, with a time zone.
    """
    checks = Checklist(at=at, accept_expired=policy.accept_expired_endorsements)
    # 1. A policy that names no enclave accepts none.
    _check_policy(checks, policy)
    # 2. Read the quote: version, key type, TEE, vendor, kind of certification data (QVL 4.1.2.4.2).
    quote = read_quote(checks, evidence)
    if quote is None:
        return _conclude(checks)
    # 3. The PCK certificate chain of the quote, up to a trusted root key (QVL VerifyPCKCertificate).
    chain = verify_chain(checks, chains.PCK_CHAIN, quote.certification_data, trust_roots)
    if chain is None:
        return _conclude(checks, quote)
    pck, _, root = chain
    anchor = trust_roots.find(root.point)
    under_same_root = TrustRoots(roots=tuple(filter(None, (anchor,))))
    # 4 to 6. What the manufacturer says about this platform and its quoting enclave.
    tcb_info, qe_identity = _verify_endorsements(checks, endorsements, under_same_root, chain)
    # 7. Signatures from the PCK down to the enclave's report (QVL 4.1.2.4.12, .13, .16).
    authentic = authenticate(checks, quote, pck)
    if authentic is None:
        return _conclude(checks, quote, anchor)
    # 8. The level of the quoting enclave (4.1.2.4.15) and of the platform (4.1.2.4.10, .17), and both
    # together.
    qe_level = check_quoting_enclave(checks, authentic.qe_report, qe_identity)
    level = match_level(checks, read_pck(checks, pck), tcb_info)
    standing = judge_status(checks, level, qe_level, policy)
    # 9. The enclave is one that may be trusted at all (SDM 3D), and the one that the policy means.
    check_enclave(checks, authentic.report, policy)
    compare_with_policy(checks, authentic.report, policy)
    return _conclude(checks, quote, anchor, authentic, standing)


def _verify_endorsements(
    checks: Checklist,
    endorsements: Collateral,
    under_same_root: TrustRoots,
    chain: tuple[Certificate, ...],
) -> tuple[TcbInfo | None, EnclaveIdentity | None]:
    """Steps 4 to 6: TCB info and QE identity, each ``None`` when it is refused.

    Args:
        checks: The record.
        endorsements: Intel's collateral for the platform.
        under_same_root: The root of the platform's chain and no other.
        chain: Of the quote: PCK, its issuer, root.
    """
    pck, authority, root = chain
    # 4. CRLs of the root and of the PCK's issuer, and whom they revoke (QVL VerifyPCKCertificate, 4.1.2.4.6,
    # .7).
    root_crl = verify_crl(checks, chains.ROOT_CRL, endorsements.root_ca_crl, root)
    pck_crl = verify_crl(checks, chains.PCK_CRL, endorsements.pck_crl, authority)
    check_revocation(checks, Requirement.INTERMEDIATE_REVOKED, authority, root_crl)
    check_revocation(checks, Requirement.PCK_REVOKED, pck, pck_crl)
    _check_crl_issuer(checks, endorsements, under_same_root, authority)
    # 5. TCB info (QVL VerifyTCBInfo).
    tcb_signer = _verify_signer(checks, chains.TCB_CHAIN, endorsements.tcb_info_issuer_chain, under_same_root)
    check_revocation(checks, Requirement.TCB_SIGNER_REVOKED, tcb_signer, root_crl)
    tcb_info = verify_tcb_info(checks, endorsements, tcb_signer)
    # 6. QE identity (QVL VerifyEnclaveIdentity).
    qe_signer = _verify_signer(
        checks, chains.QE_CHAIN, endorsements.qe_identity_issuer_chain, under_same_root
    )
    check_revocation(checks, Requirement.QE_SIGNER_REVOKED, qe_signer, root_crl)
    return tcb_info, verify_qe_identity(checks, endorsements, qe_signer)


def _check_policy(checks: Checklist, policy: AppraisalPolicy) -> None:
    checks.require(
        Requirement.POLICY,
        passed=policy.names_an_enclave,
        expected="MRENCLAVE, or MRSIGNER with ISVPRODID",
        got="MRENCLAVE or MRSIGNER with ISVPRODID" if policy.names_an_enclave else "neither",
    )


def _check_crl_issuer(
    checks: Checklist, endorsements: Collateral, roots: TrustRoots, authority: Certificate
) -> None:
    """The chain that came with the PCK CRL speaks of the same issuer as the quote's chain."""
    chain = verify_chain(checks, chains.CRL_CHAIN, endorsements.pck_crl_issuer_chain, roots)
    if chain is not None:
        checks.require(
            Requirement.CRL_CHAIN_KEY,
            passed=chain[0].point == authority.point,
            expected=f"the key {authority.point.hex()}",
            got=chain[0].point.hex(),
        )


def _verify_signer(checks: Checklist, rule: ChainRule, pem: bytes, roots: TrustRoots) -> Certificate | None:
    """The certificate that signs TCB info or QE identity."""
    chain = verify_chain(checks, rule, pem, roots)
    return None if chain is None else chain[0]


def _conclude(
    checks: Checklist,
    quote: Quote | None = None,
    anchor: TrustRoot | None = None,
    authentic: AuthenticEvidence | None = None,
    standing: Standing | None = None,
) -> AttestationResult:
    """The result: affirming only when every check of the procedure was made and has passed."""
    return AttestationResult(
        verdict=Verdict.AFFIRMING if checks.complete else Verdict.CONTRAINDICATED,
        tcb_status=standing.status if standing else None,
        advisory_ids=standing.advisory_ids if standing else (),
        claims=_claims(authentic.report) if authentic else None,
        simulated=anchor is not None and anchor.simulated,
        earliest_expiration=checks.earliest_end,
        evidence_digest=hashlib.sha256(quote.signed).digest() if quote else None,
        checks=checks.checks,
    )


def _claims(report: ReportBody) -> Claims:
    return Claims(
        mrenclave=report.mrenclave,
        mrsigner=report.mrsigner,
        isvprodid=report.isvprodid,
        isvsvn=report.isvsvn,
        attributes=report.attributes,
        misc_select=report.misc_select,
        report_data=report.report_data,
    )
