"""The real service over TLS, a fake of Intel's service, and a store on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.collateral_service import Clock, Service, running_service, upstream_of
from tests.support.intel_pcs import FakeIntel
from tests.support.manufacturer import KnownPlatform, Manufacturer
from tests.support.postgresql import PostgreSql

from casemate.adapters.collateral_sqlite import open_sqlite_store
from casemate.collateral.documents import CacheRules, Mode


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def intel(tmp_path: Path, clock: Clock) -> Iterator[FakeIntel]:
    with FakeIntel.running(Manufacturer.create(clock.now), tmp_path) as fake:
        yield fake


@pytest.fixture
def platform(intel: FakeIntel) -> KnownPlatform:
    return intel.maker.platforms[0]


Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path, intel: FakeIntel, clock: Clock) -> Iterator[Start]:
    """Starts replicas; all on one store, unless another file is named."""
    with ExitStack() as stack:

        def start_one(mode: Mode = Mode.LAZY, *, store: str = "collateral.db", **options: Any) -> Service:
            kept = stack.enter_context(closing(open_sqlite_store(tmp_path / store)))
            rules = options.pop("rules", CacheRules(mode=mode))
            upstream = options.pop("upstream", None if mode is Mode.OFFLINE else upstream_of(intel))
            root = intel.maker.root.certificate_pem()
            return stack.enter_context(
                running_service(tmp_path, kept, clock, root=root, upstream=upstream, rules=rules, **options)
            )

        yield start_one


@pytest.fixture
def service(start: Start) -> Service:
    """One in lazy mode."""
    return start()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    with PostgreSql.running() as server:
        yield server
