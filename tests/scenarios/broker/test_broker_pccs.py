"""``casemate serve broker --pccs`` as a program: the endorsements come over HTTPS, the secret goes out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.scenarios.broker.test_broker_program import DB_KEY, fetch, running, statement
from tests.support.intel_pcs import FakeIntel, Fault
from tests.support.manufacturer import Manufacturer

from casemate.cli.main import run
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave


@pytest.fixture
def pccs(tmp_path: Path) -> Iterator[FakeIntel]:
    with FakeIntel.running(Manufacturer.create(datetime.now(UTC)), tmp_path) as fake:
        fake.is_cache = True
        yield fake


@pytest.fixture
def enclave(pccs: FakeIntel) -> SimulatedEnclave:
    return SimulatedEnclave(
        platform=pccs.maker.platforms[0].simulated,
        mrenclave=MrEnclave(b"\x22" * 32),
        mrsigner=MrSigner(b"\x33" * 32),
        isvprodid=1,
        isvsvn=1,
    )


@pytest.fixture
def arguments(tmp_path: Path, pccs: FakeIntel, enclave: SimulatedEnclave) -> list[str]:
    """The command line, but for the families."""
    (tmp_path / "root.pem").write_bytes(enclave.platform.root_certificate)
    (tmp_path / "reference-values.json").write_bytes(statement(enclave))
    return [
        *("--listen", "127.0.0.1:0", "--tls", f"{tmp_path}/tls", "--store", f"{tmp_path}/broker.db"),
        *("--pccs", pccs.url, "--pccs-ca", str(pccs.ca), "--simulated-root", f"{tmp_path}/root.pem"),
        *("--reference-values", f"{tmp_path}/reference-values.json"),
        *("--generate", "default/notes/db-key=32", "--json"),
    ]


def test_a_workload_receives_its_secret_under_endorsements_that_were_fetched(
    arguments: list[str], pccs: FakeIntel, enclave: SimulatedEnclave, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    with running([*arguments, "--fmspc", "00606A000000"], tmp_path / "log") as url:
        (secret,) = fetch(url, tmp_path / "tls" / "ca.pem", enclave, key, DB_KEY)
    assert len(secret) == 32
    assert pccs.count() == 4


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, str]:
    """Exit code and what is said first; the broker has made nothing."""
    status = run(["serve", "broker", *arguments, *more])
    out, err = capsys.readouterr()
    assert out == ""
    assert not Path(arguments[3]).exists()
    return status, "\n".join(line for line in err.splitlines() if line.startswith(("error", "hint", "Error")))


def test_a_broker_that_gets_no_endorsements_does_not_begin(
    arguments: list[str], pccs: FakeIntel, capsys: pytest.CaptureFixture[str]
) -> None:
    pccs.fail(Fault.NOT_FOUND, on="qe/identity")
    status, said = refusal(arguments, capsys, "--fmspc", "00606A000000")
    assert status == 1
    assert said == (
        "error: the identity of the enclave QE: collateral from localhost: expected status 200, got status"
        f" 404 (No data for the given parameters.) Request-ID {2:032x}"
        f" ({pccs.url}/sgx/certification/v4/qe/identity)\n"
        "hint: Intel publishes none, or the service has none and could not ask: a PCCS says 404 to both, and"
        " its log says which; one that is offline, or asks for registered platforms only, has to be given it"
        " first"
    )


@pytest.mark.parametrize("text", ["00606A", "00606A000000:client", "00606A00000g", ""])
def test_what_is_no_family_is_refused(
    arguments: list[str], capsys: pytest.CaptureFixture[str], text: str
) -> None:
    status, said = refusal(arguments, capsys, "--fmspc", text)
    assert status == 2
    assert said == (
        "error: family of platforms: expected FMSPC or FMSPC:processor, 12 hexadecimal digits, got"
        f" {text} (--fmspc)\nhint: casemate verify quote --explain says the FMSPC of the platform that made a"
        " quote"
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "Error: Missing option '--fmspc'."),
        (
            ("--fmspc", "00606A000000", "--collateral", "{root}"),
            "Error: Give one of --collateral and --pccs.",
        ),
        (
            ("--simulated-platform", "{root}.d"),
            "Error: Give --simulated-platform, or --simulated-root with --collateral or --pccs.",
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    said: str,
) -> None:
    options = [option.format(root=tmp_path / "root.pem") for option in more]
    assert refusal(arguments, capsys, *options) == (2, said)


def test_a_family_without_a_service_is_refused(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = [*arguments[:6], *arguments[10:], "--collateral", str(tmp_path / "root.pem")]
    assert refusal(without, capsys, "--fmspc", "00606A000000") == (
        2,
        "Error: --fmspc says what is asked of --pccs.",
    )
