"""Connections to a database that threads take and give back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

_Connection = TypeVar("_Connection")


class Pool(Generic[_Connection]):
    """As many connections as there are threads at work at once; a few of them stay open in between.

    Args:
        open_one: Makes a connection.
        close_one: Ends one; must not raise.
        idle: How many stay open while nobody uses them.
    """

    def __init__(
        self, open_one: Callable[[], _Connection], close_one: Callable[[_Connection], None], *, idle: int = 8
    ) -> None:
        self._open_one = open_one
        self._close_one = close_one
        self._most_idle = idle
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def take_idle(self) -> _Connection | None:
        """A connection that was given back, the last one first; ``None`` when there is none."""
        with self._lock:
            return self._idle.pop() if self._idle else None

    def take(self) -> _Connection:
        """A connection that was given back, or a new one."""
        idle = self.take_idle()
        return self._open_one() if idle is None else idle

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection that works for the next who asks."""
        with self._lock:
            kept = not self._closed and len(self._idle) < self._most_idle
            if kept:
                self._idle.append(connection)
        if not kept:
            self._close_one(connection)

    def discard(self, connection: _Connection) -> None:
        """End a connection that may not work any more."""
        self._close_one(connection)

    def close(self) -> None:
        """End all that are idle, and each of the others as it comes back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            self._close_one(connection)
