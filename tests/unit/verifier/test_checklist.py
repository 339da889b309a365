"""What the record of an appraisal may hold."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from casemate.errors import FormatError
from casemate.verifier.checklist import MAX_TEXT, Checklist, Compared, in_words
from casemate.verifier.requirements import Requirement


def test_texts_of_a_check_are_bounded_and_printable() -> None:
    assert in_words("\n" + "e" * 5000) == "\ufffd" + "e" * (MAX_TEXT - 2) + "…"
    assert in_words(lambda: "\x1b" + "g" * 5000) == "\ufffd" + "g" * (MAX_TEXT - 2) + "…"


@pytest.mark.parametrize(
    ("compared", "words"),
    [
        (b"\x01\xab", "01ab"),
        (7, "7"),
        ((b"\x01", b"\x02"), "01 or 02"),
        (None, "any (the policy names none)"),
        (datetime(2026, 11, 20, 12, 30, 1, tzinfo=UTC), "2026-11-20T12:30:01Z"),
        (lambda: "a text of its own", "a text of its own"),
    ],
)
def test_what_was_compared_is_put_into_words(compared: Compared, words: str) -> None:
    assert in_words(compared) == words


def test_what_a_parser_says_is_recorded() -> None:
    def parse(_data: bytes) -> None:
        raise FormatError("thing", got="other", hint="Look again.")

    checks = Checklist()
    assert checks.read(Requirement.QUOTE_FORMAT, parse, b"") is None
    assert checks.records == [
        (Requirement.QUOTE_FORMAT, False, "what its format allows", "thing: got other. Look again.")
    ]
    assert not checks.passed


def test_a_stage_is_complete_when_each_of_its_checks_was_made_and_has_passed() -> None:
    checks = Checklist()
    assert checks.require(Requirement.QUOTE_FORMAT, passed=True, expected="", got="")
    assert checks.has_made([Requirement.QUOTE_FORMAT])
    assert checks.has_made_all(1)
    assert not checks.has_made([Requirement.QUOTE_FORMAT, Requirement.QE_VENDOR])
    assert not checks.has_made_all(2)
    assert not checks.require(Requirement.QE_VENDOR, passed=False, expected="", got="")
    assert not checks.has_made([Requirement.QUOTE_FORMAT, Requirement.QE_VENDOR])
    assert not checks.has_made_all(2)
