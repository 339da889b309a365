"""The session in README.md, run as it is printed there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ANYTHING = "…"


def commands(document: str) -> Iterator[tuple[str, list[str]]]:
    """The command lines of the ``console`` blocks, each with the lines that are printed under it."""
    for block in re.findall(r"^```console\n(.*?)^```", document, flags=re.DOTALL | re.MULTILINE):
        command, output = "", []
        for line in block.splitlines():
            if line.startswith("$ "):
                if command:
                    yield command, output
                command, output = line.removeprefix("$ "), []
            else:
                output.append(line)
        yield command, output


def normalised(line: str) -> str:
    """A line without what differs from run to run and from machine to machine: numbers and spacing."""
    line = re.sub(r"[0-9a-f]{64}", "DIGEST", line.rstrip())
    line = re.sub(r"python3\.\d+|\d[\d,.]*", "NUMBER", line)
    return re.sub(r"\s+", " ", line)


def agree(printed: list[str], written: list[str]) -> bool:
    """Whether ``printed`` is what the document shows; a line ``…`` there stands for any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == ANYTHING else re.escape(normalised(line)) + "\n" for line in written
    )
    return re.fullmatch(pattern, "".join(normalised(line) + "\n" for line in printed)) is not None


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
