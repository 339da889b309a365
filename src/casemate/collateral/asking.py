"""Asking the upstream service with restraint: counted, never again while it wants to be left alone.

A client that asks in a loop for what does not exist must not make this service ask in a loop as well: what
was not found is remembered for a while, and so is, more briefly, that the service cannot be reached.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from casemate.collateral.metrics import Counters
from casemate.collateral.names import DocumentName
from casemate.collateral.upstream import Answer, PckAnswer, PckQuery, Upstream, UpstreamError, UpstreamProblem

_log = logging.getLogger(__name__)
_Value = TypeVar("_Value")
#: Questions whose answers are remembered; beyond, the oldest is forgotten.
_MOST_REMEMBERED = 4096
_PCK_CERTIFICATES = "pck-certificates"
#: Failures that somebody has to do something about; that a document does not exist is an answer.
_TROUBLE = {UpstreamProblem.UNAUTHORISED, UpstreamProblem.UNAVAILABLE, UpstreamProblem.RATE_LIMITED}
#: Time between two warnings about one document.
_BETWEEN_WARNINGS = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restraint:
    """How long a failure is remembered before the upstream service is asked again.

    Attributes:
        not_found: For a document that does not exist, or a request that was rejected.
        unavailable: For anything about the service itself.
        rate_limited: After 429 without ``Retry-After``.
        longest: Most that ``Retry-After`` can ask for.
    """

    not_found: timedelta = timedelta(minutes=5)
    unavailable: timedelta = timedelta(seconds=10)
    rate_limited: timedelta = timedelta(minutes=1)
    longest: timedelta = timedelta(hours=1)


class Asking:
    """An upstream service as the rest of this package asks it.

    Args:
        upstream: The service.
        clock: The time now.
        counters: Where calls are counted.
        restraint: How long failures are remembered.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        clock: Callable[[], datetime],
        counters: Counters,
        restraint: Restraint | None = None,
    ) -> None:
        self._upstream = upstream
        self._clock = clock
        self._counters = counters
        self._restraint = restraint or Restraint()
        self._lock = threading.Lock()
        self._failures: dict[Hashable, tuple[datetime, UpstreamError]] = {}
        self._warned: dict[Hashable, datetime] = {}
        self._quiet: tuple[datetime, UpstreamError] | None = None

    @property
    def name(self) -> str:
        """What to call the service in messages."""
        return self._upstream.name

    def document(self, name: DocumentName, *, insist: bool = False) -> Answer:
        """One document.

        Args:
            name: Which.
            insist: Ask even if it was not there a moment ago; a rate limit is respected all the same.

        Raises:
            UpstreamError: It was not given, now or a moment ago.
        """
        try:
            return self._ask(name, name.kind.value, lambda: self._upstream.document(name), insist=insist)
        except UpstreamError as error:
            # Whoever insists reports the failure: it is a renewal, or somebody who looks after the service.
            if not insist:
                self._warn(name, " ".join((name.kind.value, *name.key)), error)
            raise

    def pck_certificates(self, query: PckQuery, *, insist: bool = False) -> PckAnswer:
        """The PCK certificates of a platform; as :meth:`document`."""
        try:
            return self._ask(
                query, _PCK_CERTIFICATES, lambda: self._upstream.pck_certificates(query), insist=insist
            )
        except UpstreamError as error:
            if not insist:
                # Without the PPID, which is nobody's business.
                title = f"{_PCK_CERTIFICATES} of QE {query.id.qe_id[:32]}, PCEID {query.id.pce_id}"
                self._warn(query, title, error)
            raise

    def _ask(self, key: Hashable, kind: str, call: Callable[[], _Value], *, insist: bool) -> _Value:
        self._raise_remembered(key, insist=insist)
        self._counters.add("upstream_calls_total", kind)
        try:
            value = call()
        except UpstreamError as error:
            self._counters.add("upstream_failures_total", kind, error.problem.value)
            self._remember(key, error)
            raise
        with self._lock:
            self._failures.pop(key, None)
        return value

    def _raise_remembered(self, key: Hashable, *, insist: bool) -> None:
        now = self._clock()
        with self._lock:
            remembered = [self._quiet, None if insist else self._failures.get(key)]
        for one in remembered:
            if one is not None and now < one[0]:
                raise _again(one[1], (one[0] - now).total_seconds())

    def _remember(self, key: Hashable, failed: UpstreamError) -> None:
        # A copy, because the error that is raised keeps alive whatever it passes through.
        error = _again(failed, 0)
        until = self._clock() + min(self._span(failed), self._restraint.longest)
        with self._lock:
            if error.problem is UpstreamProblem.RATE_LIMITED:
                self._quiet = (until, error)
                return
            self._failures.pop(key, None)
            self._failures[key] = (until, error)
            if len(self._failures) > _MOST_REMEMBERED:
                del self._failures[next(iter(self._failures))]

    def _warn(self, key: Hashable, title: str, error: UpstreamError) -> None:
        """Log why a document did not come, if that was not done a moment ago."""
        now = self._clock()
        with self._lock:
            before = self._warned.get(key)
            recent = before is not None and now < before + _BETWEEN_WARNINGS
            if recent or error.problem not in _TROUBLE:
                return
            self._warned.pop(key, None)
            self._warned[key] = now
            if len(self._warned) > _MOST_REMEMBERED:
                del self._warned[next(iter(self._warned))]
        _log.warning("%s: not given: %s", title, error)

    def _span(self, error: UpstreamError) -> timedelta:
        if error.retry_after is not None:
            return timedelta(seconds=min(error.retry_after, self._restraint.longest.total_seconds()))
        match error.problem:
            case UpstreamProblem.NOT_FOUND | UpstreamProblem.WITHDRAWN | UpstreamProblem.REJECTED:
                return self._restraint.not_found
            case UpstreamProblem.UNAUTHORISED | UpstreamProblem.UNAVAILABLE:
                return self._restraint.unavailable
            case UpstreamProblem.RATE_LIMITED:
                return self._restraint.rate_limited


def _again(error: UpstreamError, seconds: float) -> UpstreamError:
    """The same failure, as the answer to who asks again too soon."""
    return UpstreamError(
        error.problem,
        error.subject,
        expected=error.expected,
        got=error.got,
        where=error.where,
        hint=error.hint,
        retry_after=seconds,
    )
