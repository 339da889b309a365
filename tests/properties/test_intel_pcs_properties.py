"""Whatever an upstream service answers, only our errors escape, and what it gives is what came."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casemate.adapters.intel_pcs import CacheUpstream, IntelUpstream, Limits, Means, UpstreamAddress
from casemate.adapters.intel_pcs.answers import pck_certificates
from casemate.collateral.names import (
    CertificateAuthority,
    DocumentName,
    EvaluationNumbersName,
    PckCrlName,
    RootCrlName,
    TcbInfoName,
    Tee,
    Update,
)
from casemate.collateral.store import PlatformId, RawTcb
from casemate.collateral.upstream import Answer, PckAnswer, PckQuery, Upstream, UpstreamError
from casemate.errors import FormatError

LIMITS = Limits(connect=5, read=5, answer=5, call=5, attempts=1, body=20_000)
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
TCB_INFO = TcbInfoName(tee=Tee.SGX, fmspc="00606a000000", edition=Update.STANDARD)
NAMES: tuple[DocumentName, ...] = (
    TCB_INFO,
    PckCrlName(authority=CertificateAuthority.PROCESSOR),
    RootCrlName(),
    EvaluationNumbersName(tee=Tee.TDX),
)
QUERY = PckQuery(
    id=PlatformId(qe_id="00", pce_id="0000"),
    tcb=RawTcb(cpu_svn="00" * 16, pce_svn="0000"),
    encrypted_ppid="00" * 384,
    manifest="",
)
HEADERS = (
    "Content-Length",
    "Content-Encoding",
    "Content-Type",
    "Transfer-Encoding",
    "Connection",
    "Error-Code",
    "Error-Message",
    "Request-ID",
    "Retry-After",
    "Location",
    "TCB-Info-Issuer-Chain",
    "SGX-PCK-CRL-Issuer-Chain",
    "SGX-PCK-Certificate-Issuer-Chain",
    "SGX-PCK-Certificate-CA-Type",
    "SGX-FMSPC",
    "SGX-TCBm",
)


class Scripted:
    """Answers whatever it was told to, over TLS, once a connection, and hangs up."""

    def __init__(self, folder: Path) -> None:
        self.answer = b""
        authority = trustme.CA()
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._context)
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def upstreams(self) -> tuple[Upstream, Upstream]:
        address = UpstreamAddress.parse(f"https://localhost:{self.listener.getsockname()[1]}")
        means = Means(now=lambda: NOW)
        return (
            IntelUpstream(address, address, ca=self.ca, limits=LIMITS, means=means),
            CacheUpstream(address, ca=self.ca, limits=LIMITS, means=means),
        )

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(client, server_side=True) as connection:
                    while b"\r\n\r\n" not in connection.recv(65536):
                        pass
                    connection.sendall(self.answer)
            except OSError:
                continue


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    scripted = Scripted(tmp_path_factory.mktemp("scripted"))
    with scripted.listener:
        yield scripted


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """Something like HTTP, with the headers that we look at and values that they should not have."""
    values = st.one_of(
        st.text("0123456789abcdefgzip,;%+-= \t\r\n\x00é", max_size=40).map(
            lambda text: text.encode("latin-1")
        ),
        st.sampled_from(
            [b"gzip", b"chunked", b"0", b"5", b"-1", b"99999999999999999999", b"platform", b"%zz"]
        ),
    )
    headers = draw(st.lists(st.tuples(st.sampled_from(HEADERS), values), max_size=8))
    status = draw(st.one_of(st.just(b"200"), st.integers(-1, 1000).map(lambda number: str(number).encode())))
    body = draw(
        st.one_of(
            st.binary(max_size=200), st.sampled_from([b"5\r\nhello\r\n0\r\n\r\n", b"-5\r\nx", b"0\r\n\r\n"])
        )
    )
    lines = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in headers)
    return b"HTTP/1.1 " + status + b" X\r\n" + lines + b"\r\n" + body


def ask_everything(scripted: Scripted) -> None:
    for upstream in scripted.upstreams():
        documents = [partial(upstream.document, name) for name in NAMES]
        for ask in (*documents, partial(upstream.pck_certificates, QUERY)):
            error = None
            try:
                assert isinstance(ask(), (Answer, PckAnswer))
            except UpstreamError as caught:
                error = caught
            assert error is None or str(error).isprintable()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=st.one_of(st.binary(max_size=300), answers()))
def test_whatever_comes_only_our_errors_escape(scripted: Scripted, answer: bytes) -> None:
    scripted.answer = answer
    ask_everything(scripted)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=500), chain=st.binary(min_size=1, max_size=300), chunk=st.integers(1, 200))
def test_any_body_and_chain_come_as_they_are(
    scripted: Scripted, body: bytes, chain: bytes, chunk: int
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTCB-Info-Issuer-Chain: " + quote(chain).encode() + b"\r\n"
    parts = [body[start : start + chunk] for start in range(0, len(body), chunk)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    for upstream in scripted.upstreams():
        for rest in (
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body),
            b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n",
        ):
            scripted.answer = head + rest
            assert upstream.document(TCB_INFO) == Answer(body=body, issuer_chain=chain)


@given(
    st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode(errors="ignore")))
)
def test_lists_of_certificates_of_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(FormatError):
        pck_certificates(data)
