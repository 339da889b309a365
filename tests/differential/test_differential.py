"""A short differential run in each test run; the long one is ``make differential``."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.differential.cases import good_cases
from tests.differential.changes import CHANGES, changed
from tests.differential.judges import RULES, Opinion, Ours, rule_for, theirs
from tests.differential.run import judge

CASES = 1500


def test_no_changed_case_is_accepted_without_a_rule_that_says_why() -> None:
    tally = judge(0, CASES)
    assert [violation.what for violation in tally.violations] == []
    assert sum(tally.outcomes.values()) == CASES
    assert min(tally.outcomes.values()) > 0
    assert tally.outcomes["both accept"] > CASES / 20


def test_every_change_is_made() -> None:
    assert {changed(seed)[0] for seed in range(500)} == {change.__name__ for change in CHANGES}


def test_good_evidence_is_accepted_by_both() -> None:
    ours = Ours()
    for case in good_cases():
        here, there = ours.judge(case), theirs(case)
        assert here.status is not None
        if there.status is None:
            assert rule_for(here, there) == "SGX in versions 4 and 5"
        else:
            assert (here.status, here.advisories) == (there.status, there.advisories)


def test_a_verifier_that_accepts_everything_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ours, "judge", lambda _self, _case: Opinion(status="UpToDate"))
    tally = judge(0, 60)
    assert any("accepted here, refused there" in violation.what for violation in tally.violations)


def test_a_verifier_from_which_an_error_escapes_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def escape(_self: Ours, _case: object) -> Opinion:
        raise KeyError("tcbLevels")

    monkeypatch.setattr(Ours, "judge", escape)
    assert judge(0, 1).violations[0].what.endswith("KeyError('tcbLevels') escaped")


@pytest.mark.parametrize("name", RULES)
def test_a_rule_needs_its_message_and_its_check(name: str) -> None:
    rule = RULES[name]
    here = Opinion(status="UpToDate", reasons=() if rule.policy is None else (rule.policy,))
    there = Opinion(status=None, reasons=("Verification failed: something else",))
    assert rule_for(here, there) is None
    if rule.policy is not None:
        spoken = replace(there, reasons=(rule.message.partition("|")[0],))
        assert rule_for(here, spoken) is not None
        assert rule_for(replace(here, reasons=()), spoken) is None
