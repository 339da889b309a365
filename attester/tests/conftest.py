"""A key broker in memory, and the parts that the attester's tests share."""

import base64
import json
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from casemate_attester.binding import report_data
from casemate_attester.configuration import Broker
from casemate_attester.exchange import Answer, Call, Method
from casemate_attester.messages import (
    Attestation,
    AttestResponse,
    Challenge,
    ErrorInformation,
    HashAlgorithm,
    Nonce,
    Request,
    TeePublicKey,
    Token,
    WrappedSecret,
    encode_base64url,
)
from casemate_attester.unwrap import agreed_key


def wrap(secret: bytes, to: TeePublicKey) -> WrappedSecret:
    """What Trustee does: a fresh key on P-256, ECDH-ES+A256KW, A256GCM."""
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    half = TeePublicKey.from_key(ephemeral.public_key())
    epk = {name: value for name, value in half.document().items() if name != "alg"}
    header = json.dumps({"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "epk": epk}, separators=(",", ":"))
    protected = encode_base64url(header.encode())
    kek = agreed_key(
        ephemeral, to.public_key(), algorithm="ECDH-ES+A256KW", bits=256, party_u=b"", party_v=b""
    )
    content_key, iv = os.urandom(32), os.urandom(12)
    sealed = AESGCM(content_key).encrypt(iv, secret, protected.encode())
    return WrappedSecret(
        protected=protected,
        ephemeral_key=half,
        encrypted_key=aes_key_wrap(kek, content_key),
        iv=iv,
        ciphertext=sealed[:-16],
        tag=sealed[-16:],
    )


@dataclass
class MemoryBroker:
    """A key broker of one session that takes any quote which starts with the right report data."""

    secrets: dict[str, bytes] = field(default_factory=dict)
    algorithm: HashAlgorithm | None = None
    #: Status codes that are answered in place of serving, by path, first come first served.
    planned: dict[str, list[int]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    nonce: Nonce | None = None
    key: TeePublicKey | None = None

    def __call__(self, call: Call) -> Answer:
        self.calls.append(f"{call.method.value} {call.path}")
        if planned := self.planned.get(call.path):
            return self.refuse(planned.pop(0), "PlannedError", "as the test wants it")
        match call.path.removeprefix("/kbs/v0/").split("/"):
            case ["auth"]:
                request = Request.parse(call.body)
                assert (request.version, request.tee) == ("0.4.0", "sgx")
                self.nonce = Nonce(base64.b64encode(os.urandom(32)).decode())
                challenge = Challenge(nonce=self.nonce, selected_hash_algorithm=self.algorithm)
                return Answer(status=200, body=challenge.to_bytes())
            case ["attest"]:
                return self.attest(Attestation.parse(call.body))
            case ["resource", *path]:
                return self.release("/".join(path))
            case _:
                return self.refuse(404, "InvalidRequestPath", call.path)

    def attest(self, attestation: Attestation) -> Answer:
        expected = report_data(
            attestation.tee_public_key, attestation.nonce, self.algorithm or HashAlgorithm.SHA384
        )
        if attestation.nonce != self.nonce or not attestation.quote.startswith(expected):
            return self.refuse(401, "AttestationError", "REPORT_DATA is different")
        self.key = attestation.tee_public_key
        return Answer(status=200, body=AttestResponse(token=Token("aGVhZA.Ym9keQ.c2ln")).to_bytes())

    def release(self, path: str) -> Answer:
        if self.key is None:
            return self.refuse(401, "TokenNotFound", "no token")
        if path not in self.secrets:
            return self.refuse(404, "ResourceNotFound", path)
        return Answer(status=200, body=wrap(self.secrets[path], self.key).to_bytes())

    def refuse(self, status: int, kind: str, detail: str) -> Answer:
        information = ErrorInformation(
            type=f"https://github.com/confidential-containers/kbs/errors/{kind}", detail=detail
        )
        return Answer(status=status, body=information.to_bytes())


@dataclass(frozen=True)
class ServedBroker:
    """A broker behind TLS on this machine."""

    broker: Broker
    cookies: list[str | None]


Serve = Callable[..., AbstractContextManager[ServedBroker]]


@contextmanager
def _serve(
    answer: Callable[[Call], Answer], folder: Path, name: str = "localhost", ca_of: str | None = None
) -> Iterator[ServedBroker]:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    if ca_of == "intermediate":
        authority = authority.create_child_ca()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    pinned = folder / f"ca-{os.urandom(4).hex()}.pem"
    (trustme.CA() if ca_of == "another" else authority).cert_pem.write_to_path(pinned)
    cookies: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def serve_one(self) -> None:
            cookies.append(self.headers["Cookie"])
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            result = answer(Call(method=Method(self.command), path=self.path, body=body))
            self.send_response(result.status)
            if self.path == "/kbs/v0/auth":
                self.send_header("Set-Cookie", "theme=dark; Path=/")
                self.send_header("Set-Cookie", f"kbs-session-id={'a' * 32}; Expires=Thu, 1 Jan 2099")
            self.send_header("Content-Length", str(len(result.body)))
            self.end_headers()
            self.wfile.write(result.body)

        do_GET = do_POST = serve_one  # noqa: N815 - the names of http.server

        def log_message(self, *_: object) -> None:
            """Keeps the test's output clean."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that refuses our certificate is what some tests want."""

    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            url = f"https://localhost:{server.server_port}"
            yield ServedBroker(broker=Broker(url=url, ca=str(pinned)), cookies=cookies)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """Puts a function from calls to answers behind TLS."""

    def start(answer: Callable[[Call], Answer], **options: str) -> AbstractContextManager[ServedBroker]:
        return _serve(answer, tmp_path, **options)

    return start


@pytest.fixture
def memory_broker() -> type[MemoryBroker]:
    return MemoryBroker


@pytest.fixture(scope="session")
def wrap_secret() -> Callable[[bytes, TeePublicKey], WrappedSecret]:
    return wrap


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """Plain files with the names of Gramine's; the quote does not change with the report data."""
    folder = tmp_path / "attestation"
    (folder / "keys").mkdir(parents=True)
    (folder / "attestation_type").write_text("dcap")
    (folder / "user_report_data").write_bytes(bytes(64))
    (folder / "quote").write_bytes(b"a quote")
    (folder / "keys" / "notes").write_bytes(b"")
    return folder
