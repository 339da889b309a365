"""``--policy``: what is accepted stands in a file, and in nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from tests.support.sgx_world import MRENCLAVE, NOW, World, good_world, with_standing
from tests.support.small_bundle import KEY, Small, sign_small, small_bundle

from casemate.cli.main import run
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.quote import Tee
from casemate.formats.sgx.report import INIT
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.endorsements import ADVISORY
from casemate.simulator.trust_domain import TD_REPORT_10, SimulatedTrustDomain

POLICY = f"""
version = 1
[enclave]
mrenclave = "{MRENCLAVE.hex()}"
"""
WITH_EXCEPTION = f"""
{POLICY}
[[tcb.accept]]
status = "OutOfDate"
reason = "the vendor is late"
until = 2026-12-31
[[tcb.advisories]]
id = "{ADVISORY}"
reason = "no MMIO in the enclave"
"""


@pytest.fixture(scope="module")
def world() -> World:
    return good_world()


def arguments(world: World, folder: Path, policy: str) -> list[str]:
    (folder / "quote").write_bytes(world.evidence)
    (folder / "collateral.json").write_bytes(world.collateral.to_json())
    (folder / "root.pem").write_bytes(world.platform.root_certificate)
    (folder / "policy.toml").write_text(policy)
    options = {
        "--collateral": "collateral.json",
        "--simulated-root": "root.pem",
        "--policy": "policy.toml",
    }
    named = [word for option, name in options.items() for word in (option, str(folder / name))]
    return ["verify", "quote", str(folder / "quote"), *named, "--at", "2026-11-20T13:00:00Z"]


def test_a_policy_file_says_what_is_accepted(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments(world, tmp_path, POLICY), "--report-data", "00" * 64]) == 0
    assert capsys.readouterr().out.startswith("verdict: affirming\n")


def test_what_was_accepted_is_shown_with_its_reason(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outdated = with_standing(world, platform=TcbStatus.OUT_OF_DATE)
    assert run(arguments(outdated, tmp_path, WITH_EXCEPTION)) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("accepted: ")] == [
        "accepted: TCB status OutOfDate (until 2026-12-31T23:59:59Z), because the vendor is late",
        f"accepted: advisory {ADVISORY}, because no MMIO in the enclave",
    ]


def test_report_data_may_be_demanded_beside_a_policy(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments(world, tmp_path, POLICY), "--report-data", "01" * 64]) == 1
    assert capsys.readouterr().err.startswith("error: enclave: report data: expected 0101")


@pytest.mark.parametrize(
    "option",
    [["--mrenclave", "00" * 32], ["--isvprodid", "0"], ["--allow-debug"], ["--accept-status", "OutOfDate"]],
    ids=lambda option: option[0],
)
def test_no_other_option_says_what_is_accepted_beside_a_policy(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    assert run([*arguments(world, tmp_path, POLICY), *option]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "Error: Beside --policy no other option but --report-data may say what is accepted."
    )


def test_a_policy_that_is_wrong_is_refused_with_its_place(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(world, tmp_path, POLICY.replace("mrenclave", "mrenclav"))) == 1
    assert capsys.readouterr().err.splitlines() == [
        (
            'error: unknown key "mrenclav": expected a key of [enclave]'
            f" ({tmp_path / 'policy.toml'}: enclave.mrenclav)"
        ),
        'hint: did you mean "mrenclave"?',
    ]


def test_a_trust_domain_is_judged_by_a_policy(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    platform = world.platform
    (tmp_path / "tdx.json").write_bytes(platform.sign(platform.statements(NOW, tee=Tee.TDX)).to_json())
    mrtd = TD_REPORT_10.mr_td.hex()
    words = arguments(world, tmp_path, f'version = 1\n[trust_domain]\nmrtd = "{mrtd}"\n')
    (tmp_path / "quote").write_bytes(SimulatedTrustDomain(platform=platform).quote(bytes(64)))
    words[words.index("--collateral") + 1] = str(tmp_path / "tdx.json")
    assert run(words) == 0
    assert f"MRTD: {mrtd}" in capsys.readouterr().out.splitlines()


def public_key(folder: Path) -> str:
    """A file with the key that signs small bundles."""
    pem = load_pem_private_key(KEY.read_bytes(), None).public_key()
    path = folder / "release.pem"
    path.write_bytes(pem.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path.name


def with_signed_bundle(world: World, folder: Path) -> World:
    """Evidence of the enclave of a signed bundle in the folder."""
    record = sign_small(small_bundle(folder / "bundle", Small(simulated=True))).measurement
    assert record.mrsigner is not None
    enclave = SimulatedEnclave(
        platform=world.platform,
        mrenclave=record.mrenclave,
        mrsigner=record.mrsigner,
        isvprodid=record.isvprodid,
        isvsvn=record.isvsvn,
        attributes=record.attributes._replace(flags=record.attributes.flags | INIT),
    )
    return replace(world, evidence=enclave.quote(bytes(64)))


def test_reference_values_come_from_a_signed_bundle(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = public_key(tmp_path)
    policy = f'version = 1\nreference = "bundle/reference-values.json"\nkeys = ["{key}"]\n'
    words = arguments(with_signed_bundle(world, tmp_path), tmp_path, policy)
    assert run(words) == 0
    (tmp_path / "quote").write_bytes(world.evidence)
    assert run(words) == 1
    assert capsys.readouterr().err.startswith("error: enclave: MRENCLAVE: ")


def test_simulated_reference_values_go_with_a_simulated_root_only(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = f'version = 1\nreference = "bundle/reference-values.json"\nkeys = ["{public_key(tmp_path)}"]\n'
    words = arguments(with_signed_bundle(world, tmp_path), tmp_path, policy)
    at = words.index("--simulated-root")
    assert run([*words[:at], *words[at + 2 :]]) == 1
    assert capsys.readouterr().err.splitlines() == [
        (
            "error: reference values: expected real ones, as no simulated root is named, got simulated ones"
            f" ({tmp_path / 'policy.toml'})"
        ),
        "hint: A simulated bundle runs on a simulated platform only: name its root with --simulated-root.",
    ]


def test_reference_values_that_nobody_has_signed_are_refused(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = public_key(tmp_path)
    sign_small(small_bundle(tmp_path / "bundle"), statements=False)
    policy = f'version = 1\nreference = "bundle/reference-values.json"\nkeys = ["{key}"]\n'
    assert run(arguments(world, tmp_path, policy)) == 1
    assert capsys.readouterr().err.startswith(
        "error: reference values: expected a DSSE envelope, signed by a key that is named, got no envelope"
    )
