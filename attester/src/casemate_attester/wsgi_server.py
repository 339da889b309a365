"""WSGI by cheroot: one process, a fixed number of threads. Imported only by a workload that is WSGI."""

import logging
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any

from cheroot import errors, wsgi
from cheroot.makefile import MakeFile
from cheroot.ssl import Adapter

from casemate_attester.discretion import report

__all__ = ["serve_wsgi"]

#: Seconds for requests that are under way when the workload is told to end; Kubernetes waits for 30.
_SHUTDOWN = 10


def serve_wsgi(
    application: Any,
    listener: socket.socket,
    *,
    threads: int,
    backlog: int,
    context: ssl.SSLContext,
    announce: Callable[[], None],
) -> None:
    """Serves until the process is told to end, by an exception such as ``SystemExit`` in this thread.

    Args:
        application: The WSGI callable.
        listener: A listening socket.
        threads: How many requests are worked on at once.
        backlog: Connections that wait to be accepted.
        context: TLS; this function sets its socket class.
        announce: Called once, when connections are accepted.
    """
    context.sslsocket_class = _Socket
    server = _Server(
        listener.getsockname()[:2],
        application,
        numthreads=threads,
        max=threads,
        server_name="localhost",
        request_queue_size=backlog,
        shutdown_timeout=_SHUTDOWN,
    )
    server.listener = listener
    server.ssl_adapter = _Tls(context)
    try:
        server.prepare()
        announce()
        server.serve()
    finally:
        server.stop()


class _Socket(ssl.SSLSocket):
    """Shakes hands when it is first read, so in a worker: a silent peer keeps nobody from connecting."""

    def recv_into(self, *arguments: Any, **options: Any) -> int:
        """Reads, and reports a broken handshake in the way that cheroot passes over."""
        try:
            return super().recv_into(*arguments, **options)
        except ssl.SSLError as error:
            raise errors.FatalSSLAlert(*error.args) from error


class _Server(wsgi.Server):
    """Cheroot on a socket that is open already."""

    listener: socket.socket

    def bind(self, family: int, type: int, proto: int = 0) -> socket.socket:  # noqa: A002, ARG002 - cheroot's
        """Takes the socket in place of opening one."""
        self.socket = self.listener
        return self.listener

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:  # noqa: FBT001, FBT002 - cheroot's
        """Says what went wrong without cheroot's message, which holds the text of the exception."""
        del msg, traceback
        if level >= logging.WARNING:
            report("request", sys.exc_info()[1])


class _Tls(Adapter):
    """Gives cheroot our context; its own adapters insist on files."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    def bind(self, sock: socket.socket) -> socket.socket:
        return sock

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, str]]:
        wrapped = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return wrapped, self.get_environ()

    def get_environ(self) -> dict[str, str]:
        return {"wsgi.url_scheme": "https", "HTTPS": "on"}

    def makefile(self, sock: ssl.SSLSocket, mode: str = "r", bufsize: int = -1) -> Any:
        return MakeFile(sock, mode, bufsize)
