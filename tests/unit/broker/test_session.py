"""Sessions: one nonce, one use, one lifetime."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from casemate.broker.problem import Problem, RequestRefusedError
from casemate.broker.release import Credentials
from casemate.broker.session import SessionId, SessionLimits, Sessions
from casemate_attester.messages import Token

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
LIFETIME = timedelta(minutes=5)
UNKNOWN = (
    "session: expected one opened less than 300 seconds ago, got an unknown or expired one "
    "(cookie kbs-session-id)"
)
USED = "nonce: expected one for which no evidence was sent yet, got one that is used (cookie kbs-session-id)"


def sessions(**limits: int) -> Sessions[str]:
    return Sessions(SessionLimits(**limits), os.urandom)


def refusal(table: Sessions[str], session_id: SessionId, now: datetime) -> str:
    with pytest.raises(RequestRefusedError) as caught:
        table.spend(session_id, now)
    assert caught.value.problem is Problem.EVIDENCE
    assert caught.value.hint == "begin again with POST /kbs/v0/auth"
    return str(caught.value)


def test_session_and_nonce_are_random_and_of_the_size_that_trustee_uses() -> None:
    table = sessions()
    opened = [table.open(NOW) for _ in range(100)]
    assert len({session.id for session in opened}) == len({session.nonce for session in opened}) == 100
    assert all(len(session.id) == 32 and len(session.nonce) == 44 for session in opened)


def test_a_nonce_is_used_once_when_the_evidence_was_good() -> None:
    table = sessions()
    session = table.spend(table.open(NOW).id, NOW)
    table.attest(session, "proof", NOW)
    assert refusal(table, session.id, NOW) == USED
    assert table.proof_of(session.id, NOW) == "proof"


def test_a_nonce_is_used_once_when_the_evidence_was_bad() -> None:
    table = sessions()
    session = table.spend(table.open(NOW).id, NOW)
    assert refusal(table, session.id, NOW) == USED
    assert table.proof_of(session.id, NOW) is None


def test_an_unknown_session_is_refused() -> None:
    assert refusal(sessions(), SessionId("0" * 32), NOW) == UNKNOWN


def test_a_session_lives_until_its_last_instant() -> None:
    table = sessions()
    first, second = table.open(NOW), table.open(NOW)
    assert table.spend(first.id, NOW + LIFETIME - timedelta(microseconds=1)).id == first.id
    assert refusal(table, second.id, NOW + LIFETIME) == UNKNOWN


def test_what_a_session_proved_ends_with_it() -> None:
    table = sessions()
    session = table.spend(table.open(NOW).id, NOW)
    table.attest(session, "proof", NOW + timedelta(minutes=4))
    assert table.proof_of(session.id, NOW + LIFETIME - timedelta(microseconds=1)) is not None
    assert table.proof_of(session.id, NOW + LIFETIME) is None
    assert refusal(table, session.id, NOW + LIFETIME) == UNKNOWN


def test_a_flood_of_openings_forgets_the_oldest_waiting_session_and_no_attested_one() -> None:
    table = sessions(waiting=2)
    attested = table.spend(table.open(NOW).id, NOW)
    table.attest(attested, "proof", NOW)
    oldest, older, newest = (table.open(NOW) for _ in range(3))
    assert refusal(table, oldest.id, NOW) == UNKNOWN
    assert table.spend(older.id, NOW).nonce == older.nonce
    assert table.spend(newest.id, NOW).nonce == newest.nonce
    assert table.proof_of(attested.id, NOW) is not None


def test_expired_sessions_make_room() -> None:
    table = sessions(waiting=2)
    for _ in range(2):
        table.open(NOW)
    later = NOW + LIFETIME
    first, second = table.open(later), table.open(later)
    assert table.spend(first.id, later).id == first.id
    assert table.spend(second.id, later).id == second.id


def test_attested_sessions_are_bounded_until_older_ones_expire() -> None:
    table = sessions(attested=1)
    table.attest(table.spend(table.open(NOW).id, NOW), "first", NOW)
    second = table.spend(table.open(NOW + timedelta(minutes=1)).id, NOW + timedelta(minutes=1))
    with pytest.raises(RequestRefusedError) as caught:
        table.attest(second, "second", NOW + timedelta(minutes=1))
    assert caught.value.problem is Problem.BUSY
    assert str(caught.value) == "attested sessions: expected at most 1, got 2 (session limit)"
    assert caught.value.hint == "try again when older sessions have expired"
    table.attest(second, "second", NOW + LIFETIME)
    assert table.proof_of(second.id, NOW + LIFETIME) == "second"


def test_the_label_of_a_session_does_not_give_it_away() -> None:
    session = sessions().open(NOW)
    assert session.label not in session.id
    assert len(session.label) == 16


def test_neither_session_nor_credentials_print_what_they_open() -> None:
    session = sessions().open(NOW)
    assert repr(session) == (f"Session(nonce={session.nonce!r}, expires={session.expires!r}, spent=False)")
    assert repr(Credentials(session_id=session.id, token=Token("head.body.signature"))) == "Credentials()"


def test_the_limits_are_these() -> None:
    limits = SessionLimits()
    assert (limits.lifetime, limits.waiting, limits.attested) == (timedelta(minutes=5), 10_000, 10_000)
