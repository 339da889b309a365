"""What was verified before, by hash: bounded, and gone with the object that holds it."""

from __future__ import annotations

from threading import Lock
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class Memory(Generic[_Value]):
    """At most ``limit`` values by their SHA-256; the oldest makes room for a new one.

    Only what was verified may be kept, so that whoever sends evidence that is not genuine cannot drive
    anything out. Safe to use from several threads.

    Args:
        limit: How many values are kept.
    """

    __slots__ = ("_limit", "_lock", "_values", "get")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = Lock()
        self._values: dict[bytes, _Value] = {}
        #: The value of a digest, or ``None``.
        self.get = self._values.get

    def __len__(self) -> int:
        return len(self._values)

    def keep(self, digest: bytes, value: _Value) -> None:
        """Remember ``value``."""
        with self._lock:
            if len(self._values) >= self._limit:
                del self._values[next(iter(self._values))]
            self._values[digest] = value
