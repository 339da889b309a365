"""Asking until there is an answer, an answer that stands, or no time left."""

from __future__ import annotations

import email.utils
import random
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from casemate.adapters.intel_pcs.address import ProxyAddress, UpstreamAddress
from casemate.adapters.intel_pcs.connection import Broken, Request, Response, Times, exchange
from casemate.collateral.upstream import UpstreamError, UpstreamProblem
from casemate.formats.one_line import one_line

_LONGEST_MESSAGE: Final = 200
_REDACTED: Final = "<redacted>"
#: Statuses with a meaning of their own; 461 and 462 are PCCS's (no such platform, no certificate for it).
_PROBLEMS: Final = {
    401: UpstreamProblem.UNAUTHORISED,
    403: UpstreamProblem.UNAUTHORISED,
    404: UpstreamProblem.NOT_FOUND,
    410: UpstreamProblem.WITHDRAWN,
    429: UpstreamProblem.RATE_LIMITED,
    461: UpstreamProblem.NOT_FOUND,
    462: UpstreamProblem.NOT_FOUND,
}
_HINTS: Final = {
    UpstreamProblem.UNAUTHORISED: "see that the subscription key is there and was not revoked",
    UpstreamProblem.UNAVAILABLE: "see that the service can be reached from here, and is well",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of what an upstream service may cost.

    Attributes:
        connect: Seconds for each address of the host, and for the TLS handshake.
        read: Seconds for each wait for bytes.
        answer: Seconds for one attempt.
        call: Seconds for all attempts and the pauses between them; none begins after them.
        attempts: How many there are at most.
        pause: Seconds before the second attempt; each further pause is twice as long, less up to a half by
            chance, so that replicas do not come back in step.
        body: Bytes of an answer, compressed or not. TCB info has about 20,000; a CRL may grow.
    """

    connect: float = 10.0
    read: float = 20.0
    answer: float = 60.0
    call: float = 90.0
    attempts: int = 4
    pause: float = 0.5
    body: int = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What asking takes of the world; arguments for the sake of tests.

    Attributes:
        monotonic: Seconds from any beginning.
        now: What time it is, for ``Retry-After`` with a date.
        sleep: Waits so many seconds.
        chance: A number from 0 to 1.
    """

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    """Why an attempt gave nothing, and what that means for the next."""

    problem: UpstreamProblem
    what: str
    transient: bool
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One host, and how it is asked.

    Attributes:
        address: Where it is.
        context: By what its certificate is judged.
        proxy: Through whom; ``None`` for directly, whatever the environment says.
        limits: What it may cost.
        means: What asking takes of the world.
        secret: What must never be in a message, even if the host repeats it; empty for nothing.
    """

    address: UpstreamAddress
    context: ssl.SSLContext
    proxy: ProxyAddress | None
    limits: Limits
    means: Means
    secret: str = field(default="", repr=False)

    def ask(self, request: Request) -> Response:
        """The answer with status 200.

        Attempts are repeated after 5xx and what may have been an accident on the way, and after 429 when the
        service says for how long it wants to be left alone and that is not too long. Redirects are answers
        that stand: the one who is asked is the one who answers.

        Raises:
            UpstreamError: There is none.
        """
        end = self.means.monotonic() + self.limits.call
        attempt = 1
        while not isinstance(outcome := self._attempt(request, end), Response):
            pause = self._pause(attempt) if outcome.retry_after is None else outcome.retry_after
            late = self.means.monotonic() + pause >= end
            if not outcome.transient or attempt >= self.limits.attempts or late:
                raise self._error(outcome, request, attempt)
            self.means.sleep(pause)
            attempt += 1
        return outcome

    def malformed(self, request: Request, *, expected: str, got: str) -> UpstreamError:
        """The error of an answer with status 200 that is none."""
        return UpstreamError(
            UpstreamProblem.UNAVAILABLE,
            f"answer of {self.address.host}",
            expected=expected,
            got=self._fit(got),
            where=self._where(request),
            hint="see that the URL is that of such a service",
        )

    def _attempt(self, request: Request, end: float) -> Response | _Refusal:
        rest = max(end - self.means.monotonic(), 0.001)
        limits = self.limits
        outcome = exchange(
            self.address,
            request,
            context=self.context,
            proxy=self.proxy,
            times=Times(
                connect=min(limits.connect, rest),
                read=min(limits.read, rest),
                answer=min(limits.answer, rest),
            ),
            most=limits.body,
        )
        if isinstance(outcome, Broken):
            return _Refusal(
                problem=UpstreamProblem.UNAVAILABLE, what=outcome.what, transient=outcome.transient
            )
        return outcome if outcome.status == HTTPStatus.OK else self._refusal(outcome)

    def _refusal(self, response: Response) -> _Refusal:
        status = response.status
        retry_after = _retry_after(response, self.means.now())
        patience = status == HTTPStatus.TOO_MANY_REQUESTS and retry_after is not None
        problem = _PROBLEMS.get(status)
        if problem is None:
            rejected = 400 <= status < 500
            problem = UpstreamProblem.REJECTED if rejected else UpstreamProblem.UNAVAILABLE
        return _Refusal(
            problem=problem,
            what=self._fit(_spoken(response)),
            transient=status >= 500 or patience,
            retry_after=retry_after if status >= 500 or patience else None,
        )

    def _pause(self, attempt: int) -> float:
        return self.limits.pause * 2.0 ** (attempt - 1) * (1 - self.means.chance() / 2)

    def _error(self, refusal: _Refusal, request: Request, attempts: int) -> UpstreamError:
        return UpstreamError(
            refusal.problem,
            f"collateral from {self.address.host}",
            expected="status 200",
            got=refusal.what + (f", {attempts} times" if attempts > 1 else ""),
            where=self._where(request),
            hint=_HINTS.get(refusal.problem),
            retry_after=refusal.retry_after,
        )

    def _where(self, request: Request) -> str:
        return f"{self.address}{request.target.partition('?')[0]}"

    def _fit(self, text: str) -> str:
        """Nothing in a message that the host could make us print."""
        if self.secret:
            text = text.replace(self.secret, _REDACTED)
        return one_line(" ".join(text.split()), _LONGEST_MESSAGE)


def _spoken(response: Response) -> str:
    """What a host says about its status, in Intel's headers or, from a cache, in the body."""
    said = ": ".join(
        value.strip() for name in ("Error-Code", "Error-Message") if (value := response.headers.get(name))
    )
    if not said and response.headers.get_content_maintype() == "text":
        said = response.body.decode(errors="replace").strip()
    if 300 <= response.status < 400:
        said = "a redirection, which is not followed"
    identity = response.headers.get("Request-ID")
    parts = (f"({said})" if said else "", f"Request-ID {identity.strip()}" if identity else "")
    return " ".join(part for part in (f"status {response.status}", *parts) if part)


def _retry_after(response: Response, now: datetime) -> float | None:
    """RFC 9110, section 10.2.3: seconds or a date; not less than none, and at most a day."""
    text = (response.headers.get("Retry-After") or "").strip()
    if re.fullmatch("[0-9]{1,9}", text):
        seconds = float(text)
    else:
        try:
            seconds = (email.utils.parsedate_to_datetime(text) - now).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(seconds, 0.0), 86400.0)
