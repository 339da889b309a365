"""A simulated platform, the real verifier and the real broker in one process: only the network is absent."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwe
from joserfc.jwk import ECKey
from starlette.types import ASGIApp, Message

from casemate.adapters.sqlite_store import SqliteStore
from casemate.broker.app import make_app
from casemate.broker.policy import ReferenceAppraiser, WorkloadPolicy
from casemate.broker.release import Broker
from casemate.broker.resource import ResourceName, Secret
from casemate.broker.session import SessionLimits
from casemate.broker.store import KeyEncryptionKey, ResourceStore
from casemate.broker.token import TokenIssuer
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.platform import SimulatedPlatform
from casemate.verifier.reference_values import ReferenceValues
from casemate.verifier.roots import TrustRoots
from casemate_attester.binding import report_data
from casemate_attester.messages import Attestation, Nonce, Request, TeePublicKey

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECRET = b"correct horse battery staple"
MRENCLAVE = MrEnclave(b"\x22" * 32)
MRSIGNER = MrSigner(b"\x33" * 32)


@dataclass(kw_only=True)
class Clock:
    """A clock that the test turns."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **duration: float) -> None:
        self.now += timedelta(**duration)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer of the broker."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def problem(self) -> tuple[int, str, str]:
        """Status, last word of the type, and detail of an error body."""
        assert sorted(self.json) == ["detail", "type"]
        prefix, _, kind = self.json["type"].rpartition("/")
        assert prefix == "https://github.com/confidential-containers/kbs/errors"
        return self.status, kind, self.json["detail"]

    def header(self, name: str) -> str | None:
        return dict(self.headers).get(name)


@dataclass(kw_only=True)
class Client:
    """An HTTP client with a cookie jar, without the network."""

    app: ASGIApp
    cookies: dict[str, str] = field(default_factory=dict)
    token: str | None = None

    def request(
        self, method: str, path: str, body: bytes = b"", *, query: bytes = b"", chunks: int = 1
    ) -> Reply:
        headers = [(b"host", b"localhost")]
        if self.cookies:
            cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            headers.append((b"cookie", cookie.encode()))
        if self.token is not None:
            headers.append((b"authorization", f"Bearer {self.token}".encode()))
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query,
            "headers": headers,
            "client": ("192.0.2.1", 50000),
            "server": ("127.0.0.1", 8080),
        }
        reply = asyncio.run(self._exchange(scope, body, chunks))
        jar = SimpleCookie(reply.header("set-cookie") or "")
        self.cookies |= {name: morsel.value for name, morsel in jar.items()}
        return reply

    async def _exchange(self, scope: dict[str, Any], body: bytes, chunks: int) -> Reply:
        size = max(1, -(-len(body) // chunks))
        parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
        incoming = [{"type": "http.request", "body": part, "more_body": True} for part in parts[:-1]]
        incoming.append({"type": "http.request", "body": parts[-1], "more_body": False})
        sent: list[Message] = []

        async def receive() -> Message:
            return incoming.pop(0)

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        head, *rest = sent
        headers = tuple((name.decode(), value.decode()) for name, value in head["headers"])
        return Reply(
            status=head["status"], headers=headers, body=b"".join(part.get("body", b"") for part in rest)
        )

    def auth(self) -> Nonce:
        """Open a session."""
        reply = self.request("POST", "/kbs/v0/auth", Request().to_bytes())
        assert reply.status == 200, reply.body
        return Nonce(reply.json["nonce"])

    def attest(self, body: bytes) -> Reply:
        return self.request("POST", "/kbs/v0/attest", body)

    def resource(self, name: str) -> Reply:
        return self.request("GET", f"/kbs/v0/resource/{name}")


@dataclass(frozen=True, kw_only=True)
class Workload:
    """An enclave with its key."""

    enclave: SimulatedEnclave
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def public_key(self) -> TeePublicKey:
        return TeePublicKey.from_key(self.key.public_key())

    def evidence(self, nonce: Nonce) -> bytes:
        """The body of /attest."""
        quote = self.enclave.quote(report_data(self.public_key, nonce))
        return Attestation(nonce=nonce, tee_public_key=self.public_key, quote=quote).to_bytes()

    def attest(self, client: Client) -> Reply:
        """Open a session and attest in it."""
        return client.attest(self.evidence(client.auth()))

    def open(self, reply: Reply) -> bytes:
        """Decrypt a resource, with an implementation that is not ours."""
        key = ECKey.import_key(self.key)
        algorithms = ["ECDH-ES+A256KW", "A256GCM"]
        plaintext = jwe.decrypt_json(reply.json, key, algorithms=algorithms).plaintext
        assert plaintext is not None
        return plaintext


def statement(enclave: SimulatedEnclave, name: str = "notes", *, simulated: bool = True) -> ReferenceValues:
    """The reference values of a build of which ``enclave`` is an instance."""
    sgx = {
        "mrenclave": enclave.mrenclave.hex(),
        "mrsigner": enclave.mrsigner.hex(),
        "isvprodid": enclave.isvprodid,
        "isvsvn": enclave.isvsvn,
        "attributes": enclave.attributes.to_bytes().hex(),
        "attributes_mask": "ffffffffffffffff1bfffffffffffff0",
        "misc_select": enclave.misc_select.hex(),
    }
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": "11" * 32}}],
        "predicateType": "urn:casemate:reference-values:v1",
        "predicate": {"simulated": simulated, "sgx": sgx, "gramine": {}, "sources": {}},
    }
    return ReferenceValues.parse(json.dumps(document).encode(), "reference-values.json")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Everything of one test."""

    platform: SimulatedPlatform
    workload: Workload
    clock: Clock
    table: SqliteStore
    store: ResourceStore

    def serve(
        self,
        *values: ReferenceValues,
        platform: SimulatedPlatform | None = None,
        limits: SessionLimits | None = None,
    ) -> Client:
        """A broker for ``values`` (by default, those of the workload), and a client of it."""
        values = values or (statement(self.workload.enclave),)
        trusted = platform or self.platform
        broker = Broker(
            appraiser=ReferenceAppraiser(
                reference_values=values,
                endorsements=trusted.collateral,
                simulated_roots=TrustRoots.simulated(trusted.root_certificate),
            ),
            policy=WorkloadPolicy(reference_values=values),
            store=self.store,
            audit=self.table,
            tokens=TokenIssuer.ephemeral(),
            limits=limits or SessionLimits(),
            random=os.urandom,
        )
        return Client(app=make_app(broker, clock=self.clock))

    def other(self, **changes: Any) -> Workload:
        """A workload whose enclave differs."""
        return Workload(enclave=replace(self.workload.enclave, **changes))

    @property
    def audit(self) -> list[dict[str, Any]]:
        """What the audit log says, without what differs each time."""
        records = [json.loads(line) for line in self.table.audit_lines()]
        for record in records:
            for name in ("version", "number", "previous", "session", "time"):
                del record[name]
        return records


@pytest.fixture(scope="session")
def simulated_platform() -> SimulatedPlatform:
    return SimulatedPlatform.create(START - timedelta(days=1))


@pytest.fixture
def bench(simulated_platform: SimulatedPlatform, tmp_path: Path) -> Iterator[Bench]:
    key = KeyEncryptionKey(bytes(range(32)))
    table = SqliteStore.open(tmp_path / "broker.db", key)
    store = ResourceStore(table, key, os.urandom)
    store.put(ResourceName.parse("default/notes/db-key"), Secret(SECRET))
    store.put(ResourceName.parse("default/other/db-key"), Secret(b"not for notes"))
    enclave = SimulatedEnclave(
        platform=simulated_platform, mrenclave=MRENCLAVE, mrsigner=MRSIGNER, isvprodid=1, isvsvn=2
    )
    yield Bench(
        platform=simulated_platform,
        workload=Workload(enclave=enclave),
        clock=Clock(),
        table=table,
        store=store,
    )
    table.close()


@pytest.fixture
def reference_values() -> Callable[..., ReferenceValues]:
    return statement


@pytest.fixture
def secret() -> bytes:
    return SECRET
