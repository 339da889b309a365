"""What a policy demands of a platform: its TCB status, Intel's advisories, and how it is set up."""

from __future__ import annotations

from datetime import datetime

from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.pck import PckExtension
from casemate.verifier.checklist import Record, moment
from casemate.verifier.grants import UNEXPLAINED, Grant
from casemate.verifier.policy import AcceptedStatus, AppraisalPolicy, Exemption
from casemate.verifier.requirements import Requirement
from casemate.verifier.tcb import Standing

_NONE = "none (the policy accepts none)"
_NOT_REJECTED = "none that the policy rejects"


class PlatformDemands:
    """What one policy demands of a platform, made ready to be compared.

    Args:
        policy: The policy.
    """

    __slots__ = ("_advisories", "_by_name", "_exempted", "_flags", "_policy", "_words")

    def __init__(self, policy: AppraisalPolicy) -> None:
        self._policy = policy
        self._by_name = policy.accepted_statuses - {TcbStatus.REVOKED}
        self._exempted: dict[TcbStatus, AcceptedStatus] = {
            exemption.status: exemption
            for exemption in policy.statuses
            if exemption.status is not TcbStatus.REVOKED
        }
        self._words = self._in_words()
        self._flags = tuple(
            None if allowed else "no"
            for allowed in (policy.allow_dynamic_platform, policy.allow_cached_keys, policy.allow_smt)
        )
        self._advisories = {advisory.id: advisory for advisory in policy.advisories}

    def compare(
        self, standing: Standing | None, platform: PckExtension | None, at: datetime
    ) -> tuple[Record, ...]:
        """The checks of a platform; what could not be found out about it is not checked.

        Args:
            standing: How it stands; ``None``, or without a status, when that could not be found out.
            platform: What its PCK certificate says; ``None`` when that could not be read.
            at: The instant.
        """
        worth: tuple[Record, ...] = ()
        if standing is not None and standing.status is not None:
            worth = self._worth(standing, standing.status, at)
        return worth if platform is None else worth + self._configuration(platform)

    def grants(self, standing: Standing | None, at: datetime) -> list[Grant]:
        """What is accepted at an instant that is refused otherwise."""
        if standing is None or standing.status is None or standing.status is TcbStatus.UP_TO_DATE:
            return []
        what = f"TCB status {standing.status.value}"
        if standing.status in self._by_name:
            return [Grant.of(what, Exemption(reason=UNEXPLAINED))]
        exemption = self._exempted.get(standing.status)
        if exemption is None or not exemption.holds(at):
            return []
        found = [self._advisories.get(advisory) for advisory in standing.advisory_ids]
        advisories = [advisory for advisory in found if advisory is not None and advisory.holds(at)]
        return [Grant.of(what, exemption)] + [
            Grant.of(f"advisory {advisory.id}", advisory) for advisory in advisories
        ]

    def _worth(self, standing: Standing, status: TcbStatus, at: datetime) -> tuple[Record, ...]:
        """Status and advisories. Revoked is never accepted."""
        exemption = None if status in self._by_name else self._exempted.get(status)
        passed = status in self._by_name or (exemption is not None and exemption.holds(at))
        objections = self._objections(standing.advisory_ids, exemption, at) if standing.advisory_ids else []
        return (
            (
                Requirement.TCB_STATUS,
                passed,
                self._words,
                standing.in_words,
            ),
            (
                Requirement.ADVISORIES,
                not objections,
                _NOT_REJECTED if exemption is None else "those that the policy accepts",
                ", ".join(objections or standing.advisory_ids) or "none",
            ),
        )

    def _in_words(self) -> str:
        """The statuses that are accepted."""
        words = {status.value for status in self._by_name}
        for status, exemption in self._exempted.items():
            if status not in self._by_name:
                end = "" if exemption.until is None else f" until {moment(exemption.until)}"
                words.add(f"{status.value}{end}")
        return " or ".join(sorted(words)) or _NONE

    def _objections(
        self, advisories: tuple[str, ...], exemption: AcceptedStatus | None, at: datetime
    ) -> list[str]:
        """The advisories that stand in the way, each with what is wrong with it."""
        found = [
            f"{advisory} (rejected)"
            for advisory in advisories
            if advisory in self._policy.rejected_advisories
        ]
        if exemption is None or exemption.any_advisory:
            return found
        for advisory in advisories:
            accepted = self._advisories.get(advisory)
            if accepted is None:
                found.append(f"{advisory} (not accepted)")
            elif accepted.until is not None and not accepted.holds(at):
                found.append(f"{advisory} (accepted until {moment(accepted.until)})")
        return found

    def _configuration(self, platform: PckExtension) -> tuple[Record, ...]:
        """How the platform is set up; what its certificate does not state is not what was demanded."""
        dynamic, cached, smt = self._flags
        found = platform.configuration or _NOT_STATED
        return (
            (
                Requirement.DYNAMIC_PLATFORM,
                dynamic is None or found.dynamic_platform is False,
                dynamic,
                _ANSWERS[found.dynamic_platform],
            ),
            (
                Requirement.CACHED_KEYS,
                cached is None or found.cached_keys is False,
                cached,
                _ANSWERS[found.cached_keys],
            ),
            (Requirement.SMT, smt is None or found.smt_enabled is False, smt, _ANSWERS[found.smt_enabled]),
        )


class _NotStated:
    """The certificate does not say how the platform is set up."""

    dynamic_platform = cached_keys = smt_enabled = None


_NOT_STATED = _NotStated()
_ANSWERS = {None: "not stated by the PCK certificate", True: "yes", False: "no"}
