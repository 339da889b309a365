"""Endorsements that are fetched, and fetched again before they end, over HTTPS; the test turns the clock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from tests.support.collateral_service import Clock, upstream_of
from tests.support.intel_pcs import FakeIntel, Fault
from tests.support.manufacturer import Manufacturer

from casemate.broker.policy import ReferenceAppraiser
from casemate.broker.renewal import FamilyAppraiser, Renewal, RenewedAppraiser
from casemate.collateral.gathering import gather_for_family
from casemate.collateral.names import Tee
from casemate.collateral.upstream import UpstreamError
from casemate.errors import RefusedError
from casemate.formats.sgx.collateral import Collateral
from casemate.formats.sgx.platform_name import PlatformFamily
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.platform import FMSPC
from casemate.verifier.reference_values import ReferenceValues
from casemate.verifier.result import Verdict
from casemate.verifier.roots import TrustRoots

FAMILY = PlatformFamily(fmspc=FMSPC, of_several_packages=True)
MRENCLAVE, MRSIGNER = b"\x22" * 32, b"\x33" * 32
UNANSWERED = (
    "endorsements of FMSPC 00606a000000: SGX TCB info of FMSPC 00606a000000: collateral from localhost: "
    "expected status 200, got status 404 (NotFound: No data for the given parameters.) Request-ID"
)


def values() -> ReferenceValues:
    sgx = {
        "mrenclave": MRENCLAVE.hex(),
        "mrsigner": MRSIGNER.hex(),
        "isvprodid": 1,
        "isvsvn": 1,
        "attributes": "0500000000000000e700000000000000",
        "attributes_mask": "ffffffffffffffff1bfffffffffffff0",
        "misc_select": "00000000",
    }
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "notes", "digest": {"sha256": "11" * 32}}],
        "predicateType": "urn:casemate:reference-values:v1",
        "predicate": {"simulated": True, "sgx": sgx, "gramine": {}, "sources": {}},
    }
    return ReferenceValues.parse(json.dumps(document).encode(), "reference-values.json")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def intel(tmp_path: Path, clock: Clock) -> Iterator[FakeIntel]:
    with FakeIntel.running(Manufacturer.create(clock.now), tmp_path) as fake:
        yield fake


def appraiser_of(intel: FakeIntel, collateral: Collateral) -> ReferenceAppraiser:
    return ReferenceAppraiser(
        reference_values=(values(),),
        endorsements=collateral,
        simulated_roots=TrustRoots.simulated(intel.maker.root.certificate_pem()),
    )


@pytest.fixture
def appraiser(intel: FakeIntel, clock: Clock) -> RenewedAppraiser:
    return make(intel, clock)


def make(intel: FakeIntel, clock: Clock) -> RenewedAppraiser:
    fetch = partial(gather_for_family, upstream_of(intel), Tee.SGX, FAMILY)
    return RenewedAppraiser(f"FMSPC {FMSPC.hex()}", fetch, partial(appraiser_of, intel), clock=clock)


def verdict(appraiser: RenewedAppraiser | FamilyAppraiser, intel: FakeIntel, at: datetime) -> Verdict:
    enclave = SimulatedEnclave(
        platform=intel.maker.platforms[0].simulated,
        mrenclave=MrEnclave(MRENCLAVE),
        mrsigner=MrSigner(MRSIGNER),
        isvprodid=1,
        isvsvn=1,
    )
    return appraiser.recognise(enclave.quote(bytes(64)), report_data=bytes(64), at=at).result.verdict


def publish(intel: FakeIntel, clock: Clock) -> None:
    intel.maker.issued_at = clock.now


def test_what_is_fetched_at_the_start_is_what_evidence_is_judged_by(
    appraiser: RenewedAppraiser, intel: FakeIntel, clock: Clock
) -> None:
    assert intel.count() == 4
    assert verdict(appraiser, intel, clock.now) is Verdict.AFFIRMING
    assert appraiser.ends == clock.now + timedelta(days=30)


def test_nobody_is_asked_before_it_is_time(
    appraiser: RenewedAppraiser, intel: FakeIntel, clock: Clock
) -> None:
    clock.advance(hours=23)
    appraiser.renew_if_due()
    assert intel.count() == 4


def test_newer_endorsements_take_the_place_of_older_ones(
    appraiser: RenewedAppraiser, intel: FakeIntel, clock: Clock
) -> None:
    for _ in range(60):
        clock.advance(days=1)
        publish(intel, clock)
        appraiser.renew_if_due()
        assert verdict(appraiser, intel, clock.now) is Verdict.AFFIRMING
    assert appraiser.ends == clock.now + timedelta(days=30)


def test_the_last_good_ones_are_kept_while_they_hold_and_no_longer(
    appraiser: RenewedAppraiser, intel: FakeIntel, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    intel.fail(Fault.NOT_FOUND)
    clock.advance(days=29)
    appraiser.renew_if_due()
    assert verdict(appraiser, intel, clock.now) is Verdict.AFFIRMING
    assert caplog.messages[0].startswith(UNANSWERED)
    assert caplog.messages[0].endswith("; those in use hold until 2026-05-31T12:00:00Z")
    clock.advance(days=2)
    appraiser.renew_if_due()
    assert caplog.messages[1].endswith("; those in use have ended at 2026-05-31T12:00:00Z")
    assert verdict(appraiser, intel, clock.now) is Verdict.CONTRAINDICATED
    intel.heal()
    publish(intel, clock)
    clock.advance(minutes=2)
    appraiser.renew_if_due()
    assert verdict(appraiser, intel, clock.now) is Verdict.AFFIRMING


def test_a_source_that_is_down_is_asked_less_and_less_often(
    appraiser: RenewedAppraiser, intel: FakeIntel, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    intel.fail(Fault.NOT_FOUND)
    clock.advance(days=1)
    for _ in range(24 * 60):
        appraiser.renew_if_due()
        clock.advance(minutes=1)
    # After 0, 1, 3, 7, 15, 31 and 63 minutes, 60 and then every hour.
    assert len(caplog.messages) == 6 + 23


@pytest.mark.parametrize("fault", [Fault.WRONG_SIGNATURE, Fault.EXPIRED, Fault.HEADERLESS])
def test_what_is_not_good_takes_nothing_away(
    appraiser: RenewedAppraiser,
    intel: FakeIntel,
    clock: Clock,
    fault: Fault,
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock.advance(days=2)
    intel.fail(fault, on="/tcb")
    appraiser.renew_if_due()
    assert verdict(appraiser, intel, clock.now) is Verdict.AFFIRMING
    assert "those in use hold until 2026-05-31T12:00:00Z" in caplog.text


def test_an_older_document_takes_the_place_of_no_newer_one(
    appraiser: RenewedAppraiser, intel: FakeIntel, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.advance(days=2)
    intel.fail(Fault.OLDER, on="/tcb")
    appraiser.renew_if_due()
    (said,) = caplog.messages
    assert said == (
        "endorsements of FMSPC 00606a000000: collateral: TCB info: expected none older than that in use, of"
        " 2026-05-01T12:00:00Z, got one of 2026-04-30T12:00:00Z; those in use hold until 2026-05-31T12:00:00Z"
    )


def test_a_broker_does_not_begin_without_endorsements(intel: FakeIntel, clock: Clock) -> None:
    intel.fail(Fault.NOT_FOUND)
    with pytest.raises(UpstreamError):
        make(intel, clock)


def test_a_broker_does_not_begin_under_what_nobody_vouches_for(intel: FakeIntel, clock: Clock) -> None:
    intel.fail(Fault.WRONG_SIGNATURE, on="/tcb")
    with pytest.raises(RefusedError) as caught:
        make(intel, clock)
    assert str(caught.value) == (
        "collateral: TCB info: signature: expected the signature of Intel SGX TCB Signing,"
        " got a wrong signature"
    )
    assert caught.value.hint == (
        "the service gives what the manufacturer has not signed, or what does not hold now; is the clock"
        " right, and is the root the one that is meant?"
    )


def test_a_broker_does_not_begin_under_what_has_ended(intel: FakeIntel, clock: Clock) -> None:
    clock.advance(days=31)
    with pytest.raises(RefusedError) as caught:
        make(intel, clock)
    assert str(caught.value) == (
        "collateral: PCK CRL: not expired: expected at or after 2026-06-01T12:00:00Z, got"
        " 2026-05-31T12:00:00Z"
    )


def test_each_family_has_its_own_and_another_is_judged_under_the_first(
    appraiser: RenewedAppraiser, intel: FakeIntel, clock: Clock
) -> None:
    stranger = make(intel, clock)
    named = FamilyAppraiser({bytes(6): stranger, FMSPC: appraiser})
    assert verdict(named, intel, clock.now) is Verdict.AFFIRMING
    for evidence in (b"", bytes(2000)):
        result = named.recognise(evidence, report_data=bytes(64), at=clock.now).result
        assert result.verdict is Verdict.CONTRAINDICATED


def test_a_thread_renews_beside_the_requests(
    appraiser: RenewedAppraiser, intel: FakeIntel, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casemate.broker.renewal._LOOK_EVERY", 0.01)
    clock.advance(days=2)
    publish(intel, clock)
    with Renewal((appraiser,)):
        for _ in range(500):
            if appraiser.ends == clock.now + timedelta(days=30):
                break
            intel._closing.wait(0.02)
    assert verdict(appraiser, intel, clock.now + timedelta(days=29)) is Verdict.AFFIRMING
