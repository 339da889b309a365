"""What is counted, and the text in which Prometheus reads it.

Prometheus text exposition format 0.0.4. Written by hand: a few counters and gauges need no library.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from casemate.collateral.names import Kind
from casemate.collateral.store import Listed

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PREFIX = "casemate_collateral_"
#: Counter -> its labels and what it counts.
_COUNTERS: dict[str, tuple[tuple[str, ...], str]] = {
    "requests_total": (("endpoint", "code"), "Requests answered."),
    "upstream_calls_total": (("kind",), "Calls to the upstream service."),
    "upstream_failures_total": (("kind", "problem"), "Calls to the upstream service that gave no document."),
    "refused_documents_total": (("kind",), "Documents that were not vouched for, from wherever they came."),
    "older_documents_total": (("kind",), "Documents that were older than the one that was kept."),
    "refresh_failures_total": (("kind",), "Renewals that failed."),
}


class Counters:
    """Counts; any thread may add."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, tuple[str, ...]], int] = {}

    def add(self, counter: str, *labels: str, by: int = 1) -> None:
        """Count.

        Args:
            counter: One of the known counters.
            labels: The values of its labels.
            by: How many.
        """
        with self._lock:
            self._counts[counter, labels] = self._counts.get((counter, labels), 0) + by

    def snapshot(self) -> dict[tuple[str, tuple[str, ...]], int]:
        """All counts now: (counter, label values) -> count."""
        with self._lock:
            return dict(self._counts)


def render(
    counts: Mapping[tuple[str, tuple[str, ...]], int], listing: Iterable[Listed], now: datetime
) -> bytes:
    """The metrics as text.

    Args:
        counts: From :meth:`Counters.snapshot`.
        listing: What the store has.
        now: The time now.
    """
    lines: list[str] = []
    for counter, (names, help_text) in _COUNTERS.items():
        lines += _head(counter, "counter", help_text)
        for (found, values), count in sorted(counts.items()):
            if found == counter:
                lines.append(f"{_PREFIX}{counter}{_labels(names, values)} {count}")
    kept = tuple(listing)
    lines += _gauge("entries", "Documents in the store.", _by_kind(kept, len))
    lines += _gauge(
        "oldest_age_seconds",
        "Time since the least recently received document of a kind was received.",
        _by_kind(kept, lambda these: _seconds(now - min(one.fetched_at for one in these))),
    )
    lines += _gauge(
        "soonest_expiry_seconds",
        "Time until the first document of a kind expires; negative when one has expired.",
        _by_kind(kept, lambda these: _seconds(min(one.ends for one in these) - now)),
    )
    lines += _gauge(
        "failing_entries",
        "Documents whose last renewal has failed.",
        _by_kind(kept, lambda these: sum(one.failures > 0 for one in these)),
    )
    return "\n".join((*lines, "")).encode()


def _by_kind(kept: tuple[Listed, ...], measure: Callable[[tuple[Listed, ...]], float]) -> dict[str, float]:
    found = {kind.value: tuple(one for one in kept if one.name.kind is kind) for kind in Kind}
    return {kind: measure(these) for kind, these in found.items() if these}


def _gauge(name: str, help_text: str, values: Mapping[str, float]) -> list[str]:
    lines = _head(name, "gauge", help_text)
    return lines + [f"{_PREFIX}{name}{_labels(('kind',), (kind,))} {value}" for kind, value in values.items()]


def _head(name: str, kind: str, help_text: str) -> list[str]:
    return [f"# HELP {_PREFIX}{name} {help_text}", f"# TYPE {_PREFIX}{name} {kind}"]


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Values are our own words and need no escaping."""
    return "{" + ",".join(f'{name}="{value}"' for name, value in zip(names, values, strict=True)) + "}"


def _seconds(span: timedelta) -> int:
    return int(span.total_seconds())
