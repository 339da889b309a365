"""The quoting enclave: certified by the platform, known to the manufacturer, bound to its attestation key.

QVL ``VerifyQuote``, sections 4.1.2.4.12, .13 and .15.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from casemate.formats.sgx.collateral import EnclaveIdentity
from casemate.formats.sgx.quote import Quote, Tee
from casemate.formats.sgx.report import ReportBody
from casemate.verifier.checklist import Checklist, Record
from casemate.verifier.masks import masked, under_mask
from casemate.verifier.platform import Platform
from casemate.verifier.requirements import Requirement, Stage, required
from casemate.verifier.signatures import point_key, raw_signed_by

_CHECKS = len(required(Tee.SGX, Stage.QUOTING_ENCLAVE))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class QuotingEnclave:
    """A quoting enclave with its attestation key.

    Attributes:
        report: What it is; ``None`` unless the platform has signed it.
        binds_key: Whether the report binds the attestation key of the quote.
        key: That key; ``None`` unless the report binds it, and when it is no point of the curve.
        records: Every check that was made.
        complete: Whether every check was made and has passed.
    """

    report: ReportBody | None
    binds_key: bool
    key: EllipticCurvePublicKey | None
    records: tuple[Record, ...]
    complete: bool

    @classmethod
    def of(cls, quote: Quote, platform: Platform, identity: EnclaveIdentity | None) -> QuotingEnclave:
        """Verify the quoting enclave of a quote.

        Args:
            quote: The quote.
            platform: Whose PCK is trusted.
            identity: What the manufacturer says about quoting enclaves of this kind; ``None`` when it was
                refused.
        """
        checks = Checklist()
        report = _signed_report(checks, quote, platform)
        binds_key = report is not None and _binds_key(checks, quote, report)
        if report is not None and identity is not None:
            _check_identity(checks, report, identity)
        return cls(
            report=report,
            binds_key=binds_key,
            key=point_key(quote.attestation_key) if binds_key else None,
            records=tuple(checks.records),
            complete=checks.has_made_all(_CHECKS),
        )


def _signed_report(checks: Checklist, quote: Quote, platform: Platform) -> ReportBody | None:
    """4.1.2.4.12: the report, once the PCK has signed it. What a signature covers is read after it."""
    if platform.pck is None or not checks.require_signature(
        Requirement.QE_REPORT_SIGNATURE,
        right=raw_signed_by(platform.pck.public_key, quote.qe_report_signature, quote.qe_report),
        by="the PCK over the report of the quoting enclave",
    ):
        return None
    return ReportBody.parse(quote.qe_report)


def _binds_key(checks: Checklist, quote: Quote, report: ReportBody) -> bool:
    """4.1.2.4.13: the report binds the attestation key."""
    bound = hashlib.sha256(quote.attestation_key + quote.qe_auth_data).digest() + bytes(32)
    return checks.require(
        Requirement.QE_REPORT_DATA,
        passed=report.report_data == bound,
        expected=lambda: f"{bound.hex()} (SHA-256 of attestation key and authentication data, then zeros)",
        got=report.report_data,
    )


def _check_identity(checks: Checklist, report: ReportBody, identity: EnclaveIdentity) -> None:
    """4.1.2.4.15: the quoting enclave is the one that the manufacturer describes."""
    for requirement, value, mask, expected in (
        (Requirement.QE_MISC_SELECT, report.misc_select, identity.misc_select_mask, identity.misc_select),
        (
            Requirement.QE_ATTRIBUTES,
            report.attributes.to_bytes(),
            identity.attributes_mask,
            identity.attributes,
        ),
    ):
        checks.require(
            requirement,
            passed=masked(value, mask) == expected,
            expected=under_mask(expected, mask),
            got=value,
        )
    checks.require(
        Requirement.QE_MRSIGNER,
        passed=report.mrsigner == identity.mrsigner,
        expected=identity.mrsigner,
        got=report.mrsigner,
    )
    checks.require(
        Requirement.QE_ISVPRODID,
        passed=report.isvprodid == identity.isvprodid,
        expected=identity.isvprodid,
        got=report.isvprodid,
    )
