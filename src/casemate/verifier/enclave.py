"""What evidence says about an enclave or a trust domain, against the architecture and the policy.

Intel SDM volume 3D for enclaves, and Intel's TDX module ABI specification for trust domains: what QVL leaves
to its caller.
"""

from __future__ import annotations

from casemate.formats.sgx.report import DEBUG, EINITTOKEN_KEY, INIT, PROVISION_KEY, Attributes, ReportBody
from casemate.formats.sgx.td_report import (
    RESERVED_ATTRIBUTES,
    UNDER_DEBUG,
    UNDER_PROFILING,
    TdAttributes,
    TdReport,
)
from casemate.verifier.checklist import Checklist, Compared
from casemate.verifier.masks import masked, under_mask
from casemate.verifier.policy import AppraisalPolicy
from casemate.verifier.requirements import Requirement

_NO_KEYS = PROVISION_KEY | EINITTOKEN_KEY


def check_report(
    checks: Checklist, report: ReportBody | TdReport, policy: AppraisalPolicy, report_data: bytes | None
) -> None:
    """Whether the enclave may be trusted at all, and is the one that the policy means."""
    if isinstance(report, TdReport):
        _check_trust_domain(checks, report, policy)
    else:
        _check_enclave(checks, report, policy)
        _compare_enclave(checks, report, policy)
    checks.require(
        Requirement.REPORT_DATA,
        passed=report_data is None or report.report_data == report_data,
        expected=report_data,
        got=report.report_data,
    )


def _check_enclave(checks: Checklist, report: ReportBody, policy: AppraisalPolicy) -> None:
    """What the architecture demands of an enclave to be trusted (SDM 3D)."""
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
    zero = not (any(report.reserved) or report.attributes.reserved_flags or report.reserved_misc_select)
    checks.require(
        Requirement.RESERVED,
        passed=zero,
        expected="zero",
        got="zero"
        if zero
        else f"fields {report.reserved.hex()}, ATTRIBUTES {report.attributes.reserved_flags:#x}, "
        f"MISCSELECT {report.reserved_misc_select:#x}",
    )


def _compare_enclave(checks: Checklist, report: ReportBody, policy: AppraisalPolicy) -> None:
    """The enclave's identity against the reference values; what the policy leaves open is recorded so."""
    for requirement, found, accepted in (
        (Requirement.MRENCLAVE, report.mrenclave, policy.mrenclaves),
        (Requirement.MRSIGNER, report.mrsigner, _named(policy.mrsigner)),
        (Requirement.MISC_SELECT, report.misc_select, _named(policy.misc_select)),
    ):
        checks.require(
            requirement, passed=not accepted or found in accepted, expected=accepted or None, got=found
        )
    product, least = policy.isvprodid, policy.min_isvsvn
    checks.require(
        Requirement.ISVPRODID,
        passed=product is None or report.isvprodid == product,
        expected=product,
        got=report.isvprodid,
    )
    checks.require(
        Requirement.ISVSVN,
        passed=least is None or report.isvsvn >= least,
        expected=None if least is None else f"at least {least}",
        got=report.isvsvn,
    )
    _compare_attributes(checks, report.attributes, policy)


def _compare_attributes(checks: Checklist, found: Attributes, policy: AppraisalPolicy) -> None:
    value = found.to_bytes()
    passed, expected = True, None
    if policy.attributes is not None:
        mask = policy.attributes_mask.to_bytes() if policy.attributes_mask is not None else b"\xff" * 16
        reference = policy.attributes.to_bytes()
        passed, expected = masked(value, mask) == masked(reference, mask), under_mask(reference, mask)
    checks.require(Requirement.ATTRIBUTES, passed=passed, expected=expected, got=value)


def _check_trust_domain(checks: Checklist, report: TdReport, policy: AppraisalPolicy) -> None:
    """What the architecture demands of a trust domain to be trusted, and its identity."""
    attributes = report.td_attributes
    observed = attributes & (UNDER_DEBUG | UNDER_PROFILING)
    for requirement, bits, passed in (
        (Requirement.TD_DEBUG, observed, policy.allow_debug or not observed),
        (Requirement.TD_RESERVED, attributes & RESERVED_ATTRIBUTES, not attributes & RESERVED_ATTRIBUTES),
        (
            Requirement.TD_MIGRATION,
            attributes & TdAttributes.MIGRATABLE,
            not attributes & TdAttributes.MIGRATABLE,
        ),
    ):
        checks.require(requirement, passed=passed, expected="none of the bits", got=f"{int(bits):#x}")
    checks.require(
        Requirement.TD_SEPT_VE,
        passed=bool(attributes & TdAttributes.SEPT_VE_DISABLE),
        expected="1",
        got=_bit(attributes, TdAttributes.SEPT_VE_DISABLE),
    )
    service = report.mr_service_td or bytes(48)
    checks.require(Requirement.TD_SERVICE, passed=not any(service), expected=bytes(48), got=service)
    checks.require(
        Requirement.MRTD,
        passed=report.mr_td in policy.mrtds,
        expected=policy.mrtds or "one that the policy names",
        got=report.mr_td,
    )
    _compare_rtmrs(checks, report, policy)


def _compare_rtmrs(checks: Checklist, report: TdReport, policy: AppraisalPolicy) -> None:
    found = (report.rtmr0, report.rtmr1, report.rtmr2, report.rtmr3)
    expected: Compared = None
    passed = True
    if policy.rtmrs is not None:
        passed = all(want is None or want == have for want, have in zip(policy.rtmrs, found, strict=True))
        expected = ", ".join("any" if want is None else want.hex() for want in policy.rtmrs)
    checks.require(
        Requirement.RTMRS, passed=passed, expected=expected, got=", ".join(value.hex() for value in found)
    )


def _named(value: bytes | None) -> tuple[bytes, ...]:
    return () if value is None else (value,)


def _bit(flags: int, flag: int) -> str:
    return "1" if flags & flag else "0"
