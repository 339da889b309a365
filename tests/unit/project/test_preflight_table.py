"""The table [preflight] of casemate.toml."""

from __future__ import annotations

import pytest
from tests.support.projects import project

from casemate.errors import ProjectError


def test_rules_are_accepted_by_name() -> None:
    assert project().preflight.accept == ()
    assert project('[preflight]\naccept = ["subprocess", "links"]\n').preflight.accept == (
        "subprocess",
        "links",
    )


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (
            "accept = true",
            "type of accept: expected a list of texts, got true or false (casemate.toml: preflight.accept)",
        ),
        (
            "accept = [1]",
            "type of an item of accept: expected a text, got a number (casemate.toml: preflight.accept)",
        ),
        (
            "ignore = []",
            'unknown key "ignore": expected a key of [preflight] (casemate.toml: preflight.ignore)',
        ),
    ],
)
def test_anything_else_is_refused(toml: str, message: str) -> None:
    with pytest.raises(ProjectError) as caught:
        project(f"[preflight]\n{toml}\n")
    assert str(caught.value) == message
