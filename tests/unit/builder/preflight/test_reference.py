"""docs/reference/preflight.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from casemate.builder.preflight import all_rules

PAGE = (Path(__file__).parents[4] / "docs/reference/preflight.md").read_text()


def test_every_rule_is_described_as_it_is() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (\w+) \| (.+?) \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)
    assert rows == [
        (rule.id, rule.severity.value, rule.happens, rule.mend, rule.source) for rule in all_rules()
    ]
