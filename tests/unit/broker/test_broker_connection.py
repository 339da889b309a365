"""Patient strangers keep nobody else from the broker: real sockets, small limits."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from casemate.adapters.broker_server import Address, BrokerServer, bind
from casemate.adapters.broker_server.connection import ConnectionLimits
from casemate.adapters.service_certificate import make_service_certificates

#: The one limit that a test is about is small, the others out of reach.
PATIENT = ConnectionLimits(
    connections=100, per_address=100, handshake=60, head=60, exchange=60, idle=60, farewell=1
)
SHORT = 0.4
#: How long a test waits for what has to come.
WAIT = 20
REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    while scope["path"] == "/never" and (await receive())["type"] != "http.disconnect":
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server") / "tls"
    make_service_certificates(folder, ("localhost",), datetime.now(UTC))
    return folder


class Strangers:
    """Connections to a server; all are closed at the end of a test."""

    def __init__(self, port: int, certificates: Path, stack: ExitStack) -> None:
        self._port = port
        self._context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        self._stack = stack

    def plain(self) -> socket.socket:
        return self._stack.enter_context(socket.create_connection(("127.0.0.1", self._port), timeout=WAIT))

    def tls(self, begin: bytes = b"") -> ssl.SSLSocket:
        connection = self._context.wrap_socket(self.plain(), server_hostname="localhost")
        self._stack.enter_context(connection)
        connection.sendall(begin)
        return connection


@pytest.fixture
def serve(certificates: Path) -> Iterator[Callable[..., Strangers]]:
    with ExitStack() as stack:

        def start(**limits: float) -> Strangers:
            port = stack.enter_context(serving(replace(PATIENT, **limits), certificates))  # type: ignore[arg-type]
            return Strangers(port, certificates, stack)

        yield start


@contextmanager
def serving(limits: ConnectionLimits, certificates: Path) -> Iterator[int]:
    ready = threading.Event()
    listener = bind(Address(host="127.0.0.1", port=0))
    port: int = listener.getsockname()[1]
    server = BrokerServer(app, listener, certificates, ready.set, limits=limits)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(WAIT)
        yield port
    finally:
        server.stop()
        thread.join(WAIT)
    assert not thread.is_alive()


def answer(connection: socket.socket) -> bytes:
    """The status line, once the whole answer is here."""
    received = b""
    while b"\r\n\r\nhello" not in received and (some := connection.recv(1000)):
        received += some
    return received.partition(b"\r\n")[0]


def is_closed(connection: socket.socket) -> bool:
    """Whether the server ends the connection, instead of the wait for it."""
    try:
        return connection.recv(1000) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


OK = b"HTTP/1.1 200 OK"


def test_a_handshake_that_does_not_come_ends_the_connection(serve: Callable[..., Strangers]) -> None:
    assert is_closed(serve(handshake=SHORT).plain())


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nhost: "], ids=["nothing", "half a head"])
def test_a_head_that_does_not_end_ends_the_connection(serve: Callable[..., Strangers], begin: bytes) -> None:
    assert is_closed(serve(head=SHORT).tls(begin))


@pytest.mark.parametrize(
    "request_before",
    [b"", REQUEST, b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999\r\n\r\n"],
    ids=["from the beginning", "after a request", "as the rest of a body that nobody reads"],
)
def test_trickling_bytes_move_no_deadline(serve: Callable[..., Strangers], request_before: bytes) -> None:
    connection = serve(head=SHORT).tls(request_before)
    if request_before:
        assert answer(connection) == OK
    started = time.monotonic()
    with contextlib.suppress(OSError):
        while time.monotonic() - started < WAIT:
            connection.sendall(b"G")
            time.sleep(SHORT / 8)
    assert time.monotonic() - started < WAIT
    assert is_closed(connection)


def test_a_connection_without_a_further_request_is_closed(serve: Callable[..., Strangers]) -> None:
    connection = serve(idle=1).tls(REQUEST)
    assert answer(connection) == OK
    assert is_closed(connection)


def test_an_exchange_that_does_not_end_ends_the_connection(serve: Callable[..., Strangers]) -> None:
    assert is_closed(serve(exchange=SHORT).tls(REQUEST.replace(b"/ ", b"/never ")))


def test_requests_one_after_the_other_outlive_every_deadline(serve: Callable[..., Strangers]) -> None:
    connection = serve(head=SHORT, exchange=SHORT).tls()
    for _ in range(8):
        time.sleep(SHORT / 4)
        connection.sendall(REQUEST)
        assert answer(connection) == OK


def test_two_requests_at_once_are_both_answered(serve: Callable[..., Strangers]) -> None:
    connection = serve(head=SHORT).tls(REQUEST * 2)
    received = b""
    while received.count(b"hello") < 2:
        received += connection.recv(1000)
    assert received.count(OK) == 2


def test_idle_connections_keep_nobody_out_for_longer_than_a_head_may_take(
    serve: Callable[..., Strangers],
) -> None:
    strangers = serve(connections=6, head=1)
    idle = [strangers.tls(b"POST / HTTP/1.1\r\n" if number % 2 else b"") for number in range(5)]
    assert answer(strangers.tls(REQUEST)).startswith(b"HTTP/1.1 503 ")
    assert all(is_closed(connection) for connection in idle)
    assert answer(strangers.tls(REQUEST)) == OK


def test_one_address_has_its_share_of_connections_and_no_more(serve: Callable[..., Strangers]) -> None:
    strangers = serve(per_address=2)
    first, second = strangers.tls(), strangers.tls()
    with contextlib.suppress(OSError):
        assert is_closed(strangers.tls(REQUEST))
    for connection in (first, second):
        connection.sendall(REQUEST)
        assert answer(connection) == OK
    first.close()
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if answer(strangers.tls(REQUEST)) == OK:
                return
    pytest.fail("the place of a closed connection is not given away")
