"""A world in which a simulated trust domain is affirmed, and ways to make one thing in it wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from tests.support.sgx_world import NOW

from casemate.formats.sgx.collateral import Collateral
from casemate.formats.sgx.quote import Tee
from casemate.formats.sgx.td_report import TdReport
from casemate.simulator.endorsements import Standing, Statements
from casemate.simulator.platform import SimulatedPlatform
from casemate.simulator.trust_domain import TD_REPORT_15, SimulatedTrustDomain
from casemate.verifier.appraisal import appraise
from casemate.verifier.policy import AppraisalPolicy, Policy
from casemate.verifier.result import AttestationResult
from casemate.verifier.roots import TrustRoots

REPORT_DATA = bytes(range(64))


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """Everything that the appraisal of a trust domain depends on, all of it good."""

    platform: SimulatedPlatform
    report: TdReport
    collateral: Collateral
    policy: Policy
    at: datetime = NOW + timedelta(hours=1)

    @property
    def evidence(self) -> bytes:
        return SimulatedTrustDomain(platform=self.platform, report=self.report).quote(REPORT_DATA)

    @property
    def roots(self) -> TrustRoots:
        return TrustRoots.simulated(self.platform.root_certificate)

    def appraise(self) -> AttestationResult:
        return appraise(
            self.evidence,
            endorsements=self.collateral,
            trust_roots=self.roots,
            policy=self.policy,
            at=self.at,
        )


def good_domain(report: TdReport = TD_REPORT_15, **platform: Any) -> Domain:
    made = SimulatedPlatform.create(NOW, **platform)
    return Domain(
        platform=made,
        report=report,
        collateral=made.sign(made.statements(NOW, tee=Tee.TDX)),
        policy=AppraisalPolicy(
            mrtds=(report.mr_td,),
            rtmrs=(report.rtmr0, None, report.rtmr2, None),
            mr_config_id=report.mr_config_id,
            mr_owner=report.mr_owner,
            mr_owner_config=report.mr_owner_config,
            td_attributes=report.td_attributes,
            report_data=REPORT_DATA,
        ),
    )


def with_report(domain: Domain, **changes: Any) -> Domain:
    return replace(domain, report=replace(domain.report, **changes))


def with_policy(domain: Domain, **changes: Any) -> Domain:
    assert isinstance(domain.policy, AppraisalPolicy)
    return replace(domain, policy=replace(domain.policy, **changes))


def with_statements(domain: Domain, change: Callable[[Statements], Statements]) -> Domain:
    """The manufacturer says something else."""
    statements = domain.platform.statements(NOW, tee=Tee.TDX)
    return replace(domain, collateral=domain.platform.sign(change(statements)))


def with_standing(domain: Domain, **standing: Any) -> Domain:
    said = domain.platform.statements(NOW, tee=Tee.TDX, standing=Standing(**standing))
    return replace(domain, collateral=domain.platform.sign(said))


def with_tcb_info(domain: Domain, change: Callable[[dict[str, Any]], object]) -> Domain:
    """TCB info changed as the document that it is, and signed again."""
    document = json.loads(domain.collateral.tcb_info)
    change(document)
    data = json.dumps(document).encode()
    signature = domain.platform.authorities.tcb_signer.sign(data)
    return replace(domain, collateral=replace(domain.collateral, tcb_info=data, tcb_info_signature=signature))
