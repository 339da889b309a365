"""What ``casemate push`` refuses before it asks anybody."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.faulty_registry import FaultyRegistry
from tests.support.small_bundle import Small, sign_small, small_bundle

from casemate.builder.bundles.bundle import Bundle
from casemate.cli.main import run

#: Nobody answers there.
NOWHERE = "localhost:1/notes:1"


@pytest.fixture(autouse=True)
def _nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["push", *arguments]) != 0
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("simulated", "message"),
    [
        (
            False,
            (
                "error: bundle to be pushed: expected one that is signed, for real processors, "
                "got one that is unsigned\n"
                "hint: no enclave starts from its image; push it all the same with --allow-unsigned\n"
            ),
        ),
        (
            True,
            (
                "error: bundle to be pushed: expected one that is signed, for real processors, "
                "got one that is simulated\n"
                "hint: its image protects nothing; push it all the same with --allow-simulated\n"
            ),
        ),
    ],
    ids=["unsigned", "simulated"],
)
def test_what_is_of_no_use_has_to_be_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], *, simulated: bool, message: str
) -> None:
    bundle = small_bundle(tmp_path / "bundle", Small(simulated=simulated))

    assert _refused(capsys, str(bundle.path), NOWHERE) == message


def test_what_is_asked_for_is_pushed_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = small_bundle(tmp_path / "bundle", Small(simulated=True))
    with FaultyRegistry.running() as server:
        name = f"{server.host}/app:1"

        assert run(["push", str(bundle.path), name, "--allow-simulated", "--allow-unsigned"]) == 0

    printed = capsys.readouterr()
    assert printed.out == f"{name}@{bundle.image.digest}\n"
    assert printed.err == (
        "The bundle is simulated: its image protects nothing.\n"
        "The bundle is unsigned: no enclave starts from its image.\n"
    )


def test_another_digest_cannot_be_pushed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = sign_small(small_bundle(tmp_path / "bundle"))
    other = f"sha256:{'0' * 64}"

    assert _refused(capsys, str(bundle.path), f"localhost:1/notes@{other}") == (
        f"error: digest to be pushed: expected {bundle.image.digest}, got {other}\n"
    )


def test_an_image_that_is_not_the_one_of_the_reference_values_is_not_pushed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = sign_small(small_bundle(tmp_path / "bundle"))
    former = bundle.image.digest
    documents = bundle.image.documents()
    Bundle(bundle.path).image.point_to(documents.manifest, "renamed")
    bundle.reference_values_path.write_bytes(
        small_bundle(tmp_path / "other").reference_values_path.read_bytes()
    )

    message = _refused(capsys, str(bundle.path), NOWHERE)

    assert message.startswith(
        "error: image of the bundle: expected the one that reference-values.json is for, sha256:"
    )
    assert f"got {former}\n" in message


@pytest.mark.parametrize("name", ["localhost:1/Notes", "notes@sha256:1"])
def test_a_name_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    bundle = sign_small(small_bundle(tmp_path / "bundle"))

    assert "error: name of an image in a registry: expected [HOST[:PORT]/]REPOSITORY" in _refused(
        capsys, str(bundle.path), name
    )
