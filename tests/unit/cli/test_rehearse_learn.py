"""What ``rehearse --learn`` shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from casemate.cli.rehearse import _show_learned
from casemate.cli.rehearse_learn import Learning
from casemate.rehearsal.learning import Change


def test_what_was_learned_is_shown_and_not_obeyed_by_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = "[closure]\ninclude = []\t# \x9b2J\n"
    change = Change(
        table="closure", key="include", item="data/\x9b2J.csv", because="data/\x9b2J.csv is absent"
    )
    after = change.apply(before, "casemate.toml")
    _show_learned(Learning(folder=tmp_path, before=before, text=after, changes=[change]), write=False)
    said = capsys.readouterr().err
    assert [line for line in said.split("\n") if not line.isprintable()] == []
    assert said.splitlines()[-2:] == [
        "learned from: data/\\x9b2J.csv is absent",
        "learned: 1 changes, not written; --write changes the file",
    ]
