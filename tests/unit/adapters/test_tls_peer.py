"""The certificate of a TLS server is fetched with proof of its key, or refused by name."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import trustme

from casemate.adapters.tls_peer import server_certificate
from casemate.errors import ToolchainError, UsageError


@contextmanager
def listening(context: ssl.SSLContext | None) -> Iterator[int]:
    """A server on loopback: TLS with ``context``, or one that says something else."""

    def serve(listener: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                if context is None:
                    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                    connection.recv(1)
                else:
                    with context.wrap_socket(connection, server_side=True) as channel:
                        channel.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)


def test_the_certificate_is_returned_whoever_signed_it() -> None:
    issued = trustme.CA().issue_cert("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued.configure_cert(context)
    with listening(context) as port:
        certificate = server_certificate(f"https://localhost:{port}", timeout=5)
    assert ssl.DER_cert_to_PEM_cert(certificate).encode() == issued.cert_chain_pems[0].bytes()


def test_a_server_without_tls_is_refused() -> None:
    with listening(None) as port, pytest.raises(ToolchainError) as refused:
        server_certificate(f"https://127.0.0.1:{port}", timeout=5)
    assert str(refused.value).startswith("TLS server: expected a TLS handshake, got [SSL")
    assert refused.value.where == f"https://127.0.0.1:{port}"
    assert refused.value.hint == "Is the service running, and is this its port?"


def test_nobody_listening_is_refused() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(ToolchainError) as refused:
            server_certificate(f"https://127.0.0.1:{port}", timeout=5)
    assert str(refused.value) == (
        f"TLS server: expected a TLS handshake, got [Errno 111] Connection refused (https://127.0.0.1:{port})"
    )


@pytest.mark.parametrize("address", ["http://localhost:1", "localhost:8443", "https://", ""])
def test_an_address_that_is_not_https_is_wrong_use(address: str) -> None:
    with pytest.raises(UsageError) as refused:
        server_certificate(address, timeout=5)
    assert str(refused.value) == f"server address: expected https://HOST[:PORT], got {address}"
    assert refused.value.hint == "Give the address as https://HOST:PORT."


def test_a_port_beyond_the_last_one_is_wrong_use() -> None:
    with pytest.raises(UsageError) as refused:
        server_certificate("https://localhost:70000", timeout=5)
    assert str(refused.value) == (
        "server address: expected https://HOST[:PORT], got Port out of range 0-65535 (https://localhost:70000)"
    )
