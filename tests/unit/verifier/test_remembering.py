"""What a verifier remembers changes nothing of what it says, and goes with what vouched for it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.sgx_world import (
    MRENCLAVE,
    NOW,
    World,
    ca,
    crl_of,
    enclave,
    flipped,
    good_world,
    with_collateral,
    with_pck,
    with_qe_body,
    with_quote,
    with_standing,
    with_tcb_info,
)
from tests.support.tdx_world import Domain, good_domain

from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.quote import Quote
from casemate.simulator.endorsements import Revocation
from casemate.verifier.appraisal import MOST_QUOTING_ENCLAVES, Verifier
from casemate.verifier.endorsements import Endorsements
from casemate.verifier.memory import Memory
from casemate.verifier.policy import AcceptedStatus, AppraisalPolicy, Freshness
from casemate.verifier.result import Verdict

SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def world() -> World:
    return good_world()


def endorsements(world: World | Domain) -> Endorsements:
    return Endorsements.of(world.collateral, world.roots)


def verifier_of(world: World, memory: Memory[Any] | None = None) -> Verifier:
    return Verifier(endorsements(world), world.policy, platforms=memory)


def known_platform(memory: Memory[Any], world: World) -> Any:
    return memory.get(hashlib.sha256(Quote.parse(world.evidence).certification_data).digest())


def test_platform_and_quoting_enclave_are_remembered(world: World) -> None:
    memory: Memory[Any] = Memory(4)
    verifier = verifier_of(world, memory)
    for _ in range(3):
        assert verifier.appraise(world.evidence, world.at).verdict is Verdict.AFFIRMING
    assert len(memory) == 1
    assert len(known_platform(memory, world).quoting_enclaves) == 1


def test_another_policy_shares_what_is_remembered(world: World) -> None:
    memory: Memory[Any] = Memory(4)
    verifier = verifier_of(world, memory)
    verifier.appraise(world.evidence, world.at)
    strict = verifier.under(replace(world.policy, min_isvsvn=4))
    assert [check.name for check in strict.appraise(world.evidence, world.at).refusals] == ["enclave: ISVSVN"]
    assert verifier.appraise(world.evidence, world.at).verdict is Verdict.AFFIRMING
    assert len(memory) == 1


def test_a_verifier_forgets_with_its_endorsements(world: World) -> None:
    """The PCK is revoked by a later CRL: whoever verifies under that knows nothing of the platform."""
    before = verifier_of(world)
    assert before.appraise(world.evidence, world.at).verdict is Verdict.AFFIRMING
    revoked = with_standing(world, revoked=frozenset({Revocation.PCK}))
    after = verifier_of(revoked)
    assert [check.name for check in after.appraise(world.evidence, world.at).refusals] == [
        "PCK certificate: not revoked"
    ]


REFUSED = {
    "a revoked platform": lambda w: with_standing(w, revoked=frozenset({Revocation.PCK})),
    "a revoked authority": lambda w: with_standing(w, revoked=frozenset({Revocation.PCK_AUTHORITY})),
    "another family": lambda w: with_tcb_info(w, lambda d: d.update(fmspc="00906ED50000")),
    "a platform without an extension": lambda w: with_pck(w, sgx_extension=None),
    "a CRL that nobody has signed": lambda w: with_collateral(w, pck_crl=flipped(w.collateral.pck_crl, -1)),
    "a chain that is cut": lambda w: with_quote(
        w, certification_data=Quote.parse(w.evidence).certification_data[:-60]
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_platform_that_is_refused_is_not_remembered(world: World, name: str) -> None:
    changed = REFUSED[name](world)
    memory: Memory[Any] = Memory(4)
    verifier = verifier_of(changed, memory)
    first, second = (verifier.appraise(changed.evidence, changed.at).to_dict() for _ in range(2))
    assert first == second
    assert first["genuine"] is False
    assert len(memory) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda w: with_quote(w, qe_report_signature=flipped(Quote.parse(w.evidence).qe_report_signature, 9)),
        lambda w: with_quote(w, qe_auth_data=bytes(32)),
        lambda w: with_qe_body(w, isvprodid=2),
    ],
    ids=["not certified", "another key", "not the manufacturer's"],
)
def test_a_quoting_enclave_that_is_refused_is_not_remembered(world: World, make: Any) -> None:
    changed = make(world)
    memory: Memory[Any] = Memory(4)
    verifier = verifier_of(changed, memory)
    assert verifier.appraise(changed.evidence, changed.at).verdict is Verdict.CONTRAINDICATED
    assert len(known_platform(memory, changed).quoting_enclaves) == 0


def test_evidence_that_is_refused_drives_nothing_out(world: World) -> None:
    memory: Memory[Any] = Memory(1)
    verifier = verifier_of(world, memory)
    verifier.appraise(world.evidence, world.at)
    known = known_platform(memory, world)
    for index in range(20):
        forged = with_quote(
            world, certification_data=flipped(Quote.parse(world.evidence).certification_data, 100 + index)
        )
        verifier.appraise(forged.evidence, world.at)
        verifier.appraise(with_quote(world, qe_auth_data=bytes([index] * 32)).evidence, world.at)
    assert known_platform(memory, world) is known
    assert len(known.quoting_enclaves) == 1


def test_platforms_are_bounded_and_the_oldest_goes(world: World) -> None:
    memory: Memory[Any] = Memory(2)
    verifier = verifier_of(world, memory)
    # The same platform, certified anew each time: for the verifier another one.
    others = [with_pck(world) for _ in range(3)]
    for other in others:
        assert verifier.appraise(other.evidence, world.at).verdict is Verdict.AFFIRMING
        assert len(memory) <= 2
    assert known_platform(memory, others[0]) is None
    assert known_platform(memory, others[2]) is not None
    assert verifier.appraise(others[0].evidence, world.at).verdict is Verdict.AFFIRMING


def test_quoting_enclaves_of_a_platform_are_bounded(world: World) -> None:
    memory: Memory[Any] = Memory(2)
    verifier = verifier_of(world, memory)
    quoting = world.platform.quoting_enclave
    for index in range(MOST_QUOTING_ENCLAVES + 3):
        changed = replace(world.platform, quoting_enclave=replace(quoting, auth_data=bytes([index] * 32)))
        assert verifier.appraise(enclave(changed).quote(bytes(64)), world.at).verdict is Verdict.AFFIRMING
    assert len(known_platform(memory, world).quoting_enclaves) == MOST_QUOTING_ENCLAVES


# Time is judged anew.

END = NOW + timedelta(days=30)


@pytest.mark.parametrize(
    ("at", "passes"),
    [(NOW - SECOND, False), (NOW, True), (END, True), (END + SECOND, False)],
    ids=["a second before", "the first instant", "the last instant", "a second after"],
)
def test_windows_are_judged_anew_for_a_platform_that_is_known(
    world: World, at: datetime, *, passes: bool
) -> None:
    verifier = verifier_of(world)
    for moment in (world.at, at, world.at, at):
        result = verifier.appraise(world.evidence, moment)
        good = passes or moment == world.at
        assert result.verdict is (Verdict.AFFIRMING if good else Verdict.CONTRAINDICATED)
        assert result.genuine is good


def test_the_windows_of_a_known_platform_are_those_of_its_own_certificates(world: World) -> None:
    """Two platforms under one set of endorsements; the certificate of one ends before the collateral."""
    soon = NOW + timedelta(days=3)
    short = with_pck(world, not_before=soon - timedelta(days=100), life=timedelta(days=100))
    verifier = verifier_of(world)
    for at, expected in (
        (soon, []),
        (soon + SECOND, ["PCK chain: not expired"]),
        (soon, []),
    ):
        refused = [check.name for check in verifier.appraise(short.evidence, at).refusals]
        assert refused == expected
        assert verifier.appraise(world.evidence, at).refusals == ()


@pytest.mark.parametrize(
    ("late", "passes"), [(timedelta(days=2), True), (timedelta(days=2) + SECOND, False)], ids=["in", "out"]
)
def test_a_grace_is_judged_anew(world: World, late: timedelta, *, passes: bool) -> None:
    policy = replace(world.policy, freshness=Freshness(expiry_grace=timedelta(days=2), reason="closed"))
    verifier = verifier_of(world).under(policy)
    for moment in (world.at, END + late, world.at):
        result = verifier.appraise(world.evidence, moment)
        good = passes or moment == world.at
        assert result.genuine is good
        needed = {grant.reason for grant in result.grants}
        assert needed == ({"closed"} if good and moment != world.at else set())


@pytest.mark.parametrize(
    ("age", "passes"), [(timedelta(hours=2), True), (timedelta(hours=2) + SECOND, False)], ids=["in", "out"]
)
def test_an_age_is_judged_anew(world: World, age: timedelta, *, passes: bool) -> None:
    policy = replace(world.policy, freshness=Freshness(max_age=timedelta(hours=2)))
    verifier = verifier_of(world).under(policy)
    for moment in (world.at, NOW + age, world.at):
        good = passes or moment == world.at
        assert verifier.appraise(world.evidence, moment).genuine is good


def test_an_exception_ends_for_a_platform_that_is_known(world: World) -> None:
    end = NOW + timedelta(days=2)
    accepted = AcceptedStatus(status=TcbStatus.OUT_OF_DATE, reason="r", until=end, any_advisory=True)
    outdated = with_standing(world, platform=TcbStatus.OUT_OF_DATE)
    verifier = verifier_of(outdated).under(replace(world.policy, statuses=(accepted,)))
    for moment, verdict in (
        (end, Verdict.AFFIRMING),
        (end + SECOND, Verdict.CONTRAINDICATED),
        (end, Verdict.AFFIRMING),
    ):
        assert verifier.appraise(world.evidence, moment).verdict is verdict


def test_a_crl_that_ends_first_ends_everything(world: World) -> None:
    soon = NOW + timedelta(days=2)
    short = with_collateral(world, pck_crl=crl_of(ca(world), next_update=soon))
    verifier = verifier_of(short)
    assert verifier.appraise(world.evidence, soon).refusals == ()
    assert [check.name for check in verifier.appraise(world.evidence, soon + SECOND).refusals] == [
        "PCK CRL: not expired"
    ]


# Whatever the quote, and whatever was judged before it.


@cache
def _sgx() -> tuple[World, Verifier]:
    world = good_world()
    verifier = verifier_of(world)
    verifier.appraise(world.evidence, world.at)
    return world, verifier


@cache
def _tdx() -> tuple[Domain, Verifier]:
    domain = good_domain()
    verifier = Verifier(endorsements(domain), domain.policy)
    verifier.appraise(domain.evidence, domain.at)
    return domain, verifier


CHANGES = st.lists(
    st.tuples(st.integers(0, 6000), st.integers(1, 255))
    | st.tuples(st.integers(0, 1000), st.integers(1, 255)),
    max_size=3,
)
MOMENTS = st.sampled_from([NOW - SECOND, NOW, NOW + timedelta(hours=1), END, END + SECOND])


def changed(evidence: bytes, changes: list[tuple[int, int]]) -> bytes:
    data = bytearray(evidence)
    for at, value in changes:
        data[at % len(data)] ^= value
    return bytes(data)


@settings(max_examples=150, deadline=None)
@given(changes=CHANGES, cut=st.integers(0, 3), at=MOMENTS)
def test_a_verifier_that_knows_much_says_of_an_enclave_what_a_fresh_one_says(
    changes: list[tuple[int, int]], cut: int, at: datetime
) -> None:
    world, verifier = _sgx()
    evidence = changed(world.evidence[: len(world.evidence) - cut], changes)
    fresh = Verifier(endorsements(world), world.policy)
    result = verifier.appraise(evidence, at)
    assert result.to_dict() == fresh.appraise(evidence, at).to_dict()
    if changes and any(byte < 1000 for byte, _ in changes) and result.verdict is Verdict.AFFIRMING:
        # What was changed back is the same quote; nothing else of the first 1000 bytes may be another.
        assert evidence[:1000] == world.evidence[:1000]


@settings(max_examples=100, deadline=None)
@given(changes=CHANGES, at=MOMENTS)
def test_a_verifier_that_knows_much_says_of_a_trust_domain_what_a_fresh_one_says(
    changes: list[tuple[int, int]], at: datetime
) -> None:
    domain, verifier = _tdx()
    evidence = changed(_tdx_evidence(), changes)
    fresh = Verifier(endorsements(domain), domain.policy)
    assert verifier.appraise(evidence, at).to_dict() == fresh.appraise(evidence, at).to_dict()


@cache
def _tdx_evidence() -> bytes:
    return _tdx()[0].evidence


def test_an_enclave_and_a_trust_domain_of_one_platform_do_not_mix() -> None:
    """The same certificates and attestation key: what was found for one does not hold for the other."""
    domain, verifier = _tdx()
    both = verifier.under(AppraisalPolicy(mrenclaves=(MRENCLAVE,), mrtds=(domain.report.mr_td,)))
    of_enclave = both.appraise(enclave(domain.platform).quote(bytes(64)), domain.at)
    assert of_enclave.genuine is False
    assert "TCB info: speaks of the quote's TEE" in {check.name for check in of_enclave.refusals}
    assert both.appraise(domain.evidence, domain.at).verdict is Verdict.AFFIRMING
