"""What a relying party accepts: RFC 9334's appraisal policy for evidence, reference values included.

A policy is an :class:`AppraisalPolicy`, or several of them joined by :class:`AllOf` and :class:`AnyOf`,
within each other as often as needed. A policy that names no enclave, and one that is empty, refuses
everything.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.quote import Tee
from casemate.formats.sgx.report import Attributes, MrEnclave, MrSigner
from casemate.formats.sgx.td_report import MrTd, TdAttributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How old what the manufacturer says may be.

    Attributes:
        expiry_grace: How long certificates, CRLs, TCB info and QE identity are accepted after their end.
        max_age: How long after their issue TCB info and QE identity are accepted, whatever their end;
            ``None``: until their end. Intel issues them for 30 days and renews them long before.
        min_evaluation_number: The least ``tcbEvaluationDataNumber`` of TCB info and QE identity: which TCB
            recovery has to be known. ``None``: any.
        reason: Why there is a grace; ``None`` where nobody said.
    """

    expiry_grace: timedelta = timedelta(0)
    max_age: timedelta | None = None
    min_evaluation_number: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """Something is accepted that is refused otherwise.

    Attributes:
        reason: Why; shown with every result that relies on it.
        until: The last instant at which it holds; ``None``: for good.
    """

    reason: str
    until: datetime | None = None

    def holds(self, at: datetime) -> bool:
        """Whether it holds at an instant."""
        return self.until is None or at <= self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedStatus(Exemption):
    """A TCB status other than UpToDate is accepted, if every advisory of the levels is, too.

    Attributes:
        status: The status.
        any_advisory: Accept it whatever the advisories are, those that Intel has yet to publish included.
    """

    status: TcbStatus
    any_advisory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedAdvisory(Exemption):
    """An advisory of Intel's does not concern this workload.

    Attributes:
        id: As Intel writes it, for example ``INTEL-SA-00615``.
    """

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AppraisalPolicy:
    """Which enclaves on which platforms are accepted; everything that is named must match.

    A policy must name an enclave: by MRENCLAVE, or by MRSIGNER together with ISVPRODID, because one signer
    signs many products; or a trust domain by MRTD. What it says of enclaves does not concern trust domains,
    and the other way round; of a kind that it does not name it accepts none.

    Attributes:
        name: What people call it; ``None``: nothing.
        mrenclaves: Accepted measurements; empty: any that the signer vouches for.
        mrsigner: The accepted signer; ``None``: any.
        isvprodid: The accepted product; ``None``: any.
        min_isvsvn: The least security version; ``None``: any.
        attributes: Expected ATTRIBUTES under ``attributes_mask``; ``None``: any that the SDM allows.
        attributes_mask: Which bits of ``attributes`` count; ``None``: all.
        misc_select: Expected MISCSELECT, 4 bytes; ``None``: any that the SDM allows.
        mrtds: Accepted measurements of trust domains; a policy without any accepts no trust domain.
        rtmrs: Expected RTMR0 to RTMR3, 48 bytes each, ``None`` for any; ``None``: any.
        mr_config_id: Expected MRCONFIGID, 48 bytes; ``None``: any.
        mr_owner: Expected MROWNER, 48 bytes; ``None``: any.
        mr_owner_config: Expected MROWNERCONFIG, 48 bytes; ``None``: any.
        td_attributes: Expected ATTRIBUTES under ``td_attributes_mask``; ``None``: any that TDX allows.
        td_attributes_mask: Which bits of ``td_attributes`` count; ``None``: all.
        service_tds: Accepted MRSERVICETD, 48 bytes each, besides none.
        host_exceptions: Accept trust domains into which the host may inject #VE exceptions (SEPT_VE_DISABLE
            is 0).
        report_data: Expected report data, 64 bytes; ``None``: the caller compares what the evidence binds.
        allow_debug: Accept enclaves that the host can read and change, without saying why.
        debug: Accept them, and why.
        accepted_statuses: Accepted TCB statuses, whatever their advisories are. Revoked is never accepted,
            even when it is named here.
        statuses: Further TCB statuses, and why. Revoked is never accepted.
        advisories: The advisories that ``statuses`` accept.
        rejected_advisories: Advisories that are refused with every status.
        allow_dynamic_platform: Accept platforms to which packages may be added later.
        allow_cached_keys: Accept platforms whose root keys Intel keeps.
        allow_smt: Accept platforms with simultaneous multithreading.
        freshness: How old the endorsements may be.
    """

    name: str | None = None
    mrenclaves: tuple[MrEnclave, ...] = ()
    mrsigner: MrSigner | None = None
    isvprodid: int | None = None
    min_isvsvn: int | None = None
    attributes: Attributes | None = None
    attributes_mask: Attributes | None = None
    misc_select: bytes | None = None
    mrtds: tuple[MrTd, ...] = ()
    rtmrs: tuple[bytes | None, bytes | None, bytes | None, bytes | None] | None = None
    mr_config_id: bytes | None = None
    mr_owner: bytes | None = None
    mr_owner_config: bytes | None = None
    td_attributes: TdAttributes | None = None
    td_attributes_mask: TdAttributes | None = None
    service_tds: tuple[bytes, ...] = ()
    host_exceptions: Exemption | None = None
    report_data: bytes | None = None
    allow_debug: bool = False
    debug: Exemption | None = None
    accepted_statuses: frozenset[TcbStatus] = frozenset({TcbStatus.UP_TO_DATE})
    statuses: tuple[AcceptedStatus, ...] = ()
    advisories: tuple[AcceptedAdvisory, ...] = ()
    rejected_advisories: frozenset[str] = frozenset()
    allow_dynamic_platform: bool = True
    allow_cached_keys: bool = True
    allow_smt: bool = True
    freshness: Freshness = field(default_factory=Freshness)

    def names(self, tee: Tee) -> bool:
        """Whether it says which enclave, or which trust domain, is meant."""
        if tee is Tee.TDX:
            return bool(self.mrtds)
        return bool(self.mrenclaves) or (self.mrsigner is not None and self.isvprodid is not None)

    def excludes(self, tee: Tee) -> bool:
        """Whether it names things of the other kind only."""
        other = Tee.SGX if tee is Tee.TDX else Tee.TDX
        return self.names(other) and not self.names(tee)

    @property
    def strictest_freshness(self) -> Freshness:
        """``freshness``."""
        return self.freshness


@dataclass(frozen=True, slots=True, kw_only=True)
class AllOf:
    """Every one of these policies has to be met, by the same evidence; none of them: nothing meets it.

    Attributes:
        policies: The policies. One of them has to name an enclave.
        name: What people call it; ``None``: nothing.
    """

    policies: tuple[Policy, ...]
    name: str | None = None

    def names(self, tee: Tee) -> bool:
        """Whether one of them says which enclave, or which trust domain, is meant."""
        return any(policy.names(tee) for policy in self.policies)

    def excludes(self, tee: Tee) -> bool:
        """Whether one of them names things of the other kind only."""
        return not self.policies or any(policy.excludes(tee) for policy in self.policies)

    @property
    def strictest_freshness(self) -> Freshness:
        """The strictest of theirs."""
        return _strictest(self.policies)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyOf:
    """One of these policies has to be met; none of them: nothing meets it.

    How old the endorsements may be is one answer for all of them: the strictest.

    Attributes:
        policies: The policies. Unless a policy around this one does, each has to name an enclave; those that
            name things of the other kind only do not count.
        name: What people call it; ``None``: nothing.
    """

    policies: tuple[Policy, ...]
    name: str | None = None

    def names(self, tee: Tee) -> bool:
        """Whether each of them says which enclave, or which trust domain, is meant."""
        about = self.about(tee)
        return bool(about) and all(policy.names(tee) for policy in about)

    def excludes(self, tee: Tee) -> bool:
        """Whether all of them name things of the other kind only."""
        return not self.about(tee)

    def about(self, tee: Tee) -> tuple[Policy, ...]:
        """Those that do not name things of the other kind only."""
        return tuple(policy for policy in self.policies if not policy.excludes(tee))

    @property
    def strictest_freshness(self) -> Freshness:
        """The strictest of theirs."""
        return _strictest(self.policies)


Policy: TypeAlias = AppraisalPolicy | AllOf | AnyOf


def _strictest(policies: Iterable[Policy]) -> Freshness:
    """What each of several policies allows."""
    each = [policy.strictest_freshness for policy in policies] or [Freshness()]
    least = min(each, key=lambda freshness: freshness.expiry_grace)
    ages = [freshness.max_age for freshness in each if freshness.max_age is not None]
    numbers = [
        freshness.min_evaluation_number for freshness in each if freshness.min_evaluation_number is not None
    ]
    return Freshness(
        expiry_grace=least.expiry_grace,
        max_age=min(ages, default=None),
        min_evaluation_number=max(numbers, default=None),
        reason=least.reason,
    )
