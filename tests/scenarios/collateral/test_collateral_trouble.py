"""What goes wrong on this side: a failing store, a defect, slow clients, platforms without certificates."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from dataclasses import replace
from typing import Any

import pytest
from tests.scenarios.collateral.conftest import Start
from tests.scenarios.collateral.test_collateral_api import pckcert_parameters, registration
from tests.scenarios.collateral.test_collateral_delivery import delivery
from tests.support.collateral_service import Clock, Service
from tests.support.intel_pcs import FakeIntel, Fault
from tests.support.manufacturer import KnownPlatform

from casemate.collateral.app import AppLimits
from casemate.collateral.documents import Mode
from casemate.collateral.upkeep import Upkeep, Watch
from casemate.errors import ServiceError
from casemate.formats.sgx.collateral import EnclaveId

SGX, V3 = "/sgx/certification/v4", "/sgx/certification/v3"
OURS = (
    "Internal server error occurred. service: expected to answer, got a failure of its own; look at its log"
)


@pytest.mark.parametrize("error", [ServiceError("store", got="a full disk"), RuntimeError("a defect")])
def test_a_failure_of_its_own_is_logged_and_not_shown(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def fail(name: object) -> None:
        raise error

    monkeypatch.setattr(service.store, "get", fail)
    reply = service.client.get(f"{SGX}/qe/identity")
    assert (reply.status, reply.text) == (500, OURS)
    assert "qe/identity" in caplog.text
    assert str(error) in caplog.text or "a defect" in caplog.text


def connected(service: Service) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(service.client.ca))
    address = ("127.0.0.1", service.client.port)
    return context.wrap_socket(socket.create_connection(address, timeout=10), server_hostname="localhost")


HALF = (
    f"PUT {SGX}/platformcollateral HTTP/1.1\r\nHost: localhost\r\nadmin-token: admin token\r\n"
    "Content-Length: 100\r\n\r\n{"
).encode()


def test_a_client_that_sends_its_body_slowly_is_told_so(start: Start) -> None:
    service = start(limits=AppLimits(seconds=0.2))
    with connected(service) as client:
        client.sendall(HALF)
        answer = client.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"Request timed out. body: expected all of it within 0.2 s, got less" in answer


def test_a_client_that_goes_away_harms_nobody(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    with connected(service) as client:
        client.sendall(HALF)
    assert service.client.get("/healthz").status == 200
    assert "Traceback" not in caplog.text


def test_too_many_parameters_are_refused(service: Service) -> None:
    query = "&".join(f"p{number}=1" for number in range(33))
    reply = service.client.get(f"{SGX}/rootcacrl?{query}")
    assert reply.text == "Invalid request parameters. query: expected at most 32 parameters, got more"


def test_paths_of_the_service_itself_are_for_reading(service: Service) -> None:
    assert service.client.send("POST", "/metrics").status == 405


def test_a_platform_without_any_certificate_is_462(
    service: Service, intel: FakeIntel, platform: KnownPlatform
) -> None:
    intel.maker.platforms[0] = replace(platform, levels=dict.fromkeys(platform.levels))
    reply = service.client.get(f"{SGX}/pckcert", **pckcert_parameters(platform))
    assert reply.status == 462
    assert reply.text == (
        "Certificates are not available for certain TCBs. PCK certificates: expected at least one, got none; "
        "3 are not available (localhost); register the platform with Intel, then ask again"
    )


def test_a_registration_that_fails_stays_in_the_queue(
    start: Start, intel: FakeIntel, platform: KnownPlatform
) -> None:
    service = start(Mode.REGISTERED)
    intel.fail(Fault.ERROR, on="pckcerts")
    assert service.client.post(f"{SGX}/platforms", registration(platform)).status == 502
    assert len(service.client.admin("GET", f"{SGX}/platforms").json) == 1


def test_a_registration_whose_collateral_cannot_be_fetched_says_so(
    start: Start, intel: FakeIntel, platform: KnownPlatform
) -> None:
    service = start(Mode.REGISTERED)
    intel.fail(Fault.ERROR, on="pckcrl")
    assert service.client.post(f"{SGX}/platforms", registration(platform)).status == 502


def test_a_refresh_that_fails_names_the_first_reason_and_goes_on(
    service: Service, intel: FakeIntel, platform: KnownPlatform, clock: Clock
) -> None:
    service.client.get(f"{SGX}/pckcert", **pckcert_parameters(platform))
    service.client.get(f"{SGX}/qe/identity")
    clock.advance(hours=2)
    intel.maker.issued_at = clock.now
    intel.fail(Fault.ERROR, on="/tcb")
    documents = service.client.admin("POST", f"{SGX}/refresh")
    assert documents.status == 503
    assert "refresh: expected every document renewed, got 1 failures, the first of which is of tcb-info" in (
        documents.text
    )
    renewed = service.client.get(f"{SGX}/qe/identity").json["enclaveIdentity"]["issueDate"]
    assert renewed == "2026-05-01T14:00:00Z"
    intel.fail(Fault.ERROR, on="pckcerts")
    certificates = service.client.admin("POST", f"{SGX}/refresh", type="certs")
    assert certificates.status == 503
    assert "refresh of certificates: expected 1 answers, got 1 failures, the first of which is" in (
        certificates.text
    )
    assert service.client.get(f"{SGX}/pckcert", **pckcert_parameters(platform)).status == 200


def test_an_update_of_a_platform_while_intel_is_away_changes_nothing(
    service: Service, intel: FakeIntel, platform: KnownPlatform, clock: Clock
) -> None:
    parameters = pckcert_parameters(platform)
    service.client.get(f"{SGX}/pckcert", **parameters)
    clock.advance(hours=2)
    intel.stop()
    updated = "ff" + platform.cpu_svn[2:]
    reply = service.client.get(f"{SGX}/pckcert", **(parameters | {"cpusvn": updated}))
    assert reply.status == 200
    assert reply.headers["SGX-TCBm"][:32] == platform.cpu_svn.upper()


def test_documents_of_version_3_are_given_out_while_they_last_and_never_renewed(
    start: Start, intel: FakeIntel, platform: KnownPlatform, clock: Clock
) -> None:
    service = start()
    value = delivery(intel, platform, clock)
    collaterals = value["collaterals"]
    value["platforms"], collaterals["pck_certs"], collaterals["tcbinfos"] = [], [], []
    collaterals["qeidentity"] = intel.maker.identity(EnclaveId.QE, 17).decode()
    assert service.client.admin("PUT", f"{V3}/platformcollateral", value).status == 200
    reply = service.client.get(f"{V3}/qe/identity")
    assert (reply.status, reply.headers["Warning"][:3]) == (200, "299")
    assert service.client.admin("POST", f"{SGX}/refresh").status == 200
    assert intel.count("qe/identity") == 0
    assert service.client.get(f"{V3}/qe/identity").status == 200
    clock.advance(days=31)
    assert service.client.get(f"{V3}/qe/identity").status == 410


def test_upkeep_renews_and_watches_until_it_is_told_to_stop(
    service: Service, intel: FakeIntel, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    service.client.get(f"{SGX}/qe/identity")
    clock.advance(hours=25)
    looks: list[int] = []

    class Failing(Watch):
        def look(self) -> None:
            looks.append(1)
            raise ServiceError("store", got="gone") if len(looks) == 1 else RuntimeError("defect")

    asked = intel.count()
    with Upkeep(Failing(service.store, service.hot.clear), service.api.documents):
        end = time.monotonic() + 10
        while intel.count() == asked or len(looks) < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
    assert "upkeep: store: got gone" in caplog.text
    assert "RuntimeError: defect" in caplog.text
    assert service.renew_all() == 0


def read_to_end(client: ssl.SSLSocket) -> bytes:
    data = b""
    while more := client.recv(1 << 16):
        data += more
    return data


@pytest.mark.parametrize(
    ("version", "header", "closes"),
    [("1.1", "Connection: close\r\n", b"Connection: close"), ("1.0", "", b"Connection: close")],
)
def test_an_answer_from_memory_ends_the_connection_of_who_asked_for_that(
    service: Service, intel: FakeIntel, version: str, header: str, closes: bytes
) -> None:
    path = f"{SGX}/tcb?fmspc={intel.maker.fmspc}"
    expected = service.client.get(path)
    request = f"GET {path} HTTP/{version}\r\nHost: localhost\r\n{header}\r\n".encode()
    with connected(service) as client:
        client.sendall(request)
        head, _, body = read_to_end(client).partition(b"\r\n\r\n")
    assert body == expected.body
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert closes in lines
    names = [line.split(b":")[0].decode() for line in lines[1:]]
    assert sorted(names) == sorted({*expected.headers, "Connection"})


def test_requests_that_come_together_are_answered_in_their_order(service: Service, intel: FakeIntel) -> None:
    path = f"{SGX}/tcb?fmspc={intel.maker.fmspc}"
    body = service.client.get(path).body
    together = b"".join(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nRequest-ID: r{number}\r\n{last}\r\n".encode()
        for number, last in ((1, ""), (2, ""), (3, "Connection: close\r\n"))
    )
    with connected(service) as client:
        client.sendall(together)
        answers = read_to_end(client)
    assert answers.count(body) == 3
    found = [line for line in answers.split(b"\r\n") if line.startswith(b"Request-ID")]
    assert found == [b"Request-ID: r1", b"Request-ID: r2", b"Request-ID: r3"]


def test_any_asgi_server_can_run_it(service: Service, intel: FakeIntel) -> None:
    """One that does not know how to send a prepared answer gets the two messages of ASGI."""
    path = f"{SGX}/qe/identity"
    expected = service.client.get(path)
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        raise NotImplementedError

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}
    asyncio.run(service.app(scope, receive, send))
    start, body = sent
    assert (start["status"], body["body"]) == (200, expected.body)
    assert {name.decode() for name, _ in start["headers"]} == set(expected.headers) - {"date"}


def test_whoever_asks_for_ever_new_tcbs_fills_no_store(
    service: Service, platform: KnownPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casemate.collateral.platforms.MOST_TCBS", 3)
    parameters = pckcert_parameters(platform)
    for number in range(6):
        updated = f"f{number}{platform.cpu_svn[2:]}"
        reply = service.client.get(f"{SGX}/pckcert", **(parameters | {"cpusvn": updated}))
        assert reply.status == 200
    (kept,) = service.store.platforms()
    assert len(kept.tcbs) == 3
