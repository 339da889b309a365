"""Evidence: the quote, the quoting enclave that made it, and the enclave that it speaks of.

QVL ``VerifyQuote``, sections 4.1.2.4.2 and 4.1.2.4.12 to 4.1.2.4.16, and what QVL leaves to the caller.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from casemate.errors import FormatError
from casemate.formats.certificates import Certificate
from casemate.formats.sgx.collateral import EnclaveIdentity, IsvLevel
from casemate.formats.sgx.quote import INTEL_QE_VENDOR_ID, PCK_CHAIN, Quote
from casemate.formats.sgx.report import (
    DEBUG,
    EINITTOKEN_KEY,
    INIT,
    PROVISION_KEY,
    Attributes,
    ReportBody,
)
from casemate.verifier.checklist import Checklist
from casemate.verifier.policy import AppraisalPolicy
from casemate.verifier.requirements import Requirement
from casemate.verifier.signatures import point_key, raw_signed_by


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticEvidence:
    """Reports whose signatures are right, from the PCK down.

    Attributes:
        report: What the enclave is.
        qe_report: What the quoting enclave is.
    """

    report: ReportBody
    qe_report: ReportBody


def read_quote(checks: Checklist, evidence: bytes) -> Quote | None:
    """The quote, once it is one of Intel's quoting enclave and brings its certificates (4.1.2.4.2)."""
    quote = checks.read(Requirement.QUOTE_FORMAT, _parse_version_3, evidence)
    if quote is None:
        return None
    vendor = quote.header.qe_vendor_id
    usable = (
        checks.require(
            Requirement.QE_VENDOR,
            passed=vendor == INTEL_QE_VENDOR_ID,
            expected=f"{INTEL_QE_VENDOR_ID.hex()} (Intel)",
            got=vendor.hex(),
        ),
        checks.require(
            Requirement.CERTIFICATION_DATA,
            passed=quote.certification_type == PCK_CHAIN,
            expected=f"{PCK_CHAIN} (certificate chain of the PCK); others are not supported yet",
            got=str(quote.certification_type),
        ),
    )
    return quote if all(usable) else None


def _parse_version_3(data: bytes) -> Quote:
    quote = Quote.parse(data)
    if quote.version != 3:
        raise FormatError(
            "quote version",
            expected="3",
            got=str(quote.version),
            where="offset 0",
            hint="Versions 4 and 5, and TDX with them, are not supported yet.",
        )
    return quote


def authenticate(checks: Checklist, quote: Quote, pck: Certificate) -> AuthenticEvidence | None:
    """The reports, once the signatures from the PCK down to it are right (4.1.2.4.12, .13, .16).

    Signatures first: what they cover is read only when they are right.
    """
    if not checks.require_signature(
        Requirement.QE_REPORT_SIGNATURE,
        right=raw_signed_by(pck.public_key, quote.qe_report_signature, quote.qe_report),
        by="the PCK over the report of the quoting enclave",
    ):
        return None
    bound = hashlib.sha256(quote.attestation_key + quote.qe_auth_data).digest() + bytes(32)
    qe_report = ReportBody.parse(quote.qe_report)
    if not checks.require(
        Requirement.QE_REPORT_DATA,
        passed=qe_report.report_data == bound,
        expected=f"{bound.hex()} (SHA-256 of attestation key and authentication data, then zeros)",
        got=qe_report.report_data.hex(),
    ):
        return None
    key = point_key(quote.attestation_key)
    if not checks.require_signature(
        Requirement.QUOTE_SIGNATURE,
        right=key is not None and raw_signed_by(key, quote.signature, quote.signed),
        by="the attestation key over header and report",
    ):
        return None
    return AuthenticEvidence(report=ReportBody.parse(quote.body), qe_report=qe_report)


def check_quoting_enclave(
    checks: Checklist, report: ReportBody, identity: EnclaveIdentity | None
) -> IsvLevel | None:
    """The level of the quoting enclave; whether it is the one that the QE identity describes (4.1.2.4.15)."""
    if identity is None:
        return None
    attributes = report.attributes.to_bytes()
    for requirement, value, mask, expected in (
        (Requirement.QE_MISC_SELECT, report.misc_select, identity.misc_select_mask, identity.misc_select),
        (Requirement.QE_ATTRIBUTES, attributes, identity.attributes_mask, identity.attributes),
    ):
        checks.require(
            requirement,
            passed=_masked(value, mask) == expected,
            expected=f"{expected.hex()} under the mask {mask.hex()}",
            got=value.hex(),
        )
    checks.require(
        Requirement.QE_MRSIGNER,
        passed=report.mrsigner == identity.mrsigner,
        expected=identity.mrsigner.hex(),
        got=report.mrsigner.hex(),
    )
    checks.require(
        Requirement.QE_ISVPRODID,
        passed=report.isvprodid == identity.isvprodid,
        expected=str(identity.isvprodid),
        got=str(report.isvprodid),
    )
    ordered = sorted(identity.levels, key=lambda level: level.isvsvn, reverse=True)
    level = next((level for level in ordered if report.isvsvn >= level.isvsvn), None)
    checks.require(
        Requirement.QE_LEVEL,
        passed=level is not None,
        expected="an ISVSVN that reaches a level of the QE identity",
        got=str(report.isvsvn),
    )
    return level


def check_enclave(checks: Checklist, report: ReportBody, policy: AppraisalPolicy) -> None:
    """What the architecture demands of an enclave to be trusted (SDM 3D); QVL leaves it to the caller."""
    flags = report.attributes.flags
    checks.require(Requirement.INIT, passed=bool(flags & INIT), expected="1", got=_bit(flags, INIT))
    checks.require(
        Requirement.DEBUG,
        passed=policy.allow_debug or not flags & DEBUG,
        expected="0 or 1 (the policy allows debug enclaves)" if policy.allow_debug else "0",
        got=_bit(flags, DEBUG),
    )
    checks.require(
        Requirement.PROVISION_KEY,
        passed=not flags & PROVISION_KEY,
        expected="0",
        got=_bit(flags, PROVISION_KEY),
    )
    checks.require(
        Requirement.EINITTOKEN_KEY,
        passed=not flags & EINITTOKEN_KEY,
        expected="0",
        got=_bit(flags, EINITTOKEN_KEY),
    )
    reserved = (
        any(report.reserved),
        report.attributes.reserved_flags != 0,
        report.reserved_misc_select != 0,
    )
    checks.require(
        Requirement.RESERVED,
        passed=not any(reserved),
        expected="zero",
        got=f"fields {report.reserved.hex()}, ATTRIBUTES {report.attributes.reserved_flags:#x}, "
        f"MISCSELECT {report.reserved_misc_select:#x}"
        if any(reserved)
        else "zero",
    )


def compare_with_policy(checks: Checklist, report: ReportBody, policy: AppraisalPolicy) -> None:
    """The enclave's identity against the reference values; what the policy leaves open is recorded so."""
    for requirement, found, accepted in (
        (Requirement.MRENCLAVE, report.mrenclave, policy.mrenclaves),
        (Requirement.MRSIGNER, report.mrsigner, _named(policy.mrsigner)),
        (Requirement.MISC_SELECT, report.misc_select, _named(policy.misc_select)),
        (Requirement.REPORT_DATA, report.report_data, _named(policy.report_data)),
    ):
        expected = " or ".join(value.hex() for value in accepted) or _ANY
        checks.require(
            requirement, passed=not accepted or found in accepted, expected=expected, got=found.hex()
        )
    product, least = policy.isvprodid, policy.min_isvsvn
    checks.require(
        Requirement.ISVPRODID,
        passed=product is None or report.isvprodid == product,
        expected=_ANY if product is None else str(product),
        got=str(report.isvprodid),
    )
    checks.require(
        Requirement.ISVSVN,
        passed=least is None or report.isvsvn >= least,
        expected=_ANY if least is None else f"at least {least}",
        got=str(report.isvsvn),
    )
    _compare_attributes(checks, report.attributes, policy)


_ANY = "any (the policy names none)"


def _compare_attributes(checks: Checklist, found: Attributes, policy: AppraisalPolicy) -> None:
    value = found.to_bytes()
    if policy.attributes is None:
        checks.require(Requirement.ATTRIBUTES, passed=True, expected=_ANY, got=value.hex())
        return
    reference = policy.attributes.to_bytes()
    mask = policy.attributes_mask.to_bytes() if policy.attributes_mask is not None else b"\xff" * 16
    checks.require(
        Requirement.ATTRIBUTES,
        passed=_masked(value, mask) == _masked(reference, mask),
        expected=f"{reference.hex()} under the mask {mask.hex()}",
        got=value.hex(),
    )


def _named(value: bytes | None) -> tuple[bytes, ...]:
    return () if value is None else (value,)


def _masked(value: bytes, mask: bytes) -> bytes:
    return bytes(a & b for a, b in zip(value, mask, strict=True))


def _bit(flags: int, flag: int) -> str:
    return "1" if flags & flag else "0"
