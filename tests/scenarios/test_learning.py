"""``casemate rehearse --learn --write``: from an application that does not start to one that does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from casemate.rehearsal.sandbox import available

pytestmark = [
    pytest.mark.slow,
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"cannot rehearse here: {available()}"),
]

_APPLICATION = """
import importlib, os
for name in os.environ["NAMES"].split(","):
    importlib.import_module(name)
print(open(os.environ["GREETING"]).read())
"""
_PROJECT = """\
[app]
name = "late"
command = ["python", "late.py"]
requirements = ""   # nothing but Python

[closure]
# what is imported by name
include = ["module:cmd"]  # first

[env]
NAMES = "cmd,colorsys,sched,plug.a"
GREETING = "data/greeting.txt"
"""


def casemate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "casemate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project whose modules and data no import statement shows."""
    folder = tmp_path / "late"
    (folder / "data").mkdir(parents=True)
    (folder / "data/greeting.txt").write_text("good morning")
    (folder / "late.py").write_text(_APPLICATION)
    (folder / "plug").mkdir()
    (folder / "plug/a.py").touch()
    (folder / "casemate.toml").write_text(_PROJECT)
    return folder


def test_one_run_proposes_and_rounds_of_runs_write(folder: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    built = casemate("build", folder, "-o", bundle)
    assert built.returncode == 0, built.stderr

    proposed = casemate("rehearse", bundle, "--learn", folder, "--json")
    learned = json.loads(proposed.stdout)["learned"]
    assert proposed.returncode == 1
    assert '+include = ["module:cmd", "module:colorsys"]  # first\n' in learned["diff"]
    assert (folder / "casemate.toml").read_text() == _PROJECT

    written = casemate("rehearse", bundle, "--learn", folder, "--write")
    assert written.returncode == 0, written.stderr
    assert written.stdout.endswith("good morning\n")
    text = (folder / "casemate.toml").read_text()
    assert text.replace(', "module:colorsys", "module:sched", "plug/**", "data/**"', "") == _PROJECT
    assert "learned: 4 changes, written; build the bundle again\n" in written.stderr
