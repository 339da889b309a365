"""The collateral service on a loopback port, in this process, with a clock that the test turns."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlencode

from tests.support.intel_pcs import FakeIntel

from casemate.adapters.broker_server import Address, BrokerServer, bind, has_certificates
from casemate.adapters.intel_pcs import CacheUpstream, IntelUpstream, Limits, UpstreamAddress
from casemate.adapters.service_certificate import make_service_certificates
from casemate.collateral.access import Tokens
from casemate.collateral.api import Api
from casemate.collateral.app import AppLimits, CollateralApp, HotCopies
from casemate.collateral.asking import Asking
from casemate.collateral.documents import CacheRules, Surroundings
from casemate.collateral.metrics import Counters
from casemate.collateral.store import CollateralStore
from casemate.collateral.upkeep import Watch
from casemate.collateral.upstream import Upstream
from casemate.verifier.roots import TrustRoots

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
USER_TOKEN, ADMIN_TOKEN = "user token", "admin token"
#: Impatient, so that tests are quick.
LIMITS = Limits(connect=2, read=0.5, answer=1.0, call=2.0, attempts=1, body=1 << 20)


def sha512(token: str) -> str:
    return hashlib.sha512(token.encode()).hexdigest()


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
    """An answer; headers as they were spelled."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def chain(self, header: str) -> bytes:
        """The PEM in a header."""
        return unquote_to_bytes(self.headers[header])


@dataclass(kw_only=True)
class PccsClient:
    """A client of PCCS's API, written from its reference: it knows nothing of this service."""

    port: int
    ca: Path
    _local: threading.local = field(default_factory=threading.local)
    _connections: list[http.client.HTTPSConnection] = field(default_factory=list)

    def get(self, path: str, *, headers: Mapping[str, str] | None = None, **parameters: str) -> Reply:
        return self.send("GET", path, headers=headers, **parameters)

    def post(self, path: str, value: object, token: str | None = USER_TOKEN, **parameters: str) -> Reply:
        headers = {"Content-Type": "application/json"} | ({"user-token": token} if token else {})
        return self.send("POST", path, json.dumps(value).encode(), headers=headers, **parameters)

    def admin(self, method: str, path: str, value: object = None, **parameters: str) -> Reply:
        headers = {"Content-Type": "application/json", "admin-token": ADMIN_TOKEN}
        body = b"" if value is None else json.dumps(value).encode()
        return self.send(method, path, body, headers=headers, **parameters)

    def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        **parameters: str,
    ) -> Reply:
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        connection = self._connection()
        try:
            connection.request(method, target, body or None, dict(headers or {}))
            answer = connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            # The server ends connections that were idle.
            self._local.connection = None
            connection = self._connection()
            connection.request(method, target, body or None, dict(headers or {}))
            answer = connection.getresponse()
        return Reply(status=answer.status, headers=dict(answer.getheaders()), body=answer.read())

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def _connection(self) -> http.client.HTTPSConnection:
        connection: http.client.HTTPSConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            context = ssl.create_default_context(cafile=str(self.ca))
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=20)
            self._local.connection = connection
            self._connections.append(connection)
        return connection


@dataclass(kw_only=True)
class Service:
    """One replica."""

    store: CollateralStore
    api: Api
    app: CollateralApp
    hot: HotCopies
    watch: Watch
    counters: Counters
    client: PccsClient

    def renew_all(self) -> int:
        """Renew what is due now, as the service does beside requests; returns how many there were."""
        count = 0
        while self.api.documents.renew_due():
            count += 1
        return count


def upstream_of(intel: FakeIntel, **options: Any) -> Upstream:
    address = UpstreamAddress.parse(intel.url)
    if intel.is_cache:
        return CacheUpstream(address, ca=intel.ca, limits=LIMITS)
    return IntelUpstream(address, address, ca=intel.ca, limits=LIMITS, **options)


@contextmanager
def running_service(
    folder: Path,
    store: CollateralStore,
    clock: Clock,
    *,
    root: bytes,
    upstream: Upstream | None,
    rules: CacheRules | None = None,
    limits: AppLimits | None = None,
) -> Iterator[Service]:
    """A service with user and admin tokens; ``root`` is the PEM of the only root that it trusts."""
    tls = folder / "tls"
    if not has_certificates(tls):
        make_service_certificates(tls, ("localhost", "127.0.0.1"), datetime.now(UTC))
    counters, hot = Counters(), HotCopies()
    surroundings = Surroundings(
        store=store,
        asking=None if upstream is None else Asking(upstream, clock=clock, counters=counters),
        roots=TrustRoots.simulated(root),
        clock=clock,
        random=lambda: 0.5,
        counters=counters,
        changed=hot.clear,
    )
    tokens = Tokens.parse(user=sha512(USER_TOKEN), admin=sha512(ADMIN_TOKEN))
    api = Api(surroundings, rules or CacheRules(), tokens)
    app = CollateralApp(api, hot, clock=clock, counters=counters, limits=limits)
    listener = bind(Address(host="127.0.0.1", port=0))
    port = listener.getsockname()[1]
    ready = threading.Event()
    server = BrokerServer(app, listener, tls, ready.set)
    thread = threading.Thread(target=server.run)
    thread.start()
    client = PccsClient(port=port, ca=tls / "ca.pem")
    try:
        assert ready.wait(10)
        watch = Watch(store, hot.clear)
        yield Service(store=store, api=api, app=app, hot=hot, watch=watch, counters=counters, client=client)
    finally:
        client.close()
        server.stop()
        thread.join(10)
