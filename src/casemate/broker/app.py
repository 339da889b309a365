"""The broker over HTTP: paths, cookies, status codes. Every rule is elsewhere.

::

    POST /kbs/v0/auth                    Request      → Challenge, and the session's cookie
    POST /kbs/v0/attest                  Attestation  → AttestResponse
    GET  /kbs/v0/resource/REPO/TYPE/TAG  cookie or bearer token → WrappedSecret
    GET  /healthz                        → 200
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from casemate.broker.problem import Problem, RequestRefusedError
from casemate.broker.release import Broker, Credentials
from casemate.broker.session import Session, SessionId
from casemate.errors import ServiceError
from casemate_attester.messages import MAX_MESSAGE_BYTES, Token

PREFIX = "/kbs/v0"
COOKIE = "kbs-session-id"
_SESSION_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
_RESOURCE = f"{PREFIX}/resource/"

_log = logging.getLogger(__name__)
_access = logging.getLogger("casemate.broker.access")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """Bounds on a request.

    Attributes:
        body: Bytes of a body; what the largest protocol message has.
        seconds: Time that a client is given to send its body.
    """

    body: int = MAX_MESSAGE_BYTES
    seconds: float = 10.0


def make_app(
    broker: Broker, *, clock: Callable[[], datetime], limits: RequestLimits | None = None
) -> ASGIApp:
    """The ASGI application of a broker.

    Args:
        broker: What answers.
        clock: The time now, in UTC.
        limits: Bounds on requests.
    """
    endpoints = _Endpoints(broker, clock, limits or RequestLimits())
    app = Starlette(
        routes=[
            Route(f"{PREFIX}/auth", endpoints.auth, methods=["POST"]),
            Route(f"{PREFIX}/attest", endpoints.attest, methods=["POST"]),
            Route(_RESOURCE + "{name:path}", endpoints.resource, methods=["GET"]),
            Route("/healthz", endpoints.health, methods=["GET"]),
        ],
        exception_handlers={
            RequestRefusedError: _failed,
            ServiceError: _unserviceable,
            HTTPException: _not_ours,
            Exception: _failed,
        },
    )
    app.router.redirect_slashes = False
    return _AccessLog(app)


class _Endpoints:
    """One method per path."""

    def __init__(self, broker: Broker, clock: Callable[[], datetime], limits: RequestLimits) -> None:
        self._broker = broker
        self._clock = clock
        self._limits = limits

    async def auth(self, request: Request) -> Response:
        """Open a session."""
        body = await _body(request, self._limits)
        now = self._clock()
        session, challenge = self._broker.authenticate(body, now)
        return _with_cookie(_json(challenge.to_bytes()), session, now)

    async def attest(self, request: Request) -> Response:
        """Appraise evidence for the session's nonce."""
        body = await _body(request, self._limits)
        now = self._clock()
        session, answer = self._broker.attest(_credentials(request), body, now)
        return _with_cookie(_json(answer.to_bytes()), session, now)

    async def resource(self, request: Request) -> Response:
        """Release a resource, wrapped."""
        if request.method != "GET":
            raise RequestRefusedError(Problem.BAD_METHOD, "method", expected="GET", got=request.method)
        # The path as it was sent: a percent sign is in no resource name, whatever it stands for.
        path = request.scope["raw_path"].decode("ascii", "backslashreplace")
        name = path.removeprefix(_RESOURCE) + (f"?{request.url.query}" if request.url.query else "")
        return _json(self._broker.release(name, _credentials(request), self._clock()).to_bytes())

    async def health(self, request: Request) -> Response:
        """Say that requests are served."""
        del request
        return _json(b'{"status":"ok"}')


async def _body(request: Request, limits: RequestLimits) -> bytes:
    """The body of a request, within the limits."""
    body = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.body:
                    raise RequestRefusedError(
                        Problem.TOO_LARGE,
                        "request body",
                        expected=f"at most {limits.body} bytes",
                        got="more",
                    )
    except TimeoutError as error:
        raise RequestRefusedError(
            Problem.TOO_SLOW,
            "request body",
            expected=f"all of it within {limits.seconds:g} seconds",
            got="less",
        ) from error
    except ClientDisconnect as error:
        raise RequestRefusedError(
            Problem.MALFORMED, "request body", expected="all of it", got="a closed connection"
        ) from error
    return bytes(body)


def _credentials(request: Request) -> Credentials:
    """What the request brings to prove a session."""
    cookie = request.cookies.get(COOKIE)
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return Credentials(
        session_id=SessionId(cookie) if cookie is not None and _SESSION_ID.fullmatch(cookie) else None,
        token=Token(token) if scheme.lower() == "bearer" and token else None,
    )


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, {"cache-control": "no-store"}, "application/json")


def _with_cookie(response: Response, session: Session, now: datetime) -> Response:
    response.set_cookie(
        COOKIE,
        session.id,
        max_age=int((session.expires - now).total_seconds()),
        path=PREFIX,
        secure=True,
        httponly=True,
        samesite="strict",
    )
    return response


def _answer(error: RequestRefusedError) -> Response:
    return _json(error.to_information().to_bytes(), error.problem.status)


async def _failed(request: Request, error: Exception) -> Response:
    """A refusal, or a defect of the broker: that one the server logs with its traceback."""
    del request
    return _answer(error if isinstance(error, RequestRefusedError) else _internal())


async def _unserviceable(request: Request, error: Exception) -> Response:
    """Something of the broker is broken: the reason is for its operator, not for the client."""
    _log.error("%s %s: %s", request.method, request.scope["path"], error)
    return _answer(_internal())


def _internal() -> RequestRefusedError:
    return RequestRefusedError(
        Problem.INTERNAL,
        "broker",
        expected="to answer",
        got="a failure of its own",
        hint="look at the broker's log",
    )


async def _not_ours(request: Request, error: Exception) -> Response:
    """No such path, or not with this method."""
    if isinstance(error, HTTPException) and error.status_code == Problem.BAD_METHOD.status:
        allowed = (error.headers or {}).get("Allow", "another one")
        return _answer(
            RequestRefusedError(Problem.BAD_METHOD, "method", expected=allowed, got=request.method)
        )
    return _answer(
        RequestRefusedError(
            Problem.BAD_PATH,
            "path",
            expected=f"{PREFIX}/auth, {PREFIX}/attest or {_RESOURCE}…",
            got=ascii(request.scope["path"][:80]),
        )
    )


class _AccessLog:
    """Logs each request with its status: no header, no body, no query."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            client = scope.get("client")
            _access.info(
                "%s %s %s %d",
                client[0] if client else "-",
                scope["method"],
                ascii(scope["path"][:300])[1:-1],
                status,
            )
