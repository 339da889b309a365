"""The guide, run as it is printed, with a fake in the place of Intel's service."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.console import run_session
from tests.support.intel_pcs import FakeIntel
from tests.support.manufacturer import Manufacturer

GUIDE = Path(__file__).parents[3] / "docs/guides/collateral.md"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_guide_is_a_session(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    maker = Manufacturer.create(datetime.now(UTC))
    root = tmp_path / "root.pem"
    root.write_bytes(maker.root.certificate_pem())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with FakeIntel.running(maker, tmp_path) as intel:
        simulated = f"--simulated-root {root}"
        fake = f"--pcs {intel.url} --pcs-certificates {intel.url} --upstream-ca {intel.ca} {simulated}"
        guide = GUIDE.read_text().replace("localhost:8081", f"localhost:{port}")
        guide = guide.replace("collateral --tls", f"collateral {fake} --listen 127.0.0.1:{port} --tls")
        guide = guide.replace("build/closed.db", f"build/closed.db {simulated}")
        try:
            assert run_session(guide, tmp_path) == 14
        finally:
            with suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int((tmp_path / "build/collateral.pid").read_text()), signal.SIGKILL)
