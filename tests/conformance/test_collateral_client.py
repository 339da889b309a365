"""The collateral service before an unmodified client of PCCS: dcap-qvl fetches, and verifies a quote."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import dcap_qvl
import uvicorn
from starlette.types import ASGIApp
from tests.support.collateral_service import Clock, running_service, upstream_of
from tests.support.intel_pcs import FakeIntel
from tests.support.manufacturer import Manufacturer

from casemate.adapters.collateral_sqlite import open_sqlite_store
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave


@contextmanager
def plain_http(app: ASGIApp) -> Iterator[str]:
    """The URL of ``app`` without TLS: dcap-qvl cannot be told a private authority."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_config=None, lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def test_dcap_qvl_fetches_from_it_and_verifies(tmp_path: Path) -> None:
    clock = Clock()
    maker = Manufacturer.create(clock.now)
    platform = maker.platforms[0].simulated
    enclave = SimulatedEnclave(
        platform=platform, mrenclave=MrEnclave(bytes(32)), mrsigner=MrSigner(bytes(32)), isvprodid=1
    )
    quote = enclave.quote(bytes(64))
    root = maker.root
    with (
        FakeIntel.running(maker, tmp_path) as intel,
        closing(open_sqlite_store(tmp_path / "collateral.db")) as store,
        running_service(
            tmp_path, store, clock, root=root.certificate_pem(), upstream=upstream_of(intel)
        ) as service,
        plain_http(service.app) as url,
    ):
        collateral = asyncio.run(fetch(url, quote))
        again = asyncio.run(fetch(url, quote))
    now = int(clock.now.timestamp()) + 3600
    for fetched in (collateral, again):
        verified = dcap_qvl.verify_with_root_ca(quote, fetched, root.certificate, now)
        assert verified.status == "UpToDate"
    assert collateral.to_json() == again.to_json()


async def fetch(url: str, quote: bytes) -> dcap_qvl.QuoteCollateralV3:
    return await dcap_qvl.get_collateral(url, quote)
