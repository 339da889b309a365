"""The demonstration, from the application to the two attacks, as ``make demo`` runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from tests.support.sample_bundle import SMALLEST_RATIO

from casemate.demonstration.summary import complaints
from casemate.rehearsal.sandbox import available

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.slow,
    pytest.mark.skipif(bool(available()), reason=f"no rehearsal here: {available()}"),
]


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("demo") / "stage"
    done = subprocess.run(
        [sys.executable, "-m", "casemate", "demo", "--output", str(folder), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    assert json.loads(done.stdout) == written
    return written


def test_everything_is_as_it_should_be(summary: dict[str, Any]) -> None:
    assert complaints(summary) == ()
    assert summary["app"] == "notes"
    assert all(check["passed"] for check in summary["attestation"]["reasons"])


def test_the_sample_stays_within_its_trusted_computing_base(summary: dict[str, Any]) -> None:
    assert summary["trusted_files"] <= 1000
    assert summary["trusted_files"] * SMALLEST_RATIO <= summary["image_files"]
    assert summary["trusted_bytes"] < summary["image_bytes"]


def test_each_step_says_how_long_it_took(summary: dict[str, Any]) -> None:
    assert list(summary["seconds"]) == [
        *("prepare", "build", "sign", "broker", "rehearse"),
        *("verify", "request", "replay", "stop", "tamper"),
    ]
