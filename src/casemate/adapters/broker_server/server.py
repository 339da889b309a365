"""Uvicorn in this process: one worker, HTTPS only, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from casemate.adapters.broker_server.connection import ConnectionLimits, connection_class
from casemate.broker.custody import require_private
from casemate.errors import ServiceError

#: Seconds that requests are given to finish at the end.
_GRACE = 5
_FILES = ("ca.pem", "cert.pem", "key.pem")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def has_certificates(folder: Path) -> bool:
    """Whether ``folder`` holds a TLS identity; ``False`` when it is absent or empty.

    Raises:
        ServiceError: It holds something, but not all of the identity; or others may read the key.
    """
    try:
        found = {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ServiceError(
            "TLS folder", expected="a folder", got=error.strerror, where=str(folder)
        ) from error
    missing = [name for name in _FILES if name not in found]
    if found and missing:
        raise ServiceError(
            "TLS folder",
            expected="ca.pem, cert.pem and key.pem, or nothing",
            got=f"no {missing[0]}",
            where=str(folder),
            hint="add the file, or name an empty folder with --tls to have a development certificate made",
        )
    if found:
        _require_private_key(folder)
    return bool(found)


def bind(address: Address) -> socket.socket:
    """Take the address.

    Raises:
        ServiceError: It is in use, or not of this machine.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(where)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ServiceError(
            "listening address",
            expected="a free address of this machine",
            got=error.strerror or str(error),
            where=str(address),
            hint="name another one with --listen, or port 0 for any",
        ) from error
    return listener


class BrokerServer:
    """Serves one ASGI application over TLS on one bound socket.

    Args:
        app: The application.
        listener: Socket from :func:`bind`; closed at the end.
        certificates: Folder with ``cert.pem`` and ``key.pem``.
        on_ready: Called once, when connections are accepted.
        limits: Bounds on connections.

    Raises:
        ServiceError: The certificate or its key cannot be used, or others may read the key.
    """

    def __init__(
        self,
        app: ASGIApp,
        listener: socket.socket,
        certificates: Path,
        on_ready: Callable[[], None],
        *,
        limits: ConnectionLimits | None = None,
    ) -> None:
        limits = limits or ConnectionLimits()
        context = _server_context(certificates)
        config = uvicorn.Config(
            app,
            http=connection_class(limits),
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=limits.connections,
            h11_max_incomplete_event_size=limits.head_size,
            timeout_keep_alive=limits.idle,
            timeout_graceful_shutdown=_GRACE,
            ssl_context_factory=lambda _config, _default: context,
        )
        self._server = _Server(config, limits, on_ready)
        self._listener = listener

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT, or until :meth:`stop` is called from another thread."""
        with self._listener:
            self._server.run(sockets=[self._listener])

    def run_until_signal(self) -> None:
        """As :meth:`run`, in the main thread; a signal ends it as its own wish, not as a failure."""
        # Uvicorn takes the signals while it serves, and raises them again when it has shut down: without
        # these the process would die of them then, and one that comes before it serves would be lost.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self.stop())
        self.run()

    def stop(self) -> None:
        """Finish running requests and return from :meth:`run`."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """A server that bounds the time of TLS too, and says when it accepts connections."""

    def __init__(
        self, config: uvicorn.Config, limits: ConnectionLimits, on_ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._limits = limits
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """In place of uvicorn's, which leaves asyncio's 60 and 30 seconds to handshake and farewell."""
        loop = asyncio.get_running_loop()

        def connection() -> asyncio.Protocol:
            return self.config.http_protocol_class(  # type: ignore[call-arg]  # all of uvicorn's take these
                config=self.config, server_state=self.server_state, app_state={}, _loop=loop
            )

        self.servers = [
            await loop.create_server(
                connection,
                sock=listener,
                ssl=self.config.ssl,
                backlog=self.config.backlog,
                ssl_handshake_timeout=self._limits.handshake,
                ssl_shutdown_timeout=self._limits.farewell,
            )
            for listener in sockets or ()
        ]
        self.started = True
        self._on_ready()


def _require_private_key(certificates: Path) -> None:
    key = certificates / "key.pem"
    try:
        status = key.stat()
    except OSError as error:
        raise ServiceError(
            "TLS key", expected="a file that can be read", got=error.strerror, where=str(key)
        ) from error
    require_private("TLS key", key, status)


def _server_context(certificates: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    _require_private_key(certificates)
    try:
        # An empty password refuses an encrypted key instead of asking the terminal for it.
        context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem", password="")
    except (OSError, ValueError) as error:
        raise ServiceError(
            "TLS certificate",
            expected="cert.pem with the key in key.pem, unencrypted",
            got=str(error),
            where=str(certificates),
            hint="mend the files, or name an empty folder with --tls to have a development certificate made",
        ) from error
    return context
