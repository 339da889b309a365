"""Calls to the upstream service that are under way: one for each thing that is wanted, and not too many.

Whoever waits for a slow service holds a thread. So the number of those who wait is bounded, to fewer than
there are threads: what is kept can be given out meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

from casemate.collateral.problem import CollateralRefusedError, Problem

_Value = TypeVar("_Value")
#: Requests that may wait for the upstream service at once, of the 32 that are answered at once.
MOST_WAITING: Final = 16
#: Seconds after which to ask again.
_SOON: Final = 5


class Waiting:
    """Places for those who wait for the upstream service.

    Args:
        most: How many there are.
    """

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._taken = 0

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return self._taken

    def take(self) -> None:
        """Take a place.

        Raises:
            CollateralRefusedError: There is none.
        """
        with self._lock:
            if self._taken < self._most:
                self._taken += 1
                return
        raise CollateralRefusedError(
            Problem.UNSERVICEABLE,
            "requests that wait for the upstream service",
            expected=f"at most {self._most}",
            got="one more",
            hint="ask again in a moment; what is kept here is given out meanwhile",
            retry_after=_SOON,
        )

    def leave(self) -> None:
        """Give a place back."""
        with self._lock:
            self._taken -= 1


class Flights(Generic[_Value]):
    """Calls that are under way, by what they are for: whoever wants the same waits for the same.

    Args:
        waiting: Where they wait.
    """

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._lock = threading.Lock()
        self._running: dict[Hashable, Future[_Value]] = {}

    def join(self, key: Hashable, call: Callable[[], _Value]) -> _Value:
        """What ``call`` gives, or what the call that is under way for ``key`` gives.

        Raises:
            CollateralRefusedError: Too many wait already.
        """
        self._waiting.take()
        try:
            return self._join(key, call)
        finally:
            self._waiting.leave()

    def _join(self, key: Hashable, call: Callable[[], _Value]) -> _Value:
        with self._lock:
            running = self._running.get(key)
            if running is None:
                mine: Future[_Value] = Future()
                self._running[key] = mine
        if running is not None:
            return running.result()
        try:
            mine.set_result(call())
        except BaseException as error:  # noqa: BLE001  # it is raised again for everyone who waits
            mine.set_exception(error)
        finally:
            with self._lock:
                del self._running[key]
        return mine.result()
