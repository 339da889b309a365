"""Closed networks: what an administrator carries in, by Intel's tool or as a package."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.scenarios.collateral.conftest import Start
from tests.scenarios.collateral.test_collateral_cache import ask, everything
from tests.support.collateral_service import Clock, Service
from tests.support.intel_pcs import FakeIntel
from tests.support.manufacturer import KnownPlatform

from casemate.adapters.file_keys import generate_key
from casemate.collateral.documents import Mode
from casemate.collateral.package import Content, read_package, write_package
from casemate.collateral.store import AppraisalPolicy
from casemate.errors import CasemateError, FormatError, RefusedError
from casemate.formats.sgx.collateral import EnclaveId
from casemate.keys import Signer
from casemate.simulator.pki import PckAuthority
from casemate.verifier.roots import TrustRoots

SGX, TDX = "/sgx/certification/v4", "/tdx/certification/v4"


def delivery(intel: FakeIntel, platform: KnownPlatform, clock: Clock) -> dict[str, Any]:
    """What Intel's administration tool writes: it reads TCB info as JSON and prints it with blanks."""
    maker = intel.maker
    infos = {tee: json.loads(maker.tcb_info(tee, maker.fmspc, 17) or b"") for tee in ("sgx", "tdx")}
    early = json.loads(maker.tcb_info("sgx", maker.fmspc, 18) or b"")
    certificates = [
        {"tcbm": tcbm.upper(), "cert": quote(pck.certificate_pem())}
        for tcbm, pck in platform.levels.items()
        if pck
    ]
    return {
        "platforms": [
            {
                "qe_id": platform.qe_id,
                "pce_id": platform.pce_id,
                "cpu_svn": platform.cpu_svn,
                "pce_svn": platform.pce_svn,
                "enc_ppid": platform.encrypted_ppid,
                "platform_manifest": platform.manifest,
            }
        ],
        "collaterals": {
            "version": 4,
            "pck_certs": [{"qe_id": platform.qe_id, "pce_id": platform.pce_id, "certs": certificates}],
            "tcbinfos": [
                {
                    "fmspc": maker.fmspc.upper(),
                    "sgx_tcbinfo": infos["sgx"],
                    "tdx_tcbinfo": infos["tdx"],
                    "sgx_tcbinfo_early": early,
                }
            ],
            "pckcacrl": {
                "processorCrl": maker.pck_crl(PckAuthority.PROCESSOR).hex(),
                "platformCrl": maker.pck_crl(PckAuthority.PLATFORM).hex(),
            },
            "qeidentity": maker.identity(EnclaveId.QE, 17).decode(),
            "tdqeidentity": maker.identity(EnclaveId.TD_QE, 17).decode(),
            "qveidentity": maker.identity(EnclaveId.QVE, 17).decode(),
            "certificates": {
                "SGX-PCK-Certificate-Issuer-Chain": {
                    "PROCESSOR": maker.authority_chain(PckAuthority.PROCESSOR),
                    "PLATFORM": maker.authority_chain(PckAuthority.PLATFORM),
                },
                "TCB-Info-Issuer-Chain": maker.signer_chain(),
                "SGX-Enclave-Identity-Issuer-Chain": maker.signer_chain(),
            },
            "rootcacrl": maker.root_crl().hex(),
            "rootcacrl_cdp": "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der",
        },
    }


def test_what_intels_tool_delivers_is_given_out(
    start: Start, intel: FakeIntel, platform: KnownPlatform, clock: Clock
) -> None:
    service = start(Mode.OFFLINE)
    reply = service.client.admin("PUT", f"{SGX}/platformcollateral", delivery(intel, platform, clock))
    assert (reply.status, reply.text) == (200, "Operation successful.")
    expected = [200] * len(everything(intel, platform))
    expected[6] = 404
    assert ask(service, intel, platform) == expected
    body = service.client.get(f"{SGX}/tcb", fmspc=intel.maker.fmspc).body
    assert body == intel.maker.tcb_info("sgx", intel.maker.fmspc, 17)
    listed = service.client.admin("GET", f"{SGX}/platforms", source=f"[{intel.maker.fmspc}]")
    assert listed.json[0]["cpu_svn"] == platform.cpu_svn.upper()
    assert intel.count() == 0


def test_a_newer_document_stays_when_an_older_one_is_delivered(
    start: Start, intel: FakeIntel, platform: KnownPlatform, clock: Clock
) -> None:
    service = start(Mode.OFFLINE)
    older = delivery(intel, platform, clock)
    clock.advance(days=1)
    intel.maker.issued_at = clock.now
    service.client.admin("PUT", f"{SGX}/platformcollateral", delivery(intel, platform, clock))
    reply = service.client.admin("PUT", f"{SGX}/platformcollateral", older)
    assert reply.status == 200
    assert reply.text.startswith("Operation successful. Newer ones were kept of: root-crl, tcb-info 4 sgx ")
    newest = service.client.get(f"{SGX}/qe/identity").json["enclaveIdentity"]["issueDate"]
    assert newest == "2026-05-02T12:00:00Z"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["tcbinfos"][0]["sgx_tcbinfo"]["tcbInfo"].update(pceId="0001"), "TCB info, signature"),
        (lambda c: c["tcbinfos"][0].update(fmspc="00606a000001"), "TCB info, FMSPC"),
        (lambda c: c.update(qeidentity=c["qveidentity"]), "enclave identity, id"),
        (lambda c: c.update(rootcacrl=c["pckcacrl"]["platformCrl"]), "root CRL, signature"),
        (lambda c: c["pckcacrl"].update(platformCrl=c["pckcacrl"]["processorCrl"]), "PCK CRL"),
        (lambda c: c["certificates"].pop("TCB-Info-Issuer-Chain"), "issuer chain"),
        (lambda c: c["pck_certs"][0]["certs"][0].update(tcbm="0" * 36), "PCK certificate"),
        (lambda c: c["pck_certs"][0].update(pce_id="0001"), "PCK certificate"),
        (
            lambda c: c["certificates"]["SGX-PCK-Certificate-Issuer-Chain"].pop("PLATFORM"),
            "issuer chain",
        ),
    ],
)
def test_nothing_is_kept_of_a_delivery_in_which_something_is_wrong(
    start: Start, intel: FakeIntel, platform: KnownPlatform, clock: Clock, change: Any, reason: str
) -> None:
    service = start(Mode.OFFLINE)
    value = delivery(intel, platform, clock)
    change(value["collaterals"])
    reply = service.client.admin("PUT", f"{SGX}/platformcollateral", value)
    assert reply.status == 460, reply.text
    assert reply.text.startswith(f"The integrity of the data can't be verified. {reason}")
    assert service.store.listing() == ()
    assert list(service.store.platforms()) == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"platforms": [], "collaterals": {}}', b"\xff", b"[" * 9999]
)
def test_a_delivery_of_another_form_is_400(start: Start, body: bytes) -> None:
    headers = {"admin-token": "admin token"}
    service = start(Mode.OFFLINE)
    reply = service.client.send("PUT", f"{SGX}/platformcollateral", body, headers=headers)
    assert reply.status == 400
    assert reply.text.startswith("Invalid request parameters. collateral: expected the form of Intel's")


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    path = tmp_path_factory.mktemp("key") / "packages.pem"
    return generate_key(str(path), None, bits=3072, exponent=3)


@pytest.fixture
def filled(service: Service, intel: FakeIntel, platform: KnownPlatform) -> Service:
    """A service that has everything of one platform, and a policy."""
    assert set(ask(service, intel, platform)) == {200}
    policy = AppraisalPolicy(
        id=hashlib.sha384(b"policy").hexdigest(),
        fmspc="00606a000000",
        type="sgx",
        is_default=True,
        policy="policy",
    )
    service.store.put_policy(policy)
    return service


def read(package: bytes, intel: FakeIntel, signer: Signer, clock: Clock) -> Content:
    roots = TrustRoots.simulated(intel.maker.root.certificate_pem())
    return read_package(package, [signer.public_key], roots, clock.now, where="package")


def test_a_package_holds_everything_and_is_judged_again(
    filled: Service, intel: FakeIntel, clock: Clock, signer: Signer
) -> None:
    package = write_package(filled.store, signer, clock.now)
    assert write_package(filled.store, signer, clock.now) == package
    clock.advance(days=1)
    content = read(package, intel, signer, clock)
    assert content.refused == ()
    assert content.made == "2026-05-01T12:00:00Z"
    assert {entry.name for entry in content.entries} == {one.name for one in filled.store.listing()}
    bodies = {entry.name: entry.body for entry in content.entries}
    assert bodies == {entry.name: entry.body for entry in filled.store.entries()}
    (platform,), (kept,) = content.platforms, filled.store.platforms()
    assert (platform.certificates, platform.tcbs) == (kept.certificates, kept.tcbs)
    assert content.policies == filled.store.all_policies()


def test_what_has_expired_on_the_way_is_left_out_by_name(
    filled: Service, intel: FakeIntel, clock: Clock, signer: Signer
) -> None:
    package = write_package(filled.store, signer, clock.now)
    clock.advance(days=31)
    content = read(package, intel, signer, clock)
    assert [entry.name.kind.value for entry in content.entries] == ["root-crl"]
    assert len(content.platforms) == 1
    assert content.refused[0].startswith(
        "evaluation-numbers sgx: TCB evaluation data numbers, validity: expected"
    )


def test_a_changed_package_is_refused(
    filled: Service, intel: FakeIntel, clock: Clock, signer: Signer, tmp_path: Path
) -> None:
    package = write_package(filled.store, signer, clock.now)
    end = len(package) - 1
    for position in (200, package.index(b"\n") + 30, end // 2, end):
        changed = bytearray(package)
        changed[position] ^= 1
        with pytest.raises((RefusedError, FormatError)):
            read(bytes(changed), intel, signer, clock)
    with pytest.raises(RefusedError, match="package: expected content with SHA-256"):
        read(package[: package.rindex(b"\n", 0, end)], intel, signer, clock)
    stranger = generate_key(str(tmp_path / "other.pem"), None, bits=3072, exponent=3)
    with pytest.raises(RefusedError, match="signature of an envelope"):
        read(package, intel, stranger, clock)


def test_a_forged_document_in_a_rightly_signed_package_is_left_out(
    filled: Service, intel: FakeIntel, clock: Clock, signer: Signer
) -> None:
    from casemate.collateral.package import PACKAGE_TYPE
    from casemate.formats.dsse import Envelope

    lines = write_package(filled.store, signer, clock.now).splitlines()[1:]
    forged = next(n for n, line in enumerate(lines) if b"tcb-info" in line)
    line = json.loads(lines[forged])
    line["body"] = base64.b64encode(base64.b64decode(line["body"]).replace(b"UpToDate", b"OutOfDat")).decode()
    lines[forged] = json.dumps(line).encode()
    rest = b"".join(one + b"\n" for one in lines)
    head = {
        "version": 1,
        "made": "2026-05-01T12:00:00Z",
        "lines": len(lines),
        "sha256": hashlib.sha256(rest).hexdigest(),
    }
    package = Envelope.sign(PACKAGE_TYPE, json.dumps(head).encode(), signer).to_bytes() + b"\n" + rest
    content = read(package, intel, signer, clock)
    assert len(content.entries) == len(filled.store.listing()) - 1
    assert "TCB info, signature" in content.refused[0]


@pytest.mark.parametrize("data", [b"", b"{}", b"\n", b"\xff\xff", b"[" * 9999, b'{"payload": 1}\n{}'])
def test_anything_else_is_no_package(data: bytes, intel: FakeIntel, signer: Signer, clock: Clock) -> None:
    with pytest.raises(CasemateError):
        read(data, intel, signer, clock)
