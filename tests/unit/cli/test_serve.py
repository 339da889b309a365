"""``casemate serve broker``: what it refuses before it serves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from casemate.cli.accepted_status import STATUSES, accepted_statuses
from casemate.cli.main import run
from casemate.formats.sgx.collateral import Collateral, TcbStatus

MEASUREMENT = {
    "mrenclave": "22" * 32,
    "mrsigner": "33" * 32,
    "isvprodid": 1,
    "isvsvn": 1,
    "attributes": "0500000000000000e700000000000000",
    "attributes_mask": "ffffffffffffffff1bfffffffffffff0",
    "misc_select": "00000000",
}


def statement(*, simulated: bool) -> str:
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "notes", "digest": {"sha256": "11" * 32}}],
            "predicateType": "urn:casemate:reference-values:v1",
            "predicate": {"simulated": simulated, "sgx": MEASUREMENT, "gramine": {}, "sources": {}},
        }
    )


@pytest.fixture
def options(tmp_path: Path) -> dict[str, str]:
    """Options of a broker that would start."""
    (tmp_path / "real.json").write_text(statement(simulated=False))
    (tmp_path / "simulated.json").write_text(statement(simulated=True))
    collateral = Collateral(
        pck_crl_issuer_chain=b"",
        root_ca_crl=b"",
        pck_crl=b"",
        tcb_info_issuer_chain=b"",
        tcb_info=b"{}",
        tcb_info_signature=bytes(64),
        qe_identity_issuer_chain=b"",
        qe_identity=b"{}",
        qe_identity_signature=bytes(64),
    )
    (tmp_path / "collateral.json").write_bytes(collateral.to_json())
    (tmp_path / "root.pem").write_text("no certificate")
    return {
        "--listen": "127.0.0.1:0",
        "--tls": f"{tmp_path}/tls",
        "--store": f"{tmp_path}/broker.db",
        "--collateral": f"{tmp_path}/collateral.json",
        "--reference-values": f"{tmp_path}/real.json",
    }


def refusal(options: dict[str, str], capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, list[str]]:
    """Exit code and the lines on standard error; nothing is written to standard output."""
    status = run(["serve", "broker", *(word for pair in options.items() for word in pair), *more])
    out, err = capsys.readouterr()
    assert out == ""
    for option in {"--store", "--tls"} & options.keys():
        assert not Path(options[option]).exists()
    return status, err.splitlines()


@pytest.mark.parametrize(
    "address", ["8080", ":8080", "localhost:", "localhost:http", "localhost:65536", "localhost:-1", "h:٣"]
)
def test_an_address_that_is_none_is_refused(
    options: dict[str, str], capsys: pytest.CaptureFixture[str], address: str
) -> None:
    assert refusal(options | {"--listen": address}, capsys) == (
        2,
        [
            f"error: listening address: expected HOST:PORT, got {address} (--listen)",
            "hint: for example --listen 127.0.0.1:8080 or --listen [::1]:0",
        ],
    )


def test_simulated_values_without_a_simulated_root_are_refused(
    options: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = f"{tmp_path}/simulated.json"
    assert refusal(options | {"--reference-values": path}, capsys) == (
        2,
        [
            (
                "error: reference values: expected those of a real platform, as no simulated root is named, "
                f"got simulated ones ({path})"
            ),
            "hint: build with Gramine (casemate build --gramine PATH), or name --simulated-root",
        ],
    )


def test_real_and_simulated_values_of_one_workload_are_refused(
    options: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    both = [f"--reference-values={tmp_path}/simulated.json", f"--simulated-root={tmp_path}/root.pem"]
    assert refusal(options, capsys, *both) == (
        1,
        [
            (
                "error: reference values: expected real or simulated ones of a workload, got both "
                "(workload notes)"
            ),
            "hint: give the simulated build another [app] name, or leave its reference values out",
        ],
    )


def test_a_simulated_root_for_real_values_is_refused(
    options: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = f"{tmp_path}/root.pem"
    assert refusal(options | {"--simulated-root": path}, capsys) == (
        2,
        [
            (
                "error: simulated root: expected simulated reference values that need it, got real ones only "
                f"({path})"
            ),
            "hint: leave --simulated-root out",
        ],
    )


def test_a_simulated_root_that_is_no_certificate_is_refused(
    options: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, lines = refusal(
        options
        | {"--reference-values": f"{tmp_path}/simulated.json", "--simulated-root": f"{tmp_path}/root.pem"},
        capsys,
    )
    assert status == 1
    assert "\n".join(lines) == (
        'error: certificate chain: expected PEM that ends with "-----END CERTIFICATE-----", got 14 bytes '
        f"that end otherwise (--simulated-root {tmp_path}/root.pem)\n"
        "hint: --simulated-root takes the root certificate of a simulated platform, alone and as PEM: "
        "root.pem in its folder"
    )


def test_collateral_that_is_none_is_refused(
    options: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, lines = refusal(options | {"--collateral": f"{tmp_path}/real.json"}, capsys)
    assert status == 1
    assert lines[0].startswith("error: collateral")


@pytest.mark.parametrize("text", ["default/notes/db-key", "default/notes/db-key=", "=32"])
def test_a_resource_to_generate_has_a_name_and_a_size(
    options: dict[str, str], capsys: pytest.CaptureFixture[str], text: str
) -> None:
    status, lines = refusal(options | {"--generate": text}, capsys)
    assert status in {1, 2}
    assert re.fullmatch(
        r"error: resource: expected REPO/TYPE/TAG=BYTES, got \S+ \(--generate\)"
        r"|error: resource name: expected three segments, repository/type/tag, got 1 in '' \(--generate\)",
        lines[0],
    )


@pytest.mark.parametrize("size", ["0", "1048577", "-1", "1e3", "٣", "9" * 5000])
def test_a_resource_to_generate_has_a_size_within_bounds(
    options: dict[str, str], capsys: pytest.CaptureFixture[str], size: str
) -> None:
    status, lines = refusal(options | {"--generate": f"default/notes/db-key={size}"}, capsys)
    assert status == 2
    assert lines[-1] == f"error: resource size: expected 1 to 1048576 bytes, got {size} (--generate)"


def test_a_resource_name_with_dots_is_refused(
    options: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    status, lines = refusal(options | {"--generate": "default/../db-key=32"}, capsys)
    assert status == 2
    assert lines == [
        (
            "error: resource name: expected segments of letters, digits, '_', '-' and '.', "
            "the first not a '.', got '..' in 'default/../db-key' (--generate)"
        ),
        "hint: for example --generate default/notes/db-key=BYTES",
    ]


def test_a_resource_whose_file_is_missing_is_refused(
    options: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, lines = refusal(options | {"--resource": f"default/notes/db-key={tmp_path}/none"}, capsys)
    assert status == 2
    assert lines[-1] == (
        f"error: file: expected one that can be read, got No such file or directory ({tmp_path}/none)"
    )


def test_a_revoked_platform_cannot_be_accepted(
    options: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    status, lines = refusal(options, capsys, "--accept-status", "Revoked")
    assert status == 2
    assert lines[-1].startswith(
        "Error: Invalid value for '--accept-status': 'Revoked' is not one of 'UpToDate'"
    )


def test_every_status_but_revoked_can_be_accepted() -> None:
    assert accepted_statuses(STATUSES) == set(TcbStatus) - {TcbStatus.REVOKED}
    assert accepted_statuses(()) == {TcbStatus.UP_TO_DATE}


def test_a_missing_option_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = refusal({"--listen": "127.0.0.1:0"}, capsys)
    assert status == 2
    assert lines[-1] == "Error: Missing option '--tls'."


@pytest.mark.parametrize("name", ["--store", "--collateral", "--reference-values"])
def test_what_a_broker_that_serves_needs_is_missed_by_name(
    options: dict[str, str], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    status, lines = refusal({key: value for key, value in options.items() if key != name}, capsys)
    assert (status, lines[-1]) == (2, f"Error: Missing option '{name}'.")


def test_certificates_and_platform_are_prepared_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tls, platform = tmp_path / "build" / "tls", tmp_path / "build" / "platform"
    command = ["serve", "broker", "--prepare", f"--tls={tls}", f"--simulated-platform={platform}"]
    assert run(command) == 0
    assert capsys.readouterr().err.splitlines() == [
        f"broker: made a simulated platform in {platform}: it protects nothing",
        (
            f"broker: made a development certificate in {tls} for 127.0.0.1, localhost; its authority's key"
            " is not kept"
        ),
    ]
    before = {path: path.read_bytes() for path in (*tls.iterdir(), *platform.iterdir())}
    assert run(command) == 0
    assert capsys.readouterr() == ("", "")
    assert {path: path.read_bytes() for path in (*tls.iterdir(), *platform.iterdir())} == before


def test_a_simulated_platform_takes_the_place_of_its_files(
    options: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    status, lines = refusal(options | {"--simulated-platform": f"{tmp_path}/platform"}, capsys)
    assert (status, lines[-1]) == (
        2,
        "Error: Give --simulated-platform, or --simulated-root with --collateral or --pccs.",
    )
    assert not (tmp_path / "platform").exists()
