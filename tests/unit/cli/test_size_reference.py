"""docs/reference/size.md and preflight.md describe the commands as they are."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from casemate.builder.enclave import sizing
from casemate.cli import preflight, size

_DOCS = Path(__file__).parents[3] / "docs/reference"


@pytest.mark.parametrize(
    ("page", "command"), [("size.md", size.command), ("preflight.md", preflight.command)]
)
def test_every_option_is_described(page: str, command: click.Command) -> None:
    described = set(re.findall(r"^\| .*?`(--[a-z-]+)", (_DOCS / page).read_text(), re.MULTILINE))
    described |= set(re.findall(r"`(--[a-z-]+)", (_DOCS / page).read_text()))

    assert {option.opts[0] for option in command.params if isinstance(option, click.Option)} <= described


def test_the_numbers_of_the_model_are_those_of_the_code() -> None:
    page = (_DOCS / "size.md").read_text()

    assert sizing.GRAMINE_MEMORY == 32 << 20
    assert sizing.ENTRY_MEMORY == 2 << 10
    assert "32 MiB, and 2 KiB for each trusted file" in page
    assert "0.2 s + 15 µs for each trusted file + 12.2 ns for the square of their number" in page
    assert sizing.START == (0.2, 1.5e-5, 1.22e-8)
    assert sizing.LOADING_RATE == sizing.HASHING_RATE == 1 << 30
