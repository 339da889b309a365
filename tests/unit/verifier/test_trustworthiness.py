"""The trustworthiness vector says what was found, and never more; a simulated platform is never affirmed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from tests.support.sgx_world import (
    MRENCLAVE,
    NOW,
    World,
    flipped,
    good_world,
    with_enclave,
    with_flags,
    with_policy,
    with_quote,
    with_standing,
)
from tests.support.tdx_world import good_domain, with_report

from casemate.formats.ear import EVIDENCE, Tier, TrustVector
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.quote import Quote
from casemate.formats.sgx.report import DEBUG, INIT, MODE64BIT, MrEnclave
from casemate.formats.sgx.td_report import TdAttributes
from casemate.simulator.endorsements import Revocation
from casemate.verifier.policy import AcceptedStatus, AllOf, AppraisalPolicy, Exemption
from casemate.verifier.policy_digest import policy_digest
from casemate.verifier.requirements import Requirement, Stage
from casemate.verifier.result import AttestationResult
from casemate.verifier.roots import TrustRoots
from casemate.verifier.trustworthiness import submodule_of, vector_of

GOOD = TrustVector(configuration=2, executables=2, hardware=2, runtime_opaque=2)


@pytest.fixture(scope="module")
def world() -> World:
    return good_world()


def as_if_real(world: World) -> AttestationResult:
    """What the verifier would find on a platform that is no simulation."""
    result = world.appraise()
    return replace(result, simulated=False)


def test_good_evidence_of_a_real_platform_is_affirming(world: World) -> None:
    result = as_if_real(world)
    assert vector_of(result) == GOOD
    assert submodule_of(result, "id").status is Tier.AFFIRMING


def test_good_evidence_of_a_simulated_platform_is_not(world: World) -> None:
    result = world.appraise()
    assert vector_of(result) == replace(GOOD, hardware=97, runtime_opaque=96)
    assert submodule_of(result, "id").status is Tier.CONTRAINDICATED


def outdated(world: World) -> World:
    accepted = AcceptedStatus(status=TcbStatus.OUT_OF_DATE, reason="r", any_advisory=True)
    return with_policy(with_standing(world, platform=TcbStatus.OUT_OF_DATE), statuses=(accepted,))


#: What is wrong -> the vector and the status.
CASES: dict[str, tuple[Callable[[World], World], TrustVector, Tier]] = {
    "another measurement": (
        lambda w: with_enclave(w, mrenclave=MrEnclave(bytes(32))),
        replace(GOOD, executables=33),
        Tier.CONTRAINDICATED,
    ),
    "a policy that names nothing": (
        lambda w: replace(w, policy=AppraisalPolicy()),
        replace(GOOD, executables=33),
        Tier.CONTRAINDICATED,
    ),
    "an older version": (
        lambda w: with_enclave(w, isvsvn=2),
        replace(GOOD, executables=33),
        Tier.CONTRAINDICATED,
    ),
    "other attributes": (
        lambda w: with_enclave(w, misc_select=b"\x01\0\0\0"),
        replace(GOOD, configuration=32),
        Tier.CONTRAINDICATED,
    ),
    "another set-up of the platform": (
        lambda w: with_policy(w, allow_dynamic_platform=False),
        replace(GOOD, configuration=32),
        Tier.CONTRAINDICATED,
    ),
    "other report data": (
        lambda w: with_policy(w, report_data=b"\x01" * 64),
        GOOD,
        Tier.CONTRAINDICATED,
    ),
    "a status that is accepted": (outdated, replace(GOOD, hardware=32), Tier.WARNING),
    "a status that is not accepted": (
        lambda w: with_standing(w, platform=TcbStatus.SW_HARDENING_NEEDED),
        replace(GOOD, hardware=32),
        Tier.CONTRAINDICATED,
    ),
    "debug that is accepted": (
        lambda w: with_flags(w, INIT | DEBUG | MODE64BIT, debug=Exemption(reason="r")),
        replace(GOOD, configuration=96, runtime_opaque=96),
        Tier.CONTRAINDICATED,
    ),
    "a revoked level": (
        lambda w: with_standing(w, platform=TcbStatus.REVOKED),
        replace(GOOD, hardware=96),
        Tier.CONTRAINDICATED,
    ),
    "a revoked platform": (
        lambda w: with_standing(w, revoked=frozenset({Revocation.PCK})),
        replace(GOOD, hardware=96),
        Tier.CONTRAINDICATED,
    ),
    "endorsements that have ended": (
        lambda w: replace(w, at=NOW + timedelta(days=99)),
        replace(GOOD, hardware=97),
        Tier.CONTRAINDICATED,
    ),
    "a wrong signature": (
        lambda w: with_quote(w, signature=flipped(Quote.parse(w.evidence).signature, 63)),
        TrustVector(hardware=99),
        Tier.CONTRAINDICATED,
    ),
    "another root": (
        lambda w: replace(w, roots=TrustRoots.intel()),
        TrustVector(hardware=97),
        Tier.CONTRAINDICATED,
    ),
    "no quote": (lambda w: replace(w, evidence=b""), TrustVector(hardware=97), Tier.CONTRAINDICATED),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_is_in_the_vector(world: World, name: str) -> None:
    change, vector, status = CASES[name]
    result = as_if_real(change(world))
    assert vector_of(result) == vector
    assert submodule_of(result, "id").status is status


@pytest.mark.parametrize("name", CASES)
def test_nothing_simulated_is_affirmed(world: World, name: str) -> None:
    result = replace(CASES[name][0](world).appraise(), simulated=True)
    assert submodule_of(result, "id").status is Tier.CONTRAINDICATED


def test_a_trust_domain_is_approved_as_it_started() -> None:
    domain = good_domain()
    result = replace(domain.appraise(), simulated=False)
    assert vector_of(result) == replace(GOOD, executables=3)
    claims = submodule_of(result, "id").further[EVIDENCE]["tdx"]
    assert claims["tcb_status"] == "UpToDate"
    assert claims["quote"]["body"]["mr_td"] == domain.report.mr_td.hex()
    assert claims["quote"]["body"]["td_attributes"] == "0000001000000000"
    assert claims["td_attributes"] == {
        "debug": False,
        "septve_disable": True,
        "protection_keys": False,
        "key_locker": False,
        "perfmon": False,
    }
    debug = with_report(domain, td_attributes=TdAttributes.SEPT_VE_DISABLE | TdAttributes.DEBUG)
    assert vector_of(debug.appraise()).configuration == 96


def test_further_claims_stand_beside_ours(world: World) -> None:
    further = {EVIDENCE: {"runtime_data_claims": {"nonce": "n"}}, "other": 1}
    claims = submodule_of(world.appraise(), "id", further).further
    assert claims["other"] == 1
    assert claims[EVIDENCE]["runtime_data_claims"] == {"nonce": "n"}
    assert claims[EVIDENCE]["sgx"]["body"]["mr_enclave"] == MRENCLAVE.hex()


def test_every_check_of_a_report_is_in_one_of_the_claims() -> None:
    """Or is one of the status, of the policy itself, or of what the evidence binds."""
    from casemate.verifier import trustworthiness

    grouped = {*trustworthiness._IDENTITY, *trustworthiness._CONFIGURATION}
    elsewhere = {
        Requirement.ALTERNATIVES,
        Requirement.TCB_STATUS,
        Requirement.ADVISORIES,
        Requirement.TCB_NUMBER,
        Requirement.QE_NUMBER,
        Requirement.DEBUG,
        Requirement.TD_DEBUG,
        Requirement.REPORT_DATA,
    }
    assert grouped.isdisjoint(elsewhere)
    assert grouped | elsewhere == {one for one in Requirement if one.stage is Stage.POLICY}


def test_the_digest_of_a_policy_is_that_of_all_that_it_says() -> None:
    policy = AppraisalPolicy(mrenclaves=(MRENCLAVE,))
    others = [
        AppraisalPolicy(),
        replace(policy, debug=Exemption(reason="r")),
        replace(policy, debug=Exemption(reason="s")),
        replace(policy, debug=Exemption(reason="r", until=NOW)),
        replace(policy, accepted_statuses=frozenset(TcbStatus)),
        replace(policy, isvprodid=0),
        AllOf(policies=(policy,)),
    ]
    digests = [policy_digest(one) for one in (policy, *others)]
    assert len(set(digests)) == len(digests)
    assert policy_digest(replace(policy, accepted_statuses=frozenset({TcbStatus.UP_TO_DATE}))) == digests[0]
