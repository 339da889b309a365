"""The guides, run as they are printed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.console import run_session

from casemate.rehearsal.sandbox import available

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.slow,
    pytest.mark.skipif(bool(available()), reason=f"no rehearsal here: {available()}"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A folder like a clone; what a guide has left running there ends with the test."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "build").mkdir()
    yield tmp_path
    for file in tmp_path.glob("build/*.pid"):
        with suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_the_life_of_a_workload_by_hand(clone: Path) -> None:
    broker, service = free_port(), free_port()
    guide = (ROOT / "docs/guides/by-hand.md").read_text()
    # Both ports are defaults, and other tests may use them.
    guide = guide.replace("localhost:8080", f"localhost:{broker}").replace(
        "localhost:8443", f"localhost:{service}"
    )
    guide = guide.replace("serve broker --tls", f"serve broker --listen 127.0.0.1:{broker} --tls")
    guide = guide.replace("casemate init build/notes", f"casemate init build/notes --port {service}")
    assert run_session(guide, clone) >= 10
