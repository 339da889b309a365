"""What several tests of adapters share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.postgresql import PostgreSql


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSql]:
    with PostgreSql.running() as server:
        yield server
