"""The API over HTTP: an ASGI application that answers from memory what it has answered before.

An answer that may be repeated is kept as it was sent, under the path and the query that it was for, until the
document ends or anything is written to the store, by whichever process. Everything else is answered in
threads, because the store and the upstream service may block.

::

    GET … POST … PUT  /sgx/certification/v3|v4/…, /tdx/certification/v4/…   see casemate.collateral.api
    GET               /healthz   200 while requests are answered
    GET               /readyz    200 while the store can be used
    GET               /metrics   for Prometheus
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any, Final, TypeAlias

from casemate.collateral.api import Api, Route
from casemate.collateral.asgi import PREPARED_RESPONSE, SendPrepared
from casemate.collateral.messages import Request, Response, parse_query, text_response
from casemate.collateral.metrics import Counters
from casemate.collateral.problem import CollateralRefusedError, Problem
from casemate.errors import ServiceError

_Message: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[_Message]]
_Send: TypeAlias = Callable[[_Message], Awaitable[None]]
_Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

_log = logging.getLogger(__name__)
_access = logging.getLogger("casemate.collateral.access")
_REQUEST_ID: Final = b"Request-ID"
_LONGEST_REQUEST_ID: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class AppLimits:
    """Bounds of the application.

    Attributes:
        body: Bytes of a body: PCCS's 2 MB.
        seconds: Time that a client is given to send its body.
        hot: Answers that are kept in memory.
        threads: Requests that are answered at once, beside those from memory.
    """

    body: int = 2 * 1024 * 1024
    seconds: float = 10.0
    hot: int = 2048
    threads: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An answer that is ready to be sent again.

    Attributes:
        label: What metrics call its path.
        until: Seconds since 1970 until which it may be.
        etag: Its validator; empty where it has none.
        headers: All but the identifier of the request.
        head: The same without the length, as lines: what a server that need not look at them sends.
        unchanged: Those of the answer that says that the client has it.
        body: The message with the body.
    """

    label: str
    until: float
    etag: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    head: bytes
    unchanged: tuple[tuple[bytes, bytes], ...]
    body: _Message


class HotCopies:
    """Answers by path and query. Whoever fills it takes ``present`` before it looks into the store."""

    def __init__(self) -> None:
        self.present: dict[tuple[str, bytes], Prepared] = {}

    def clear(self) -> None:
        """Give up all copies, those that are being made included: they go where nobody looks any more."""
        self.present = {}


class CollateralApp:
    """The ASGI application.

    Args:
        api: What answers.
        hot: The copies; the surroundings of ``api`` have to clear them.
        clock: The time now.
        counters: Where requests are counted.
        limits: Bounds.
    """

    def __init__(
        self,
        api: Api,
        hot: HotCopies,
        *,
        clock: Callable[[], datetime],
        counters: Counters,
        limits: AppLimits | None = None,
    ) -> None:
        self._api = api
        self._hot = hot
        self._clock = clock
        self._counters = counters
        self._limits = limits or AppLimits()
        self._threads = ThreadPoolExecutor(self._limits.threads, "collateral")
        self._prefix = secrets.token_hex(8)
        self._numbers = count(1)

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer one request."""
        hot = self._hot.present.get((scope["path"], scope["query_string"]))
        if hot is None or scope["method"] != "GET" or self._clock().timestamp() >= hot.until:
            await self._answer_slowly(scope, receive, send)
            return
        request_id, known = self._read_headers(scope["headers"])
        if known is not None and hot.etag and _is_among(hot.etag, known):
            headers = [*hot.unchanged, (_REQUEST_ID, request_id)]
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            self._counters.add("requests_total", hot.label, "304")
            return
        extension = scope.get("extensions", {}).get(PREPARED_RESPONSE)
        if extension is not None:
            send_prepared: SendPrepared = extension["send"]
            await send_prepared(b"%s%s: %s\r\n" % (hot.head, _REQUEST_ID, request_id), hot.body["body"])
        else:
            headers = [*hot.headers, (_REQUEST_ID, request_id)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send(hot.body)
        self._counters.add("requests_total", hot.label, "200")

    def _read_headers(self, headers: _Headers) -> tuple[bytes, bytes | None]:
        """The identifier of the request, and what validators the client knows."""
        request_id = known = None
        for name, value in headers:
            if name == b"request-id":
                request_id = value
            elif name == b"if-none-match":
                known = value
        if request_id is None or not _is_plain(request_id):
            request_id = b"%s%016x" % (self._prefix.encode(), next(self._numbers))
        return request_id, known

    async def _answer_slowly(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        route = self._api.routes.get(scope["path"])
        label = route.label if route else _SERVICE_PATHS.get(scope["path"], "other")
        request_id, known = self._read_headers(scope["headers"])
        present = self._hot.present
        try:
            response = await self._respond(route, scope, receive)
        except CollateralRefusedError as error:
            response = _refusal(error)
        except ServiceError as error:
            _log.error("%s %s: %s", scope["method"], ascii(scope["path"][:300]), error)
            response = _refusal(_internal())
        except Exception:  # noqa: BLE001  # a defect is logged, and the client is answered
            _log.exception("%s %s", scope["method"], ascii(scope["path"][:300]))
            response = _refusal(_internal())
        prepared = _prepare(label, response)
        if response.until and scope["method"] == "GET":
            self._keep(present, (scope["path"], scope["query_string"]), prepared)
        status, headers, body = response.status, prepared.headers, prepared.body
        if known is not None and prepared.etag and _is_among(prepared.etag, known):
            status, headers, body = 304, prepared.unchanged, {"type": "http.response.body", "body": b""}
        self._note(scope, label, status)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, (_REQUEST_ID, request_id)],
            }
        )
        await send(body)

    def _keep(
        self, present: dict[tuple[str, bytes], Prepared], key: tuple[str, bytes], prepared: Prepared
    ) -> None:
        """Keep a copy; whoever asks for the same in ever new spellings takes the place of nobody for long."""
        if len(present) >= self._limits.hot:
            self._hot.clear()
            return
        present[key] = prepared

    async def _respond(self, route: Route | None, scope: _Message, receive: _Receive) -> Response:
        # A HEAD request is answered like a GET; the server leaves the body out.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if route is None:
            return await self._respond_of_itself(scope["path"], method)
        if method not in route.methods:
            raise CollateralRefusedError(
                Problem.METHOD, "method", expected=" or ".join(sorted(route.methods)), got=method[:20]
            )
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self._api.authorise(route, method, headers)
        request = Request(
            method=method,
            version=route.version,
            parameters=parse_query(scope["query_string"]),
            headers=headers,
            body=b"" if method == "GET" else await self._body(receive),
        )
        return await self._in_thread(lambda: route.methods[method](request))

    async def _respond_of_itself(self, path: str, method: str) -> Response:
        if path in _SERVICE_PATHS and method != "GET":
            raise CollateralRefusedError(Problem.METHOD, "method", expected="GET", got=method[:20])
        if path == "/healthz":
            return text_response(200, "ok\n")
        if path == "/readyz":
            return await self._in_thread(self._ready)
        if path == "/metrics":
            return await self._in_thread(self._api.metrics)
        raise CollateralRefusedError(
            Problem.NO_PATH,
            "path",
            expected="one of the collateral API, /sgx/certification/v4/… or /tdx/certification/v4/…",
            got=ascii(path[:100])[1:-1],
        )

    def _ready(self) -> Response:
        try:
            return self._api.ready()
        except ServiceError as error:
            raise CollateralRefusedError.from_error(Problem.UNSERVICEABLE, error) from error

    async def _in_thread(self, call: Callable[[], Response]) -> Response:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def _body(self, receive: _Receive) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.seconds):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise CollateralRefusedError(
                            Problem.INVALID, "body", expected="all of it", got="a closed connection"
                        )
                    body += message.get("body", b"")
                    if len(body) > self._limits.body:
                        raise CollateralRefusedError(
                            Problem.TOO_LARGE,
                            "body",
                            expected=f"at most {self._limits.body} bytes",
                            got="more",
                        )
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError as error:
            raise CollateralRefusedError(
                Problem.TOO_SLOW, "body", expected=f"all of it within {self._limits.seconds:g} s", got="less"
            ) from error

    def _note(self, scope: _Message, label: str, status: int) -> None:
        """Count and log: no header, no query, because both may hold what names a platform."""
        self._counters.add("requests_total", label, str(status))
        client = scope.get("client")
        _access.info(
            "%s %s %s %d",
            client[0] if client else "-",
            scope["method"],
            ascii(scope["path"][:300])[1:-1],
            status,
        )


_SERVICE_PATHS: Final = {"/healthz": "healthz", "/readyz": "readyz", "/metrics": "metrics"}


def _prepare(label: str, response: Response) -> Prepared:
    # Names as PCCS spells them: clients that compare them letter by letter exist.
    headers = tuple((name.encode(), value.encode("latin-1")) for name, value in response.headers)
    etag = response.etag.encode()
    return Prepared(
        label=label,
        until=response.until,
        etag=etag,
        headers=(*headers, (b"Content-Length", b"%d" % len(response.body))),
        head=b"".join(b"%s: %s\r\n" % header for header in headers),
        unchanged=((b"ETag", etag),),
        body={"type": "http.response.body", "body": response.body},
    )


def _refusal(error: CollateralRefusedError) -> Response:
    headers = []
    if error.retry_after is not None:
        headers.append(("Retry-After", str(max(1, round(error.retry_after)))))
    if error.problem is Problem.METHOD and error.expected:
        headers.append(("Allow", error.expected.replace(" or ", ", ")))
    return text_response(error.problem.status, error.to_text(), *headers)


def _internal() -> CollateralRefusedError:
    return CollateralRefusedError(
        Problem.INTERNAL, "service", expected="to answer", got="a failure of its own", hint="look at its log"
    )


def _is_plain(request_id: bytes) -> bool:
    """Whether an identifier may be sent back: printable, without blanks, not long."""
    return 0 < len(request_id) <= _LONGEST_REQUEST_ID and all(0x21 <= byte <= 0x7E for byte in request_id)


def _is_among(etag: bytes, known: bytes) -> bool:
    """Weak comparison with a list of validators (RFC 9110, section 13.1.2)."""
    return known.strip() == b"*" or etag in (one.strip().removeprefix(b"W/") for one in known.split(b","))
