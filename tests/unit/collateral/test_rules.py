"""Defaults that operators rely on, and the words of every problem."""

from __future__ import annotations

from datetime import timedelta

import pytest

from casemate.collateral.app import AppLimits
from casemate.collateral.documents import CacheRules, Mode, refusal_of
from casemate.collateral.problem import MAX_REASON, CollateralRefusedError, Problem
from casemate.collateral.upstream import UpstreamError, UpstreamProblem


def test_the_rules_have_these_defaults() -> None:
    assert CacheRules() == CacheRules(
        mode=Mode.LAZY,
        refresh_every=timedelta(hours=24),
        retry_first=timedelta(minutes=1),
        retry_most=timedelta(hours=1),
        lease=timedelta(minutes=2),
        stale_for=timedelta(0),
    )
    assert AppLimits() == AppLimits(body=2 << 20, seconds=10.0, hot=2048, threads=32)


def test_statuses_and_sentences_are_those_of_pccs() -> None:
    assert {
        problem.status: problem.sentence for problem in Problem if problem.status not in {404, 405, 408, 410}
    } == {
        400: "Invalid request parameters.",
        401: "Authentication failed.",
        413: "Content too large.",
        460: "The integrity of the data can't be verified.",
        461: "The platform was not found in the cache.",
        462: "Certificates are not available for certain TCBs.",
        500: "Internal server error occurred.",
        502: "Unable to retrieve the collateral from the Intel SGX PCS.",
        503: "Server is currently unable to process the request.",
    }
    assert Problem.NO_DATA.value == (404, "No cache data for this platform.")


def test_a_reason_is_one_printable_line_of_bounded_length() -> None:
    error = CollateralRefusedError(Problem.NO_DATA, "x" * 10_000, got="\x1b[31m\n", hint="ask again")
    text = error.to_text()
    assert text.isprintable()
    assert len(text) == len(Problem.NO_DATA.sentence) + 1 + MAX_REASON


@pytest.mark.parametrize("problem", UpstreamProblem, ids=lambda problem: problem.value)
def test_what_upstream_says_is_passed_on(problem: UpstreamProblem) -> None:
    error = UpstreamError(problem, "TCB info", got="404 NotFound", where="host/path", hint="h", retry_after=7)
    refusal = refusal_of(error)
    assert refusal.to_text() == f"{refusal.problem.sentence} TCB info: got 404 NotFound (host/path); h"
    assert refusal.retry_after == 7
