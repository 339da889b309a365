"""``--ear``: the result as a token that others read, affirming or not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.support.sgx_world import MRENCLAVE, World, good_world

from casemate import __version__
from casemate.cli.main import run
from casemate.formats.sgx.report import MrEnclave
from casemate.verifier.policy import AppraisalPolicy
from casemate.verifier.policy_digest import policy_digest

KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def world() -> World:
    return good_world()


def arguments(world: World, folder: Path) -> list[str]:
    (folder / "quote").write_bytes(world.evidence)
    (folder / "collateral.json").write_bytes(world.collateral.to_json())
    (folder / "root.pem").write_bytes(world.platform.root_certificate)
    (folder / "key.pem").write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    options = {
        "--collateral": "collateral.json",
        "--simulated-root": "root.pem",
        "--ear": "ear.jwt",
        "--ear-key": "key.pem",
    }
    named = [word for option, name in options.items() for word in (option, str(folder / name))]
    return ["verify", "quote", str(folder / "quote"), *named, "--at", "2026-11-20T13:00:00Z"]


def claims_in(path: Path) -> dict[str, Any]:
    """What another library reads, which knows the public key only."""
    jwt = pytest.importorskip("jwt", reason="PyJWT comes with the extra azure")
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    # The token is of an instant in this test's own time.
    options = {"verify_exp": False, "verify_iat": False, "require": ["iat", "exp"]}
    found: dict[str, Any] = jwt.decode(path.read_bytes(), public, algorithms=["ES256"], options=options)
    return found


@pytest.mark.parametrize(
    ("measurement", "code", "executables"),
    [(MRENCLAVE, 0, 2), (MrEnclave(bytes(32)), 1, 33)],
    ids=["affirmed", "refused"],
)
def test_a_result_is_written_as_a_token(
    world: World, tmp_path: Path, measurement: MrEnclave, code: int, executables: int
) -> None:
    assert run([*arguments(world, tmp_path), "--mrenclave", measurement.hex()]) == code
    claims = claims_in(tmp_path / "ear.jwt")
    cpu = claims.pop("submods")["cpu0"]
    assert claims == {
        "eat_profile": "tag:github.com,2023:veraison/ear",
        "iat": int(datetime(2026, 11, 20, 13, tzinfo=UTC).timestamp()),
        "exp": int(datetime(2026, 12, 20, 12, tzinfo=UTC).timestamp()),
        "ear.verifier-id": {"developer": "casemate", "build": f"casemate {__version__}"},
    }
    assert cpu["ear.status"] == "contraindicated"  # it is simulated
    assert cpu["ear.trustworthiness-vector"] == {
        "instance-identity": 0,
        "configuration": 2,
        "executables": executables,
        "file-system": 0,
        "hardware": 97,
        "runtime-opaque": 96,
        "storage-opaque": 0,
        "sourced-data": 0,
    }
    assert cpu["ear.appraisal-policy-id"] == policy_digest(AppraisalPolicy(mrenclaves=(measurement,)))
    assert cpu["ear.veraison.annotated-evidence"]["sgx"]["body"]["mr_enclave"] == MRENCLAVE.hex()


@pytest.mark.parametrize("missing", ["--ear", "--ear-key"])
def test_token_and_key_go_together(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    words = arguments(world, tmp_path)
    at = words.index(missing)
    assert run([*words[:at], *words[at + 2 :], "--mrenclave", MRENCLAVE.hex()]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "Error: --ear and --ear-key go together."


def test_a_key_that_cannot_sign_writes_nothing(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*arguments(world, tmp_path), "--mrenclave", MRENCLAVE.hex()]
    (tmp_path / "key.pem").write_text("nothing")
    assert run(words) == 1
    assert capsys.readouterr().err.splitlines() == [
        (
            "error: key of the attestation result: expected a private key on P-256, PEM, not encrypted, got"
            f" something else ({tmp_path / 'key.pem'})"
        ),
        "hint: make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.pem",
    ]
    assert not (tmp_path / "ear.jwt").exists()


def test_the_token_that_was_written_is_named_with_its_status(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments(world, tmp_path), "--mrenclave", MRENCLAVE.hex()]) == 0
    # A simulated platform is never affirming.
    assert capsys.readouterr().err == f"result: {tmp_path / 'ear.jwt'} (ear.status contraindicated)\n"
