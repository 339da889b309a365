"""The certificate that a TLS server shows, and proof that it holds the key.

The chain is not looked at: an RA-TLS certificate signs itself, and its trust comes from the evidence inside
it. What the handshake proves is that the peer holds the private key of the certificate that is returned.
Nothing is sent over the connection but the handshake and its end.
"""

from __future__ import annotations

import socket
import ssl
from urllib.parse import urlsplit

from casemate.errors import RefusedError, ToolchainError, UsageError


def server_certificate(url: str, *, timeout: float) -> bytes:
    """Shake hands with the server of ``url``; give its certificate, DER.

    Args:
        url: ``https://host[:port]``; the path is not used.
        timeout: Seconds for the connection and for each step of the handshake.

    Raises:
        UsageError: Not an ``https`` address.
        ToolchainError: Nobody answers there, or not with TLS 1.2 or newer.
        RefusedError: The peer shows no certificate.
    """
    host, port = _address(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), timeout=timeout) as connection,
            context.wrap_socket(connection, server_hostname=host) as channel,
        ):
            certificate = channel.getpeercert(binary_form=True)
    except (OSError, ValueError) as error:
        raise ToolchainError(
            "TLS server",
            expected="a TLS handshake",
            got=str(error),
            where=url,
            hint="Is the service running, and is this its port?",
        ) from error
    if not certificate:
        raise RefusedError("TLS server", expected="a certificate", got="none", where=url)
    return certificate


def _address(url: str) -> tuple[str, int]:
    hint = "Give the address as https://HOST:PORT."
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError as error:
        raise UsageError(
            "server address", expected="https://HOST[:PORT]", got=str(error), where=url, hint=hint
        ) from error
    if parts.scheme != "https" or not host:
        raise UsageError("server address", expected="https://HOST[:PORT]", got=url, hint=hint)
    return host, port
