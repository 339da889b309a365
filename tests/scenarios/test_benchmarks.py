"""The benchmarks run and give their figures as ratios; how fast a machine is today is no matter of a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def result_of(name: str, *options: str, lines: int = 1) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), *options], capture_output=True, text=True, check=False
    )
    assert done.stderr.count("\n") == lines, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert result["reached"] == (done.returncode == 0)
    return result


@pytest.mark.slow
def test_measuring_is_compared_with_a_plain_loop_and_with_the_hash_alone() -> None:
    result = result_of("measure.py", "--repeat", "1")
    assert result["plain_over_casemate"] > 0
    assert result["peak_memory_bytes"] < 200_000_000


def test_starting_is_compared_with_the_interpreter_alone() -> None:
    assert result_of("startup.py", "--runs", "3")["difference_milliseconds"] > 0


def test_verifying_is_compared_with_the_bare_checks_and_with_another_verifier() -> None:
    result = result_of("verify.py", "--quotes", "5", "--repeat", "1", "--lines", "20")
    for kind in ("new", "known"):
        assert result[kind]["casemate_over_floor"] > 1
        assert result[kind]["dcap_qvl_over_casemate"] > 0
    assert result["batch"]["one_over_two"] > 0


@pytest.mark.slow
def test_signing_is_compared_with_its_floor_and_with_one_hash() -> None:
    result = result_of("sign.py", "--repeat", "1", "--files", "300", lines=5)
    assert result["vectors"] == 10
    assert result["measure_large_64G"]["peak_memory_bytes"] < 200_000_000
    for case in ("complete", "folders"):
        assert result[case]["casemate_over_floor"] > 1


@pytest.mark.slow
def test_building_is_compared_with_hashing_every_file_of_the_image() -> None:
    result = result_of("build.py", "--runs", "1")
    assert result["over_floor"]["first"] > result["over_floor"]["again"] > 1


def test_starting_under_gramine_says_what_is_missing_where_there_is_none() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "start.py")], capture_output=True, text=True, check=False
    )
    result = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (2, "not measured: no --gramine PREFIX\n")
    assert (result["reached"], result["skipped"]) == (None, "no --gramine PREFIX")
