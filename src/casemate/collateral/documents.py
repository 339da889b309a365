"""Documents by name: from the store while they are valid, from the upstream service when they are not there.

The rules of the cache:

- A document is given out only within its window. Beyond it, only where a limit says so, and with a warning.
- It is renewed well before its end, one document at a time, and given out meanwhile.
- A document never takes the place of a newer one.
- What is asked for by many at once is fetched once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum

from casemate.collateral.admission import admit, trust_of
from casemate.collateral.asking import Asking
from casemate.collateral.flights import Flights, Waiting
from casemate.collateral.metrics import Counters
from casemate.collateral.names import DocumentName, IdentityName, TcbInfoName
from casemate.collateral.problem import CollateralRefusedError, Problem
from casemate.collateral.store import Claim, CollateralStore, Entry
from casemate.collateral.upstream import Answer, UpstreamError, UpstreamProblem
from casemate.errors import RefusedError
from casemate.verifier.roots import TrustRoots

_log = logging.getLogger(__name__)
_NEVER = datetime(9999, 1, 1, tzinfo=UTC)


class Mode(Enum):
    """When the upstream service is asked; the value is the word on the command line.

    ``LAZY`` at the first request, ``REGISTERED`` when a platform is registered and never because of a
    request, ``OFFLINE`` never.
    """

    LAZY = "lazy"
    REGISTERED = "registered"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRules:
    """How documents are renewed.

    Attributes:
        mode: When the upstream service is asked.
        refresh_every: Age at which a document is renewed, if half of its remaining time is not shorter.
        retry_first: Wait after the first renewal that failed; it doubles with each further one.
        retry_most: Longest wait between renewals that fail.
        lease: Time that one renewal may take before another process tries it.
        stale_for: How long after its end a document is still given out when it cannot be renewed.
    """

    mode: Mode = Mode.LAZY
    refresh_every: timedelta = timedelta(hours=24)
    retry_first: timedelta = timedelta(minutes=1)
    retry_most: timedelta = timedelta(hours=1)
    lease: timedelta = timedelta(minutes=2)
    stale_for: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A document as it is given out.

    Attributes:
        entry: The document.
        stale: It is past its end, and a limit allows it.
    """

    entry: Entry
    stale: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What documents and platforms are kept with.

    Attributes:
        store: Where they are kept.
        asking: The upstream service; ``None`` when there is none.
        roots: Whose signatures count.
        clock: The time now, with a time zone.
        random: A number from 0 to 1, unpredictable enough to spread renewals.
        counters: Where things are counted.
        changed: Called after every write, so that copies in memory are given up.
        waiting: Where requests wait for the upstream service.
    """

    store: CollateralStore
    asking: Asking | None
    roots: TrustRoots
    clock: Callable[[], datetime]
    random: Callable[[], float]
    counters: Counters
    changed: Callable[[], None] = lambda: None
    waiting: Waiting = field(default_factory=Waiting)


class Documents:
    """The documents of one service.

    Args:
        surroundings: What they are kept with.
        rules: How they are renewed.
    """

    def __init__(self, surroundings: Surroundings, rules: CacheRules) -> None:
        self._around = surroundings
        self._rules = rules
        self._flights: Flights[Entry] = Flights(surroundings.waiting)

    def get(self, name: DocumentName) -> Served:
        """The document of this name, for a request.

        Raises:
            CollateralRefusedError: There is none to give out; why, and what to do.
        """
        entry = self._around.store.get(name)
        now = self._around.clock()
        if entry is not None and now <= entry.ends:
            return Served(entry=entry, stale=False)
        try:
            # An expired document was wanted once: it is renewed in every mode that has an upstream service.
            return Served(entry=self._missing(name, expired=entry), stale=False)
        except CollateralRefusedError:
            if entry is not None and now <= entry.ends + self._rules.stale_for:
                return Served(entry=entry, stale=True)
            raise

    def find(self, name: DocumentName) -> Entry | None:
        """The document of this name if it is kept and valid; the upstream service is not asked."""
        entry = self._around.store.get(name)
        return entry if entry is not None and self._around.clock() <= entry.ends else None

    def fetch(self, name: DocumentName, *, insist: bool = False) -> Entry:
        """Ask the upstream service, vouch, keep; calls for one name at one time are one call.

        Returns:
            What the store has now: not what was fetched, where that was older.

        Raises:
            CollateralRefusedError: It was not given, or is not vouched for.
        """
        try:
            return self._flights.join(name, lambda: self._fetch(name, insist=insist))
        except UpstreamError as error:
            raise refusal_of(error) from error
        except CollateralRefusedError:
            raise
        except RefusedError as error:
            raise CollateralRefusedError.from_error(Problem.UPSTREAM, error) from error

    def keep(self, entry: Entry) -> bool:
        """Keep what was vouched for, unless a newer one is kept; returns whether it is kept now."""
        kept = self._around.store.put(entry, refresh_at=self._next_refresh(entry))
        if not kept:
            kind = entry.name.kind.value
            self._around.counters.add("older_documents_total", kind)
            _log.warning(
                "%s %s: received one that is older than the one that is kept; the newer one stays",
                kind,
                " ".join(entry.name.key),
            )
        self._around.changed()
        return kept

    def renew_due(self) -> bool:
        """Renew the document that is due for the longest time; returns whether there was one.

        Failures are counted and logged, and the renewal is tried again later.

        Raises:
            ServiceError: The store cannot be used.
        """
        now = self._around.clock()
        claim = self._around.store.claim_due(now, lease_until=now + self._rules.lease)
        if claim is None:
            return False
        if not _is_renewed(claim.name):
            self._around.store.postpone(claim, refresh_at=_NEVER, reason=Problem.NO_MORE_V3.sentence)
            return True
        try:
            self.fetch(claim.name, insist=True)
        except CollateralRefusedError as error:
            self._postpone(claim, error)
        return True

    def _missing(self, name: DocumentName, *, expired: Entry | None) -> Entry:
        what = _title(name)
        kept = (
            "none is kept"
            if expired is None
            else f"the one that is kept ended at {expired.ends:%Y-%m-%dT%H:%M:%SZ}"
        )
        if not _is_renewed(name):
            raise CollateralRefusedError(Problem.NO_MORE_V3, what, got=kept, hint="ask for version 4")
        if self._around.asking is None or self._rules.mode is Mode.OFFLINE:
            raise CollateralRefusedError(
                Problem.NO_DATA,
                what,
                got=f"{kept}, and this service is offline",
                hint="import a newer package, or send it with PUT platformcollateral",
            )
        if expired is None and self._rules.mode is Mode.REGISTERED:
            raise CollateralRefusedError(
                Problem.NO_DATA,
                what,
                got=f"{kept}, and this service asks {self._around.asking.name} for registered platforms only",
                hint="register a platform of this family with POST platforms, or use --mode lazy",
            )
        return self.fetch(name)

    def _fetch(self, name: DocumentName, *, insist: bool) -> Entry:
        around = self._around
        if around.asking is None:
            raise CollateralRefusedError(
                Problem.UNSERVICEABLE,
                _title(name),
                got="no upstream service to ask",
                hint="import a package: this service is offline",
            )
        answer = around.asking.document(name, insist=insist)
        entry = self._admit(name, answer)
        if self.keep(entry):
            return entry
        newer = around.store.get(name)
        if newer is None or around.clock() > newer.ends:
            raise RefusedError(
                _title(name), expected="one that is not older than what was kept before", got="an older one"
            )
        return newer

    def _admit(self, name: DocumentName, answer: Answer) -> Entry:
        try:
            return admit(name, answer, trust_of(self._around.store, self._around.roots, self._around.clock()))
        except RefusedError as error:
            self._around.counters.add("refused_documents_total", name.kind.value)
            _log.warning("%s: not kept: %s", _title(name), error)
            raise

    def _next_refresh(self, entry: Entry) -> datetime:
        """Before half of what remains is over, a little spread, so that not all come at once."""
        if not _is_renewed(entry.name):
            return _NEVER
        now = self._around.clock()
        wait = min(self._rules.refresh_every, max((entry.ends - now) / 2, self._rules.retry_first))
        return now + wait * (0.9 + self._around.random() / 10)

    def _postpone(self, claim: Claim, error: CollateralRefusedError) -> None:
        wait = min(self._rules.retry_first * 2 ** min(claim.failures, 30), self._rules.retry_most)
        wait *= 0.5 + self._around.random() / 2
        wait = max(wait, timedelta(seconds=error.retry_after or 0))
        self._around.store.postpone(claim, refresh_at=self._around.clock() + wait, reason=error.to_text())
        self._around.counters.add("refresh_failures_total", claim.name.kind.value)
        _log.warning(
            "%s: not renewed, tried again in %d s: %s", _title(claim.name), wait.total_seconds(), error
        )


def refusal_of(error: UpstreamError) -> CollateralRefusedError:
    """What a client is told when the upstream service did not give what it asked for."""
    match error.problem:
        case UpstreamProblem.NOT_FOUND | UpstreamProblem.REJECTED:
            problem = Problem.NO_DATA
        case UpstreamProblem.WITHDRAWN:
            problem = Problem.WITHDRAWN
        case UpstreamProblem.UNAUTHORISED | UpstreamProblem.UNAVAILABLE:
            problem = Problem.UPSTREAM
        case UpstreamProblem.RATE_LIMITED:
            problem = Problem.UNSERVICEABLE
    return CollateralRefusedError.from_error(problem, error, retry_after=error.retry_after)


def _is_renewed(name: DocumentName) -> bool:
    """Intel's service no longer gives documents of version 3 of its API."""
    return not (isinstance(name, TcbInfoName | IdentityName) and name.version == 3)


def _title(name: DocumentName) -> str:
    return " ".join((name.kind.value, *name.key))
