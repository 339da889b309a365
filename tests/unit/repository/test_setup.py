"""``scripts/setup.sh`` on machines that lack something: one sentence, what to do, and nothing written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NEEDED = ("dirname", "cat", "cksum", "rm")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with what the script reads, and a PATH of its own in ``bin``."""
    root = tmp_path / "clone"
    for name in ("scripts/setup.sh", "uv.lock", "pyproject.toml", "attester/pyproject.toml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    (root / "bin").mkdir()
    for name in NEEDED:
        (root / "bin" / name).symlink_to(shutil.which(name) or name)
    return root


def put_python(clone: Path, script: str) -> None:
    """A ``python3`` that is the shell script ``script``."""
    path = clone / "bin/python3"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def set_up(clone: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(clone / "scripts/setup.sh")],
        env={"PATH": str(clone / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("script", ["exit 1", "exit 127"], ids=["too old", "a shim for nothing"])
def test_without_a_python_that_is_new_enough_it_says_which_is_needed(clone: Path, script: str) -> None:
    put_python(clone, script)
    done = set_up(clone)
    assert done.returncode == 1
    assert done.stderr == (
        "setup: no Python 3.11 or newer on PATH\nhint: install one, for example: apt-get install python3\n"
    )


def test_without_pip_and_uv_it_says_what_to_install(clone: Path) -> None:
    put_python(
        clone,
        'case "$*" in *ensurepip*|*pip*) exit 1;; esac\n'
        f'case "$*" in *sys.executable*) echo "$0"; exit 0;; esac\nexec {sys.executable} "$@"',
    )
    done = set_up(clone)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        f"setup: {clone}/bin/python3 has neither ensurepip nor pip, and no uv 0.8 or newer is on PATH",
        "hint: install one of them: apt-get install python3-venv, or https://docs.astral.sh/uv/",
    ]
    assert not (clone / ".venv").exists()
    assert not (clone / ".tools").exists()


def test_when_nothing_has_changed_it_does_nothing(clone: Path) -> None:
    put_python(clone, f'exec {sys.executable} "$@"')
    casemate = clone / ".venv/bin/casemate"
    casemate.parent.mkdir(parents=True)
    casemate.touch(mode=0o755)
    files = [clone / name for name in ("uv.lock", "pyproject.toml", "attester/pyproject.toml")]
    content = b"".join(file.read_bytes() for file in files)
    checksum = subprocess.run(["cksum"], input=content, capture_output=True, check=True)
    (clone / ".venv/.setup").write_text(f"{sys.executable} {checksum.stdout.decode()}")
    done = set_up(clone)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
