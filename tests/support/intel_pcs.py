"""Intel's Provisioning Certification Service, version 4, over real HTTPS, with a manufacturer of our own.

It answers as Intel's does: paths, parameters, headers, statuses, ``Error-Code`` and ``Error-Message``,
``Request-ID``. It can be told to be a PCCS instead, and to fail in every way that a service or the way to it
can fail.
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import trustme
from tests.support.manufacturer import WITHDRAWN, KnownPlatform, Manufacturer

from casemate.formats.sgx.collateral import EnclaveId
from casemate.simulator.pki import PckAuthority

ROLES = {
    "sgx/qe": EnclaveId.QE,
    "tdx/qe": EnclaveId.TD_QE,
    "sgx/qve": EnclaveId.QVE,
    "sgx/qae": EnclaveId.QAE,
}
PEM, DER, JSON, TEXT = "application/x-pem-file", "application/pkix-crl", "application/json", "text/plain"
INTEL_HOSTS = ("api.trustedservices.intel.com", "certificates.trustedservices.intel.com")
SUBSCRIPTION_KEY = "0123456789abcdef0123456789abcdef"


class Fault(Enum):
    """How a request goes wrong."""

    CLOSED = auto()  # the connection ends without an answer
    SILENT = auto()  # nothing comes
    SLOW = auto()  # a byte at a time
    SLOW_HEADERS = auto()  # a byte at a time, and never the end of the headers
    TRUNCATED = auto()  # less than Content-Length says
    ENDLESS = auto()  # no length, and more and more
    UNBOUNDED = auto()  # no length; ends with the connection
    HUGE = auto()  # a Content-Length beyond all measure
    BOMB = auto()  # gzip of zeros
    BAD_GZIP = auto()  # Content-Encoding gzip, and something else
    ODD_CODING = auto()  # Content-Encoding br
    REDIRECT = auto()  # 302 to another host
    NOT_HTTP = auto()
    HEADERLESS = auto()  # 200 without the issuer chain
    WRONG_SIGNATURE = auto()
    EXPIRED = auto()  # issued a year earlier
    OLDER = auto()  # of the evaluation number before, issued a day earlier
    LIMITED = auto()  # 429 with Retry-After
    BAD_REQUEST = auto()
    UNAUTHORISED = auto()
    NOT_FOUND = auto()
    WITHDRAWN = auto()
    ERROR = auto()
    UNAVAILABLE = auto()


#: 32 MiB of nothing.
_BOMB = gzip.compress(bytes(1 << 25), compresslevel=1)
_STATUSES = {
    Fault.LIMITED: 429,
    Fault.BAD_REQUEST: 400,
    Fault.UNAUTHORISED: 401,
    Fault.NOT_FOUND: 404,
    Fault.WITHDRAWN: 410,
    Fault.ERROR: 500,
    Fault.UNAVAILABLE: 503,
}
_ERRORS = {
    400: ("BadRequest", "Invalid request parameters."),
    401: ("Unauthorized", "Access denied due to invalid subscription key."),
    404: ("NotFound", "No data for the given parameters."),
    410: ("Gone", "TCB Evaluation Data Number is no longer supported."),
    429: ("TooManyRequests", "Rate limit is exceeded."),
    500: ("InternalError", "Internal server error occurred."),
    503: ("ServiceUnavailable", "Server is currently unable to process the request."),
}


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the service says."""

    status: int = 200
    kind: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that came in; parameters of a POST are those in its JSON."""

    method: str
    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass
class FakeIntel:
    """A running service.

    Attributes:
        maker: Whose documents it gives.
        ca: File with the authority of its certificate.
        url: Where it is.
        asked: Every request that has come in; how many there were is the ``Request-ID``.
        is_cache: Behave as a PCCS: CRLs in hexadecimal, errors in the body, no evaluation numbers.
        needs_key: Refuse requests for PCK certificates without :data:`SUBSCRIPTION_KEY`.
        retry_after: What is said with 429; empty says nothing.
        echo: Said in each error, after what Intel says.
    """

    maker: Manufacturer
    ca: Path
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    is_cache: bool = False
    needs_key: bool = False
    retry_after: str = "1"
    echo: str = ""
    _faults: list[list[Any]] = field(default_factory=list)
    _closing: threading.Event = field(default_factory=threading.Event)
    _tls: ssl.SSLContext | None = None
    _server: ThreadingHTTPServer | None = None
    _port: int = 0

    @classmethod
    @contextmanager
    def running(cls, maker: Manufacturer, folder: Path) -> Iterator[FakeIntel]:
        """A service on this machine; ``folder`` gets the authority of its certificate."""
        authority = trustme.CA()
        ca = folder / "intel-pcs-ca.pem"
        authority.cert_pem.write_to_path(ca)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Under Intel's names, too, for those who come through a proxy.
        authority.issue_cert("localhost", *INTEL_HOSTS).configure_cert(context)
        service = cls(maker, ca, _tls=context)
        service.start()
        try:
            yield service
        finally:
            service.stop()

    def start(self) -> None:
        """Listen, at the same port as before."""
        self._closing.clear()
        service = self

        class Handler(_Handler):
            fake = service

        self._server = _Server(("127.0.0.1", self._port), Handler, self._tls)
        self._port = self._server.server_address[1]
        self.url = f"https://localhost:{self._port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Be down; connections are refused."""
        self._closing.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def fail(self, fault: Fault, *, on: str = "", times: int | None = None) -> None:
        """Let requests whose path contains ``on`` go wrong, so many times or until :meth:`heal`."""
        self._faults.append([on, fault, times])

    def heal(self) -> None:
        """Be well again."""
        self._faults.clear()

    def count(self, part: str = "") -> int:
        """How many requests had ``part`` in their path."""
        return sum(part in asked.path for asked in self.asked)

    def fault_of(self, path: str) -> Fault | None:
        """The first that applies, which is then one fewer."""
        for entry in self._faults:
            part, fault, times = entry
            if part in path and times != 0:
                entry[2] = None if times is None else times - 1
                return fault
        return None

    def answer(self, asked: Asked, fault: Fault | None) -> Answer:
        """What the service says, with the faults that are in documents and statuses."""
        if fault in _STATUSES:
            return self._error(_STATUSES[fault])
        maker = self.maker
        before = maker.issued_at, maker.standard
        if fault is Fault.EXPIRED:
            maker.issued_at -= timedelta(days=364)
        if fault is Fault.OLDER:
            maker.issued_at, maker.standard = maker.issued_at - timedelta(days=1), maker.standard - 1
        try:
            answer = self._document(asked)
        finally:
            maker.issued_at, maker.standard = before
        if fault is Fault.WRONG_SIGNATURE:
            return Answer(kind=answer.kind, headers=answer.headers, body=_spoiled(answer.body))
        if fault is Fault.HEADERLESS:
            return Answer(kind=answer.kind, body=answer.body)
        return answer

    def _document(self, asked: Asked) -> Answer:
        match asked.path.strip("/").split("/"):
            case ["IntelSGXRootCA.der"]:
                return Answer(kind=DER, body=self.maker.root_crl())
            case ["sgx" | "tdx" as tee, "certification", "v4", *rest]:
                return self._certification(tee, "/".join(rest), asked)
        return self._error(404)

    def _certification(self, tee: str, rest: str, asked: Asked) -> Answer:
        match tee, rest:
            case _, "tcb":
                return self._tcb_info(tee, asked.parameters)
            case _, "tcbevaluationdatanumbers" if not self.is_cache:
                return self._numbers(tee)
            case "sgx", "pckcrl":
                return self._pck_crl(asked.parameters)
            case "sgx", "pckcert" | "pckcerts":
                return self._pck(rest, asked)
            case "sgx", "rootcacrl" if self.is_cache:
                return Answer(kind=DER, body=self.maker.root_crl().hex().encode())
        return self._identity(f"{tee}/{rest.removesuffix('/identity')}", asked.parameters)

    def _tcb_info(self, tee: str, parameters: Mapping[str, str]) -> Answer:
        number = self._number(parameters)
        if isinstance(number, Answer):
            return number
        fmspc = parameters.get("fmspc", "")
        body = self.maker.tcb_info(tee, fmspc, number)
        if body is None:
            return self._error(404 if len(fmspc) == 12 else 400)
        return Answer(headers={"TCB-Info-Issuer-Chain": self.maker.signer_chain()}, body=body)

    def _identity(self, path: str, parameters: Mapping[str, str]) -> Answer:
        number = self._number(parameters)
        if isinstance(number, Answer) or path not in ROLES:
            return number if isinstance(number, Answer) else self._error(404)
        headers = {"SGX-Enclave-Identity-Issuer-Chain": self.maker.signer_chain()}
        return Answer(headers=headers, body=self.maker.identity(ROLES[path], number))

    def _numbers(self, tee: str) -> Answer:
        headers = {"TCB-Evaluation-Data-Numbers-Issuer-Chain": self.maker.signer_chain()}
        return Answer(headers=headers, body=self.maker.evaluation_numbers(tee))

    def _number(self, parameters: Mapping[str, str]) -> int | Answer:
        wanted = parameters.get("tcbEvaluationDataNumber")
        if self.is_cache or wanted is None:
            return self.maker.number(parameters.get("update", "standard")) or self._error(400)
        if "update" in parameters or not wanted.isdecimal():
            return self._error(400)
        if int(wanted) in WITHDRAWN:
            return self._error(410)
        return self.maker.number(wanted) or self._error(404)

    def _pck_crl(self, parameters: Mapping[str, str]) -> Answer:
        try:
            authority = PckAuthority(parameters.get("ca", ""))
        except ValueError:
            return self._error(400)
        headers = {"SGX-PCK-CRL-Issuer-Chain": self.maker.authority_chain(authority)}
        crl = self.maker.pck_crl(authority)
        if self.is_cache:
            return Answer(kind=PEM, headers=headers, body=crl.hex().encode())
        return Answer(kind=DER, headers=headers, body=crl)

    def _pck(self, which: str, asked: Asked) -> Answer:
        if self.needs_key and asked.headers.get("ocp-apim-subscription-key") != SUBSCRIPTION_KEY:
            return self._error(401)
        platform = self._platform(asked.parameters)
        if platform is None:
            return self._error(404)
        authority = PckAuthority.PLATFORM
        headers = {
            "SGX-PCK-Certificate-Issuer-Chain": self.maker.authority_chain(authority),
            "SGX-FMSPC": platform.fmspc.upper(),
            "SGX-PCK-Certificate-CA-Type": authority.value,
        }
        if which == "pckcerts":
            return Answer(headers=headers, body=_listed(platform))
        tcbm = platform.cpu_svn + platform.pce_svn
        certificate = platform.levels[tcbm]
        assert certificate is not None
        return Answer(kind=PEM, headers=headers | {"SGX-TCBm": tcbm}, body=certificate.certificate_pem())

    def _platform(self, parameters: Mapping[str, str]) -> KnownPlatform | None:
        told = {parameters.get(name, "").lower() for name in ("encrypted_ppid", "platformManifest")}
        if self.is_cache:
            told = {parameters.get("qeid", "").lower()}
        for platform in self.maker.platforms:
            names = {platform.qe_id} if self.is_cache else {platform.encrypted_ppid, platform.manifest}
            if (told & names) - {""}:
                return platform
        return None

    def _error(self, status: int) -> Answer:
        code, message = _ERRORS[status]
        message += self.echo
        if self.is_cache:
            return Answer(status=status, kind=TEXT, body=message.encode())
        headers = {"Error-Code": code, "Error-Message": message}
        if status == 429 and self.retry_after:
            headers["Retry-After"] = self.retry_after
        return Answer(status=status, headers=headers)


def _listed(platform: KnownPlatform) -> bytes:
    return json.dumps(
        [
            {
                "tcb": {
                    f"sgxtcbcomp{number + 1:02}svn": svn
                    for number, svn in enumerate(bytes.fromhex(tcbm)[:16])
                }
                | {"pcesvn": platform.extension.pce_svn},
                "tcbm": tcbm,
                "cert": quote(pck.certificate_pem().decode()) if pck else "Not available",
            }
            for tcbm, pck in platform.levels.items()
        ]
    ).encode()


def _spoiled(body: bytes) -> bytes:
    """A signature that is well-formed and wrong."""
    if body.startswith(b"{"):
        document = json.loads(body)
        signature = bytearray.fromhex(document["signature"])
        signature[-1] ^= 1
        return body.replace(document["signature"].encode(), bytes(signature).hex().encode())
    return body[:-1] + bytes([body[-1] ^ 1])


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type, context: ssl.SSLContext | None) -> None:
        super().__init__(address, handler)
        self._context = context

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        if self._context is not None:
            # The handshake happens in the thread of the connection, with its first bytes.
            connection = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what half of the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: FakeIntel

    def do_GET(self) -> None:  # http.server names it
        self._respond(dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True)))

    def do_POST(self) -> None:  # http.server names it
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._respond(json.loads(body))

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002  # http.server names it
        """Not on the terminal."""

    def _respond(self, parameters: Mapping[str, str]) -> None:
        self.close_connection = True
        path = urlsplit(self.path).path
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(method=self.command, path=path, parameters=parameters, headers=headers)
        self.fake.asked.append(asked)
        fault = self.fake.fault_of(path)
        with suppress(OSError):
            if not self._misbehave(fault):
                self._send(self.fake.answer(asked, fault), fault)

    def _misbehave(self, fault: Fault | None) -> bool:
        match fault:
            case Fault.CLOSED:
                self.connection.shutdown(socket.SHUT_RDWR)
            case Fault.SILENT:
                self.fake._closing.wait(30)
            case Fault.SLOW_HEADERS:
                self._drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 60_000)
            case Fault.NOT_HTTP:
                self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            case Fault.HUGE:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{")
            case Fault.ENDLESS:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    self.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")
            case _:
                return False
        return True

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        body, headers = answer.body, dict(answer.headers)
        match fault:
            case Fault.REDIRECT:
                answer, body = Answer(status=302), b""
                headers = {"Location": "https://localhost:1/elsewhere"}
            case Fault.BOMB:
                body = _BOMB
                headers["Content-Encoding"] = "gzip"
            case Fault.BAD_GZIP | Fault.ODD_CODING:
                headers["Content-Encoding"] = "gzip" if fault is Fault.BAD_GZIP else "br"
        headers |= {"Content-Type": answer.kind, "Request-ID": f"{len(self.fake.asked):032x}"}
        if fault is not Fault.UNBOUNDED:
            headers["Content-Length"] = str(len(body) + (fault is Fault.TRUNCATED))
        head = (
            f"HTTP/1.1 {answer.status} X\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers.items()) + "\r\n"
        )
        self.wfile.write(head.encode())
        if fault is Fault.SLOW:
            self._drip(body)
        else:
            self.wfile.write(body)

    def _drip(self, data: bytes) -> None:
        for byte in data:
            self.wfile.write(bytes([byte]))
            if self.fake._closing.wait(0.02):
                return
