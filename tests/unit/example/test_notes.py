"""The sample application passes its own tests, in its own environment, with what its own lock file says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import uv

EXAMPLE = Path(__file__).parents[3] / "examples/notes"


@pytest.mark.slow
def test_the_sample_application_passes_its_own_tests(tmp_path: Path) -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "VIRTUAL_"))
    }
    environment |= {"UV_PROJECT_ENVIRONMENT": str(tmp_path / "environment"), "UV_PYTHON_DOWNLOADS": "never"}
    done = subprocess.run(
        (
            *(uv.find_uv_bin(), "run", "--quiet", "--frozen", "--project", EXAMPLE, "--directory", EXAMPLE),
            *("--python", sys.executable),
            *("pytest", "-q", "-p", "no:cacheprovider"),
        ),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lock_file_of_the_sample_application_is_up_to_date() -> None:
    done = subprocess.run(
        [uv.find_uv_bin(), "lock", "--check", "--project", EXAMPLE, "--python", sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
