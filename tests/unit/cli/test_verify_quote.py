"""``casemate verify quote``: every reason, and an exit code that a script can trust."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.sgx_world import MRENCLAVE, MRSIGNER, World, good_world, with_standing

from casemate.cli.main import run
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.quote import Tee
from casemate.verifier.requirements import Requirement

NO_TIME = "is not a time with a zone, as in 2026-11-20T12:00:00Z."

CODE = "whether the enclave's code is any good: a measurement says which code runs, not what it does"
FRESHNESS = (
    "freshness, and whose key this is about: no report data was expected, so the quote may be an old one, or"
    " somebody else's"
)
OPEN = "what the policy names no value for: enclave: MRENCLAVE, enclave: ATTRIBUTES, enclave: MISCSELECT"
ISSUED = "2026-11-20T12:00:00Z"
LATER = (
    f"what Intel has revoked or found out since: root CRL of {ISSUED}, PCK CRL of {ISSUED}, TCB info of"
    f" {ISSUED}, QE identity of {ISSUED}"
)
OWNER = "whose the platform is and where it stands: a PCK certificate names neither an owner nor a place"
HARDWARE = (
    "attacks on the hardware: whoever has a probe in the machine is outside of what SGX and TDX promise"
)


@pytest.fixture
def world() -> World:
    return good_world()


@pytest.fixture
def files(world: World, tmp_path: Path) -> list[str]:
    """The arguments that name what is judged, and when."""
    (tmp_path / "quote").write_bytes(world.evidence)
    (tmp_path / "collateral.json").write_bytes(world.collateral.to_json())
    (tmp_path / "root.pem").write_bytes(world.platform.root_certificate)
    collateral = ["--collateral", str(tmp_path / "collateral.json")]
    root = ["--simulated-root", str(tmp_path / "root.pem")]
    return [
        "verify",
        "quote",
        str(tmp_path / "quote"),
        *collateral,
        *root,
        "--at",
        "2026-11-20T14:00:00+01:00",
    ]


_CHECKS = len([requirement for requirement in Requirement if Tee.SGX in requirement.tees])
_SUMMARY = [
    "verdict: affirming",
    "simulated: yes: this platform is software and protects nothing",
    "TCB status: UpToDate",
    f"MRENCLAVE: {MRENCLAVE.hex()}",
    f"MRSIGNER: {MRSIGNER.hex()}",
    "endorsements valid until: 2026-12-20T12:00:00Z",
    f"checks: {_CHECKS}, all passed; --all shows them",
]


def test_good_evidence_gives_a_summary_and_exit_code_0(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*files, "--mrenclave", MRENCLAVE.hex(), "--report-data", "00" * 64]) == 0
    out, err = capsys.readouterr()
    assert (out.splitlines(), err) == (_SUMMARY, "")


def test_every_check_is_shown_where_that_is_asked_for(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*files, "--mrenclave", MRENCLAVE.hex(), "--report-data", "00" * 64, "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[: len(_SUMMARY)] == _SUMMARY
    assert lines[len(_SUMMARY) + 1].split() == ["check", "expected", "found"]
    assert [line.split("  ")[0] for line in lines if "  ok  " in line] == [
        requirement.title for requirement in Requirement if Tee.SGX in requirement.tees
    ]
    assert not [line for line in lines if line != line.rstrip()]


def test_the_document_carries_every_check(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*files, "--mrsigner", MRSIGNER.hex(), "--isvprodid", "7", "--min-isvsvn", "3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    checks = document.pop("checks")
    assert [check["name"] for check in checks] == [
        requirement.title for requirement in Requirement if Tee.SGX in requirement.tees
    ]
    assert set(checks[0]) == {"name", "passed", "expected", "got", "reference"}
    assert len(document.pop("evidence_digest")) == 64
    up_to_date = {"status": "UpToDate", "date": "2026-11-20T12:00:00+00:00", "advisory_ids": []}
    assert document == {
        "version": 1,
        "verdict": "affirming",
        "genuine": True,
        "tcb_status": "UpToDate",
        "advisory_ids": [],
        "claims": {
            "mrenclave": MRENCLAVE.hex(),
            "mrsigner": MRSIGNER.hex(),
            "isvprodid": 7,
            "isvsvn": 3,
            "attributes": "0500000000000000e700000000000000",
            "misc_select": "00000000",
            "debug": False,
            "report_data": "00" * 64,
        },
        "simulated": True,
        "earliest_expiration": "2026-12-20T12:00:00+00:00",
        "grants": [],
        "platform": {
            "authority": "Intel SGX PCK Platform CA",
            "fmspc": "00606a000000",
            "pce_id": "0000",
            "sgx_type": "scalable",
            "components": [14, 14, 3, 3, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            "pce_svn": 13,
            "dynamic_platform": True,
            "cached_keys": False,
            "smt_enabled": False,
        },
        "tcb": {
            "level": up_to_date,
            "newest": up_to_date,
            "too_low": [],
            "quoting_enclave": {"isvsvn": 8, "level": up_to_date},
            "tdx_module": None,
            "tcb_evaluation_data_number": 21,
            "qe_evaluation_data_number": 21,
            "issued": dict.fromkeys(
                ["root CRL", "PCK CRL", "TCB info", "QE identity"], "2026-11-20T12:00:00+00:00"
            ),
        },
        "not_checked": [CODE, FRESHNESS, OPEN, LATER, OWNER, HARDWARE],
    }


def test_a_refusal_shows_the_table_and_ends_with_exit_code_1(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*files, "--mrenclave", "00" * 32]) == 1
    out, err = capsys.readouterr()
    refused = [line for line in out.splitlines() if "  refused  " in line]
    assert [line.split() for line in refused] == [
        ["enclave:", "MRENCLAVE", "refused", "00" * 32, MRENCLAVE.hex()]
    ]
    assert "verdict: contraindicated" in out.splitlines()
    assert err == (
        f"error: enclave: MRENCLAVE: expected {'00' * 32}, got {MRENCLAVE.hex()} (policy)\n"
        "hint: Another build: compare the bundles, or update the reference values.\n"
    )


def test_naming_no_enclave_is_refused(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(files) == 1
    assert capsys.readouterr().err == (
        "error: policy names an enclave: expected MRENCLAVE, or MRSIGNER with ISVPRODID, or MRTD, got neither"
        " (RFC 9334 section 8.5)\n"
        "hint: Say which enclave is meant: --mrenclave, or --mrsigner with --isvprodid, or a --policy that "
        "names one.\n"
    )


def test_a_simulated_quote_is_refused_where_its_root_is_not_named(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    at = files.index("--simulated-root")
    assert run([*files[:at], *files[at + 2 :], "--mrenclave", MRENCLAVE.hex()]) == 1
    assert capsys.readouterr().err.endswith(
        "hint: It comes from another platform than one whose root is trusted here; "
        "a simulated one is accepted only where its own root is named. Also refused: PCK CRL issuer chain: "
        "trusted root, TCB info issuer chain: trusted root, QE identity issuer chain: trusted root.\n"
    )


@pytest.mark.parametrize(
    ("status", "code"), [([], 1), (["--accept-status", "OutOfDate"], 0)], ids=["default", "named"]
)
def test_a_status_is_accepted_where_it_is_named(
    files: list[str], tmp_path: Path, world: World, status: list[str], code: int
) -> None:
    outdated = with_standing(world, platform=TcbStatus.OUT_OF_DATE)
    (tmp_path / "collateral.json").write_bytes(outdated.collateral.to_json())
    assert run([*files, "--mrenclave", MRENCLAVE.hex(), *status]) == code


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--mrenclave", "00"],
            "Error: Invalid value for '--mrenclave': '00' is not 32 bytes in hexadecimal.",
        ),
        (["--mrsigner", "zz"], "Error: Invalid value for '--mrsigner': 'zz' is not 32 bytes in hexadecimal."),
        (
            ["--at", "2026-11-20"],
            f"Error: Invalid value for '--at': '2026-11-20' {NO_TIME}",
        ),
        (
            ["--at", "noon"],
            f"Error: Invalid value for '--at': 'noon' {NO_TIME}",
        ),
    ],
)
def test_wrong_use_is_exit_code_2(
    files: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run([*files, *arguments]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == message


def test_a_revoked_platform_cannot_be_accepted(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*files, "--accept-status", "Revoked"]) == 2
    assert "'Revoked' is not one of" in capsys.readouterr().err


def test_a_quote_that_is_cut_is_a_refusal_without_a_traceback(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files[2]).write_bytes(Path(files[2]).read_bytes()[:1000])
    assert run([*files, "--mrenclave", MRENCLAVE.hex()]) == 1
    err = capsys.readouterr().err
    assert err.startswith(
        "error: quote format: expected what its format allows, got signature data: expected "
    )


def test_collateral_that_is_not_json_is_named(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(files[4]).write_bytes(b"{}")
    assert run(files) == 1
    assert capsys.readouterr().err == (
        "error: collateral: expected its JSON form,"
        f" got Object missing required field `pck_crl_issuer_chain` ({files[4]})\n"
        "hint: --collateral takes one JSON document with the certificates, CRLs, TCB info and QE identity of "
        "the platform; --pccs fetches it, a simulated platform has it as collateral.json\n"
    )


@pytest.mark.parametrize("more", [[], ["--second-opinion"]])
def test_a_file_that_is_no_root_is_named_with_its_option(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(b"root\n")
    assert run([*files, "--simulated-root", str(wrong), "--mrenclave", "11" * 32, *more]) == 1
    assert capsys.readouterr().err == (
        'error: certificate chain: expected PEM that ends with "-----END CERTIFICATE-----", got 5 bytes that '
        f"end otherwise (--simulated-root {wrong})\n"
        "hint: --simulated-root takes the root certificate of a simulated platform, alone and as PEM: "
        "root.pem in its folder\n"
    )
