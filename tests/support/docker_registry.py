"""A real registry for tests, Debian's docker-registry, in a folder of its own, on this machine alone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

USER = "builder"
PASSWORD = "pass:word/ 1"
_LONGEST_START = 20.0
_CONFIG = """\
version: 0.1
log:
  level: warn
storage:
  filesystem:
    rootdirectory: {data}
  delete:
    enabled: true
http:
  addr: 127.0.0.1:{port}
{tls}
{auth}
"""


@dataclass(frozen=True)
class DockerRegistry:
    """One registry.

    Attributes:
        host: ``HOST:PORT``.
        folder: Holds its data and its log.
    """

    host: str
    folder: Path

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()


@contextmanager
def docker_registry(
    folder: Path, *, password: bool = False, tls: tuple[Path, Path] | None = None
) -> Iterator[DockerRegistry]:
    """A registry, empty; skips the test where none is installed.

    Args:
        folder: Where it keeps everything.
        password: Whether it lets in only :data:`USER` with :data:`PASSWORD`.
        tls: Its certificate and key.
    """
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("needs a registry: apt-get install docker-registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    auth = _htpasswd(folder) if password else ""
    secured = f"  tls:\n    certificate: {tls[0]}\n    key: {tls[1]}" if tls else ""
    config = folder / "config.yml"
    config.write_text(_CONFIG.format(data=folder / "data", port=port, auth=auth, tls=secured))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", config],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        _wait(process, port, folder)
        yield DockerRegistry(f"localhost:{port}", folder)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)


def _htpasswd(folder: Path) -> str:
    program = shutil.which("htpasswd")
    if program is None:
        pytest.skip("needs htpasswd: apt-get install apache2-utils")
    line = subprocess.run(
        [program, "-nbB", USER, PASSWORD], capture_output=True, text=True, check=True
    ).stdout
    (folder / "htpasswd").write_text(line.strip() + "\n")
    return f"auth:\n  htpasswd:\n    realm: registry\n    path: {folder / 'htpasswd'}\n"


def _wait(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    end = time.monotonic() + _LONGEST_START
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=1):
                return
        except urllib.error.HTTPError:
            return  # It answers: with a password wanted, or with TLS wanted.
        except OSError:
            running = process.poll() is None and time.monotonic() < end
            assert running, (folder / "log").read_text()
            time.sleep(0.05)
