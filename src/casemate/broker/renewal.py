"""Endorsements that are fetched, and fetched again before they end.

What was fetched last and is good is used until something newer is good: a source that is down, lies or gives
what it gave before takes nothing away, as long as the windows of the documents last. When they are over,
evidence is refused for it, by name.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final, Self

from casemate.broker.policy import Appraiser, Recognition, ReferenceAppraiser
from casemate.errors import CasemateError, FormatError, RefusedError
from casemate.formats.sgx.collateral import Collateral
from casemate.formats.sgx.platform_name import PlatformFamily, PlatformName
from casemate.formats.sgx.quote import Quote
from casemate.verifier.checklist import in_words, moment
from casemate.verifier.endorsements import Endorsements
from casemate.verifier.policy import Freshness

#: Endorsements are fetched again after this time, or when half of what is left of theirs is over.
_RENEW_AFTER: Final = timedelta(days=1)
_FIRST_PAUSE: Final = timedelta(minutes=1)
_LONGEST_PAUSE: Final = timedelta(hours=1)
#: Seconds between looks for endorsements that are due.
_LOOK_EVERY: Final = 5.0

_log = logging.getLogger(__name__)


class RenewedAppraiser:
    """An :class:`~casemate.broker.policy.Appraiser` under the newest good endorsements of one family.

    Args:
        family: What to call the family in the log.
        fetch: Asks for the endorsements of the family.
        appraiser_of: An appraiser under these endorsements.
        clock: Gives the time.

    Raises:
        CasemateError: The first endorsements do not come.
        RefusedError: They are not good.
    """

    def __init__(
        self,
        family: str,
        fetch: Callable[[], Collateral],
        appraiser_of: Callable[[Collateral], ReferenceAppraiser],
        *,
        clock: Callable[[], datetime],
    ) -> None:
        self._family = family
        self._fetch = fetch
        self._appraiser_of = appraiser_of
        self._clock = clock
        self._failures = 0
        self._current, self._endorsements = self._fetched()
        self._due = self._next(clock())

    @property
    def ends(self) -> datetime:
        """Until when the endorsements hold."""
        return self._endorsements.validity.ends

    def recognise(self, evidence: bytes, *, report_data: bytes, at: datetime) -> Recognition:
        """See :class:`~casemate.broker.policy.Appraiser`."""
        return self._current.recognise(evidence, report_data=report_data, at=at)

    def renew_if_due(self) -> None:
        """Fetch again, when it is time; what goes wrong is logged, and tried again later."""
        now = self._clock()
        if now < self._due:
            return
        try:
            appraiser, endorsements = self._fetched()
            _require_no_older(endorsements, self._endorsements)
        except CasemateError as error:
            self._failures += 1
            pause = min(_FIRST_PAUSE * 2 ** min(self._failures - 1, 10), _LONGEST_PAUSE)
            self._due = now + pause
            state = "hold until" if now <= self.ends else "have ended at"
            _log.error(
                "endorsements of %s: %s; those in use %s %s",
                self._family,
                error,
                state,
                moment(self.ends),
            )
            return
        self._failures = 0
        self._current, self._endorsements = appraiser, endorsements
        self._due = self._next(now)

    def _next(self, now: datetime) -> datetime:
        return now + min(_RENEW_AFTER, (self.ends - now) / 2)

    def _fetched(self) -> tuple[ReferenceAppraiser, Endorsements]:
        appraiser = self._appraiser_of(self._fetch())
        return appraiser, _require_good(appraiser, self._clock())


class FamilyAppraiser:
    """An :class:`~casemate.broker.policy.Appraiser` that has endorsements for several families of platforms.

    Evidence of another family is judged under those of the first, and refused with the reason that they are
    not about it.

    Args:
        families: Each by its FMSPC, at least one.
    """

    def __init__(self, families: Mapping[bytes, Appraiser]) -> None:
        self._families = dict(families)
        self._first = next(iter(self._families.values()))

    def recognise(self, evidence: bytes, *, report_data: bytes, at: datetime) -> Recognition:
        """See :class:`~casemate.broker.policy.Appraiser`."""
        chosen = self._first
        if len(self._families) > 1:
            chosen = self._families.get(_fmspc_of(evidence), self._first)
        return chosen.recognise(evidence, report_data=report_data, at=at)


class Renewal:
    """A thread that renews what is due, one after the other, while its context lasts.

    Args:
        appraisers: What is renewed.
    """

    def __init__(self, appraisers: tuple[RenewedAppraiser, ...]) -> None:
        self._appraisers = appraisers
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="endorsement-renewal", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(timeout=2)

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY):
            for appraiser in self._appraisers:
                try:
                    appraiser.renew_if_due()
                except Exception:  # noqa: BLE001  # a defect in one renewal does not end the others
                    _log.exception("renewal of endorsements")


def _fmspc_of(evidence: bytes) -> bytes:
    """What evidence says of its family; empty where it says nothing."""
    try:
        chain = PlatformName.of(Quote.parse(evidence)).pck_chain
        return b"" if chain is None else PlatformFamily.of_chain(chain).fmspc
    except FormatError:
        return b""


def _require_good(appraiser: ReferenceAppraiser, at: datetime) -> Endorsements:
    """The endorsements under the root that vouches for them, once every check has passed.

    Raises:
        RefusedError: The first reason why they are not good.
    """
    freshness = Freshness()
    for endorsements in appraiser.endorsements:
        if endorsements.complete and endorsements.validity.holds(at, freshness):
            return endorsements
    # Of several roots, that under which the fewest checks were refused tells the reason.
    nearest = min(
        (
            [
                record
                for record in (*endorsements.records, *endorsements.validity.records(at, freshness))
                if not record[1]
            ]
            for endorsements in appraiser.endorsements
        ),
        key=len,
    )
    requirement, _, expected, got = nearest[0]
    raise RefusedError(
        f"collateral: {requirement.title}",
        expected=in_words(expected),
        got=in_words(got),
        hint="the service gives what the manufacturer has not signed, or what does not hold now; is the clock"
        " right, and is the root the one that is meant?",
    )


def _require_no_older(new: Endorsements, old: Endorsements) -> None:
    """No document takes the place of a newer one.

    Raises:
        RefusedError: One would.
    """
    newest = _ages(new)
    for name, (number, date) in _ages(old).items():
        if newest[name] < (number, date):
            raise RefusedError(
                f"collateral: {name}",
                expected=f"none older than that in use, of {moment(date)}",
                got=f"one of {moment(newest[name][1])}",
                hint="the service gives out what it had before, or somebody withholds what is newer",
            )


def _ages(endorsements: Endorsements) -> dict[str, tuple[int, datetime]]:
    """The TCB evaluation data number and the date of each document; revocation lists have no number."""
    ages: dict[str, tuple[int, datetime]] = {}
    for name, document in (("TCB info", endorsements.tcb_info), ("QE identity", endorsements.qe_identity)):
        if document is not None:
            ages[name] = (document.tcb_evaluation_data_number, document.issue_date)
    for name, crl in (("root CRL", endorsements.root_crl), ("PCK CRL", endorsements.pck_crl)):
        if crl is not None:
            ages[name] = (0, crl.this_update)
    return ages
