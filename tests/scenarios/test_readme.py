"""The session in README.md, run as it is printed there."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.console import ANYTHING, agree, run_session

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_session_of_the_readme_runs_as_printed(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    assert run_session((ROOT / "README.md").read_text(), tmp_path) >= 5


def test_a_session_that_prints_something_else_is_noticed() -> None:
    assert agree(["trusted  12 files"], ["trusted 3,400 files"])
    assert agree(["one", "two", "three"], ["one", ANYTHING])
    assert not agree(["trusted 12 files"], ["trusted 12 folders"])
    assert not agree(["one", "two"], ["one"])
    assert not agree(["one"], ["one", "two"])
