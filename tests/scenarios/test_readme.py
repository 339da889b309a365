"""The session in README.md, run as it is printed there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.console import ANYTHING, agree, commands

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_session_of_the_readme_runs_as_printed(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "build").mkdir()
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    session = list(commands((ROOT / "README.md").read_text()))
    assert len(session) >= 5
    for command, written in session:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}"
        assert agree(done.stdout.splitlines(), written), f"$ {command}\n{done.stdout}"


def test_a_session_that_prints_something_else_is_noticed() -> None:
    assert agree(["trusted  12 files"], ["trusted 3,400 files"])
    assert agree(["one", "two", "three"], ["one", ANYTHING])
    assert not agree(["trusted 12 files"], ["trusted 12 folders"])
    assert not agree(["one", "two"], ["one"])
    assert not agree(["one"], ["one", "two"])
