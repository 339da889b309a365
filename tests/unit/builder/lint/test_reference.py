"""docs/reference/lint.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from casemate.builder.lint import RULES
from casemate.cli.lint import command

PAGE = (Path(__file__).parents[4] / "docs/reference/lint.md").read_text()


def test_every_rule_is_described_as_it_is() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (\w+) \| (.+?) \| (.+?) \| ?(yes)? ?\|$", PAGE, re.MULTILINE)
    assert rows == [
        (rule.id, rule.severity.value, rule.reason, rule.mend, "yes" if rule.fixes else "") for rule in RULES
    ]


def test_every_option_is_described() -> None:
    described = set(re.findall(r"`(--[a-z-]+)[ `]", PAGE))
    assert {option.opts[0] for option in command.params if option.param_type_name == "option"} <= described


def test_the_example_gives_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template, printed = re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[:2]
    (tmp_path / "service.manifest.template").write_text(template)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(command, ["service.manifest.template"]).stdout == printed
