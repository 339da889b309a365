"""The speeds that are promised, each as a ratio within one run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def result_of(name: str, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / name), *options], capture_output=True, text=True, check=False
    )
    assert done.stderr.count("\n") == 1, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert result["reached"] == (done.returncode == 0)
    return result


@pytest.mark.slow
def test_a_large_enclave_is_measured_five_times_faster_than_with_one_hash_update_per_page() -> None:
    result = result_of("measure.py", "--repeat", "1")
    assert result["plain_over_casemate"] >= 5
    assert result["peak_memory_bytes"] < 200_000_000


def test_the_program_starts_within_80_milliseconds_more_than_python() -> None:
    # Other tests run at the same time and can only slow it down, so one quiet moment of three is enough.
    assert any(result_of("startup.py", "--runs", "7")["difference_milliseconds"] < 80 for _ in range(3))
