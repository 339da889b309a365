"""What evidence says about a trust domain, against the architecture and the policy.

Intel's TDX module ABI specification: what QVL leaves to its caller.
"""

from __future__ import annotations

from datetime import datetime

from casemate.formats.sgx.td_report import (
    RESERVED_ATTRIBUTES,
    UNDER_DEBUG,
    UNDER_PROFILING,
    TdAttributes,
    TdReport,
)
from casemate.verifier.checklist import Compared, Record
from casemate.verifier.enclave import debug_exemption
from casemate.verifier.grants import Grant
from casemate.verifier.masks import masked, under_mask
from casemate.verifier.policy import AppraisalPolicy
from casemate.verifier.requirements import Requirement

_NO_SERVICE = bytes(48)
_NO_BIT = "none of the bits"
_OBSERVED = UNDER_DEBUG | UNDER_PROFILING
_EVERY_BIT = b"\xff" * 8


class TrustDomainDemands:
    """What one policy demands of a trust domain, made ready to be compared.

    Args:
        policy: The policy.
    """

    __slots__ = ("_debug", "_expected_attributes", "_mask", "_policy", "_reference", "_rtmrs", "_services")

    def __init__(self, policy: AppraisalPolicy) -> None:
        self._policy = policy
        self._debug = debug_exemption(policy)
        self._services = (_NO_SERVICE, *policy.service_tds)
        self._rtmrs: Compared = None
        if policy.rtmrs is not None:
            self._rtmrs = ", ".join("any" if want is None else want.hex() for want in policy.rtmrs)
        mask, wanted = policy.td_attributes_mask, policy.td_attributes
        self._mask = _EVERY_BIT if mask is None else _as_bytes(mask)
        self._reference = None if wanted is None else masked(_as_bytes(wanted), self._mask)
        self._expected_attributes: Compared = (
            None if wanted is None else under_mask(_as_bytes(wanted), self._mask)
        )

    def compare(self, report: TdReport, at: datetime) -> tuple[Record, ...]:
        """The checks of a trust domain's report, report data left aside."""
        return self._architecture(report, at) + self._identity(report)

    def grants(self, report: TdReport, at: datetime) -> list[Grant]:
        """What is accepted at an instant that is refused otherwise."""
        found = []
        if self._debug is not None and self._debug.holds(at) and report.td_attributes & _OBSERVED:
            found.append(Grant.of("a trust domain in debug mode", self._debug))
        exceptions = self._policy.host_exceptions
        if exceptions is not None and exceptions.holds(at) and not _sept_ve(report):
            found.append(Grant.of("a trust domain into which the host injects exceptions", exceptions))
        return found

    def _architecture(self, report: TdReport, at: datetime) -> tuple[Record, ...]:
        """What the architecture demands of a trust domain to be trusted."""
        attributes, exceptions = report.td_attributes, self._policy.host_exceptions
        debug = self._debug is not None and self._debug.holds(at)
        observed, reserved = attributes & _OBSERVED, attributes & RESERVED_ATTRIBUTES
        migratable = attributes & TdAttributes.MIGRATABLE
        tolerated = exceptions is not None and exceptions.holds(at)
        service = report.mr_service_td or _NO_SERVICE
        return (
            (
                Requirement.TD_DEBUG,
                debug or not observed,
                _OBSERVED_OR_NOT if debug else _NO_BIT,
                f"{int(observed):#x}",
            ),
            (Requirement.TD_RESERVED, not reserved, _NO_BIT, f"{int(reserved):#x}"),
            (Requirement.TD_MIGRATION, not migratable, _NO_BIT, f"{int(migratable):#x}"),
            (
                Requirement.TD_SEPT_VE,
                tolerated or _sept_ve(report),
                "0 or 1 (the policy allows exceptions that the host injects)" if tolerated else "1",
                "1" if _sept_ve(report) else "0",
            ),
            (Requirement.TD_SERVICE, service in self._services, self._services, service),
        )

    def _identity(self, report: TdReport) -> tuple[Record, ...]:
        """The trust domain's identity against the reference values; what the policy leaves open is so."""
        policy = self._policy
        return (
            (
                Requirement.MRTD,
                not policy.mrtds or report.mr_td in policy.mrtds,
                policy.mrtds or None,
                report.mr_td,
            ),
            self._rtmrs_record(report),
            _same(Requirement.MR_CONFIG_ID, policy.mr_config_id, report.mr_config_id),
            _same(Requirement.MR_OWNER, policy.mr_owner, report.mr_owner),
            _same(Requirement.MR_OWNER_CONFIG, policy.mr_owner_config, report.mr_owner_config),
            self._attributes_record(report),
        )

    def _rtmrs_record(self, report: TdReport) -> Record:
        found = (report.rtmr0, report.rtmr1, report.rtmr2, report.rtmr3)
        wanted = self._policy.rtmrs or (None, None, None, None)
        same = all(want is None or want == have for want, have in zip(wanted, found, strict=True))
        return (Requirement.RTMRS, same, self._rtmrs, ", ".join(value.hex() for value in found))

    def _attributes_record(self, report: TdReport) -> Record:
        value = _as_bytes(report.td_attributes)
        same = self._reference is None or masked(value, self._mask) == self._reference
        return (Requirement.TD_ATTRIBUTES, same, self._expected_attributes, value)


_OBSERVED_OR_NOT = "any of the bits (the policy allows debug mode)"


def _as_bytes(attributes: TdAttributes) -> bytes:
    """Most significant byte first, as people write the number."""
    return int(attributes).to_bytes(8, "big")


def _sept_ve(report: TdReport) -> bool:
    return bool(report.td_attributes & TdAttributes.SEPT_VE_DISABLE)


def _same(requirement: Requirement, wanted: bytes | None, found: bytes) -> Record:
    return (requirement, wanted is None or found == wanted, wanted, found)
