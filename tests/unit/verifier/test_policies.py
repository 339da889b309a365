"""What a policy accepts by exception it says; policies within policies refuse unless the whole is met."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.sgx_world import (
    MRENCLAVE,
    MRSIGNER,
    NOW,
    World,
    good_world,
    with_flags,
    with_policy,
    with_standing,
)

from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.quote import Tee
from casemate.formats.sgx.report import DEBUG, INIT, MODE64BIT, MrEnclave
from casemate.formats.sgx.td_report import MrTd
from casemate.simulator.endorsements import ADVISORY
from casemate.simulator.pki import PckAuthority
from casemate.simulator.trust_domain import TD_REPORT_10, SimulatedTrustDomain
from casemate.verifier.appraisal import Verifier
from casemate.verifier.endorsements import Endorsements
from casemate.verifier.grants import Grant
from casemate.verifier.policy import (
    AcceptedAdvisory,
    AcceptedStatus,
    AllOf,
    AnyOf,
    AppraisalPolicy,
    Exemption,
    Freshness,
    Policy,
)
from casemate.verifier.result import AttestationResult, Verdict

NOON = datetime(2026, 11, 20, 13, tzinfo=UTC)
SECOND = timedelta(seconds=1)
OUT_OF_DATE = AcceptedStatus(status=TcbStatus.OUT_OF_DATE, reason="the vendor is late")
HARMLESS = AcceptedAdvisory(id=ADVISORY, reason="no MMIO in the enclave")


@pytest.fixture(scope="module")
def world() -> World:
    return good_world()


def judged(world: World, policy: Policy) -> AttestationResult:
    # One world judges under policies of any form.
    return replace(world, policy=policy).appraise()  # type: ignore[arg-type]


def refusals(result: AttestationResult) -> dict[str, str]:
    assert (result.verdict is Verdict.AFFIRMING) is not result.refusals
    return {check.name: f"{check.expected}, got {check.got}" for check in result.refusals}


# What is accepted by exception.


def outdated(world: World, **policy: object) -> World:
    return with_policy(with_standing(world, platform=TcbStatus.OUT_OF_DATE), **policy)


def test_a_status_is_accepted_with_its_advisories_and_says_why(world: World) -> None:
    result = outdated(world, statuses=(OUT_OF_DATE,), advisories=(HARMLESS,)).appraise()
    assert refusals(result) == {}
    assert tuple(result.grants) == (
        Grant(what="TCB status OutOfDate", reason="the vendor is late", until=None),
        Grant(what=f"advisory {ADVISORY}", reason="no MMIO in the enclave", until=None),
    )


def test_what_needs_no_exception_is_no_grant(world: World) -> None:
    result = with_policy(
        world,
        statuses=(OUT_OF_DATE,),
        advisories=(HARMLESS,),
        debug=Exemption(reason="never used"),
        freshness=Freshness(expiry_grace=timedelta(days=1), reason="never used"),
    ).appraise()
    assert (refusals(result), tuple(result.grants)) == ({}, ())


def test_a_status_may_be_accepted_whatever_the_advisories_are(world: World) -> None:
    result = outdated(world, statuses=(replace(OUT_OF_DATE, any_advisory=True),)).appraise()
    assert refusals(result) == {}
    assert [grant.what for grant in result.grants] == ["TCB status OutOfDate"]


def test_a_status_that_is_accepted_by_name_says_that_nobody_said_why(world: World) -> None:
    result = outdated(world, accepted_statuses=frozenset({TcbStatus.OUT_OF_DATE})).appraise()
    assert refusals(result) == {}
    assert tuple(result.grants) == (
        Grant(what="TCB status OutOfDate", reason="it was named, no reason given", until=None),
    )


@pytest.mark.parametrize("accepted", ["by name", "for a reason", "whatever the advisories are"])
def test_a_rejected_advisory_is_refused_with_every_status(world: World, accepted: str) -> None:
    policy = {
        "by name": {"accepted_statuses": frozenset({TcbStatus.OUT_OF_DATE})},
        "for a reason": {"statuses": (OUT_OF_DATE,), "advisories": (HARMLESS,)},
        "whatever the advisories are": {"statuses": (replace(OUT_OF_DATE, any_advisory=True),)},
    }[accepted]
    result = outdated(world, rejected_advisories=frozenset({ADVISORY}), **policy).appraise()
    [(name, text)] = refusals(result).items()
    assert name == "advisories of the TCB levels"
    assert text.endswith(f", got {ADVISORY} (rejected)")


@pytest.mark.parametrize(
    ("until", "accepted"), [(NOON, True), (NOON - SECOND, False)], ids=["the last instant", "a second later"]
)
def test_a_status_is_accepted_until_its_end(world: World, until: datetime, *, accepted: bool) -> None:
    status = replace(OUT_OF_DATE, until=until)
    result = outdated(world, statuses=(status,), advisories=(HARMLESS,)).appraise()
    expected = (
        "OutOfDate until 2026-11-20T12:59:59Z or UpToDate, got OutOfDate (platform OutOfDate, quoting enclave"
        " UpToDate)"
    )
    assert refusals(result) == ({} if accepted else {"TCB status": expected})
    assert [grant.until for grant in result.grants] == ([until, None] if accepted else [])


@pytest.mark.parametrize(
    ("until", "accepted"), [(NOON, True), (NOON - SECOND, False)], ids=["the last instant", "a second later"]
)
def test_an_advisory_is_accepted_until_its_end(world: World, until: datetime, *, accepted: bool) -> None:
    result = outdated(world, statuses=(OUT_OF_DATE,), advisories=(replace(HARMLESS, until=until),)).appraise()
    expected = f"those that the policy accepts, got {ADVISORY} (accepted until 2026-11-20T12:59:59Z)"
    assert refusals(result) == ({} if accepted else {"advisories of the TCB levels": expected})
    assert [grant.until for grant in result.grants] == ([None, until] if accepted else [None])


def test_an_accepted_advisory_accepts_no_status(world: World) -> None:
    assert list(refusals(outdated(world, advisories=(HARMLESS,)).appraise())) == ["TCB status"]


def test_what_is_revoked_is_not_accepted_for_any_reason(world: World) -> None:
    revoked = AcceptedStatus(status=TcbStatus.REVOKED, reason="please", any_advisory=True)
    result = with_policy(with_standing(world, platform=TcbStatus.REVOKED), statuses=(revoked,)).appraise()
    assert list(refusals(result)) == ["TCB status"]
    assert tuple(result.grants) == ()


@pytest.mark.parametrize(
    ("until", "accepted"), [(NOON, True), (NOON - SECOND, False)], ids=["the last instant", "a second later"]
)
def test_debug_is_accepted_until_its_end(world: World, until: datetime, *, accepted: bool) -> None:
    exemption = Exemption(reason="staging", until=until)
    result = with_flags(world, INIT | DEBUG | MODE64BIT, debug=exemption).appraise()
    assert refusals(result) == ({} if accepted else {"enclave: not in debug mode": "0, got 1"})
    grant = Grant(what="an enclave in debug mode", reason="staging", until=until)
    assert tuple(result.grants) == ((grant,) if accepted else ())


def test_a_grace_that_was_needed_is_a_grant_for_each_document(world: World) -> None:
    freshness = Freshness(expiry_grace=timedelta(days=5), reason="a closed network")
    late = replace(with_policy(world, freshness=freshness), at=NOW + timedelta(days=33))
    result = late.appraise()
    assert refusals(result) == {}
    assert [grant.what for grant in result.grants] == [
        "PCK CRL that ended at 2026-12-20T12:00:00Z",
        "TCB info that ended at 2026-12-20T12:00:00Z",
        "QE identity that ended at 2026-12-20T12:00:00Z",
    ]
    assert {(grant.reason, grant.until) for grant in result.grants} == {
        ("a closed network", NOW + timedelta(days=35))
    }


def test_a_grace_beyond_the_last_year_has_no_end(world: World) -> None:
    late = replace(
        with_policy(world, freshness=Freshness(expiry_grace=timedelta.max)), at=NOW + timedelta(days=33)
    )
    assert {grant.until for grant in late.appraise().grants} == {None}


def test_grants_are_in_the_document(world: World) -> None:
    document = outdated(world, statuses=(replace(OUT_OF_DATE, until=NOON, any_advisory=True),)).appraise()
    assert document.to_dict()["grants"] == [
        {
            "what": "TCB status OutOfDate",
            "reason": "the vendor is late",
            "until": "2026-11-20T13:00:00+00:00",
        }
    ]
    assert document.grants[0:1] == (document.grants[0],)


@pytest.mark.parametrize("flag", ["allow_dynamic_platform", "allow_cached_keys", "allow_smt"])
def test_what_a_certificate_does_not_state_is_not_what_was_demanded(flag: str) -> None:
    single = with_policy(good_world(authority=PckAuthority.PROCESSOR), **{flag: False})
    assert list(refusals(single.appraise()).values()) == ["no, got not stated by the PCK certificate"]


# Policies within policies.

OURS = AppraisalPolicy(name="ours", mrenclaves=(MRENCLAVE,))
SIGNED = AppraisalPolicy(name="signed", mrsigner=MRSIGNER, isvprodid=7)
OTHER = AppraisalPolicy(name="other", mrenclaves=(MrEnclave(bytes(32)),), min_isvsvn=9)
STRANGER = AppraisalPolicy(name="stranger", mrenclaves=(MrEnclave(bytes(32)),))
DOMAIN = AppraisalPolicy(name="domain", mrtds=(MrTd(TD_REPORT_10.mr_td),))
RULE = AppraisalPolicy(name="rule", min_isvsvn=3)
STRICT = AppraisalPolicy(name="strict", min_isvsvn=4)

NOT_NAMED = ["policy names an enclave"]
MEASUREMENT = "enclave: MRENCLAVE"
ALTERNATIVE = "policy: one of its alternatives"

COMPOSED: dict[str, tuple[Policy, list[str]]] = {
    "both": (AllOf(policies=(OURS, SIGNED)), []),
    "both, and one is not met": (AllOf(policies=(OURS, OTHER)), [MEASUREMENT, "enclave: ISVSVN"]),
    "one of both": (AnyOf(policies=(OTHER, OURS)), []),
    "none of both": (AnyOf(policies=(OTHER, STRANGER)), [ALTERNATIVE, MEASUREMENT]),
    "within each other": (
        AllOf(policies=(RULE, AnyOf(policies=(OTHER, AllOf(policies=(OURS, SIGNED)))))),
        [],
    ),
    "a rule that is not met": (AllOf(policies=(STRICT, AnyOf(policies=(OURS,)))), ["enclave: ISVSVN"]),
    "rules for one enclave": (AllOf(policies=(OURS, AnyOf(policies=(STRICT, RULE)))), []),
    "an enclave or a trust domain": (AnyOf(policies=(DOMAIN, OURS)), []),
    "nothing": (AppraisalPolicy(), NOT_NAMED),
    "all of nothing": (AllOf(policies=()), NOT_NAMED),
    "one of nothing": (AnyOf(policies=()), [*NOT_NAMED, ALTERNATIVE]),
    "an enclave, and one of nothing": (AllOf(policies=(OURS, AnyOf(policies=()))), [*NOT_NAMED, ALTERNATIVE]),
    "an enclave, and all of nothing": (AllOf(policies=(OURS, AllOf(policies=()))), NOT_NAMED),
    "an enclave, or all of nothing": (AnyOf(policies=(AllOf(policies=()), OURS)), []),
    "rules that name no enclave": (AllOf(policies=(RULE, RULE)), NOT_NAMED),
    "an enclave, or a rule that names none": (AnyOf(policies=(OURS, RULE)), NOT_NAMED),
    "a trust domain": (DOMAIN, NOT_NAMED),
    "a trust domain, and an enclave": (AllOf(policies=(DOMAIN, OURS)), NOT_NAMED),
    "one of two trust domains": (AnyOf(policies=(DOMAIN, DOMAIN)), NOT_NAMED),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_a_policy_of_policies_refuses_unless_the_whole_is_met(world: World, name: str) -> None:
    policy, expected = COMPOSED[name]
    result = judged(world, policy)
    assert list(refusals(result)) == expected
    assert result.verdict is (Verdict.CONTRAINDICATED if expected else Verdict.AFFIRMING)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (DOMAIN, []),
        (AnyOf(policies=(OURS, DOMAIN)), []),
        (AllOf(policies=(RULE, DOMAIN)), []),
        (OURS, NOT_NAMED),
        (AllOf(policies=(OURS, DOMAIN)), NOT_NAMED),
        (AnyOf(policies=(OURS, SIGNED)), NOT_NAMED),
    ],
    ids=["itself", "or an enclave", "and a rule", "only an enclave", "and an enclave", "only enclaves"],
)
def test_a_trust_domain_has_to_be_named_too(policy: Policy, expected: list[str]) -> None:
    world = good_world()
    statements = world.platform.statements(NOW, tee=Tee.TDX)
    domain = replace(
        world,
        evidence=SimulatedTrustDomain(platform=world.platform).quote(bytes(64)),
        collateral=world.platform.sign(statements),
    )
    result = judged(domain, policy)
    assert [name for name in refusals(result) if name in NOT_NAMED] == expected
    assert result.verdict is (Verdict.CONTRAINDICATED if expected else Verdict.AFFIRMING)


def checks_of(result: AttestationResult, name: str) -> list[tuple[bool, str, str]]:
    return [(check.passed, check.expected, check.got) for check in result.checks if check.name == name]


def test_the_alternative_that_is_met_is_named(world: World) -> None:
    result = judged(world, AnyOf(policies=(OTHER, OURS, SIGNED)))
    assert checks_of(result, ALTERNATIVE) == [(True, "other or ours or signed", "ours")]


def test_the_nearest_alternative_is_named_where_none_is_met(world: World) -> None:
    nameless = replace(STRANGER, name=None)
    result = judged(world, AnyOf(policies=(OTHER, nameless)))
    assert checks_of(result, ALTERNATIVE) == [
        (False, "other or alternative 2", "none; nearest: alternative 2")
    ]


def test_a_demand_is_shown_once_and_any_only_where_nobody_demands(world: World) -> None:
    result = judged(world, AllOf(policies=(OURS, SIGNED, OURS, STRICT)))
    assert checks_of(result, MEASUREMENT) == [(True, MRENCLAVE.hex(), MRENCLAVE.hex())]
    assert checks_of(result, "enclave: MRSIGNER") == [(True, MRSIGNER.hex(), MRSIGNER.hex())]
    assert checks_of(result, "enclave: ISVSVN") == [(False, "at least 4", "3")]
    assert checks_of(result, "enclave: MISCSELECT") == [(True, "any (the policy names none)", "00000000")]


def test_the_strictest_freshness_of_all_policies_counts(world: World) -> None:
    lenient = replace(OURS, freshness=Freshness(expiry_grace=timedelta(days=9), max_age=timedelta(hours=9)))
    strict = replace(OURS, freshness=Freshness(max_age=timedelta(minutes=30), min_evaluation_number=99))
    for policy in (AllOf(policies=(lenient, strict)), AnyOf(policies=(lenient, strict))):
        assert policy.strictest_freshness == Freshness(
            max_age=timedelta(minutes=30), min_evaluation_number=99
        )
        assert list(refusals(judged(world, policy))) == [
            "TCB info: evaluation data number",
            "QE identity: evaluation data number",
            "TCB info: age",
            "QE identity: age",
        ]
    assert AnyOf(policies=()).strictest_freshness == Freshness()


def test_only_the_grants_of_the_alternative_that_is_met_are_shown(world: World) -> None:
    def granting(policy: AppraisalPolicy, reason: str) -> AppraisalPolicy:
        return replace(policy, statuses=(replace(OUT_OF_DATE, reason=reason, any_advisory=True),))

    policy = AllOf(
        policies=(
            AnyOf(policies=(granting(STRANGER, "theirs"), granting(OURS, "ours"))),
            granting(RULE, "the rule's"),
        )
    )
    result = judged(outdated(world), policy)
    assert [grant.reason for grant in result.grants] == ["ours", "the rule's"]


def test_report_data_of_the_call_count_for_every_policy(world: World) -> None:
    policies = tuple(replace(policy, report_data=bytes(64)) for policy in (OURS, SIGNED))
    verifier = Verifier(Endorsements.of(world.collateral, world.roots), AllOf(policies=policies))
    assert verifier.appraise(world.evidence, world.at).verdict is Verdict.AFFIRMING
    other = verifier.appraise(world.evidence, world.at, b"\x01" * 64)
    assert [check.name for check in other.refusals] == ["enclave: report data"]


@pytest.mark.parametrize(
    "make", [lambda p: AllOf(policies=(p,)), lambda p: AnyOf(policies=(p,))], ids=["all of", "any of"]
)
def test_a_policy_of_one_policy_says_what_that_policy_says(
    world: World, make: Callable[[AppraisalPolicy], Policy]
) -> None:
    for policy in (OURS, OTHER, world.policy):
        alone, within = judged(world, policy), judged(world, make(policy))
        assert within.verdict is alone.verdict
        assert [check for check in within.checks if check.name != ALTERNATIVE] == list(alone.checks)


#: Whether each is met by the good enclave; a policy for trust domains is met by none.
MET = {
    OURS.name: True,
    SIGNED.name: True,
    RULE.name: True,
    STRANGER.name: False,
    STRICT.name: False,
    DOMAIN.name: False,
}


def model(policy: Policy) -> bool:
    """What ``all_of`` and ``any_of`` mean, and nothing else."""
    match policy:
        case AllOf(policies=members):
            return bool(members) and all(map(model, members))
        case AnyOf(policies=members):
            return any(map(model, members))
        case leaf:
            return MET[leaf.name]


def trees(*leaves: AppraisalPolicy) -> st.SearchStrategy[Policy]:
    return st.recursive(
        st.sampled_from(leaves),
        lambda inner: st.builds(
            lambda kind, members: kind(policies=tuple(members)),
            st.sampled_from([AllOf, AnyOf]),
            st.lists(inner, max_size=4),
        ),
        max_leaves=8,
    )


@cache
def _verifier() -> tuple[World, Verifier]:
    world = good_world()
    return world, Verifier(Endorsements.of(world.collateral, world.roots), AppraisalPolicy())


@settings(max_examples=200, deadline=None)
@given(trees(OURS, SIGNED, STRANGER, DOMAIN))
def test_policies_that_name_what_they_mean_are_met_as_they_are_joined(policy: Policy) -> None:
    world, verifier = _verifier()
    result = verifier.under(policy).appraise(world.evidence, world.at)
    assert (result.verdict is Verdict.AFFIRMING) is model(policy)
    assert bool(result.refusals) is not model(policy)


@settings(max_examples=200, deadline=None)
@given(trees(OURS, SIGNED, STRANGER, DOMAIN, RULE, STRICT))
def test_no_way_to_join_policies_accepts_what_they_do_not(policy: Policy) -> None:
    """A policy that leaves open which enclave is meant is refused, even where another one names it."""
    world, verifier = _verifier()
    result = verifier.under(policy).appraise(world.evidence, world.at)
    if result.verdict is Verdict.AFFIRMING:
        assert model(policy)
        assert policy.names(Tee.SGX)


def test_what_is_accepted_by_name_is_accepted_without_end(world: World) -> None:
    policy = {
        "accepted_statuses": frozenset({TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE}),
        "statuses": (replace(OUT_OF_DATE, until=NOW), AcceptedStatus(status=TcbStatus.REVOKED, reason="no")),
    }
    result = outdated(world, **policy).appraise()
    assert result.verdict is Verdict.AFFIRMING
    assert checks_of(result, "TCB status") == [
        (True, "OutOfDate or UpToDate", "OutOfDate (platform OutOfDate, quoting enclave UpToDate)")
    ]


def test_of_two_alternatives_that_are_as_near_the_first_is_named(world: World) -> None:
    result = judged(world, AnyOf(policies=(STRANGER, replace(STRANGER, name="another"))))
    assert checks_of(result, ALTERNATIVE) == [(False, "stranger or another", "none; nearest: stranger")]
