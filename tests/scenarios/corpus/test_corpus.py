"""Ordinary applications run in rehearsal at the first try, in the default mode, and answer as natively."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.corpus import (
    CorpusApplication,
    a_free_port,
    ask,
    build,
    corpus,
    findings_that_matter,
    install,
    native,
    rehearsed,
)
from tests.support.postgresql import PostgreSql


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSql]:
    with PostgreSql.running(tcp_port=a_free_port()) as server:
        yield server


@pytest.fixture
def databases(
    request: pytest.FixtureRequest, application: CorpusApplication
) -> tuple[str | None, str | None]:
    """An empty one for each of the two runs, where the application needs any."""
    if not application.needs_postgresql:
        return None, None
    server: PostgreSql = request.getfixturevalue("postgresql")
    first, second = (server.new_database().rpartition("/")[2] for _ in range(2))
    return server.tcp_url(first), server.tcp_url(second)


@pytest.mark.sandbox
@pytest.mark.parametrize("application", corpus(), ids=lambda application: application.name)
def test_an_application_answers_in_rehearsal_as_it_does_natively(
    application: CorpusApplication, databases: tuple[str | None, str | None], tmp_path: Path
) -> None:
    ports = a_free_port(), a_free_port()
    for name, port, database in zip(("native", "enclave"), ports, databases, strict=True):
        (tmp_path / name).mkdir()
        application.copy(tmp_path / name / "app", port=port, database=database)
    with ThreadPoolExecutor() as pool:
        building = pool.submit(build, tmp_path / "enclave" / "app", tmp_path / "enclave" / "bundle")
        python = install(application, tmp_path / "venv")
        with native(tmp_path / "native" / "app", python, application):
            expected = ask(application, ports[0], python)
        document = building.result()

    with rehearsed(tmp_path / "enclave" / "bundle", ports[1]) as rehearsal:
        answers = ask(application, ports[1], python)

    assert answers == expected
    assert findings_that_matter(rehearsal, tmp_path / "native" / "app", python) == []
    assert document["questions"] == []
    # The password in the address of the database is the test's own.
    warned = {it["rule"] for it in document["findings"] if it["severity"] != "note"}
    assert warned <= {"secret-in-env"}
