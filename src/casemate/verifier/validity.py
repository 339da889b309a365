"""When what was verified holds: windows, judged at one instant under what the policy says of time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from casemate.verifier.checklist import Checklist, Record, moment
from casemate.verifier.grants import UNEXPLAINED, Grant
from casemate.verifier.policy import Exemption, Freshness
from casemate.verifier.requirements import Requirement

_NONE = timedelta(0)
_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)


class Window(NamedTuple):
    """How long one document holds.

    Attributes:
        begun: The check that it has begun.
        expiry: The check that it has not ended.
        begins: From when it holds, inclusive.
        ends: Until when it holds, inclusive.
        age: The check that it is not too old for the policy, for documents that are renewed all the time.
    """

    begun: Requirement
    expiry: Requirement
    begins: datetime
    ends: datetime
    age: Requirement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """Several windows, and the time in which all of them hold.

    Attributes:
        windows: Of each document.
        begins: The latest beginning.
        ends: The earliest end.
    """

    windows: tuple[Window, ...]
    begins: datetime
    ends: datetime

    @classmethod
    def of(cls, windows: Iterable[Window]) -> Validity:
        """The time in which all of ``windows`` hold; always, when there is none."""
        kept = tuple(windows)
        return cls(
            windows=kept,
            begins=max((window.begins for window in kept), default=_FIRST),
            ends=min((window.ends for window in kept), default=_LAST),
        )

    def holds(self, at: datetime, freshness: Freshness) -> bool:
        """Whether everything holds at the instant: what :meth:`records` say, all together."""
        if self.begins <= at <= self.ends and freshness.max_age is None:
            return True
        return all(passed for _, passed, _, _ in self.records(at, freshness))

    def records(self, at: datetime, freshness: Freshness) -> list[Record]:
        """The checks of each window: begun, not expired, and where it has an age not too old."""
        checks = Checklist()
        for window in self.windows:
            checks.require(
                window.begun,
                passed=window.begins <= at,
                expected=f"at or before {moment(at)}",
                got=window.begins,
            )
            grace = freshness.expiry_grace
            expected = f"at or after {moment(at)}"
            if grace:
                expected = f"{expected}, or up to {grace} before that (grace of the policy)"
            checks.require(
                window.expiry, passed=at - window.ends <= grace, expected=expected, got=window.ends
            )
            if window.age is not None:
                oldest = freshness.max_age
                checks.require(
                    window.age,
                    passed=oldest is None or at - window.begins <= oldest,
                    expected=None if oldest is None else f"at most {oldest}",
                    got=str(at - window.begins).partition(".")[0],
                )
        return checks.records

    def grants(self, at: datetime, freshness: Freshness) -> list[Grant]:
        """The documents that have ended and hold by the grace of the policy."""
        grace, reason = freshness.expiry_grace, freshness.reason or UNEXPLAINED
        return [
            Grant.of(
                f"{window.expiry.title.partition(':')[0]} that ended at {moment(window.ends)}",
                Exemption(reason=reason, until=_later(window.ends, grace)),
            )
            for window in self.windows
            if _NONE < at - window.ends <= grace
        ]


def _later(end: datetime, grace: timedelta) -> datetime | None:
    """When a grace is over; ``None`` where that is after the last year that there is."""
    return end + grace if grace < _LAST - end else None
