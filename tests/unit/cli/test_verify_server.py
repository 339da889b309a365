"""``casemate verify server`` against the certificate of the attester, and curl with what it wrote."""

from __future__ import annotations

import hashlib
import http.server
import json
import shlex
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from tests.support.intel_pcs import FakeIntel
from tests.support.manufacturer import Manufacturer

from casemate.cli.main import run
from casemate.formats.reference_values import Digest, Predicate, Sgx, Statement, Subject
from casemate.formats.sgx.report import INIT, MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.platform import SimulatedPlatform
from casemate_attester.ratls import Identity, issue_identity
from casemate_attester.serving import server_context


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every request."""

    def do_GET(self) -> None:
        """Says hello."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def platform() -> SimulatedPlatform:
    return SimulatedPlatform.create(datetime.now(UTC))


@pytest.fixture(scope="module")
def enclave(platform: SimulatedPlatform) -> SimulatedEnclave:
    return SimulatedEnclave(
        platform=platform, mrenclave=MrEnclave(b"\1" * 32), mrsigner=MrSigner(b"\2" * 32), isvprodid=1
    )


@pytest.fixture(scope="module")
def identity(enclave: SimulatedEnclave) -> Identity:
    return issue_identity(lambda report_data: enclave.quote(bytes(report_data)))


@pytest.fixture
def port(identity: Identity, tmp_path: Path) -> Iterator[int]:
    with serving(server_context(identity, tmp_path)) as port:
        yield port


class QuietServer(http.server.ThreadingHTTPServer):
    """Says nothing of clients that have seen the certificate and go: what is printed is the command's."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def serving(context: ssl.SSLContext) -> Iterator[int]:
    """The port of a server with that identity."""
    with QuietServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(10)


def arguments(folder: Path, platform: SimulatedPlatform, enclave: SimulatedEnclave, **sgx: str) -> list[str]:
    """The options that say what has to run there, and whom to believe."""
    values = {
        "mrenclave": enclave.mrenclave.hex(),
        "mrsigner": enclave.mrsigner.hex(),
        "attributes": enclave.attributes.to_bytes().hex(),
        "attributes_mask": (INIT.to_bytes(8, "little") + bytes(8)).hex(),
        "misc_select": enclave.misc_select.hex(),
        **sgx,
    }
    statement = Statement.of(
        Subject(name="hello", digest=Digest(sha256="11" * 32)),
        Predicate(simulated=True, sgx=Sgx(isvprodid=1, isvsvn=0, **values), gramine={}, sources={}),
    )
    (folder / "values.json").write_bytes(statement.to_bytes())
    (folder / "collateral.json").write_bytes(platform.collateral.to_json())
    (folder / "root.pem").write_bytes(platform.root_certificate)
    return [
        *("--reference-values", str(folder / "values.json")),
        *("--collateral", str(folder / "collateral.json")),
        *("--simulated-root", str(folder / "root.pem")),
        *("--write-certificate", str(folder / "pinned.pem")),
    ]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_an_affirmed_certificate_is_written_and_curl_can_use_it(
    port: int,
    platform: SimulatedPlatform,
    enclave: SimulatedEnclave,
    identity: Identity,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    host: str,
) -> None:
    assert run(["verify", "server", f"https://{host}:{port}", *arguments(tmp_path, platform, enclave)]) == 0
    out, err = capsys.readouterr()
    pem = (tmp_path / "pinned.pem").read_text()
    der = ssl.PEM_cert_to_DER_cert(pem)
    detour = "" if host == "localhost" else f"--connect-to localhost:{port}:{host}:{port} "
    curl = f"curl --cacert {tmp_path}/pinned.pem {detour}https://localhost:{port}/"
    assert err == ""
    assert out.splitlines()[0] == "verdict: affirming"
    assert out.splitlines()[-2:] == [
        f"certificate: SHA-256 {hashlib.sha256(der).hexdigest()}",
        f"use it with: {curl}",
    ]
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    done = subprocess.run([*shlex.split(curl), "--silent"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "hello")


def test_a_refused_certificate_is_not_written(
    port: int,
    platform: SimulatedPlatform,
    enclave: SimulatedEnclave,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = arguments(tmp_path, platform, enclave, mrenclave="77" * 32)
    assert run(["verify", "server", f"https://localhost:{port}", *options]) == 1
    assert not (tmp_path / "pinned.pem").exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "verdict: contraindicated"
    refused = [line.split() for line in lines if "  refused  " in line]
    assert refused == [["enclave:", "MRENCLAVE", "refused", "77" * 32, "01" * 32]]


def test_another_service_is_said_to_be_one(
    platform: SimulatedPlatform,
    enclave: SimulatedEnclave,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with serving(context) as port:
        options = arguments(tmp_path, platform, enclave)
        assert run(["verify", "server", f"https://localhost:{port}", *options]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: certificate: evidence: expected a quote that speaks for the key, got ")
    assert hint == (
        "hint: This is no service of Casemate; name the port on which the workload itself listens."
    )


def test_the_document_has_no_advice_in_it(
    port: int,
    platform: SimulatedPlatform,
    enclave: SimulatedEnclave,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = arguments(tmp_path, platform, enclave)
    assert run(["verify", "server", f"https://localhost:{port}", *options, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["attestation"]["verdict"] == "affirming"
    assert (tmp_path / "pinned.pem").exists()


def test_a_policy_says_what_has_to_run_there(
    port: int, tmp_path: Path, platform: SimulatedPlatform, enclave: SimulatedEnclave
) -> None:
    words = arguments(tmp_path, platform, enclave)
    at = words.index("--reference-values")
    others = [*words[:at], *words[at + 2 :]]
    policy = tmp_path / "policy.toml"
    policy.write_text(f'version = 1\n[enclave]\nmrenclave = "{enclave.mrenclave.hex()}"\n')
    url = f"https://localhost:{port}"
    assert run(["verify", "server", url, *others, "--policy", str(policy)]) == 0
    policy.write_text(f'version = 1\n[enclave]\nmrenclave = "{"00" * 32}"\n')
    assert run(["verify", "server", url, *others, "--policy", str(policy)]) == 1
    assert run(["verify", "server", url, *words, "--policy", str(policy)]) == 2
    assert (
        run(["verify", "server", url, *others, "--policy", str(policy), "--accept-status", "OutOfDate"]) == 2
    )


def test_a_certificate_is_explained_and_another_verifier_asked_about_its_quote(
    port: int,
    platform: SimulatedPlatform,
    enclave: SimulatedEnclave,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = [*arguments(tmp_path, platform, enclave), "--explain", "--second-opinion"]
    assert run(["verify", "server", f"https://localhost:{port}", *options]) == 0
    steps = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert steps[0] == "step 0: read the certificate that carries the quote"
    assert steps[-1] == "step 7: ask another verifier"


def test_without_a_quote_nobody_is_asked_and_nothing_is_explained_away(
    platform: SimulatedPlatform,
    enclave: SimulatedEnclave,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    options = [*arguments(tmp_path, platform, enclave), "--explain", "--second-opinion"]
    with serving(context) as port:
        assert run(["verify", "server", f"https://localhost:{port}", *options]) == 1
    out = capsys.readouterr().out
    assert "  REFUSED   certificate: evidence" in out.splitlines()
    assert "step 7" not in out


def test_the_document_of_a_certificate_without_a_quote_knows_no_platform(
    platform: SimulatedPlatform,
    enclave: SimulatedEnclave,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with serving(context) as port:
        options = [*arguments(tmp_path, platform, enclave), "--json"]
        assert run(["verify", "server", f"https://localhost:{port}", *options]) == 1
    attestation = json.loads(capsys.readouterr().out)["attestation"]
    assert (attestation["platform"], attestation["tcb"]) == (None, None)
    assert attestation["not_checked"] == [
        "what the quote says: its signatures do not reach up to a trusted root"
    ]


@pytest.fixture
def pccs(tmp_path: Path) -> Iterator[FakeIntel]:
    """Somebody's PCCS."""
    with FakeIntel.running(Manufacturer.create(datetime.now(UTC)), tmp_path) as fake:
        fake.is_cache = True
        yield fake


def asking(pccs: FakeIntel, folder: Path) -> tuple[SimulatedEnclave, list[str]]:
    """An enclave that the PCCS knows, and the options that ask there and save what came."""
    enclave = SimulatedEnclave(
        platform=pccs.maker.platforms[0].simulated,
        mrenclave=MrEnclave(b"\1" * 32),
        mrsigner=MrSigner(b"\2" * 32),
        isvprodid=1,
    )
    options = arguments(folder, enclave.platform, enclave)
    asked = ["--pccs", pccs.url, "--pccs-ca", str(pccs.ca), "--save-collateral", str(folder / "saved.json")]
    return enclave, [*options[:2], *asked, *options[4:]]


def test_the_collateral_of_a_service_is_fetched_by_the_quote_in_its_certificate(
    pccs: FakeIntel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enclave, options = asking(pccs, tmp_path)
    known = issue_identity(lambda report_data: enclave.quote(bytes(report_data)))
    with serving(server_context(known, tmp_path)) as port:
        address = f"https://localhost:{port}"
        assert run(["verify", "server", address, *options]) == 0
        assert pccs.count() == 4
        saved = ["--collateral", str(tmp_path / "saved.json")]
        assert run(["verify", "server", address, *options[:2], *saved, *options[8:]]) == 0
    assert pccs.count() == 4
    assert capsys.readouterr().out.count("verdict: affirming\n") == 2


def test_nobody_is_asked_about_a_certificate_without_evidence(
    pccs: FakeIntel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    _, options = asking(pccs, tmp_path)
    with serving(context) as port:
        assert run(["verify", "server", f"https://localhost:{port}", *options]) == 1
    error, _ = capsys.readouterr().err.splitlines()
    assert error.startswith("error: certificate: evidence: expected a quote that speaks for the key, got ")
    assert pccs.count() == 0
