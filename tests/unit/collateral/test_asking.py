"""Restraint towards the upstream service."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from casemate.collateral.asking import Asking, Restraint
from casemate.collateral.metrics import Counters
from casemate.collateral.names import CertificateAuthority, DocumentName, PckCrlName, RootCrlName
from casemate.collateral.upstream import Answer, PckAnswer, PckQuery, UpstreamError, UpstreamProblem

ROOT, PCK = RootCrlName(), PckCrlName(authority=CertificateAuthority.PLATFORM)


class Scripted:
    """An upstream service that fails as it is told to."""

    name = "pcs.example"

    def __init__(self) -> None:
        self.calls = 0
        self.failure: UpstreamError | None = None
        self.now = datetime(2026, 5, 1, tzinfo=UTC)

    def document(self, name: DocumentName) -> Answer:
        self.calls += 1
        assert name in {ROOT, PCK}
        if self.failure is not None:
            raise self.failure
        return Answer(body=b"body", issuer_chain=b"")

    def pck_certificates(self, query: PckQuery) -> PckAnswer:
        raise NotImplementedError


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def asking(scripted: Scripted) -> Asking:
    return Asking(scripted, clock=lambda: scripted.now, counters=Counters())


def failure(problem: UpstreamProblem, retry_after: float | None = None) -> UpstreamError:
    return UpstreamError(problem, "collateral", got="a failure", where="pcs.example", retry_after=retry_after)


SPANS = {
    UpstreamProblem.NOT_FOUND: 300,
    UpstreamProblem.WITHDRAWN: 300,
    UpstreamProblem.REJECTED: 300,
    UpstreamProblem.UNAUTHORISED: 10,
    UpstreamProblem.UNAVAILABLE: 10,
}


@pytest.mark.parametrize("problem", SPANS, ids=lambda problem: problem.value)
def test_a_failure_is_remembered_for_its_document_alone(
    scripted: Scripted, asking: Asking, problem: UpstreamProblem
) -> None:
    scripted.failure = failure(problem)
    for calls in (1, 1):
        with pytest.raises(UpstreamError, match=r"collateral: got a failure \(pcs.example\)"):
            asking.document(ROOT)
        assert scripted.calls == calls
    with pytest.raises(UpstreamError):
        asking.document(ROOT, insist=True)
    with pytest.raises(UpstreamError):
        asking.document(PCK)
    assert scripted.calls == 3
    scripted.failure = None
    scripted.now += timedelta(seconds=SPANS[problem] - 1)
    with pytest.raises(UpstreamError) as again:
        asking.document(ROOT)
    assert again.value.retry_after == 1
    scripted.now += timedelta(seconds=1)
    assert asking.document(ROOT).body == b"body"
    assert asking.document(ROOT).body == b"body"


@pytest.mark.parametrize(("said", "span"), [(None, 60), (5.0, 5), (1e9, 3600)])
def test_a_rate_limit_silences_everything(
    scripted: Scripted, asking: Asking, said: float | None, span: float
) -> None:
    scripted.failure = failure(UpstreamProblem.RATE_LIMITED, said)
    with pytest.raises(UpstreamError):
        asking.document(ROOT)
    scripted.failure = None
    scripted.now += timedelta(seconds=span - 1)
    with pytest.raises(UpstreamError) as limited:
        asking.document(PCK, insist=True)
    assert (limited.value.problem, limited.value.retry_after) == (UpstreamProblem.RATE_LIMITED, 1)
    scripted.now += timedelta(seconds=1)
    assert asking.document(PCK).body == b"body"
    assert scripted.calls == 2


def test_restraint_has_these_defaults() -> None:
    assert Restraint() == Restraint(
        not_found=timedelta(minutes=5),
        unavailable=timedelta(seconds=10),
        rate_limited=timedelta(minutes=1),
        longest=timedelta(hours=1),
    )


def test_the_log_says_once_a_minute_why_a_document_does_not_come(
    scripted: Scripted, asking: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.failure = failure(UpstreamProblem.UNAVAILABLE)
    for seconds in (0, 1, 30, 28, 1):
        scripted.now += timedelta(seconds=seconds)
        with pytest.raises(UpstreamError):
            asking.document(PCK)
    reason = "pck-crl platform: not given: collateral: got a failure (pcs.example)"
    assert caplog.messages == [reason, reason]
    with pytest.raises(UpstreamError):
        asking.document(ROOT)
    assert caplog.messages[2:] == ["root-crl: not given: collateral: got a failure (pcs.example)"]


def test_the_log_is_not_filled_with_what_does_not_exist_or_is_reported_elsewhere(
    scripted: Scripted, asking: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    scripted.failure = failure(UpstreamProblem.NOT_FOUND)
    with pytest.raises(UpstreamError):
        asking.document(ROOT)
    scripted.failure = failure(UpstreamProblem.UNAVAILABLE)
    with pytest.raises(UpstreamError):
        asking.document(PCK, insist=True)
    assert caplog.messages == []
