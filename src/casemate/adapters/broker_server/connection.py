"""One connection to the broker: uvicorn's, with a deadline for everything that the other side has to do.

Uvicorn waits for a request as long as its sender likes, and counts the connection all the while: few patient
strangers would be enough to keep everybody else out.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from casemate.collateral.asgi import PREPARED_RESPONSE, SendPrepared

_CLOSE = b"\r\nConnection: close"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Bounds on connections; times in seconds.

    Attributes:
        connections: Served at once; requests on further ones are answered with 503.
        per_address: Of one peer address; further ones are closed.
        handshake: For TLS to begin.
        head: For the whole head of a request, from the handshake or from the response before it.
        exchange: For a request's body and the response to it, from the head.
        idle: Without a byte after a response.
        farewell: For TLS to end.
        head_size: Bytes of a request's head; a bearer token has about 3 KB.
    """

    connections: int = 512
    per_address: int = 64
    handshake: float = 10
    head: float = 10
    exchange: float = 30
    idle: int = 5
    farewell: float = 2
    head_size: int = 32 * 1024


def connection_class(limits: ConnectionLimits) -> type[asyncio.Protocol]:
    """The class of connections with these limits; uvicorn makes them and knows no further arguments."""

    class Connection(_Connection):
        _limits = limits

    return Connection


class _OneWrite:
    """A transport that sends head and body of an answer together: one TLS record and one system call.

    Uvicorn writes them one after the other. What was written goes out when the answer is complete, and at the
    latest when the loop is at leisure; nothing that is in between is lost or goes out in another order.

    Args:
        transport: Where it goes.
        loop: Runs the transport.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep ``data`` for the next flush."""
        if data:
            if not self._parts:
                self._loop.call_soon(self.flush)
            self._parts.append(data)

    def flush(self) -> None:
        """Send what is kept."""
        if self._parts:
            data, self._parts = b"".join(self._parts), []
            self._transport.write(data)

    def close(self) -> None:
        """Send what is kept, and end the connection."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Connection(H11Protocol):
    """A connection that is always waiting for something with an end: a head, or the end of an exchange."""

    _limits: ConnectionLimits
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """The handshake is done."""
        super().connection_made(transport)
        address = self.client and self.client[0]
        of_the_same = [
            other
            for other in self.connections
            if isinstance(other, _Connection) and other.client and other.client[0] == address
        ]
        if len(of_the_same) > self._limits.per_address:
            transport.abort()
            return
        self.transport = _OneWrite(transport, self.loop)  # type: ignore[assignment]  # all of it that is used
        self._allow(self._limits.head)

    def handle_events(self) -> None:
        """Bytes have come, or a response has made place for the next request among those that had."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._allow(self._limits.exchange)
            # The task that reads the scope runs after this.
            send: SendPrepared = partial(self._send_prepared, self.cycle)
            self.scope["extensions"] = {PREPARED_RESPONSE: {"send": send}}

    async def _send_prepared(self, cycle: RequestResponseCycle, head: bytes, body: bytes) -> None:
        """What the messages of ASGI and uvicorn's cycle do, for a head that h11 need not look at."""
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        length = b"%d" % len(body)
        # h11 keeps its count of who has said what; what it would send is not looked at.
        self.conn.send(h11.Response(status_code=200, headers=[(b"Content-Length", length)]))
        self.conn.send(h11.Data(data=body))
        self.conn.send(h11.EndOfMessage())
        ends = self.conn.our_state is h11.MUST_CLOSE or not cycle.keep_alive
        lines = [b"HTTP/1.1 200 OK\r\n"]
        lines += [b"%s: %s\r\n" % header for header in cycle.default_headers]
        lines += [head, b"Content-Length: ", length, _CLOSE if ends else b"", b"\r\n\r\n", body]
        self.transport.write(b"".join(lines))
        cycle.waiting_for_100_continue = False
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if ends:
            self.conn.send(h11.ConnectionClosed())
            self.transport.close()
        cycle.on_response()

    def on_response_complete(self) -> None:
        """A response was sent; the next request may be here already, and sets its own deadline."""
        if isinstance(self.transport, _OneWrite):
            self.transport.flush()
        self._allow(self._limits.head)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended, from whichever side."""
        self._disarm()
        super().connection_lost(exc)

    def _allow(self, seconds: float) -> None:
        self._disarm()
        # Not closed but aborted: a peer that sends nothing would not say farewell either.
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
