"""Who waits for a slow upstream service, and how many may."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from casemate.collateral.flights import Flights, Waiting
from casemate.collateral.problem import CollateralRefusedError, Problem


def wait_for(waiting: Waiting, number: int) -> None:
    """Until so many have a place."""
    end = time.monotonic() + 10
    while waiting.taken < number:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_those_who_want_the_same_wait_for_one_call() -> None:
    waiting = Waiting()
    flights: Flights[int] = Flights(waiting)
    begun, go = threading.Event(), threading.Event()
    calls: list[int] = []

    def call() -> int:
        calls.append(1)
        begun.set()
        assert go.wait(10)
        return 7

    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(flights.join, "name", call)
        assert begun.wait(10)
        others = [pool.submit(flights.join, "name", call) for _ in range(2)]
        wait_for(waiting, 3)
        time.sleep(0.05)  # from its place each goes on to the call, before that one ends
        go.set()
        assert [first.result(10), *(other.result(10) for other in others)] == [7, 7, 7]
    assert calls == [1]


def test_more_than_there_are_places_for_are_told_to_come_again() -> None:
    waiting = Waiting(2)
    flights: Flights[int] = Flights(waiting)
    begun, go = threading.Semaphore(0), threading.Event()

    def call() -> int:
        begun.release()
        assert go.wait(10)
        return 7

    with ThreadPoolExecutor(2) as pool:
        held = [pool.submit(flights.join, name, call) for name in ("one", "two")]
        assert begun.acquire(timeout=10)
        assert begun.acquire(timeout=10)
        with pytest.raises(CollateralRefusedError) as refused:
            flights.join("three", call)
        go.set()
        assert [one.result(10) for one in held] == [7, 7]
    assert refused.value.problem is Problem.UNSERVICEABLE
    assert str(refused.value) == (
        "requests that wait for the upstream service: expected at most 2, got one more"
    )
    assert refused.value.hint == "ask again in a moment; what is kept here is given out meanwhile"
    assert refused.value.retry_after == 5
    assert flights.join("three", lambda: 8) == 8


def test_a_place_is_given_back_when_a_call_fails() -> None:
    flights: Flights[int] = Flights(Waiting(1))

    def fail() -> int:
        raise ValueError("no")

    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            flights.join("name", fail)
