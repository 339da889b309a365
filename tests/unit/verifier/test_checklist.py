"""What the record of an appraisal may hold."""

from __future__ import annotations

from datetime import UTC, datetime

from casemate.errors import FormatError
from casemate.verifier.checklist import MAX_TEXT, Checklist
from casemate.verifier.requirements import Requirement


def checklist() -> Checklist:
    return Checklist(at=datetime(2026, 11, 20, tzinfo=UTC), accept_expired=False)


def test_texts_of_a_check_are_bounded_and_printable() -> None:
    checks = checklist()
    checks.require(Requirement.POLICY, passed=False, expected="\n" + "e" * 5000, got="\x1b" + "g" * 5000)
    (check,) = checks.checks
    assert check.expected == "\ufffd" + "e" * (MAX_TEXT - 2) + "…"
    assert check.got == "\ufffd" + "g" * (MAX_TEXT - 2) + "…"


def test_what_a_parser_says_is_bounded_too() -> None:
    def parse(_data: bytes) -> None:
        raise FormatError("thing", got="\x00" * 5000, hint="x" * 5000)

    checks = checklist()
    assert checks.read(Requirement.QUOTE_FORMAT, parse, b"") is None
    (check,) = checks.checks
    assert check.got.startswith("thing: got \ufffd\ufffd")
    assert len(check.got) == MAX_TEXT
