"""The one socket of the attester: HTTP over TLS to the key broker.

The broker is known by one thing only, the authorities in a measured file. Neither the system's authorities
nor proxies nor any environment variable take part. The host carries the packets and answers DNS, so it can
keep an enclave from its broker for ever; that is not defended against. It also says what time it is, so a
certificate's dates are only as good as the host is honest.
"""

import http.client
import re
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from casemate_attester.configuration import Broker
from casemate_attester.errors import BrokerUnavailableError, ConfigurationError, MessageError
from casemate_attester.exchange import Answer, Call, Method

__all__ = ["PAUSES", "BrokerConnection", "pinned_context"]

#: Seconds between attempts to reach a broker; one attempt more than pauses. Kubernetes starts us again
#: afterwards.
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
#: Seconds for connecting and for each wait for bytes.
TIMEOUT = 30.0

#: A proxy in front of the broker, or the broker itself, asks for patience (RFC 9110, section 15).
_PATIENCE = frozenset({429, 502, 503, 504})
_COOKIE = "kbs-session-id"
_HINT = "see that the broker runs and is reachable, and that [broker] url and ca in casemate.toml are its own"


def pinned_context(ca: Path) -> ssl.SSLContext:
    """TLS 1.2 or later, with no authority but those in ``ca``.

    Each certificate in the file is an anchor by itself, an intermediate authority as well as a root.

    Raises:
        ConfigurationError: When the file is not there or holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_verify_locations(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            "authorities of the broker",
            expected="a PEM file of certificates",
            got=type(error).__name__,
            where=str(ca),
            hint="name the broker's CA file as [broker] ca in casemate.toml and build the image again",
        ) from error
    return context


class BrokerConnection:
    """Calls to one broker, which share its session cookie. Each call is a connection of its own.

    Args:
        broker: Whom to call.
        context: What its certificate is judged by.
        pauses: Seconds between attempts, when nobody answers.
        timeout: Seconds for connecting and for each wait for bytes.
        sleep: Waits; an argument for the sake of tests.
    """

    def __init__(
        self,
        broker: Broker,
        context: ssl.SSLContext,
        *,
        pauses: tuple[float, ...] = PAUSES,
        timeout: float = TIMEOUT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._broker = broker
        self._context = context
        self._pauses = pauses
        self._timeout = timeout
        self._sleep = sleep
        self._cookie: str | None = None

    def call(self, call: Call) -> Answer:
        """The broker's answer, whatever its status.

        A call whose answer was lost is sent again, which is safe: at worst the broker says that the nonce
        has been used, and the dialogue starts a new session.

        Raises:
            BrokerUnavailableError: When every attempt failed, or the certificate is not the pinned
                authority's.
            MessageError: When the answer is longer than ``call.limit``.
        """
        for pause in (*self._pauses, None):
            try:
                answer = self._attempt(call)
            except ssl.SSLCertVerificationError as error:
                raise self._unavailable(f"a certificate that is refused: {error.verify_message}") from error
            except (OSError, http.client.HTTPException) as error:
                failure = _describe(error)
            else:
                if answer.status not in _PATIENCE:
                    return answer
                failure = f"status {answer.status}"
            if pause is not None:
                self._sleep(pause)
        raise self._unavailable(f"{failure}, {len(self._pauses) + 1} times")

    def _attempt(self, call: Call) -> Answer:
        connection = http.client.HTTPSConnection(
            self._broker.host, self._broker.port, timeout=self._timeout, context=self._context
        )
        headers = {"Accept": "application/json", "Connection": "close"}
        if call.method is Method.POST:
            headers["Content-Type"] = "application/json"
        if self._cookie is not None:
            headers["Cookie"] = f"{_COOKIE}={self._cookie}"
        try:
            connection.request(call.method.value, call.path, body=call.body or None, headers=headers)
            response = connection.getresponse()
            body = response.read(call.limit + 1)
            self._remember(response.headers.get_all("Set-Cookie", []))
        finally:
            connection.close()
        if len(body) > call.limit:
            raise MessageError(
                "answer of the broker",
                expected=f"at most {call.limit} bytes",
                got="more",
                where=f"{self._broker.url}{call.path}",
            )
        return Answer(status=response.status, body=body)

    def _remember(self, cookies: list[str]) -> None:
        """Keeps the session's cookie and no other; whatever its attributes, only this broker gets it back."""
        for cookie in cookies:
            found = re.match(rf"{_COOKIE}=([A-Za-z0-9_\-.]{{1,256}})(;|$)", cookie)
            if found is not None:
                self._cookie = found[1]

    def _unavailable(self, got: str) -> BrokerUnavailableError:
        return BrokerUnavailableError(
            "key broker",
            expected="an answer from the broker whose authority is measured",
            got=got,
            where=self._broker.url,
            hint=_HINT,
        )


def _describe(error: OSError | http.client.HTTPException) -> str:
    """What went wrong on the way, in the system's words, without what the peer sent."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
