"""The sample application, built twice under conditions that must not matter."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from tests.support.sample_bundle import INTERPRETER_IS_WHOLE, SMALLEST_RATIO, Conditions, build_sample

from casemate.builder.bundles.bundle import Bundle
from casemate.builder.lint import lint_manifest
from casemate.builder.packing.image import unpack_image
from casemate.cli.main import run
from casemate_attester.configuration import Workload

pytestmark = pytest.mark.slow

ONE = Conditions(
    folder="one", umask=0o022, hash_seed="1", locale="C.UTF-8", zone="UTC", seconds_later=1_700_000_000
)
OTHER = Conditions(
    folder="deep/er/other-folder",
    umask=0o077,
    hash_seed="4242",
    locale="tr_TR.UTF-8",
    zone="Asia/Tokyo",
    seconds_later=1_700_003_600,
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, dict[str, Any]]:
    bundle, document = build_sample(tmp_path_factory.mktemp("one"), ONE)
    return Bundle.open(bundle), document


def _bytes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_two_builds_are_identical_bit_for_bit(built: tuple[Bundle, dict[str, Any]], tmp_path: Path) -> None:
    bundle, document = built
    other, other_document = build_sample(tmp_path, OTHER)

    assert other_document["mrenclave"] == document["mrenclave"]
    assert other_document["image_digest"] == document["image_digest"]
    assert _bytes(other) == _bytes(bundle.path)


def test_the_sample_trusts_less_than_a_thousand_files_and_an_eighth_of_what_there_is(
    built: tuple[Bundle, dict[str, Any]],
) -> None:
    tcb = built[0].tcb

    assert len(tcb.files) <= 1000
    assert len(tcb.files) * SMALLEST_RATIO <= tcb.considered.files
    assert tcb.size * (2 if INTERPRETER_IS_WHOLE else 1) <= tcb.considered.size


def test_no_rule_of_the_linter_finds_anything_in_the_manifest(built: tuple[Bundle, dict[str, Any]]) -> None:
    path = built[0].manifest_path

    assert lint_manifest(path.read_bytes(), path.name) == ()


def test_no_module_is_trusted_twice(built: tuple[Bundle, dict[str, Any]]) -> None:
    paths = {file.path for file in built[0].tcb.files}

    assert not [path for path in paths if path.endswith(".py") and f"{path}c" in paths]
    assert not [path for path in paths if "__pycache__" in path]


def test_the_documents_of_a_bundle_say_the_same(built: tuple[Bundle, dict[str, Any]]) -> None:
    bundle, document = built
    record, statement = bundle.measurement, json.loads(bundle.reference_values)
    manifest = tomllib.loads(bundle.manifest.decode())

    assert record.simulated is document["simulated"] is statement["predicate"]["simulated"] is True
    assert record.mrsigner is None
    assert record.image_digest == bundle.image.digest == document["image_digest"]
    assert statement["subject"] == [
        {"name": "notes", "digest": {"sha256": bundle.image.digest.removeprefix("sha256:")}}
    ]
    assert statement["predicate"]["sgx"] == record.sgx()
    trusted = [(entry["uri"], entry["sha256"]) for entry in manifest["sgx"]["trusted_files"]]
    assert trusted == [(f"file:/enclave{file.path}", file.sha256) for file in bundle.tcb.files]
    assert bundle.deployment.name == "notes"
    assert bundle.signature is None


def test_the_bill_of_materials_is_of_the_official_form_and_names_the_distributions(
    built: tuple[Bundle, dict[str, Any]],
) -> None:
    sbom = built[0].sbom.decode()

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom) is None
    names = {one["name"].lower() for one in json.loads(sbom)["components"] if one["type"] == "library"}
    assert {"flask", "numpy", "cheroot", "cryptography"} <= names


def test_every_reason_leads_to_a_file_of_the_image(built: tuple[Bundle, dict[str, Any]]) -> None:
    files = built[0].tcb.files
    paths = {file.path for file in files}

    assert not [file for file in files if file.reason.of is not None and file.reason.of not in paths]


def test_the_image_holds_what_the_manifest_trusts_and_nothing_else(
    built: tuple[Bundle, dict[str, Any]], tmp_path: Path
) -> None:
    bundle = built[0]

    unpack_image(bundle.image, tmp_path)

    inside = {name: digest for name, digest in _bytes(tmp_path).items() if name.startswith("enclave/")}
    assert inside == {f"enclave{file.path}": file.sha256 for file in bundle.tcb.files}
    assert (tmp_path / "casemate/app.manifest.sgx").read_bytes() == bundle.manifest
    workload = Workload.parse((tmp_path / "enclave/etc/casemate/workload.json").read_bytes())
    assert workload.application.target == "notes:app"
    assert [secret.destination for secret in workload.secrets] == ["/run/secrets/notes-key"]


def test_the_folder_of_a_secret_is_memory_of_the_enclave(built: tuple[Bundle, dict[str, Any]]) -> None:
    manifest = tomllib.loads(built[0].manifest.decode())

    assert [(mount["type"], mount["path"]) for mount in manifest["fs"]["mounts"]] == [
        ("tmpfs", "/run/secrets"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/var/lib/notes"),
    ]


@pytest.mark.parametrize(
    ("name", "last"),
    [
        pytest.param("notes.store", "/app/notes/__init__.pyc", id="module of the application"),
        pytest.param("libssl.so.3", None, id="library"),
        pytest.param("numpy", "/app/notes/__init__.pyc", id="distribution"),
    ],
)
def test_explain_leads_back_to_the_start(
    built: tuple[Bundle, dict[str, Any]], name: str, last: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["explain", str(built[0].path), name, "--json"])

    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["trusted"]
    assert last is None or document["chain"][-1]["path"] == last


def test_explain_shows_the_chain_to_a_person(
    built: tuple[Bundle, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    run(["explain", str(built[0].path), "notes/store.py"])

    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("/app/notes/store.pyc  import: from notes.store import ")
    assert second == '└── /app/notes/__init__.pyc  entry-point: serve = "notes:app"'
    assert " bytes, sha256 " in third


def test_explain_says_what_would_take_in_a_file_that_was_left_out(
    built: tuple[Bundle, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    run(["explain", str(built[0].path), "wave"])

    output = capsys.readouterr().out
    assert "wave.py is not in the image" in output
    assert output.endswith('[closure]\ninclude = ["module:wave"]\n')
