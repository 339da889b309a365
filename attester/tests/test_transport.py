import dataclasses
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from casemate_attester.configuration import Broker
from casemate_attester.errors import BrokerUnavailableError, ConfigurationError, MessageError
from casemate_attester.exchange import Answer, Call, Method
from casemate_attester.transport import BrokerConnection, pinned_context

HINT = "see that the broker runs and is reachable, and that [broker] url and ca in casemate.toml are its own"
AUTH = Call(method=Method.POST, path="/kbs/v0/auth", body=b"{}")
GET = Call(method=Method.GET, path="/kbs/v0/resource/a/b/c", limit=10)


class Peer:
    """Answers with what is planned, then with 200."""

    def __init__(self, *planned: int, body: bytes = b"yes") -> None:
        self.planned = list(planned)
        self.body = body
        self.calls: list[Call] = []

    def __call__(self, call: Call) -> Answer:
        self.calls.append(call)
        return Answer(status=self.planned.pop(0) if self.planned else 200, body=self.body)


class Pauses(list):
    """Records how long somebody wanted to sleep."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def connect(broker: Broker, sleep: Callable[[float], None] | None = None) -> BrokerConnection:
    context = pinned_context(Path(broker.ca))
    return BrokerConnection(
        broker, context, pauses=(1.0, 2.0), timeout=5, sleep=Pauses() if sleep is None else sleep
    )


def test_a_call_arrives_and_its_answer_comes_back(serve: Any) -> None:
    peer = Peer(404, body=b"no")
    with serve(peer) as served:
        answer = connect(served.broker).call(AUTH)
    assert answer == Answer(status=404, body=b"no")
    assert [(call.method, call.path, call.body) for call in peer.calls] == [(Method.POST, AUTH.path, b"{}")]


def test_the_session_cookie_goes_back_and_no_other(serve: Any) -> None:
    with serve(Peer()) as served:
        connection = connect(served.broker)
        for _ in range(2):
            connection.call(AUTH)
        connection.call(GET)
        assert served.cookies == [None, *["kbs-session-id=" + "a" * 32] * 2]


def test_another_connection_has_another_session(serve: Any) -> None:
    with serve(Peer()) as served:
        connect(served.broker).call(AUTH)
        connect(served.broker).call(GET)
        assert served.cookies == [None, None]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_broker_that_asks_for_patience_is_called_again(serve: Any, status: int) -> None:
    pauses = Pauses()
    with serve(Peer(status, status)) as served:
        assert connect(served.broker, pauses).call(GET).status == 200
    assert pauses == [1.0, 2.0]


def test_patience_ends(serve: Any) -> None:
    peer = Peer(503, 503, 503, 503)
    with serve(peer) as served, pytest.raises(BrokerUnavailableError) as caught:
        connect(served.broker).call(GET)
    assert (str(caught.value), caught.value.hint) == (
        (
            "key broker: expected an answer from the broker whose authority is measured, "
            f"got status 503, 3 times ({served.broker.url})"
        ),
        HINT,
    )
    assert len(peer.calls) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_any_other_status_is_an_answer(serve: Any, status: int) -> None:
    pauses = Pauses()
    with serve(Peer(status)) as served:
        assert connect(served.broker, pauses).call(GET).status == status
    assert pauses == []


def test_a_broker_that_is_down_is_named_with_what_to_do(serve: Any) -> None:
    with serve(Peer()) as served:
        broker = served.broker
    pauses = Pauses()
    with pytest.raises(BrokerUnavailableError) as caught:
        connect(broker, pauses).call(AUTH)
    assert (str(caught.value), caught.value.hint) == (
        (
            "key broker: expected an answer from the broker whose authority is measured, "
            f"got Connection refused, 3 times ({broker.url})"
        ),
        HINT,
    )
    assert pauses == [1.0, 2.0]


@contextmanager
def raw_server(reply: bytes) -> Iterator[int]:
    """Accepts connections, sends ``reply`` and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_peer_without_tls_is_no_broker(serve: Any) -> None:
    with serve(Peer()) as served, raw_server(b"HTTP/1.1 200 OK\r\n\r\n") as port:
        broker = dataclasses.replace(served.broker, url=f"https://localhost:{port}")
        with pytest.raises(BrokerUnavailableError) as caught:
            connect(broker).call(AUTH)
    assert caught.value.got is not None
    assert caught.value.got.endswith("3 times")


def test_a_broker_that_hangs_up_is_named_by_what_happened_and_not_by_what_it_sent(serve: Any) -> None:
    def hang_up(_call: Call) -> Answer:
        raise ConnectionAbortedError

    with serve(hang_up) as served, pytest.raises(BrokerUnavailableError) as caught:
        connect(served.broker).call(GET)
    assert str(caught.value) == (
        "key broker: expected an answer from the broker whose authority is measured, "
        f"got RemoteDisconnected, 3 times ({served.broker.url})"
    )


def test_a_certificate_of_another_authority_is_refused_at_once(serve: Any) -> None:
    pauses = Pauses()
    with serve(Peer(), ca_of="another") as served, pytest.raises(BrokerUnavailableError) as caught:
        connect(served.broker, pauses).call(AUTH)
    assert (str(caught.value), caught.value.hint) == (
        (
            "key broker: expected an answer from the broker whose authority is measured, "
            f"got a certificate that is refused: unable to get local issuer certificate ({served.broker.url})"
        ),
        HINT,
    )
    assert pauses == []


def test_an_intermediate_authority_may_be_the_only_one_that_is_pinned(serve: Any) -> None:
    with serve(Peer(), ca_of="intermediate") as served:
        assert Path(served.broker.ca).read_text().count("BEGIN CERTIFICATE") == 1
        assert connect(served.broker).call(GET).status == 200


def test_a_certificate_for_another_host_is_refused(serve: Any) -> None:
    peer = Peer()
    with serve(peer, name="other.example") as served, pytest.raises(BrokerUnavailableError) as caught:
        connect(served.broker).call(AUTH)
    assert str(caught.value) == (
        "key broker: expected an answer from the broker whose authority is measured, "
        "got a certificate that is refused: Hostname mismatch, certificate is not valid for 'localhost'. "
        f"({served.broker.url})"
    )
    assert peer.calls == []


def test_neither_proxies_nor_authorities_come_from_the_environment(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serve(Peer()) as served, serve(Peer(), ca_of="another") as other:
        # The host offers the right authority for the second broker; only the measured file counts.
        monkeypatch.setenv("SSL_CERT_FILE", served.broker.ca)
        assert connect(served.broker).call(GET).status == 200
        monkeypatch.setenv("SSL_CERT_DIR", str(Path(served.broker.ca).parent))
        with pytest.raises(BrokerUnavailableError):
            connect(other.broker).call(GET)


def test_an_answer_at_the_limit_is_read_and_one_past_it_is_refused(serve: Any) -> None:
    with serve(Peer(body=b"x" * 10)) as served:
        assert connect(served.broker).call(GET).body == b"x" * 10
    with serve(Peer(body=b"x" * 11)) as served, pytest.raises(MessageError) as caught:
        connect(served.broker).call(GET)
    assert str(caught.value) == (
        f"answer of the broker: expected at most 10 bytes, got more ({served.broker.url}{GET.path})"
    )


def test_a_cookie_that_would_break_a_header_is_not_kept(serve: Any) -> None:
    with serve(Peer()) as served:
        connection = connect(served.broker)
        connection._remember(["kbs-session-id=a b", "kbs-session-id=" + "a" * 257, 'kbs-session-id="a"'])
        connection.call(GET)
        assert served.cookies == [None]


def test_tls_has_a_lowest_version_and_no_authority_but_the_pinned(
    serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    with serve(Peer()) as served:
        context = pinned_context(Path(served.broker.ca))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1
    assert context.keylog_filename is None


@pytest.mark.parametrize(
    ("content", "got"), [(None, "FileNotFoundError"), (b"", "SSLError"), (b"x", "SSLError")]
)
def test_authorities_that_cannot_be_read_are_named(tmp_path: Path, content: bytes | None, got: str) -> None:
    path = tmp_path / f"{os.urandom(4).hex()}.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        pinned_context(path)
    assert (str(caught.value), caught.value.hint) == (
        f"authorities of the broker: expected a PEM file of certificates, got {got} ({path})",
        "name the broker's CA file as [broker] ca in casemate.toml and build the image again",
    )
