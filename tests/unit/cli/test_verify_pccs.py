"""``--pccs``: the collateral comes from a service, over HTTPS, and the verdict with it."""

from __future__ import annotations

import json
import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
from tests.support.collateral_service import Clock, Service, running_service, upstream_of
from tests.support.intel_pcs import INTEL_HOSTS, FakeIntel, Fault
from tests.support.manufacturer import KnownPlatform, Manufacturer

from casemate.adapters.collateral_sqlite import open_sqlite_store
from casemate.cli.main import run
from casemate.collateral.documents import CacheRules, Mode
from casemate.formats.sgx.collateral import Collateral
from casemate.formats.sgx.pck_identifier import PckIdentifier, PpidForm
from casemate.formats.sgx.quote import Quote
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
AT = ("--at", "2026-05-01T13:00:00Z")
MRENCLAVE = MrEnclave(b"\1" * 32)
PATHS = [
    "/sgx/certification/v4/tcb",
    "/sgx/certification/v4/qe/identity",
    "/sgx/certification/v4/pckcrl",
    "/sgx/certification/v4/rootcacrl",
]


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Somebody who verifies, and files to do it with."""

    folder: Path
    maker: Manufacturer

    @property
    def known(self) -> KnownPlatform:
        return self.maker.platforms[0]

    def quote(self, form: PpidForm | None = None) -> Path:
        """A file with a quote; with a form, of a platform that has not been given its chain."""
        enclave = SimulatedEnclave(
            platform=self.known.simulated, mrenclave=MRENCLAVE, mrsigner=MrSigner(b"\2" * 32), isvprodid=1
        )
        evidence = enclave.quote(bytes(64))
        if form is not None:
            identifier = identifier_of(self.known, form)
            evidence = without_chain(evidence, form.value, identifier.to_bytes())
        path = self.folder / "quote"
        path.write_bytes(evidence)
        return path

    def arguments(self, *options: object, form: PpidForm | None = None) -> list[str]:
        root = self.folder / "root.pem"
        root.write_bytes(self.maker.root.certificate_pem())
        named = ("--mrenclave", MRENCLAVE.hex(), "--simulated-root", root)
        return [str(part) for part in ("verify", "quote", self.quote(form), *named, *AT, *options)]


def identifier_of(known: KnownPlatform, form: PpidForm) -> PckIdentifier:
    extension = known.extension
    ppids = {
        PpidForm.CLEAR: extension.ppid,
        PpidForm.RSA_2048_OAEP: bytes(256),
        PpidForm.RSA_3072_OAEP: bytes.fromhex(known.encrypted_ppid),
    }
    return PckIdentifier(
        form=form,
        ppid=ppids[form],
        cpu_svn=extension.cpu_svn,
        pce_svn=extension.pce_svn,
        pce_id=extension.pce_id,
    )


def without_chain(evidence: bytes, kind: int, data: bytes) -> bytes:
    """The same quote with other certification data, which nobody signs."""
    return replace(Quote.parse(evidence), certification_type=kind, certification_data=data).to_bytes()


@pytest.fixture
def intel(tmp_path: Path) -> Iterator[FakeIntel]:
    with FakeIntel.running(Manufacturer.create(NOW), tmp_path) as fake:
        yield fake


@pytest.fixture
def pccs(intel: FakeIntel) -> FakeIntel:
    """Somebody's PCCS."""
    intel.is_cache = True
    return intel


@pytest.fixture
def desk(intel: FakeIntel, tmp_path: Path) -> Desk:
    folder = tmp_path / "desk"
    folder.mkdir()
    return Desk(folder=folder, maker=intel.maker)


@contextmanager
def serving(intel: FakeIntel, folder: Path, mode: Mode) -> Iterator[Service]:
    """Casemate's own service, in front of Intel's."""
    root, upstream = intel.maker.root.certificate_pem(), upstream_of(intel)
    rules = CacheRules(mode=mode)
    with (
        closing(open_sqlite_store(folder / "collateral.db")) as store,
        running_service(folder, store, Clock(), root=root, upstream=upstream, rules=rules) as running,
    ):
        yield running


@pytest.fixture
def service(intel: FakeIntel, tmp_path: Path) -> Iterator[Service]:
    with serving(intel, tmp_path, Mode.LAZY) as running:
        yield running


def asking_ours(service: Service) -> tuple[str, ...]:
    return ("--pccs", f"https://localhost:{service.client.port}", "--pccs-ca", str(service.client.ca))


Output = pytest.CaptureFixture[str]


def asking(pccs: FakeIntel) -> tuple[object, ...]:
    return ("--pccs", pccs.url, "--pccs-ca", pccs.ca)


def test_what_a_pccs_has_is_fetched_for_a_quote(pccs: FakeIntel, desk: Desk, capsys: Output) -> None:
    assert run(desk.arguments(*asking(pccs))) == 0
    assert capsys.readouterr().out.splitlines()[0] == "verdict: affirming"
    assert [asked.path for asked in pccs.asked] == PATHS
    assert pccs.asked[0].parameters == {"fmspc": desk.known.fmspc.upper(), "update": "standard"}
    assert pccs.asked[2].parameters == {"ca": "platform", "encoding": "der"}


@pytest.mark.parametrize("form", [None, *PpidForm])
def test_our_own_service_gives_everything_that_a_verifier_needs(
    service: Service, desk: Desk, capsys: Output, form: PpidForm | None
) -> None:
    known = desk.known
    registration = {
        "qe_id": known.qe_id,
        "pce_id": known.pce_id,
        "cpu_svn": known.cpu_svn,
        "pce_svn": known.pce_svn,
        "enc_ppid": known.encrypted_ppid,
        "platform_manifest": "",
    }
    assert service.client.post("/sgx/certification/v4/platforms", registration).status in {200, 201}
    assert run(desk.arguments(*asking_ours(service), form=form)) == 0
    assert capsys.readouterr().out.startswith("verdict: affirming\n")


@pytest.mark.parametrize("form", list(PpidForm))
def test_what_was_fetched_serves_again_without_the_service(
    pccs: FakeIntel, desk: Desk, capsys: Output, form: PpidForm
) -> None:
    kept = desk.folder / "collateral.json"
    assert run(desk.arguments(*asking(pccs), "--save-collateral", kept, form=form)) == 0
    pccs.stop()
    assert run(desk.arguments("--collateral", kept, form=form)) == 0
    assert Collateral.parse_json(kept.read_bytes()).pck_certificate_chain is not None
    assert capsys.readouterr().out.count("verdict: affirming") == 2


@pytest.mark.parametrize("form", list(PpidForm))
def test_a_quote_that_only_names_its_certificate_asks_for_it_first(
    pccs: FakeIntel, desk: Desk, form: PpidForm
) -> None:
    assert run(desk.arguments(*asking(pccs), form=form)) == 0
    first, *rest = pccs.asked
    known = desk.known
    expected = {
        "qeid": known.qe_id,
        "cpusvn": known.cpu_svn,
        "pcesvn": known.pce_svn,
        "pceid": known.pce_id,
    }
    if form is PpidForm.RSA_3072_OAEP:
        expected["encrypted_ppid"] = known.encrypted_ppid
    assert (first.path, first.parameters) == ("/sgx/certification/v4/pckcert", expected)
    assert [asked.path for asked in rest] == PATHS


def test_without_a_service_such_a_quote_is_refused_with_what_to_do(
    pccs: FakeIntel, desk: Desk, capsys: Output
) -> None:
    kept = desk.folder / "collateral.json"
    assert run(desk.arguments(*asking(pccs), "--save-collateral", kept)) == 0
    capsys.readouterr()
    assert run(desk.arguments("--collateral", kept, form=PpidForm.RSA_3072_OAEP)) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "verdict: contraindicated" in out
    assert "1 to 3 (PPID) and the chain that a collateral service has for it (--pccs)" in out


def message(capsys: Output) -> list[str]:
    out, err = capsys.readouterr()
    assert out == ""
    return [line for line in err.splitlines() if not line.startswith("Usage")]


TCB_SUBJECT = "SGX TCB info of FMSPC 00606a000000: collateral from localhost"
NOT_THERE = (
    "hint: Intel publishes none, or the service has none and could not ask: a PCCS says 404 to both, and its"
    " log says which; one that is offline, or asks for registered platforms only, has to be given it first"
)
UNWELL = (
    "hint: see that the service is well and can be reached from here; one whose certificate is of a private "
    "authority needs --pccs-ca, one behind a proxy --pccs-proxy"
)
UNENCRYPTED = (
    "hint: ask a PCCS with which the platform is registered: Intel's service finds platforms by a PPID that"
    " is encrypted with RSA-3072"
)
UNREGISTERED = (
    "hint: 404 or 461: register the platform with this service, with Intel's PCK Cert ID Retrieval Tool; 462:"
    " Intel has none for this TCB: register the platform with Intel, or bring it up to date; a PCCS says 404"
    " as well when it could not ask Intel, and its log says so"
)


@pytest.mark.parametrize(
    ("fault", "got", "hint"),
    [
        (Fault.NOT_FOUND, "status 404 (No data for the given parameters.) Request-ID {id}", NOT_THERE),
        (Fault.REDIRECT, "status 302 (a redirection, which is not followed) Request-ID {id}", UNWELL),
        (Fault.TRUNCATED, "608 bytes of 609, 2 times", UNWELL),
        (Fault.NOT_HTTP, "a broken answer (BadStatusLine), 2 times", UNWELL),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else "",
)
def test_what_went_wrong_is_told_with_what_to_do(
    pccs: FakeIntel, desk: Desk, capsys: Output, fault: Fault, got: str, hint: str
) -> None:
    pccs.fail(fault, on="/tcb")
    kept = desk.folder / "collateral.json"
    assert run(desk.arguments(*asking(pccs), "--save-collateral", kept)) == 1
    where = f"{pccs.url}/sgx/certification/v4/tcb"
    found = got.format(id=f"{1:032x}")
    assert message(capsys) == [
        f"error: {TCB_SUBJECT}: expected status 200, got {found} ({where})",
        hint,
    ]
    assert not kept.exists()


def test_a_platform_that_nobody_knows_is_told_how_to_become_known(
    pccs: FakeIntel, desk: Desk, capsys: Output
) -> None:
    arguments = desk.arguments(*asking(pccs), form=PpidForm.CLEAR)
    qe_id = desk.known.qe_id
    pccs.maker.platforms.clear()
    assert run(arguments) == 1
    assert message(capsys) == [
        (
            f"error: the PCK certificate of platform {qe_id}: collateral from localhost: expected status 200,"
            f" got status 404 (No data for the given parameters.) Request-ID {1:032x}"
            f" ({pccs.url}/sgx/certification/v4/pckcert)"
        ),
        UNREGISTERED,
    ]


@pytest.mark.parametrize(
    ("mode", "form", "got", "hint"),
    [
        (Mode.LAZY, PpidForm.CLEAR, "status 400 (Invalid request parameters.", UNENCRYPTED),
        (Mode.LAZY, PpidForm.RSA_3072_OAEP, "status 404 (No cache data for this platform.", UNREGISTERED),
        (Mode.REGISTERED, PpidForm.CLEAR, "status 461 (The platform was not found", UNREGISTERED),
        (Mode.OFFLINE, PpidForm.RSA_2048_OAEP, "status 461 (The platform was not found", UNREGISTERED),
    ],
)
def test_our_own_service_says_why_it_has_no_certificate(
    intel: FakeIntel, desk: Desk, capsys: Output, mode: Mode, form: PpidForm, got: str, hint: str
) -> None:
    arguments = desk.arguments(form=form)
    intel.maker.platforms.clear()
    with serving(intel, desk.folder, mode) as service:
        assert run([*arguments, *asking_ours(service)]) == 1
    error, said = message(capsys)
    assert f"expected status 200, got {got}" in error
    assert said == hint


def test_a_service_whose_certificate_nobody_vouches_for_is_not_asked(
    pccs: FakeIntel, desk: Desk, capsys: Output
) -> None:
    assert run(desk.arguments("--pccs", pccs.url)) == 1
    error, hint = message(capsys)
    assert error.startswith(f"error: {TCB_SUBJECT}: expected status 200, got a certificate that is refused: ")
    assert hint == UNWELL
    assert pccs.count() == 0


def test_what_is_no_document_is_told(
    pccs: FakeIntel, desk: Desk, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Manufacturer, "tcb_info", lambda *_: b"<html>")
    assert run(desk.arguments(*asking(pccs))) == 1
    error, hint = message(capsys)
    assert error.startswith("error: TCB info: answer of localhost: expected ")
    assert hint == "hint: see that the URL is that of such a service"


def test_what_the_manufacturer_has_not_signed_is_refused_by_the_verifier(
    pccs: FakeIntel, desk: Desk, capsys: Output
) -> None:
    pccs.fail(Fault.WRONG_SIGNATURE, on="/tcb")
    assert run(desk.arguments(*asking(pccs), "--json")) == 1
    result = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in result["checks"] if not check["passed"]] == ["TCB info: signature"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ((), "Give one of --collateral and --pccs."),
        (
            ("--pccs", "https://localhost", "--collateral", "{file}"),
            "Give one of --collateral and --pccs.",
        ),
        (("--collateral", "{file}", "--pccs-ca", "{file}"), "Without --pccs, --pccs-ca says nothing."),
        (
            ("--collateral", "{file}", "--pccs-proxy", "http://p:1"),
            "Without --pccs, --pccs-proxy says nothing.",
        ),
        (
            ("--collateral", "{file}", "--save-collateral", "{file}"),
            "--save-collateral is for what --pccs fetches.",
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    desk: Desk, capsys: Output, options: tuple[str, ...], problem: str
) -> None:
    file = desk.folder / "file"
    file.write_text("{}")
    assert run(desk.arguments(*(option.format(file=file) for option in options))) == 2
    assert message(capsys)[-1] == f"Error: {problem}"


def test_an_address_that_is_not_https_is_refused(desk: Desk, capsys: Output) -> None:
    assert run(desk.arguments("--pccs", "http://localhost:8081")) == 2
    assert message(capsys)[0] == (
        "error: URL of the upstream service: expected https://HOST, https://HOST:PORT or the same with a"
        " path, got something else"
    )


@pytest.mark.parametrize("form", list(PpidForm))
def test_another_verifier_is_given_the_chain_as_well(
    pccs: FakeIntel, desk: Desk, capsys: Output, form: PpidForm
) -> None:
    assert run(desk.arguments(*asking(pccs), "--second-opinion", "--json", form=form)) == 0
    (said,) = [
        check["got"]
        for check in json.loads(capsys.readouterr().out)["checks"]
        if check["name"] == "second opinion: dcap-qvl"
    ]
    assert said.startswith("agrees: accepts it, UpToDate")


@pytest.mark.parametrize("form", list(PpidForm))
def test_a_batch_takes_the_chain_from_what_was_saved(
    pccs: FakeIntel, desk: Desk, capsysbinary: pytest.CaptureFixture[bytes], form: PpidForm
) -> None:
    kept = desk.folder / "collateral.json"
    assert run(desk.arguments(*asking(pccs), "--save-collateral", kept, form=form)) == 0
    lines = desk.folder / "lines"
    lines.write_text('{"quote":"quote","collateral":"collateral.json"}\n')
    capsysbinary.readouterr()
    root = ("--simulated-root", str(desk.folder / "root.pem"))
    assert run(["verify", "batch", str(lines), "--jobs", "1", *root, *AT, "--fail"]) == 0
    assert json.loads(capsysbinary.readouterr().out)["genuine"] is True


class Tunnel(socketserver.BaseRequestHandler):
    """A proxy behind which every host is the fake (RFC 9110, section 9.3.6)."""

    asked: ClassVar[list[str]]
    port: ClassVar[int]

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.request.recv(1)
        self.asked.append(head.split(b"\r\n")[0].decode())
        self.request.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", self.port)) as other:
            ends = {self.request: other, other: self.request}
            while True:
                for readable in select.select(list(ends), [], [], 10)[0]:
                    data = readable.recv(65536)
                    if not data:
                        return
                    ends[readable].sendall(data)


@pytest.mark.parametrize("form", [None, PpidForm.RSA_3072_OAEP])
def test_intels_own_service_is_asked_in_its_own_way_through_a_proxy(
    intel: FakeIntel, desk: Desk, capsys: Output, form: PpidForm | None
) -> None:
    asked: list[str] = []
    handler = type("_Tunnel", (Tunnel,), {"asked": asked, "port": urlsplit(intel.url).port})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
        through = ("--pccs-proxy", f"http://127.0.0.1:{proxy.server_address[1]}", "--pccs-ca", intel.ca)
        assert (
            run(desk.arguments("--pccs", "https://api.trustedservices.intel.com", *through, form=form)) == 0
        )
        proxy.shutdown()
    assert capsys.readouterr().out.startswith("verdict: affirming\n")
    assert {line.split()[1] for line in asked} == {f"{host}:443" for host in INTEL_HOSTS}
    assert intel.asked[-1].path == "/IntelSGXRootCA.der"


def test_collateral_with_a_chain_comes_back(pccs: FakeIntel, desk: Desk) -> None:
    kept = desk.folder / "collateral.json"
    assert run(desk.arguments(*asking(pccs), "--save-collateral", kept, form=PpidForm.CLEAR)) == 0
    collateral = Collateral.parse_json(kept.read_bytes())
    assert Collateral.parse_json(collateral.to_json()) == collateral
    without = replace(collateral, pck_certificate_chain=None)
    assert Collateral.parse_json(without.to_json()) == without
    assert b"pck_certificate_chain" not in without.to_json()
