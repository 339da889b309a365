"""``casemate serve broker`` as a program: the attester's own connection, over TLS, on a loopback port."""

from __future__ import annotations

import base64
import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from casemate.broker.audit import check_chain
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.endorsements import Standing
from casemate.simulator.platform import SimulatedPlatform
from casemate_attester.configuration import Broker, Resource
from casemate_attester.errors import BrokerRefusedError, BrokerUnavailableError
from casemate_attester.exchange import Call, Quote, exchange
from casemate_attester.messages import TeePublicKey, WrappedSecret
from casemate_attester.transport import BrokerConnection, pinned_context
from casemate_attester.unwrap import unwrap

NOW = datetime.now(UTC)
DB_KEY = Resource.parse("kbs:///default/notes/db-key")
API_KEY = Resource.parse("kbs:///default/notes/api-key")


def statement(enclave: SimulatedEnclave) -> bytes:
    sgx = {
        "mrenclave": enclave.mrenclave.hex(),
        "mrsigner": enclave.mrsigner.hex(),
        "isvprodid": enclave.isvprodid,
        "isvsvn": enclave.isvsvn,
        "attributes": enclave.attributes.to_bytes().hex(),
        "attributes_mask": "ffffffffffffffff1bfffffffffffff0",
        "misc_select": enclave.misc_select.hex(),
    }
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "notes", "digest": {"sha256": "11" * 32}}],
        "predicateType": "urn:casemate:reference-values:v1",
        "predicate": {"simulated": True, "sgx": sgx, "gramine": {}, "sources": {}},
    }
    return json.dumps(document).encode()


@pytest.fixture(scope="module")
def enclave() -> SimulatedEnclave:
    return SimulatedEnclave(
        platform=SimulatedPlatform.create(NOW - timedelta(hours=1)),
        mrenclave=MrEnclave(b"\x22" * 32),
        mrsigner=MrSigner(b"\x33" * 32),
        isvprodid=1,
        isvsvn=1,
    )


@pytest.fixture
def arguments(tmp_path: Path, enclave: SimulatedEnclave) -> list[str]:
    """The command line of a broker for ``enclave``."""
    files = {
        "collateral.json": enclave.platform.collateral.to_json(),
        "root.pem": enclave.platform.root_certificate,
        "reference-values.json": statement(enclave),
        "api-key": b"key of another service",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return [
        *("--listen", "127.0.0.1:0", "--tls", f"{tmp_path}/tls", "--store", f"{tmp_path}/broker.db"),
        *("--collateral", f"{tmp_path}/collateral.json", "--simulated-root", f"{tmp_path}/root.pem"),
        *("--reference-values", f"{tmp_path}/reference-values.json"),
        *("--resource", f"default/notes/api-key={tmp_path}/api-key"),
        *("--generate", "default/notes/db-key=32", "--json"),
    ]


@contextmanager
def running(arguments: list[str], log: Path) -> Iterator[str]:
    """The URL of a broker that runs; it has to end cleanly."""
    command = [sys.executable, "-m", "casemate", "serve", "broker", *arguments]
    with (
        log.open("ab") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, log.read_text()
            ready = json.loads(line)
            assert sorted(ready) == ["host", "kind", "port", "url", "version"]
            assert (ready["version"], ready["kind"]) == (1, "casemate.broker")
            assert f"broker: {ready['url']} ready\n" in log.read_text()
            yield ready["url"]
        finally:
            process.send_signal(signal.SIGTERM)
            rest = process.stdout.read()
            status = process.wait(20)
    assert (status, rest) == (0, "")
    assert "Traceback" not in log.read_text()


def fetch(
    url: str, ca: Path, enclave: SimulatedEnclave, key: ec.EllipticCurvePrivateKey, *resources: Resource
) -> list[bytes]:
    """What a workload does at its start."""
    connection = BrokerConnection(Broker(url=url, ca=str(ca)), pinned_context(ca), pauses=())
    dialogue = exchange(TeePublicKey.from_key(key.public_key()), resources)
    step = next(dialogue)
    while True:
        reply = (
            connection.call(step) if isinstance(step, Call) else Quote(value=enclave.quote(step.report_data))
        )
        try:
            step = dialogue.send(reply)
        except StopIteration as end:
            wrapped: tuple[WrappedSecret, ...] = end.value
            return [unwrap(secret, key).value for secret in wrapped]


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_a_workload_attests_and_receives_the_same_secrets_after_a_restart(
    arguments: list[str], tmp_path: Path, enclave: SimulatedEnclave, key: ec.EllipticCurvePrivateKey
) -> None:
    log, ca = tmp_path / "log", tmp_path / "tls" / "ca.pem"
    received = []
    for _ in range(2):
        with running(arguments, log) as url:
            received.append(fetch(url, ca, enclave, key, DB_KEY, API_KEY))
    first, second = received
    assert first == second
    assert first[1] == b"key of another service"
    assert len(first[0]) == 32
    text = log.read_text()
    made = f"broker: made a development certificate in {tmp_path}/tls for 127.0.0.1, localhost;"
    assert f"{made} its authority's key is not kept" in text
    assert (
        "broker: accepts simulated platforms for notes: they protect nothing, for development only\n" in text
    )
    for secret in first:
        for form in (repr(secret)[2:-1], secret.hex(), base64.b64encode(secret).decode()):
            assert form not in text
    assert "127.0.0.1 GET /kbs/v0/resource/default/notes/db-key 200" in text
    with closing(sqlite3.connect(tmp_path / "broker.db")) as connection:
        lines = [line for (line,) in connection.execute("SELECT line FROM audit ORDER BY number")]
    assert check_chain(lines) == 6
    assert not list(tmp_path.glob(".*"))


def test_another_enclave_receives_nothing(
    arguments: list[str], tmp_path: Path, enclave: SimulatedEnclave, key: ec.EllipticCurvePrivateKey
) -> None:
    other = SimulatedEnclave(
        platform=enclave.platform, mrenclave=MrEnclave(b"\x44" * 32), mrsigner=enclave.mrsigner, isvprodid=1
    )
    with (
        running(arguments, tmp_path / "log") as url,
        pytest.raises(BrokerRefusedError, match=r"MRENCLAVE: expected 2222"),
    ):
        fetch(url, tmp_path / "tls" / "ca.pem", other, key, DB_KEY)


@pytest.mark.parametrize("is_accepted", [False, True], ids=["unless it is named", "where it is named"])
def test_a_platform_that_is_not_up_to_date_is_refused(
    arguments: list[str],
    tmp_path: Path,
    enclave: SimulatedEnclave,
    key: ec.EllipticCurvePrivateKey,
    *,
    is_accepted: bool,
) -> None:
    outdated = enclave.platform.endorsed(
        NOW - timedelta(hours=1), Standing(platform=TcbStatus.SW_HARDENING_NEEDED)
    )
    (tmp_path / "collateral.json").write_bytes(outdated.collateral.to_json())
    ca = tmp_path / "tls" / "ca.pem"
    if is_accepted:
        named = ["--accept-status", "OutOfDate", "--accept-status", "SWHardeningNeeded"]
        with running([*arguments, *named], tmp_path / "log") as url:
            assert fetch(url, ca, enclave, key, API_KEY) == [b"key of another service"]
    else:
        with (
            running(arguments, tmp_path / "log") as url,
            pytest.raises(BrokerRefusedError, match=r"TCB status: expected UpToDate, got SWHardeningNeeded "),
        ):
            fetch(url, ca, enclave, key, API_KEY)


def test_a_workload_that_pins_another_authority_does_not_talk_to_it(
    arguments: list[str], tmp_path: Path, enclave: SimulatedEnclave, key: ec.EllipticCurvePrivateKey
) -> None:
    with (
        running(arguments, tmp_path / "log") as url,
        pytest.raises(BrokerUnavailableError, match=r"a certificate that is refused"),
    ):
        fetch(url, tmp_path / "root.pem", enclave, key, DB_KEY)


def test_it_warns_of_a_resource_that_nobody_can_read(arguments: list[str], tmp_path: Path) -> None:
    with running([*arguments, "--generate", "default/other/key=16"], tmp_path / "log"):
        pass
    assert (
        "broker: nobody can read default/other/key: no reference values are for its workload\n"
        in (tmp_path / "log").read_text()
    )
