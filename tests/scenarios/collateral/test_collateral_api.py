"""Every endpoint of PCCS's API, asked by a client that was written from the reference."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from tests.scenarios.collateral.conftest import Start
from tests.support.collateral_service import Service
from tests.support.intel_pcs import FakeIntel
from tests.support.manufacturer import KnownPlatform

from casemate.collateral.documents import Mode
from casemate.formats.pem import parse_certificates
from casemate.simulator.pki import PckAuthority

SGX, TDX, V3 = "/sgx/certification/v4", "/tdx/certification/v4", "/sgx/certification/v3"


def pckcert_parameters(platform: KnownPlatform) -> dict[str, str]:
    return {
        "qeid": platform.qe_id.upper(),
        "cpusvn": platform.cpu_svn.upper(),
        "pcesvn": platform.pce_svn.upper(),
        "pceid": platform.pce_id.upper(),
        "encrypted_ppid": platform.encrypted_ppid.upper(),
    }


def registration(platform: KnownPlatform, *, manifest: bool = False) -> dict[str, str]:
    told = {"qe_id": platform.qe_id, "pce_id": platform.pce_id}
    if manifest:
        return told | {"platform_manifest": platform.manifest}
    return told | {
        "cpu_svn": platform.cpu_svn,
        "pce_svn": platform.pce_svn,
        "enc_ppid": platform.encrypted_ppid,
    }


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_tcb_info_comes_with_its_bytes_and_its_chain(service: Service, intel: FakeIntel, tee: str) -> None:
    reply = service.client.get(f"/{tee}/certification/v4/tcb", fmspc=intel.maker.fmspc.upper())
    assert reply.status == 200, reply.text
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.body == intel.maker.tcb_info(tee, intel.maker.fmspc, intel.maker.standard)
    assert len(parse_certificates(reply.chain("TCB-Info-Issuer-Chain"), where="chain")) == 2
    assert reply.headers["TCB-Info-Issuer-Chain"] == intel.maker.signer_chain().replace("/", "%2F")


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("/sgx/certification/v4/qe/identity", "QE"),
        ("/tdx/certification/v4/qe/identity", "TD_QE"),
        ("/sgx/certification/v4/qve/identity", "QVE"),
        ("/sgx/certification/v4/qae/identity", "QAE"),
    ],
)
def test_identities_come_with_their_chain(service: Service, path: str, role: str) -> None:
    reply = service.client.get(path)
    assert reply.status == 200, reply.text
    assert reply.json["enclaveIdentity"]["id"] == role
    assert reply.headers["Content-Type"] == "application/json"
    assert len(parse_certificates(reply.chain("SGX-Enclave-Identity-Issuer-Chain"), where="chain")) == 2


def test_editions_are_told_apart(service: Service, intel: FakeIntel) -> None:
    def number(**parameters: str) -> int:
        reply = service.client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc, **parameters)
        assert reply.status == 200, reply.text
        found: int = reply.json["tcbInfo"]["tcbEvaluationDataNumber"]
        return found

    assert number() == number(update="standard") == number(update="STANDARD") == 17
    assert number(update="early") == 18
    assert number(tcbEvaluationDataNumber="16") == 16


@pytest.mark.parametrize("tee", ["sgx", "tdx"])
def test_evaluation_data_numbers_come_with_their_chain(service: Service, tee: str) -> None:
    reply = service.client.get(f"/{tee}/certification/v4/tcbevaluationdatanumbers")
    assert reply.status == 200, reply.text
    assert [
        one["tcbEvaluationDataNumber"] for one in reply.json["tcbEvaluationDataNumbers"]["tcbEvalNumbers"]
    ]
    assert reply.chain("TCB-Evaluation-Data-Numbers-Issuer-Chain")


@pytest.mark.parametrize("ca", ["processor", "PLATFORM"])
def test_a_pck_crl_is_der_or_hexadecimal(service: Service, intel: FakeIntel, ca: str) -> None:
    crl = intel.maker.pck_crl(PckAuthority(ca.lower()))
    as_der = service.client.get(f"{SGX}/pckcrl", ca=ca, encoding="der")
    as_hex = service.client.get(f"{SGX}/pckcrl", ca=ca)
    assert (as_der.status, as_der.headers["Content-Type"]) == (200, "application/pkix-crl")
    assert as_der.body == crl
    assert (as_hex.status, as_hex.headers["Content-Type"]) == (200, "application/x-pem-file")
    assert as_hex.body == crl.hex().encode()
    assert as_der.headers["SGX-PCK-CRL-Issuer-Chain"] == as_hex.headers["SGX-PCK-CRL-Issuer-Chain"]
    assert as_der.headers["ETag"] != as_hex.headers["ETag"]


def test_the_root_crl_is_hexadecimal_with_the_type_of_der(service: Service, intel: FakeIntel) -> None:
    reply = service.client.get(f"{SGX}/rootcacrl")
    assert (reply.status, reply.headers["Content-Type"]) == (200, "application/pkix-crl")
    assert reply.body == intel.maker.root_crl().hex().encode()


@pytest.mark.parametrize(
    ("uri", "which"),
    [
        ("https://certificates.trustedservices.intel.com/IntelSGXRootCA.der", "root"),
        ("https://sbx-certificates.trustedservices.intel.com/IntelSGXRootCA.crl", "root"),
        (
            "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
            "platform",
        ),
        ("https://api.trustedservices.intel.com/sgx/certification/v3/pckcrl?ca=processor", "processor"),
    ],
)
def test_a_crl_is_found_by_its_address(service: Service, intel: FakeIntel, uri: str, which: str) -> None:
    reply = service.client.get(f"{SGX}/crl", uri=uri)
    crl = intel.maker.root_crl() if which == "root" else intel.maker.pck_crl(PckAuthority(which))
    assert (reply.status, reply.headers["Content-Type"], reply.body) == (200, "application/pkix-crl", crl)


def test_a_pck_certificate_comes_with_all_headers(service: Service, platform: KnownPlatform) -> None:
    reply = service.client.get(f"{SGX}/pckcert", **pckcert_parameters(platform))
    assert reply.status == 200, reply.text
    tcbm = platform.cpu_svn + platform.pce_svn
    assert reply.body == platform.simulated.quoting_enclave.pck.certificate_pem()
    assert reply.headers["SGX-TCBm"] == tcbm.upper()
    assert reply.headers["SGX-FMSPC"] == platform.fmspc.upper()
    assert reply.headers["SGX-PCK-Certificate-CA-Type"] == "PLATFORM"
    assert reply.headers["Content-Type"] == "application/x-pem-file"
    assert len(parse_certificates(reply.chain("SGX-PCK-Certificate-Issuer-Chain"), where="chain")) == 2


def test_a_platform_below_its_newest_level_gets_the_older_certificate(
    service: Service, platform: KnownPlatform
) -> None:
    svns = bytearray.fromhex(platform.cpu_svn)
    svns[0] -= 1
    lower = pckcert_parameters(platform) | {"cpusvn": svns.hex()}
    reply = service.client.get(f"{SGX}/pckcert", **lower)
    assert reply.status == 200, reply.text
    assert reply.headers["SGX-TCBm"] == (svns.hex() + platform.pce_svn).upper()
    svns[0] = 0
    reply = service.client.get(f"{SGX}/pckcert", **(lower | {"cpusvn": svns.hex()}))
    assert reply.status == 404
    assert reply.text.startswith("No cache data for this platform. PCK certificate: expected one for CPUSVN")


def test_version_3_is_answered_from_the_cache_alone_and_warns(service: Service) -> None:
    crl = service.client.get(f"{V3}/pckcrl", ca="processor")
    assert crl.status == 200
    assert crl.headers["Warning"].startswith('299 - "PCS API version 3')
    reply = service.client.get(f"{V3}/tcb", fmspc="00606a000000")
    assert reply.status == 410
    assert reply.text.startswith("The Intel PCS API version 3 reached planned EOL.")
    assert service.client.get("/tdx/certification/v3/tcb", fmspc="00606a000000").status == 404


@pytest.mark.parametrize(
    ("path", "parameters", "reason"),
    [
        ("tcb", {}, "fmspc: expected 12 hexadecimal digits, got nothing (query)"),
        ("tcb", {"fmspc": "00606a00000g"}, "fmspc: expected 12 hexadecimal digits, got 00606a00000g (query)"),
        (
            "tcb",
            {"fmspc": "00606a000000", "update": "late"},
            "update: expected standard or early, got late (query)",
        ),
        (
            "tcb",
            {"fmspc": "00606a000000", "update": "early", "tcbEvaluationDataNumber": "17"},
            "update: expected it or tcbEvaluationDataNumber, got both (query)",
        ),
        (
            "qe/identity",
            {"tcbEvaluationDataNumber": "-1"},
            "tcbEvaluationDataNumber: expected a positive number, got -1 (query)",
        ),
        ("pckcrl", {"ca": "root"}, "ca: expected processor or platform, got root (query)"),
        (
            "crl",
            {"uri": "https://example.com/Intel.der"},
            "uri: expected the address of a CRL of Intel's, got https://example.com/Intel.der (query)",
        ),
        ("pckcert", {"qeid": "00"}, "pceid: expected 4 hexadecimal digits, got nothing (query)"),
        ("pckcert", {"qeid": "x" * 261}, f"qeid: expected 1 to 260 characters, got {'x' * 80} (query)"),
        ("appraisalpolicy", {}, "fmspc: expected 12 hexadecimal digits, got nothing (query)"),
    ],
)
def test_bad_parameters_are_named(
    service: Service, path: str, parameters: dict[str, str], reason: str
) -> None:
    reply = service.client.get(f"{SGX}/{path}", **parameters)
    assert (reply.status, reply.text) == (400, f"Invalid request parameters. {reason}")


def test_the_first_of_two_parameters_counts(service: Service, intel: FakeIntel) -> None:
    fmspc = intel.maker.fmspc
    reply = service.client.get(f"{SGX}/tcb?fmspc={fmspc}&update=early&update=standard&fmspc=zz")
    assert reply.json["tcbInfo"]["tcbEvaluationDataNumber"] == 18


def test_unknown_paths_and_methods_say_so(service: Service) -> None:
    assert service.client.get("/sgx/certification/v5/tcb").status == 404
    reply = service.client.send("DELETE", f"{SGX}/tcb")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET")
    assert service.client.send("HEAD", f"{SGX}/rootcacrl").status == 200


def test_a_family_that_intel_does_not_know_is_404_with_intels_words(service: Service) -> None:
    reply = service.client.get(f"{SGX}/tcb", fmspc="ffffffffffff")
    assert reply.status == 404
    assert reply.text.startswith("No cache data for this platform. ")
    assert "localhost" in reply.text
    assert "404" in reply.text


def test_a_withdrawn_number_is_410(service: Service, intel: FakeIntel) -> None:
    reply = service.client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc, tcbEvaluationDataNumber="3")
    assert reply.status == 410
    assert reply.text.startswith("Intel has withdrawn this document. ")


def test_an_encrypted_ppid_of_zeros_is_named_as_the_cause(service: Service, platform: KnownPlatform) -> None:
    parameters = pckcert_parameters(platform) | {"encrypted_ppid": "0" * 768}
    reply = service.client.get(f"{SGX}/pckcert", **parameters)
    assert reply.status == 404
    assert reply.text == (
        "No cache data for this platform. encrypted_ppid: expected the encrypted PPID of the platform, got "
        "zeros only; the platform could not read it: register its manifest instead (POST platforms)"
    )


def test_a_platform_that_does_not_say_who_it_is_is_400(service: Service, platform: KnownPlatform) -> None:
    parameters = pckcert_parameters(platform)
    del parameters["encrypted_ppid"]
    assert service.client.get(f"{SGX}/pckcert", **parameters).status == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "platforms"),
        ("GET", "platforms"),
        ("PUT", "platformcollateral"),
        ("GET", "refresh"),
        ("POST", "refresh"),
        ("PUT", "appraisalpolicy"),
    ],
)
@pytest.mark.parametrize("version", ["v3", "v4"])
def test_tokens_are_required(service: Service, method: str, path: str, version: str) -> None:
    header = "user-token" if method == "POST" and path == "platforms" else "admin-token"
    for headers, got in (({}, "none"), ({header: "wrong"}, "another one")):
        reply = service.client.send(method, f"/sgx/certification/{version}/{path}", headers=headers)
        assert (reply.status, reply.text) == (
            401,
            f"Authentication failed. token: expected the right one, got {got} (header {header})",
        )


def test_a_body_over_the_limit_is_413(service: Service) -> None:
    headers = {"admin-token": "admin token"}
    reply = service.client.send("PUT", f"{SGX}/platformcollateral", b" " * (2 << 20), headers=headers)
    assert reply.status == 400
    service.client.close()
    service.client._local.connection = None
    reply = service.client.send("PUT", f"{SGX}/platformcollateral", b" " * ((2 << 20) + 1), headers=headers)
    assert (reply.status, reply.text) == (
        413,
        "Content too large. body: expected at most 2097152 bytes, got more",
    )


def test_request_ids_are_sent_back_or_made(service: Service) -> None:
    for _ in range(2):
        mine = service.client.get(f"{SGX}/rootcacrl", headers={"Request-ID": "mine-1"})
        assert mine.headers["Request-ID"] == "mine-1"
    first, second = (service.client.get(f"{SGX}/rootcacrl").headers["Request-ID"] for _ in range(2))
    assert first != second
    assert len(first) == 32
    assert service.client.get("/nowhere").headers["Request-ID"]
    odd = service.client.get(f"{SGX}/rootcacrl", headers={"Request-ID": "x" * 129})
    assert len(odd.headers["Request-ID"]) == 32


def test_a_client_that_has_the_document_is_told_so(service: Service, intel: FakeIntel) -> None:
    path, parameters = f"{SGX}/tcb", {"fmspc": intel.maker.fmspc}
    etag = service.client.get(path, **parameters).headers["ETag"]
    for known in (etag, f'W/"other", {etag}', "*"):
        reply = service.client.get(path, headers={"If-None-Match": known}, **parameters)
        assert (reply.status, reply.body, reply.headers["ETag"]) == (304, b"", etag)
    service.hot.clear()
    assert service.client.get(path, headers={"If-None-Match": etag}, **parameters).status == 304
    assert service.client.get(path, headers={"If-None-Match": '"other"'}, **parameters).status == 200


def test_registered_mode_fetches_when_a_platform_registers(
    start: Start, intel: FakeIntel, platform: KnownPlatform
) -> None:
    client = start(Mode.REGISTERED).client
    assert client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc).status == 404
    unknown = client.get(f"{SGX}/pckcert", **pckcert_parameters(platform))
    assert unknown.status == 461
    assert unknown.text.startswith("The platform was not found in the cache. platform: expected one that was")
    assert intel.count() == 0

    reply = client.post(f"{SGX}/platforms", registration(platform, manifest=True))
    assert (reply.status, reply.text) == (200, "Operation successful.")
    asked = intel.count()
    assert client.get(f"{SGX}/pckcert", **pckcert_parameters(platform)).status == 200
    assert client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc).status == 200
    assert client.get(f"{TDX}/tcb", fmspc=intel.maker.fmspc).status == 200
    assert client.get(f"{SGX}/rootcacrl").status == 200
    assert client.get(f"{SGX}/qe/identity").status == 200
    assert client.get(f"{SGX}/pckcrl", ca="platform").status == 200
    assert client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc, update="early").status == 404
    assert intel.count() == asked

    missing = client.admin("GET", f"{SGX}/platforms", source="reg_na")
    assert missing.headers["platform-count"] == "1"
    assert missing.json[0]["qe_id"] == platform.qe_id.upper()
    assert client.admin("GET", f"{SGX}/platforms", source="reg_na").json == []
    assert client.admin("GET", f"{SGX}/platforms").json == []


def test_lazy_registration_with_update_all_fetches_the_early_documents_too(
    service: Service, intel: FakeIntel, platform: KnownPlatform
) -> None:
    assert service.client.post(f"{SGX}/platforms", registration(platform), update="all").status == 200
    asked = intel.count()
    reply = service.client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc, update="early")
    assert reply.status == 200
    assert service.client.post(f"{SGX}/platforms", registration(platform)).status == 200
    assert intel.count() == asked


def test_offline_mode_queues_registrations_and_gives_each_once(start: Start, platform: KnownPlatform) -> None:
    client = start(Mode.OFFLINE).client
    assert client.post(f"{SGX}/platforms", registration(platform)).status == 200
    listed = client.admin("GET", f"{SGX}/platforms", source="reg")
    assert listed.json == [
        {
            "qe_id": platform.qe_id.upper(),
            "pce_id": platform.pce_id.upper(),
            "cpu_svn": platform.cpu_svn.upper(),
            "pce_svn": platform.pce_svn.upper(),
            "platform_manifest": "",
            "enc_ppid": platform.encrypted_ppid.upper(),
        }
    ]
    assert listed.headers["Content-Type"] == "application/json; charset=utf-8"
    assert client.admin("GET", f"{SGX}/platforms").json == []
    refresh = client.admin("POST", f"{SGX}/refresh")
    assert refresh.status == 503
    assert refresh.text.startswith(
        "Server is currently unable to process the request. refresh: got a service"
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "registration: expected JSON with qe_id and pce_id"),
        (b'{"qe_id": "00"}', "registration: expected JSON with qe_id and pce_id"),
        (b'{"qe_id": "00", "pce_id": "0"}', "pce_id: expected 4 hexadecimal digits, got 0 (registration)"),
        (b'{"qe_id": "", "pce_id": "0000"}', "qe_id: expected 1 to 260 characters, got nothing"),
        (b'{"qe_id": "00", "pce_id": "0000"}', "cpu_svn: expected 32 hexadecimal digits, got nothing"),
        (b'{"qe_id": "0", "pce_id": "0000", "platform_manifest": "x"}', "registration: expected JSON"),
    ],
)
def test_bad_registrations_are_refused(service: Service, body: bytes, reason: str) -> None:
    headers = {"user-token": "user token"}
    reply = service.client.send("POST", f"{SGX}/platforms", body, headers=headers)
    assert reply.status == 400
    assert reply.text.startswith(f"Invalid request parameters. {reason}")


def test_cached_platforms_are_listed_by_family(
    service: Service, intel: FakeIntel, platform: KnownPlatform
) -> None:
    service.client.get(f"{SGX}/pckcert", **pckcert_parameters(platform))
    for source, count in ((f"[{intel.maker.fmspc}]", 1), ("[]", 1), ("[ffffffffffff]", 0)):
        listed = service.client.admin("GET", f"{SGX}/platforms", source=source)
        assert (listed.status, len(listed.json)) == (200, count)
    assert service.client.admin("GET", f"{SGX}/platforms", source="all").status == 400


def test_refresh_renews_documents_or_certificates(
    service: Service, intel: FakeIntel, platform: KnownPlatform
) -> None:
    service.client.get(f"{SGX}/pckcert", **pckcert_parameters(platform))
    before = intel.count("tcb"), intel.count("pckcerts")
    assert service.client.admin("POST", f"{SGX}/refresh").text == "Operation successful."
    assert (intel.count("tcb"), intel.count("pckcerts")) == (before[0] + 1, before[1])
    certificates = service.client.admin("GET", f"{SGX}/refresh", type="certs", fmspc=intel.maker.fmspc)
    assert certificates.status == 200
    assert intel.count("pckcerts") == before[1] + 1
    assert service.client.admin("POST", f"{SGX}/refresh", type="all").status == 400
    listed = f"[{intel.maker.fmspc},ffffffffffff]"
    assert service.client.admin("POST", f"{SGX}/refresh", type="certs", fmspc=listed).status == 200
    assert service.client.admin("POST", f"{SGX}/refresh", type="certs", fmspc="[00").status == 400
    # The administration tool says "all" so.
    assert service.client.admin("POST", f"{SGX}/refresh", type="certs", fmspc="").status == 200


def test_appraisal_policies_are_kept_and_given_by_family(service: Service) -> None:
    def policy(class_id: str, note: str) -> str:
        payload = {"policy_array": [{"environment": {"class_id": class_id}, "note": note}]}
        claims = json.dumps({"policy_payload": json.dumps(payload)}).encode()
        return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}."

    sgx = policy("3123ec35-8d38-4ea5-87a5-d6c48b567570", "one")
    path, fmspc = f"{SGX}/appraisalpolicy", "00606A000000"
    assert service.client.get(path, fmspc=fmspc).status == 404
    reply = service.client.admin("PUT", path, {"is_default": True, "fmspc": fmspc, "policy": sgx})
    assert (reply.status, reply.text) == (200, hashlib.sha384(sgx.encode()).hexdigest())
    newer = policy("3123EC35-8d38-4ea5-87a5-d6c48b567570", "two")
    tdx = policy("f708b97f-0fb2-4e6b-8b03-8a5bcd1221d3", "tdx")
    for one in (newer, tdx):
        value = {"is_default": True, "fmspc": fmspc, "policy": one}
        assert service.client.admin("PUT", path, value).status == 200
    given = service.client.get(path, fmspc=fmspc)
    assert set(given.text.split(",")) == {newer, tdx}
    unknown = {"is_default": True, "fmspc": fmspc, "policy": policy("0" * 36, "?")}
    assert service.client.admin("PUT", path, unknown).status == 400
    for bad in ({"is_default": True}, {"is_default": True, "fmspc": fmspc, "policy": "x"}):
        assert service.client.admin("PUT", path, bad).status == 400


def test_health_readiness_and_metrics(service: Service, intel: FakeIntel) -> None:
    assert service.client.get("/healthz").text == "ok\n"
    assert service.client.get("/readyz").text == "ready\n"
    for _ in range(3):
        service.client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc)
    service.client.get(f"{SGX}/tcb")
    metrics = service.client.get("/metrics")
    assert metrics.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = metrics.text.splitlines()
    assert 'casemate_collateral_requests_total{endpoint="v4/sgx/tcb",code="200"} 3' in lines
    assert 'casemate_collateral_requests_total{endpoint="v4/sgx/tcb",code="400"} 1' in lines
    assert 'casemate_collateral_upstream_calls_total{kind="tcb-info"} 1' in lines
    assert 'casemate_collateral_entries{kind="tcb-info"} 1' in lines
    assert 'casemate_collateral_oldest_age_seconds{kind="tcb-info"} 0' in lines
    assert f'casemate_collateral_soonest_expiry_seconds{{kind="tcb-info"}} {30 * 86400}' in lines


def test_a_store_that_is_gone_is_not_ready(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from casemate.errors import ServiceError

    def gone() -> int:
        raise ServiceError("store", got="no such file")

    monkeypatch.setattr(service.store, "revision", gone)
    reply = service.client.get("/readyz")
    assert reply.status == 503
    assert reply.text == "Server is currently unable to process the request. store: got no such file"
    assert service.client.get("/healthz").status == 200
