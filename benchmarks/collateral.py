"""What does a TCB info from the collateral service's memory cost, against no answer at all?

    .venv/bin/python benchmarks/collateral.py [--requests N] [--rounds N]

One server process, as `casemate serve collateral` runs it: the same uvicorn, the same TLS, the same
application, before which stands an empty handler for one path more. Another process asks over eight
connections, in turn for nothing and for the TCB info of one family, of the size of Intel's (14 kB). What
counts is the processor time of the server process (user and system) per request, least of all
rounds of each.

Goal: `tcb_over_empty` at most 1.5.

The last line on standard output is JSON; what a person reads goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from casemate.adapters.broker_server import Address, BrokerServer, bind
from casemate.adapters.collateral_sqlite import open_sqlite_store
from casemate.adapters.service_certificate import make_service_certificates
from casemate.collateral.access import Tokens
from casemate.collateral.admission import admit
from casemate.collateral.api import Api
from casemate.collateral.app import CollateralApp, HotCopies
from casemate.collateral.documents import CacheRules, Mode, Surroundings
from casemate.collateral.metrics import Counters
from casemate.collateral.names import TcbInfoName, Tee, Update
from casemate.collateral.upkeep import Upkeep, Watch
from casemate.collateral.upstream import Answer
from casemate.formats.pem import encode_certificates
from casemate.formats.sgx.quote import Tee as QuoteTee
from casemate.simulator.documents import encode_tcb_info
from casemate.simulator.endorsements import Standing
from casemate.simulator.platform import SimulatedPlatform
from casemate.verifier.roots import TrustRoots
from casemate.verifier.vouching import Trust

GOAL = 1.5
CONNECTIONS = 8
LEVELS = 55
EMPTY = "/empty"
FMSPC = "00606a000000"
TCB = f"/sgx/certification/v4/tcb?fmspc={FMSPC}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=4000, help="of each kind in a round (default: 4000)")
    parser.add_argument("--rounds", type=int, default=5, help="the cheapest of each counts (default: 5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_service_certificates(folder / "tls", ("localhost", "127.0.0.1"), datetime.now(UTC))
        here, there = multiprocessing.get_context("spawn").Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(folder, there))
        server.start()
        try:
            port, size = here.recv()
            costs = measure(folder, port, here, options.requests, options.rounds)
        finally:
            server.terminate()
            server.join()
    ratio = costs["tcb"] / costs["empty"]
    summary = ", ".join(f"{kind} {microseconds:.1f}" for kind, microseconds in costs.items())
    print(
        f"{ratio:.2f} times an empty answer (goal {GOAL}); us of processor time a request: {summary}; "
        f"a TCB info of {size} bytes",
        file=sys.stderr,
    )
    reached = ratio <= GOAL
    result = {"tcb_over_empty": round(ratio, 3), "microseconds": costs, "bytes": size, "reached": reached}
    print(json.dumps(result))
    return 0 if reached else 1


def measure(folder: Path, port: int, server: Connection, requests: int, rounds: int) -> dict[str, float]:
    """Microseconds of the server's processor time per request, by kind."""
    connections = [connect(folder, port) for _ in range(CONNECTIONS)]
    costs = {"empty": float("inf"), "tcb": float("inf")}
    for path in (EMPTY, TCB):
        ask(connections, path, 200)
    for _ in range(rounds):
        for kind, path in (("empty", EMPTY), ("tcb", TCB)):
            before = processor_time(server)
            ask(connections, path, requests)
            costs[kind] = min(costs[kind], (processor_time(server) - before) / requests * 1e6)
    for connection in connections:
        connection.close()
    return costs


def processor_time(server: Connection) -> float:
    server.send("time")
    seconds: float = server.recv()
    return seconds


def connect(folder: Path, port: int) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(folder / "tls" / "ca.pem"))
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="localhost")


def ask(connections: list[ssl.SSLSocket], path: str, requests: int) -> None:
    """So many requests, as many at once as there are connections; every answer is read to its end."""
    request = (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: benchmark\r\nAccept: */*\r\n\r\n".encode()
    )
    for _ in range(requests // len(connections)):
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            read(connection)


def read(connection: ssl.SSLSocket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(1 << 16)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head[:200]
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(1 << 16)


def serve(folder: Path, other: Connection) -> None:
    """The server process."""
    counters, hot = Counters(), HotCopies()
    platform = SimulatedPlatform.create(datetime.now(UTC))
    root = platform.root_certificate
    with closing(open_sqlite_store(folder / "collateral.db")) as store:
        around = Surroundings(
            store=store,
            asking=None,
            roots=TrustRoots.simulated(root),
            clock=lambda: datetime.now(UTC),
            random=lambda: 0.5,
            counters=counters,
            changed=hot.clear,
        )
        api = Api(around, CacheRules(mode=Mode.OFFLINE), Tokens())
        size = fill(api, platform, around.roots)
        app = CollateralApp(api, hot, clock=around.clock, counters=counters)
        listener = bind(Address(host="127.0.0.1", port=0))
        port = listener.getsockname()[1]

        def answer_times() -> None:
            other.send((port, size))
            while other.recv():
                used = resource.getrusage(resource.RUSAGE_SELF)
                other.send(used.ru_utime + used.ru_stime)

        ready = threading.Thread(target=answer_times, daemon=True).start
        with Upkeep(Watch(store, hot.clear), None):
            BrokerServer(with_empty_handler(app), listener, folder / "tls", ready).run_until_signal()


def with_empty_handler(app: CollateralApp) -> Callable[..., Awaitable[None]]:
    async def either(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["path"] != EMPTY:
            await app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    return either


def fill(api: Api, platform: SimulatedPlatform, roots: TrustRoots) -> int:
    """Keep one TCB info; gives its size."""
    now = datetime.now(UTC).replace(microsecond=0)
    info = platform.statements(now, tee=QuoteTee.SGX, standing=Standing()).tcb_info
    (level,) = info.levels
    first, second, *others = level.sgx_components
    lower = [(first - n // 8, second - n % 8, *others) for n in range(LEVELS)]
    levels = [replace(level, sgx_components=components) for components in lower]
    document = encode_tcb_info(replace(info, levels=tuple(levels)))
    signer = platform.authorities.tcb_signer
    body = b'{"tcbInfo":%s,"signature":"%s"}' % (document, signer.sign(document).hex().encode())
    chain = encode_certificates((signer.certificate, platform.authorities.root.certificate))
    name = TcbInfoName(tee=Tee.SGX, fmspc=FMSPC, edition=Update.STANDARD)
    entry = admit(name, Answer(body=body, issuer_chain=chain), Trust(roots=roots, at=now))
    assert api.documents.keep(entry)
    return len(body)


if __name__ == "__main__":
    sys.exit(main())
