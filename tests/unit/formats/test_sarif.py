"""SARIF 2.1.0: what code hosts read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from casemate.formats.sarif import LEVELS, SarifResult, SarifRule, dump_sarif

RULES = [
    SarifRule(id="a", level="error", reason="Why.", help="What."),
    SarifRule(id="b", level="note", reason="Why.", help="What."),
]


def run_of(*results: SarifResult) -> dict[str, Any]:
    log = json.loads(dump_sarif(RULES, results, tool="tool", version="1"))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    found: dict[str, Any] = run
    return found


def test_rules_are_listed_with_their_levels() -> None:
    driver = run_of()["tool"]["driver"]
    assert (driver["name"], driver["version"]) == ("tool", "1")
    assert [(rule["id"], rule["defaultConfiguration"]["level"]) for rule in driver["rules"]] == [
        ("a", "error"),
        ("b", "note"),
    ]
    assert {rule.level for rule in RULES} <= set(LEVELS)


def test_a_result_names_its_rule_and_its_place() -> None:
    run = run_of(SarifResult(rule="b", message="m", path="x/y", line=3, column=4))
    assert run["columnKind"] == "unicodeCodePoints"
    assert run["results"] == [
        {
            "ruleId": "b",
            "ruleIndex": 1,
            "level": "note",
            "message": {"text": "m"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": "x/y"},
                        "region": {"startLine": 3, "startColumn": 4},
                    }
                }
            ],
        }
    ]


def test_a_result_without_a_place_is_about_the_file() -> None:
    (result,) = run_of(SarifResult(rule="a", message="m", path="x", line=None, column=None))["results"]
    assert result["locations"] == [{"physicalLocation": {"artifactLocation": {"uri": "x"}}}]


@pytest.mark.parametrize(
    ("path", "uri"),
    [("a b/é#.x", "a%20b/%C3%A9%23.x"), ("/tmp/x", "file:///tmp/x"), ("x\udcff", "x%FF"), ("a:b", "a%3Ab")],
)
def test_paths_are_uri_references(path: str, uri: str) -> None:
    (result,) = run_of(SarifResult(rule="a", message="m", path=path, line=None, column=None))["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == uri
