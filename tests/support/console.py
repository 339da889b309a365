"""Sessions in documents, to be run as they are printed there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

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


def run_session(document: str, folder: Path, **variables: str) -> int:
    """Run every command of ``document`` in ``folder`` as if the virtual environment were active.

    Args:
        document: Its ``console`` blocks are the session.
        folder: Where a reader would be; what its ``build/*.log`` hold is shown when a command fails.
        variables: Added to the environment.

    Returns:
        How many commands there were.
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    session = list(commands(document))
    for command, written in session:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=folder,
            env={**os.environ, "PATH": path, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        logs = "".join(log.read_text() for log in sorted(folder.glob("build/*.log")))
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{logs}"
        assert agree(done.stdout.splitlines(), written), f"$ {command}\n{done.stdout}{logs}"
    return len(session)
