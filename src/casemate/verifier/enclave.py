"""What evidence says about an enclave, against the architecture and the policy.

Intel SDM volume 3D: what QVL leaves to its caller.
"""

from __future__ import annotations

from datetime import datetime

from casemate.formats.sgx.report import DEBUG, EINITTOKEN_KEY, INIT, PROVISION_KEY, Attributes, ReportBody
from casemate.verifier.checklist import Compared, Record
from casemate.verifier.grants import UNEXPLAINED, Grant
from casemate.verifier.masks import masked, under_mask
from casemate.verifier.policy import AppraisalPolicy, Exemption
from casemate.verifier.requirements import Requirement

_EVERY_BIT = b"\xff" * 16


class EnclaveDemands:
    """What one policy demands of an enclave, made ready to be compared.

    Args:
        policy: The policy.
    """

    __slots__ = (
        "_attributes",
        "_debug",
        "_expected_attributes",
        "_expected_isvsvn",
        "_mask",
        "_misc_select",
        "_mrenclaves",
        "_mrsigner",
        "_policy",
    )

    def __init__(self, policy: AppraisalPolicy) -> None:
        self._policy = policy
        # What is not named is recorded as ``None``: any.
        self._mrenclaves = policy.mrenclaves or None
        self._mrsigner = None if policy.mrsigner is None else (policy.mrsigner,)
        self._misc_select = None if policy.misc_select is None else (policy.misc_select,)
        self._mask = _EVERY_BIT if policy.attributes_mask is None else policy.attributes_mask.to_bytes()
        self._attributes: bytes | None = None
        self._expected_attributes: Compared = None
        if policy.attributes is not None:
            reference = policy.attributes.to_bytes()
            self._attributes = masked(reference, self._mask)
            self._expected_attributes = under_mask(reference, self._mask)
        self._expected_isvsvn = None if policy.min_isvsvn is None else f"at least {policy.min_isvsvn}"
        self._debug = debug_exemption(policy)

    def compare(self, report: ReportBody, at: datetime) -> tuple[Record, ...]:
        """The checks of an enclave's report, report data left aside."""
        return self._architecture(report, at) + self._identity(report)

    def grants(self, report: ReportBody, at: datetime) -> list[Grant]:
        """What is accepted at an instant that is refused otherwise."""
        if self._debug is None or not self._debug.holds(at) or not report.attributes.flags & DEBUG:
            return []
        return [Grant.of("an enclave in debug mode", self._debug)]

    def _architecture(self, report: ReportBody, at: datetime) -> tuple[Record, ...]:
        """What the architecture demands of an enclave to be trusted (SDM 3D)."""
        flags, debug = report.attributes.flags, self._debug is not None and self._debug.holds(at)
        reserved = report.reserved, report.attributes.reserved_flags, report.reserved_misc_select
        zero = reserved == _ZERO
        return (
            (Requirement.INIT, bool(flags & INIT), "1", "1" if flags & INIT else "0"),
            (
                Requirement.DEBUG,
                debug or not flags & DEBUG,
                _DEBUG_OR_NOT if debug else "0",
                "1" if flags & DEBUG else "0",
            ),
            (
                Requirement.PROVISION_KEY,
                not flags & PROVISION_KEY,
                "0",
                "1" if flags & PROVISION_KEY else "0",
            ),
            (
                Requirement.EINITTOKEN_KEY,
                not flags & EINITTOKEN_KEY,
                "0",
                "1" if flags & EINITTOKEN_KEY else "0",
            ),
            (Requirement.RESERVED, zero, "zero", "zero" if zero else _reserved(report)),
        )

    def _identity(self, report: ReportBody) -> tuple[Record, ...]:
        """The enclave's identity against the reference values; what the policy leaves open is recorded so."""
        policy, mrenclave, mrsigner = self._policy, self._mrenclaves, self._mrsigner
        product, least = policy.isvprodid, policy.min_isvsvn
        return (
            (
                Requirement.MRENCLAVE,
                mrenclave is None or report.mrenclave in mrenclave,
                mrenclave,
                report.mrenclave,
            ),
            (
                Requirement.MRSIGNER,
                mrsigner is None or report.mrsigner in mrsigner,
                mrsigner,
                report.mrsigner,
            ),
            (
                Requirement.MISC_SELECT,
                self._misc_select is None or report.misc_select in self._misc_select,
                self._misc_select,
                report.misc_select,
            ),
            (
                Requirement.ISVPRODID,
                product is None or report.isvprodid == product,
                product,
                report.isvprodid,
            ),
            (
                Requirement.ISVSVN,
                least is None or report.isvsvn >= least,
                self._expected_isvsvn,
                report.isvsvn,
            ),
            self._attributes_record(report.attributes),
        )

    def _attributes_record(self, found: Attributes) -> Record:
        value = found.to_bytes()
        same = self._attributes is None or masked(value, self._mask) == self._attributes
        return (Requirement.ATTRIBUTES, same, self._expected_attributes, value)


_ZERO = (bytes(118), 0, 0)
_DEBUG_OR_NOT = "0 or 1 (the policy allows debug enclaves)"


def debug_exemption(policy: AppraisalPolicy) -> Exemption | None:
    """Why debug is accepted, unless that has ended; ``None`` when it is not."""
    return policy.debug or (Exemption(reason=UNEXPLAINED) if policy.allow_debug else None)


def _reserved(report: ReportBody) -> str:
    return (
        f"fields {report.reserved.hex()}, ATTRIBUTES {report.attributes.reserved_flags:#x}, "
        f"MISCSELECT {report.reserved_misc_select:#x}"
    )
