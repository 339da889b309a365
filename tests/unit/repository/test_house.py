"""The rules of the house that a machine can check."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MODULES = sorted([*(ROOT / "src").rglob("*.py"), *(ROOT / "attester/src").rglob("*.py")])
LONGEST_MODULE = 500


def test_imports_point_inwards() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_stay_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LONGEST_MODULE
    assert text.lstrip().startswith(('"""', 'r"""'))


def test_continuous_integration_runs_exactly_the_test_command_of_the_readme() -> None:
    last = (ROOT / ".ci/run").read_text().rstrip().splitlines()[-1]
    assert last == "exec make test"
    assert "make test" in (ROOT / "README.md").read_text()


def test_nothing_of_the_sample_application_knows_of_enclaves() -> None:
    example = ROOT / "examples/notes"
    files = [example / "pyproject.toml", example / "README.md", *(example / "notes").rglob("*.*")]
    for path in files:
        if path.suffix != ".pyc":
            words = path.read_text().lower()
            assert not {word for word in ("sgx", "enclave", "gramine", "attest", "casemate") if word in words}
