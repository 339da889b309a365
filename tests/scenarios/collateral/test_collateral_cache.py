"""The rules of the cache: windows, renewal, outages, replicas, bad answers from upstream."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from tests.scenarios.collateral.conftest import Start
from tests.support.collateral_service import Clock, Service, upstream_of
from tests.support.intel_pcs import FakeIntel, Fault
from tests.support.manufacturer import KnownPlatform

from casemate.collateral.app import AppLimits
from casemate.collateral.documents import CacheRules, Mode
from casemate.collateral.names import DocumentName, EnclaveRole, IdentityName, TcbInfoName, Tee, Update
from casemate.collateral.upstream import Answer, Upstream
from casemate.simulator.pki import PckAuthority

SGX, TDX = "/sgx/certification/v4", "/tdx/certification/v4"


def everything(intel: FakeIntel, platform: KnownPlatform) -> list[tuple[str, dict[str, str]]]:
    """What verifiers and quoting enclaves ask for."""
    fmspc = {"fmspc": intel.maker.fmspc}
    return [
        (f"{SGX}/tcb", fmspc),
        (f"{TDX}/tcb", fmspc),
        (f"{SGX}/tcb", fmspc | {"update": "early"}),
        (f"{SGX}/qe/identity", {}),
        (f"{TDX}/qe/identity", {}),
        (f"{SGX}/qve/identity", {}),
        (f"{SGX}/tcbevaluationdatanumbers", {}),
        (f"{SGX}/pckcrl", {"ca": "platform", "encoding": "der"}),
        (f"{SGX}/pckcrl", {"ca": "processor"}),
        (f"{SGX}/rootcacrl", {}),
        (
            f"{SGX}/pckcert",
            {
                "qeid": platform.qe_id,
                "cpusvn": platform.cpu_svn,
                "pcesvn": platform.pce_svn,
                "pceid": platform.pce_id,
                "encrypted_ppid": platform.encrypted_ppid,
            },
        ),
    ]


def ask(service: Service, intel: FakeIntel, platform: KnownPlatform) -> list[int]:
    return [service.client.get(path, **query).status for path, query in everything(intel, platform)]


def test_an_outage_of_an_hour_fails_no_request_within_windows(
    start: Start, service: Service, intel: FakeIntel, platform: KnownPlatform, clock: Clock
) -> None:
    assert set(ask(service, intel, platform)) == {200}
    other = start()
    clock.advance(hours=23, minutes=50)
    intel.stop()
    before = intel.count()
    for _ in range(60):
        clock.advance(minutes=1)
        for replica in (service, other):
            replica.renew_all()
            replica.watch.look()
            assert set(ask(replica, intel, platform)) == {200}
    failing = [one for one in service.store.listing() if one.failures]
    assert failing
    assert all("localhost" in one.reason for one in failing)
    intel.start()
    assert intel.count() == before
    clock.advance(hours=1)
    renewed = service.renew_all()
    assert renewed == len(service.store.listing())
    assert not [one for one in service.store.listing() if one.failures]
    assert set(ask(service, intel, platform)) == {200}


def test_documents_are_renewed_one_by_one_before_they_end(
    service: Service, intel: FakeIntel, platform: KnownPlatform, clock: Clock
) -> None:
    ask(service, intel, platform)
    assert service.renew_all() == 0
    count = len(service.store.listing())
    clock.advance(hours=25)
    intel.maker.issued_at = clock.now
    intel.fail(Fault.ERROR, on="/tdx/certification/v4/tcb")
    asked = intel.count()
    assert service.renew_all() == count
    assert intel.count() == asked + count
    (failed,) = [one for one in service.store.listing() if one.failures]
    assert isinstance(failed.name, TcbInfoName)
    assert failed.name.tee is Tee.TDX
    assert {one.fetched_at for one in service.store.listing() if not one.failures} == {clock.now}
    # Back-off: a minute, less a quarter by chance; then twice that.
    assert service.renew_all() == 0
    clock.advance(seconds=46)
    assert service.renew_all() == 1
    clock.advance(seconds=46)
    assert service.renew_all() == 0
    clock.advance(seconds=46)
    intel.heal()
    assert service.renew_all() == 1
    assert not [one for one in service.store.listing() if one.failures]


def test_a_document_past_its_end_is_not_given_out(service: Service, intel: FakeIntel, clock: Clock) -> None:
    fmspc = intel.maker.fmspc
    assert service.client.get(f"{SGX}/tcb", fmspc=fmspc).status == 200
    intel.stop()
    clock.advance(days=30, seconds=1)
    reply = service.client.get(f"{SGX}/tcb", fmspc=fmspc)
    assert reply.status == 502
    assert reply.text.startswith("Unable to retrieve the collateral from the Intel SGX PCS. ")
    intel.start()
    clock.advance(minutes=1)
    intel.maker.issued_at = clock.now
    assert service.client.get(f"{SGX}/tcb", fmspc=fmspc).status == 200


def test_a_stated_limit_lets_stale_documents_out_with_a_warning(
    start: Start, intel: FakeIntel, clock: Clock
) -> None:
    service = start(rules=CacheRules(stale_for=timedelta(hours=6)))
    fmspc = intel.maker.fmspc
    body = service.client.get(f"{SGX}/tcb", fmspc=fmspc).body
    intel.stop()
    clock.advance(days=30, hours=5)
    for _ in range(2):
        stale = service.client.get(f"{SGX}/tcb", fmspc=fmspc)
        assert (stale.status, stale.body) == (200, body)
        assert stale.headers["Warning"] == '110 - "Response is Stale"'
    clock.advance(hours=2)
    assert service.client.get(f"{SGX}/tcb", fmspc=fmspc).status == 502


def test_an_older_document_never_takes_the_place_of_a_newer_one(
    service: Service, intel: FakeIntel, clock: Clock
) -> None:
    fmspc = intel.maker.fmspc
    newer = service.client.get(f"{SGX}/tcb", fmspc=fmspc).body
    clock.advance(hours=25)
    intel.fail(Fault.OLDER)
    assert service.renew_all() == 1
    assert service.client.get(f"{SGX}/tcb", fmspc=fmspc).body == newer
    lines = service.client.get("/metrics").text.splitlines()
    assert 'casemate_collateral_older_documents_total{kind="tcb-info"} 1' in lines


class SlowUpstream:
    """Counts calls, and lets nobody through before it is told to."""

    def __init__(self, inner: Upstream) -> None:
        self._inner = inner
        self.open = threading.Event()
        self.calls = 0

    @property
    def name(self) -> str:
        return self._inner.name

    def document(self, name: DocumentName) -> Answer:
        self.calls += 1
        self.open.wait(10)
        return self._inner.document(name)

    def pck_certificates(self, query: object) -> None:
        raise NotImplementedError


def test_many_who_miss_the_same_are_one_call(start: Start, intel: FakeIntel) -> None:
    upstream = SlowUpstream(upstream_of(intel))
    service = start(upstream=upstream)
    fmspc = intel.maker.fmspc
    with ThreadPoolExecutor(16) as threads:
        spelled = [fmspc, fmspc.upper()] * 8
        replies = [threads.submit(service.client.get, f"{SGX}/tcb", fmspc=one) for one in spelled]
        while upstream.calls == 0:
            pass
        upstream.open.set()
        assert {reply.result().status for reply in replies} == {200}
    assert upstream.calls == 1


def test_what_was_not_found_is_not_asked_for_again_at_once(
    service: Service, intel: FakeIntel, clock: Clock
) -> None:
    for _ in range(5):
        assert service.client.get(f"{SGX}/tcb", fmspc="ffffffffffff").status == 404
    assert intel.count("tcb") == 1
    clock.advance(minutes=6)
    assert service.client.get(f"{SGX}/tcb", fmspc="ffffffffffff").status == 404
    assert intel.count("tcb") == 2


def test_a_rate_limit_is_respected_for_everything(service: Service, intel: FakeIntel, clock: Clock) -> None:
    intel.retry_after = "120"
    intel.fail(Fault.LIMITED, times=1)
    first = service.client.get(f"{SGX}/qe/identity")
    assert (first.status, first.headers["Retry-After"]) == (503, "120")
    clock.advance(seconds=20)
    second = service.client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc)
    assert (second.status, second.headers["Retry-After"]) == (503, "100")
    assert intel.count() == 1
    clock.advance(seconds=101)
    assert service.client.get(f"{SGX}/qe/identity").status == 200


#: What goes wrong upstream, and the status that a client sees.
FAULTS = {
    Fault.CLOSED: 502,
    Fault.SILENT: 502,
    Fault.SLOW: 502,
    Fault.SLOW_HEADERS: 502,
    Fault.TRUNCATED: 502,
    Fault.ENDLESS: 502,
    Fault.HUGE: 502,
    Fault.BOMB: 502,
    Fault.BAD_GZIP: 502,
    Fault.ODD_CODING: 502,
    Fault.REDIRECT: 502,
    Fault.NOT_HTTP: 502,
    Fault.HEADERLESS: 502,
    Fault.WRONG_SIGNATURE: 502,
    Fault.EXPIRED: 502,
    Fault.LIMITED: 503,
    Fault.BAD_REQUEST: 404,
    Fault.UNAUTHORISED: 502,
    Fault.NOT_FOUND: 404,
    Fault.WITHDRAWN: 410,
    Fault.ERROR: 502,
    Fault.UNAVAILABLE: 502,
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.lower())
def test_a_bad_answer_is_named_and_not_kept(
    service: Service, intel: FakeIntel, clock: Clock, fault: Fault
) -> None:
    intel.fail(fault)
    reply = service.client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc)
    assert reply.status == FAULTS[fault], reply.text
    assert len(reply.text) > 80
    assert service.store.listing() == ()
    intel.heal()
    clock.advance(minutes=10)
    assert service.client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc).status == 200


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        *product(
            ("tcb", "qe/identity", "pckcrl", "tcbevaluationdatanumbers"),
            (Fault.WRONG_SIGNATURE, Fault.EXPIRED, Fault.HEADERLESS),
        ),
        # It comes without a chain.
        *product(("rootcacrl",), (Fault.WRONG_SIGNATURE, Fault.EXPIRED)),
    ],
)
def test_what_cannot_be_vouched_for_replaces_nothing(
    service: Service, intel: FakeIntel, clock: Clock, fault: Fault, path: str
) -> None:
    parameters = {"tcb": {"fmspc": intel.maker.fmspc}, "pckcrl": {"ca": "platform"}}.get(path, {})
    good = service.client.get(f"{SGX}/{path}", **parameters)
    clock.advance(hours=25)
    intel.fail(fault)
    assert service.renew_all() == 1
    (listed,) = service.store.listing()
    assert listed.failures == 1
    assert service.client.get(f"{SGX}/{path}", **parameters).body == good.body


def test_a_certificate_that_is_not_the_platforms_is_refused(
    service: Service, intel: FakeIntel, platform: KnownPlatform
) -> None:
    """The certificates of another platform of the same family, under this one's name."""
    from casemate.simulator.platform import SimulatedPlatform

    other = SimulatedPlatform.create(intel.maker.issued_at)
    levels = dict(platform.levels)
    tcbm = platform.cpu_svn + platform.pce_svn
    levels[tcbm] = other.quoting_enclave.pck
    intel.maker.platforms[0] = replace(platform, levels=levels)
    path, query = everything(intel, platform)[-1]
    reply = service.client.get(path, **query)
    assert reply.status == 502
    assert list(service.store.platforms()) == []


def test_replicas_share_a_store_and_see_each_others_writes(
    start: Start, intel: FakeIntel, platform: KnownPlatform, clock: Clock
) -> None:
    one, two = start(), start()
    assert set(ask(one, intel, platform)) == {200}
    asked = intel.count()
    assert set(ask(two, intel, platform)) == {200}
    assert intel.count() == asked
    old = two.client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc)
    clock.advance(hours=25)
    intel.maker.issued_at = clock.now
    with ThreadPoolExecutor(2) as threads:
        renewed = [threads.submit(replica.renew_all) for replica in (one, two)]
        assert sum(done.result() for done in renewed) == len(one.store.listing())
    assert intel.count() == asked + len(one.store.listing())
    for replica in (one, two):
        replica.watch.look()
        new = replica.client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc)
        assert new.headers["ETag"] != old.headers["ETag"]


def test_another_cache_can_be_upstream(
    start: Start, intel: FakeIntel, platform: KnownPlatform, clock: Clock
) -> None:
    intel.is_cache = True
    service = start(upstream=upstream_of(intel))
    expected = [200] * len(everything(intel, platform))
    expected[6] = 404
    assert ask(service, intel, platform) == expected
    assert ask(service, intel, platform) == expected
    assert intel.count("pckcert") == 1
    clock.advance(hours=25)
    service.renew_all()
    assert service.client.admin("POST", f"{SGX}/refresh", type="certs").status == 200
    assert intel.count("pckcert") == 2


def test_a_chain_of_two_services_gives_the_same_bytes(
    start: Start, intel: FakeIntel, platform: KnownPlatform, tmp_path: object
) -> None:
    from casemate.adapters.intel_pcs import CacheUpstream, UpstreamAddress

    near_intel = start()
    address = UpstreamAddress.parse(f"https://127.0.0.1:{near_intel.client.port}")
    behind = start(store="behind.db", upstream=CacheUpstream(address, ca=near_intel.client.ca))
    for path, query in everything(intel, platform):
        first, second = (one.client.get(path, **query) for one in (near_intel, behind))
        assert (second.status, second.body) == (200, first.body)


def test_offline_keeps_to_what_it_has(start: Start, service: Service, intel: FakeIntel, clock: Clock) -> None:
    service.client.get(f"{SGX}/qe/identity")
    offline = start(Mode.OFFLINE)
    assert offline.client.get(f"{SGX}/qe/identity").status == 200
    missing = offline.client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc)
    assert missing.status == 404
    assert missing.text == (
        f"No cache data for this platform. tcb-info 4 sgx {intel.maker.fmspc} standard: got none is kept, "
        "and this service is offline; import a newer package, or send it with PUT platformcollateral"
    )
    clock.advance(days=31)
    ended = offline.client.get(f"{SGX}/qe/identity")
    assert ended.status == 404
    assert "the one that is kept ended at 2026-05-31T12:00:00Z, and this service is offline" in ended.text


def test_names_of_documents_are_what_they_are_kept_under(service: Service, intel: FakeIntel) -> None:
    service.client.get(f"{TDX}/qe/identity", update="early")
    (listed,) = service.store.listing()
    assert listed.name == IdentityName(role=EnclaveRole.TD_QE, edition=Update.EARLY)


def test_an_updated_platform_gets_the_certificate_that_is_new(
    service: Service, intel: FakeIntel, platform: KnownPlatform, clock: Clock
) -> None:
    """After a TCB recovery: the certificates that are kept are for what the platform was."""
    path, query = everything(intel, platform)[-1]
    own = platform.cpu_svn + platform.pce_svn
    before = {tcbm: pck for tcbm, pck in platform.levels.items() if tcbm != own}
    intel.maker.platforms[0] = replace(platform, levels=before)
    older = dict(query)
    older["cpusvn"] = next(tcbm for tcbm, pck in before.items() if pck)[:32]
    assert service.client.get(path, **older).headers["SGX-TCBm"][:32] == older["cpusvn"].upper()
    intel.maker.platforms[0] = platform
    clock.advance(hours=2)
    assert service.client.get(path, **query).headers["SGX-TCBm"] == own.upper()


@pytest.mark.parametrize("told", ["its encrypted PPID", ""])
def test_whoever_knows_the_name_of_a_platform_cannot_put_another_in_its_place(
    service: Service, intel: FakeIntel, platform: KnownPlatform, clock: Clock, told: str
) -> None:
    """Anybody may ask for certificates, and the name of a quoting enclave is in no certificate."""
    path, query = everything(intel, platform)[-1]
    own = service.client.get(path, **query)
    assert own.status == 200
    (before,) = service.store.platforms()
    if not told:
        # As an administrator may have delivered it.
        before = replace(before, encrypted_ppid="")
        service.store.put_platform(before)
    authorities = platform.simulated.authorities
    pck = authorities.issue_pck(
        clock.now, PckAuthority.PLATFORM, replace(platform.extension, ppid=bytes(16)).to_der()
    )
    known = intel.maker.add(platform.simulated)
    intel.maker.platforms[-1] = replace(
        known, levels={platform.cpu_svn + platform.pce_svn: pck}, qe_id=bytes(16).hex()
    )
    clock.advance(hours=2)
    others = query | {"encrypted_ppid": known.encrypted_ppid, "cpusvn": f"ff{platform.cpu_svn[2:]}"}
    service.client.get(path, **others)
    (after,) = service.store.platforms()
    assert after.certificates == before.certificates
    assert after.encrypted_ppid == before.encrypted_ppid
    assert service.client.get(path, **query).body == own.body


def test_a_certificate_past_its_end_is_not_given_out(
    service: Service, intel: FakeIntel, platform: KnownPlatform, clock: Clock
) -> None:
    path, query = everything(intel, platform)[-1]
    assert service.client.get(path, **query).status == 200
    clock.advance(days=7 * 365)
    intel.maker.issued_at = clock.now
    reply = service.client.get(path, **query)
    assert reply.status in {404, 502}
    assert "validity" in reply.text


def test_copies_in_memory_do_not_grow_without_end(start: Start, intel: FakeIntel) -> None:
    service = start(limits=AppLimits(hot=4))
    for number in range(11):
        path = f"{SGX}/tcb?fmspc={intel.maker.fmspc}&x={number}"
        assert service.client.get(path).status == 200
        assert len(service.hot.present) <= 4
