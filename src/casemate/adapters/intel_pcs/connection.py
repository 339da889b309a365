"""One connection for one request, cut when its time is over, and what may come over it."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from typing import Final

from casemate.adapters.intel_pcs.address import ProxyAddress, UpstreamAddress

_AT_ONCE: Final = 1 << 16
#: Bytes that are read of an answer that says no.
_MOST_OF_A_REFUSAL: Final = 2048
#: zlib's word for the gzip format (RFC 1952) alone.
_GZIP: Final = 31
#: http.client has no class of its own for it.
_NO_TUNNEL: Final = "Tunnel connection failed"
_FAILURES: Final[dict[type[Exception], str]] = {
    TimeoutError: "nothing in time",
    http.client.RemoteDisconnected: "the end of the connection instead of an answer",
    http.client.IncompleteRead: "an answer that is cut off",
    zlib.error: "a compressed answer that cannot be read",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to ask of a host.

    Attributes:
        target: Path and query.
        headers: Beside those that every request has.
        body: JSON to be posted; ``None`` gets.
    """

    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What came back.

    Attributes:
        status: The status.
        headers: The headers.
        body: Its bytes, content coding undone; of an answer that is not 200 only the beginning, as it came.
    """

    status: int
    headers: Message
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Why there is no whole answer.

    Attributes:
        what: In words, for ``got``.
        transient: Another attempt may do better.
    """

    what: str
    transient: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Bounds of one request, in seconds.

    Attributes:
        connect: For each address that the host has, and for the TLS handshake.
        read: For each wait for bytes.
        answer: From the first packet to the last. The time of the resolver is the system's.
    """

    connect: float
    read: float
    answer: float


def exchange(
    address: UpstreamAddress,
    request: Request,
    *,
    context: ssl.SSLContext,
    proxy: ProxyAddress | None,
    times: Times,
    most: int,
) -> Response | Broken:
    """Ask once.

    Args:
        address: Whom.
        request: What.
        context: By what the certificate is judged.
        proxy: Through whom.
        times: How long it may take.
        most: Bytes that an answer may have, before and after decompression.
    """
    connection = _Connection(address, context, proxy, times)
    try:
        with _cut_after(times.answer, connection):
            return _exchange(connection, address, request, most)
    except ssl.SSLCertVerificationError as error:
        return Broken(what=f"a certificate that is refused: {error.verify_message}", transient=False)
    except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
        if connection.is_cut:
            return Broken(what=f"no whole answer in {times.answer:.1f} seconds", transient=True)
        what = f"{connection.silent_proxy}{_describe(error)}"
        return Broken(what=what, transient=not isinstance(error, ValueError))


def _exchange(
    connection: _Connection, address: UpstreamAddress, request: Request, most: int
) -> Response | Broken:
    headers = {"Accept-Encoding": "gzip", "Connection": "close", "User-Agent": "casemate"}
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    method = "GET" if request.body is None else "POST"
    connection.request(method, address.path + request.target, request.body, headers | dict(request.headers))
    answer = connection.getresponse()
    if answer.status != http.HTTPStatus.OK:
        return Response(status=answer.status, headers=answer.headers, body=_beginning(answer))
    body = _whole(answer, most)
    body = body if isinstance(body, Broken) else _decoded(answer, body, most)
    if connection.is_cut:
        raise TimeoutError
    if isinstance(body, Broken):
        return body
    return Response(status=answer.status, headers=answer.headers, body=body)


class _Connection(http.client.HTTPSConnection):
    """A connection that can be cut from another thread."""

    def __init__(
        self,
        address: UpstreamAddress,
        context: ssl.SSLContext,
        proxy: ProxyAddress | None,
        times: Times,
    ) -> None:
        host, port = (address.host, address.port) if proxy is None else (proxy.host, proxy.port)
        super().__init__(host, port, timeout=times.connect, context=context)
        if proxy is not None:
            self.set_tunnel(address.host, address.port, _proxy_headers(proxy))
        self._proxy = proxy
        self._read_timeout = times.read
        self.is_cut = False
        #: How a message begins when not even the proxy could be reached; else empty.
        self.silent_proxy = ""

    def connect(self) -> None:
        try:
            super().connect()
        except OSError as error:
            # A proxy that was reached and refuses the tunnel is spoken of as that.
            refused = str(error).startswith(_NO_TUNNEL)
            if self._proxy is not None and self.sock is None and not refused:
                self.silent_proxy = f"the proxy {self._proxy.host}:{self._proxy.port}: "
            raise
        if self.is_cut:
            raise TimeoutError
        self.sock.settimeout(self._read_timeout)

    def cut(self) -> None:
        """End whatever waits for bytes of this connection."""
        self.is_cut = True
        if self.sock is not None:
            with suppress(OSError):
                # Not the method of an SSL socket, which pulls the rug from under the thread that reads.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


@contextmanager
def _cut_after(seconds: float, connection: _Connection) -> Iterator[None]:
    """Each byte that trickles in begins a new wait; only another thread ends them all."""
    timer = threading.Timer(seconds, connection.cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        connection.close()


def _beginning(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(_MOST_OF_A_REFUSAL)
    except (OSError, http.client.HTTPException, ValueError):
        return b""


def _whole(answer: http.client.HTTPResponse, most: int) -> bytes | Broken:
    length = answer.length
    if length is None and not answer.chunked:
        return Broken(what="an answer that does not say where it ends", transient=False)
    if length is not None and length > most:
        return Broken(what=f"an answer of {length} bytes", transient=False)
    body = bytearray()
    while length is None or len(body) < length:
        part = answer.read1(min(_AT_ONCE, most + 1 - len(body)))
        if not part:
            break
        body += part
        if len(body) > most:
            return Broken(what=f"an answer of more than {most} bytes", transient=False)
    if length is not None and len(body) < length:
        return Broken(what=f"{len(body)} bytes of {length}", transient=True)
    return bytes(body)


def _decoded(answer: http.client.HTTPResponse, body: bytes, most: int) -> bytes | Broken:
    """RFC 9110, section 8.4: gzip and nothing else, no more than ``most`` bytes, and nothing behind it."""
    codings = ", ".join(answer.headers.get_all("Content-Encoding", [])).strip().lower()
    if codings in {"", "identity"}:
        return body
    if codings not in {"gzip", "x-gzip"}:
        return Broken(what=f"the content coding {ascii(codings)[:50]}", transient=False)
    decoder = zlib.decompressobj(_GZIP)
    decoded = decoder.decompress(body, most + 1)
    if len(decoded) > most:
        return Broken(what=f"an answer of more than {most} bytes, compressed to {len(body)}", transient=False)
    if not decoder.eof or decoder.unused_data:
        return Broken(what="a compressed answer that does not end where it should", transient=True)
    return decoded


def _proxy_headers(proxy: ProxyAddress) -> dict[str, str]:
    if not proxy.credentials:
        return {}
    return {"Proxy-Authorization": f"Basic {base64.b64encode(proxy.credentials.encode()).decode()}"}


def _describe(error: Exception) -> str:
    """What went wrong on the way, in the system's words, without what the peer sent."""
    for kind, words in _FAILURES.items():
        if isinstance(error, kind):
            return words
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if str(error).startswith(_NO_TUNNEL):
        return "no tunnel from the proxy"
    return f"a broken answer ({type(error).__name__})"
