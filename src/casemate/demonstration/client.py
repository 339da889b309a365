"""A client of the demonstrated service that trusts exactly the certificate that was verified."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from casemate.adapters.tls_peer import server_certificate
from casemate.errors import ToolchainError

_TIMEOUT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the service answered."""

    status: int
    body: bytes


class PinnedClient:
    """HTTPS to one address, with the certificate shown there as the only trusted one.

    The certificate is self-signed; ``casemate verify server`` has said what its evidence is worth.
    """

    def __init__(self, url: str) -> None:
        certificate = server_certificate(url, timeout=_TIMEOUT)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(certificate))
        context.check_hostname = False  # the certificate itself is pinned, whatever names it carries
        parts = urlsplit(url)
        self._url = url
        self._connection = http.client.HTTPSConnection(
            parts.hostname or "", parts.port, timeout=_TIMEOUT, context=context
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self._connection.close()

    def get(self, path: str) -> Answer:
        """``GET path``."""
        return self._ask("GET", path, None)

    def post(self, path: str, document: object) -> Answer:
        """``POST path`` with a JSON document."""
        return self._ask("POST", path, json.dumps(document).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        try:
            self._connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            answer = self._connection.getresponse()
            return Answer(status=answer.status, body=answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise ToolchainError(
                f"{method} {path}", expected="an answer", got=str(error), where=self._url
            ) from error
