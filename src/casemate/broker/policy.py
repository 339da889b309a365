"""Which enclave is which workload, and what a workload may read.

A workload named NAME, recognised by its reference values, reads ``default/NAME/…`` and nothing else. Evidence
is appraised once for each reference value that it may match, with the trust root of that kind: simulated
values only under simulated roots, real ones only under Intel's, so that neither ever stands for the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from casemate.broker.resource import ResourceName
from casemate.errors import FormatError, RefusedError, ServiceError
from casemate.formats.sgx.collateral import Collateral, TcbStatus
from casemate.formats.sgx.quote import Quote
from casemate.formats.sgx.report import ReportBody
from casemate.verifier.appraisal import Verifier
from casemate.verifier.endorsements import Endorsements
from casemate.verifier.policy import AppraisalPolicy
from casemate.verifier.reference_values import ReferenceValues, appraisal_policy
from casemate.verifier.result import AttestationResult, Verdict
from casemate.verifier.roots import TrustRoots

#: The one repository whose resources belong to workloads by their name.
REPOSITORY = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadPolicy:
    """What the broker was told about workloads.

    Attributes:
        reference_values: Of every build that is accepted; several of one workload are alternatives, and of
            one kind: whoever simulates a platform must not read what real enclaves keep from everybody.

    Raises:
        ServiceError: A workload has real and simulated reference values.
    """

    reference_values: tuple[ReferenceValues, ...]

    def __post_init__(self) -> None:
        real = {values.workload for values in self.reference_values if not values.simulated}
        for workload in self.simulated_workloads:
            if workload in real:
                raise ServiceError(
                    "reference values",
                    expected="real or simulated ones of a workload",
                    got="both",
                    where=f"workload {workload}",
                    hint="give the simulated build another [app] name, or leave its reference values out",
                )

    @property
    def simulated_workloads(self) -> tuple[str, ...]:
        """Names of the workloads whose secrets a simulated platform may read, sorted."""
        return tuple(sorted({values.workload for values in self.reference_values if values.simulated}))

    def has_reader(self, name: ResourceName) -> bool:
        """Whether any workload may read the resource."""
        return name.repository == REPOSITORY and any(
            values.workload == name.type for values in self.reference_values
        )

    def require_release(self, workload: str, name: ResourceName) -> None:
        """Let a workload read only what is its own.

        Raises:
            RefusedError: The resource is not under ``default/WORKLOAD``, whether it exists or not.
        """
        if name.repository != REPOSITORY or name.type != workload:
            raise RefusedError(
                "resource",
                expected=f"one under {REPOSITORY}/{workload}",
                got=str(name),
                hint=f"name it kbs:///{REPOSITORY}/{workload}/… in casemate.toml",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recognition:
    """What evidence was found to be.

    Attributes:
        result: Of the appraisal.
        workload: Name of the workload whose reference values the enclave matches; ``None`` unless ``result``
            affirms the evidence.
    """

    result: AttestationResult
    workload: str | None


class Appraiser(Protocol):
    """Judges evidence for the broker."""

    def recognise(self, evidence: bytes, *, report_data: bytes, at: datetime) -> Recognition:
        """Say what the evidence is, at one instant; never raises for evidence that is not good.

        Args:
            evidence: A quote.
            report_data: The 64 bytes that it must bind.
            at: The instant.
        """


class ReferenceAppraiser:
    """Appraises evidence against reference values; what the manufacturers say is verified once.

    Args:
        reference_values: At least one.
        endorsements: What the manufacturers say about their platforms.
        simulated_roots: Anchors for simulated reference values; without any, those match nothing.
        accepted_statuses: TCB statuses of platforms that are accepted; Revoked never is.
    """

    def __init__(
        self,
        *,
        reference_values: tuple[ReferenceValues, ...],
        endorsements: Collateral,
        simulated_roots: TrustRoots,
        accepted_statuses: frozenset[TcbStatus] = frozenset({TcbStatus.UP_TO_DATE}),
    ) -> None:
        roots = {False: TrustRoots.intel(), True: simulated_roots}
        verified = {
            simulated: Endorsements.of(endorsements, roots[simulated])
            for simulated in {values.simulated for values in reference_values}
        }
        verifiers = {simulated: Verifier(found, AppraisalPolicy()) for simulated, found in verified.items()}
        self._endorsements = tuple(verified.values())
        self._builds = tuple(
            (
                values,
                verifiers[values.simulated].under(
                    replace(appraisal_policy(values), accepted_statuses=accepted_statuses)
                ),
            )
            for values in reference_values
        )

    @property
    def endorsements(self) -> tuple[Endorsements, ...]:
        """What the manufacturers say, as it stands under the roots of each kind."""
        return self._endorsements

    def recognise(self, evidence: bytes, *, report_data: bytes, at: datetime) -> Recognition:
        """See :class:`Appraiser`. Of several refusals, the one with the fewest reasons is given."""
        recognitions = []
        for values, verifier in self._candidates(evidence):
            result = verifier.appraise(evidence, at, report_data)
            if result.verdict is Verdict.AFFIRMING and result.simulated is values.simulated:
                return Recognition(result=result, workload=values.workload)
            recognitions.append(Recognition(result=result, workload=None))
        return min(recognitions, key=lambda recognition: len(recognition.result.refusals))

    def _candidates(self, evidence: bytes) -> tuple[tuple[ReferenceValues, Verifier], ...]:
        """The builds with the measurement that the evidence claims; else one of each kind.

        An appraisal costs signatures and anybody may ask for one, so what evidence claims is compared first.
        A claim of no build costs an appraisal under either root, one of which gives the right reasons; a
        claim of a build costs as many as were named for that build, whatever else was named.
        """
        try:
            claimed = ReportBody.parse(Quote.parse(evidence).body).mrenclave
        except FormatError:
            return self._builds[:1]
        return (
            tuple(build for build in self._builds if build[0].mrenclave == claimed)
            or self._one_of_each_kind()
        )

    def _one_of_each_kind(self) -> tuple[tuple[ReferenceValues, Verifier], ...]:
        kinds = {build[0].simulated: build for build in reversed(self._builds)}
        return tuple(kinds.values())
