"""Sessions in documents, to be run as they are printed there."""

from __future__ import annotations

import re
from collections.abc import Iterator

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
