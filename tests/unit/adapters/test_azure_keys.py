"""Keys in Azure Key Vault: the requests, and what is made of the answers.

This is not Azure. A local HTTPS server answers here as the REST reference of Key Vault, version 7.4, says for
"Get Key" and "Sign"; nothing in these tests has been compared with the service.
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from casemate.adapters.azure_keys import DOMAINS, AzureSigner, KeyName
from casemate.errors import CasemateError, KeyUnfitError, UsageError
from casemate.keys import require_signature

RSA = generate_private_key(3, 3072)
VERSION = "78deebed173b48e48f55abf87ed4cf71"
NAME = KeyName(host="myvault.vault.azure.net", key="enclave", version=None)
DATA = bytes(range(256))


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def key_bundle(**changes: object) -> dict[str, object]:
    numbers = RSA.public_key().public_numbers()
    key: dict[str, object] = {
        "kid": f"https://myvault.vault.azure.net/keys/enclave/{VERSION}",
        "kty": "RSA-HSM",
        "key_ops": ["sign", "verify"],
        "n": encoded(numbers.n.to_bytes(384)),
        "e": encoded(numbers.e.to_bytes(1)),
    }
    enabled = changes.pop("enabled", True)
    attributes = {"enabled": enabled, "created": 1493942451, "recoveryLevel": "Recoverable+Purgeable"}
    return {"key": key | changes, "attributes": attributes, "tags": {}}


@dataclass
class Vault:
    """What the server was asked, and what it answers."""

    port: int = 0
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    requests: list[tuple[str, str, str | None, object]] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    scopes: list[str] = field(default_factory=list)
    bundle: object = field(default_factory=key_bundle)
    status: int = 200
    answer: Callable[[bytes], object] | None = None

    def connect(self, host: str) -> HTTPSConnection:
        self.hosts.append(host)
        return HTTPSConnection("localhost", self.port, timeout=10, context=self.context)

    def ask_token(self, scope: str) -> str:
        self.scopes.append(scope)
        return "an access token"

    def open(self, name: KeyName = NAME) -> AzureSigner:
        return AzureSigner.open(name, ask_token=self.ask_token, connect=self.connect)

    def answered(self, path: str, body: bytes) -> object:
        if self.answer is not None:
            return self.answer(body)
        if not path.partition("?")[0].endswith("/sign"):
            return self.bundle
        value = json.loads(body)["value"]
        digest = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
        signature = RSA.sign(digest, PKCS1v15(), Prehashed(SHA256()))
        kid = f"https://myvault.vault.azure.net/keys/enclave/{VERSION}"
        return {"kid": kid, "value": encoded(signature)}


@pytest.fixture
def vault() -> Iterator[Vault]:
    told = Vault()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(b"")

        def do_POST(self) -> None:
            self.reply(self.rfile.read(int(self.headers["Content-Length"])))

        def reply(self, body: bytes) -> None:
            request = (self.command, self.path, self.headers["Authorization"], json.loads(body or b"null"))
            told.requests.append(request)
            answer = told.answered(self.path, body)
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(told.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_side)
    authority.configure_trust(told.context)
    server = HTTPServer(("localhost", 0), Handler)
    server.socket = server_side.wrap_socket(server.socket, server_side=True)
    told.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield told
    server.shutdown()
    thread.join()
    server.server_close()


def refusal_of(call: Callable[[], object]) -> CasemateError:
    with pytest.raises(CasemateError) as refused:
        call()
    return refused.value


def test_a_vault_signs_a_digest_with_the_version_that_it_named(vault: Vault) -> None:
    signer = vault.open()
    signature = signer.sign(DATA)
    require_signature(DATA, signature, signer.public_key)
    assert signer.public_key.exponent == 3
    token = "Bearer an access token"
    get, sign = vault.requests
    assert get == ("GET", "/keys/enclave/?api-version=7.4", token, None)
    body = {"alg": "RS256", "value": encoded(hashlib.sha256(DATA).digest())}
    assert sign == ("POST", f"/keys/enclave/{VERSION}/sign?api-version=7.4", token, body)
    assert set(vault.hosts) == {"myvault.vault.azure.net"}
    assert set(vault.scopes) == {"https://vault.azure.net/.default"}


def test_a_version_that_is_named_is_asked_for(vault: Vault) -> None:
    vault.open(KeyName(host=NAME.host, key="enclave", version=VERSION))
    assert vault.requests[0][1] == f"/keys/enclave/{VERSION}?api-version=7.4"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kty": "EC-HSM"}, "key in the vault: expected an RSA key, got another kind"),
        ({"enabled": False}, "key in the vault: expected enabled, got disabled"),
        (
            {"kid": f"https://myvault.vault.azure.net/keys/other/{VERSION}"},
            "key in the vault: expected the one that was asked for, got another",
        ),
        (
            {"kid": "https://myvault.vault.azure.net/keys/enclave/../../x"},
            "key in the vault: expected the one that was asked for, got another",
        ),
        ({"n": "no base64!"}, "answer of the vault: expected base64url, got something else"),
    ],
)
def test_a_key_that_is_not_the_one_is_refused(vault: Vault, change: dict[str, object], message: str) -> None:
    vault.bundle = key_bundle(**change)
    assert str(refusal_of(vault.open)) == f"{message} (myvault.vault.azure.net, key enclave)"


def test_another_version_than_the_one_asked_for_is_refused(vault: Vault) -> None:
    name = KeyName(host=NAME.host, key="enclave", version="0" * 32)
    assert "expected the one that was asked for" in str(refusal_of(lambda: vault.open(name)))


def test_a_signature_that_does_not_hold_is_refused(vault: Vault) -> None:
    signer = vault.open()
    vault.answer = lambda _: {"kid": "k", "value": encoded(bytes(384))}
    error = refusal_of(lambda: signer.sign(DATA))
    assert str(error) == "signature: expected one that the public key confirms, got another"


@pytest.mark.parametrize("answer", [b"", b"[]", b"{", b'{"key": {}}'])
def test_an_answer_that_is_none_is_refused(vault: Vault, answer: bytes) -> None:
    vault.answer = lambda _: answer
    assert str(refusal_of(vault.open)) == (
        "answer of the vault: expected that of version 7.4, got another "
        "(myvault.vault.azure.net, key enclave)"
    )


def test_a_refusal_of_the_vault_is_told_in_its_words_and_not_repeated(vault: Vault) -> None:
    vault.status = 403
    vault.answer = lambda _: {"error": {"code": "Forbidden", "message": "Caller is\nnot authorized."}}
    error = refusal_of(vault.open)
    assert str(error) == (
        "vault: expected an answer, got status 403, Forbidden: Caller is\ufffdnot authorized. "
        "(myvault.vault.azure.net, key enclave)"
    )
    assert error.hint is not None
    assert error.hint.startswith("who signs needs the permissions keys/get and keys/sign")
    assert len(vault.requests) == 1


def test_no_redirection_is_followed(vault: Vault) -> None:
    vault.status = 302
    assert str(refusal_of(vault.open)) == (
        "vault: expected an answer, got status 302 (myvault.vault.azure.net, key enclave)"
    )
    assert len(vault.requests) == 1


def test_a_vault_with_another_certificate_gets_no_token(vault: Vault) -> None:
    vault.context = ssl.create_default_context()
    error = refusal_of(vault.open)
    assert isinstance(error, KeyUnfitError)
    assert str(error).startswith("vault cannot be reached: got ")
    assert vault.requests == []


def test_a_vault_that_does_not_answer_is_named(vault: Vault) -> None:
    vault.port = 1
    assert str(refusal_of(vault.open)) == (
        "vault cannot be reached: got Connection refused (myvault.vault.azure.net, key enclave)"
    )


@pytest.mark.parametrize(
    ("rest", "host", "scope"),
    [
        ("//myvault/enclave", "myvault.vault.azure.net", "https://vault.azure.net/.default"),
        (
            f"//myhsm.managedhsm.azure.net/enclave/{VERSION}",
            "myhsm.managedhsm.azure.net",
            "https://managedhsm.azure.net/.default",
        ),
        ("//v.vault.azure.cn/enclave", "v.vault.azure.cn", "https://vault.azure.cn/.default"),
    ],
)
def test_a_vault_is_named_by_its_name_or_its_host(rest: str, host: str, scope: str) -> None:
    name = KeyName.parse(rest)
    assert (name.host, name.scope, name.key) == (host, scope, "enclave")


@pytest.mark.parametrize(
    ("rest", "got"),
    [
        ("myvault/enclave", "something else"),
        ("//myvault", "something else"),
        ("//myvault/enclave/1", "something else"),
        ("//myvault/enclave/../x", "something else"),
        ("//user@myvault.vault.azure.net/enclave", "something else"),
        ("//myvault.example.org/enclave", "a vault in example.org"),
        ("//.vault.azure.net/enclave", "a vault in vault.azure.net"),
        ("//a.b.vault.azure.net/enclave", "a vault in b.vault.azure.net"),
    ],
)
def test_what_names_no_key_of_a_vault_is_refused(rest: str, got: str) -> None:
    with pytest.raises(UsageError) as refused:
        KeyName.parse(rest)
    assert str(refused.value) == (
        f"key URI: expected azurekv://VAULT/KEY or azurekv://VAULT/KEY/VERSION, got {got}"
    )
    assert refused.value.hint == (
        "VAULT is the vault's name, or its host name in one of: " + ", ".join(DOMAINS)
    )
