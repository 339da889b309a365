"""ASGI by uvicorn: one process, one asyncio loop, h11. Imported only by a workload that is ASGI."""

import importlib.util
import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.lifespan.on import LifespanOn

from casemate_attester.errors import ApplicationError

__all__ = ["serve_asgi"]

#: Seconds for requests that are under way when the workload is told to end; Kubernetes waits for 30.
_SHUTDOWN = 10
_WEBSOCKETS = "uvicorn.protocols.websockets.auto"


def serve_asgi(
    application: Any, listener: socket.socket, *, context: ssl.SSLContext, announce: Callable[[], None]
) -> None:
    """Serves until the process is told to end; the signal is raised again after the last request.

    Args:
        application: The ASGI callable.
        listener: A listening socket.
        context: TLS.
        announce: Called once, when connections are accepted.

    Raises:
        ApplicationError: When the application's lifespan does not start.
    """
    config = uvicorn.Config(
        application,
        loop="asyncio",
        http="h11",
        # An image without web sockets may lack the module that looks for them.
        ws="auto" if importlib.util.find_spec(_WEBSOCKETS) else "none",
        workers=1,
        # Neither the log of accesses nor the headers of a proxy: the one tells the host, the other comes
        # from it.
        access_log=False,
        proxy_headers=False,
        log_config=None,
        timeout_graceful_shutdown=_SHUTDOWN,
    )
    config.load()
    # Set afterwards, because every version takes it from here while only new ones take it as an argument.
    config.ssl = context
    config.lifespan_class = _Lifespan
    server = _Server(config)
    server.announce = announce
    try:
        server.run(sockets=[listener])
    except SystemExit as error:
        if server.started:
            raise
        raise ApplicationError(
            "application",
            expected="a lifespan that starts",
            got="lifespan.startup.failed",
            hint="run the application without an enclave, in its own environment, to see the whole error",
        ) from error


class _Lifespan(LifespanOn):
    """A lifespan that keeps to itself why it failed: frameworks send the text of the exception."""

    async def send(self, message: Any) -> None:
        """Takes what has happened and nothing else."""
        await super().send({"type": message["type"]})


class _Server(uvicorn.Server):
    """Uvicorn that says when it serves."""

    announce: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts, then announces."""
        await super().startup(sockets=sockets)
        if self.started:
            self.announce()
