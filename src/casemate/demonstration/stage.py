"""Where a demonstration plays: its folder, its ports, and the commands that run on it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from casemate.errors import ToolchainError

#: Seconds that a command may take; the longest installs the application's requirements.
COMMAND_TIMEOUT = 600
#: Seconds that a service may take to end after it was asked to.
STOP_TIMEOUT = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The places of one demonstration.

    Attributes:
        folder: Everything is below it; made anew for each demonstration.
        sample: The application's own folder, which is copied and never changed.
        say: Told each command line before it runs.
    """

    folder: Path
    sample: Path
    say: Callable[[str], None]

    @property
    def application(self) -> Path:
        """The copy of the application that is taken through the demonstration."""
        return self.folder / "app"

    @property
    def bundle(self) -> Path:
        """What ``casemate build`` makes of it."""
        return self.folder / "bundle"

    @property
    def platform(self) -> Path:
        """The simulated platform."""
        return self.folder / "platform"

    @property
    def broker(self) -> Path:
        """The key broker's files."""
        return self.folder / "broker"

    @property
    def signing_key(self) -> Path:
        """The development key."""
        return self.folder / "signing-key.pem"

    def clear(self) -> None:
        """Begin with an empty folder that holds a copy of the sample.

        Raises:
            ToolchainError: The folder holds something that no demonstration has made.
        """
        mark = self.folder / ".casemate-demo"
        if self.folder.exists() and any(self.folder.iterdir()) and not mark.exists():
            raise ToolchainError(
                "folder of the demonstration",
                expected="an empty folder, or that of an earlier demonstration",
                got="other files",
                where=str(self.folder),
                hint="Name another folder with --output.",
            )
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        mark.touch()
        left_behind = shutil.ignore_patterns(".venv", "__pycache__", "tests", "*.db", ".pytest_cache")
        shutil.copytree(self.sample, self.application, ignore=left_behind)

    def casemate(self, *arguments: str | Path, refused: bool = False) -> Mapping[str, Any]:
        """Run one command with ``--json`` and give its document.

        Args:
            arguments: The command line after ``casemate``.
            refused: Whether the command has to refuse; then an empty document is given when it printed none.

        Raises:
            ToolchainError: The command failed, or did not fail where it had to; the reason is its message.
        """
        command = _command_line(arguments)
        self.say(_as_typed(arguments))
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_TIMEOUT)
        if (done.returncode != 0) != refused:
            raise ToolchainError(
                f"casemate {arguments[0]}",
                expected="a refusal" if refused else "success",
                got=done.stderr.strip() or f"exit code {done.returncode}",
                where=_as_typed(arguments),
            )
        return _document(done.stdout)

    @contextmanager
    def service(self, log: str, *arguments: str | Path) -> Iterator[Service]:
        """Run a command in the background while the block runs; end it with SIGTERM afterwards."""
        self.say(_as_typed(arguments))
        with (self.folder / log).open("w") as errors:
            process = subprocess.Popen(
                _command_line(arguments),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        service = Service(process=process, log=self.folder / log)
        try:
            yield service
        finally:
            service.stop()


class Service:
    """A command that runs in the background."""

    def __init__(self, *, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, stdout: IO[str] | None) -> None:
        for line in stdout or ():
            self._lines.append(line)

    def wait_for_port(self, port: int, timeout: float = 60) -> None:
        """Return when something listens on ``port`` of this machine.

        Raises:
            ToolchainError: The service ended, or nothing listens after ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._reader.join(STOP_TIMEOUT)
                raise ToolchainError(
                    "service", expected=f"to listen on port {port}", got=f"it ended: {self.log_text()}"
                )
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return
            time.sleep(0.05)
        raise ToolchainError(
            "service", expected=f"to listen on port {port} within {timeout:.0f} s", got=self.log_text()
        )

    def stop(self) -> Mapping[str, Any]:
        """Ask the service to end, wait for it, and give the last document that it printed."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_TIMEOUT)
        self._reader.join(STOP_TIMEOUT)
        return _document("".join(self._lines))

    def log_text(self) -> str:
        """What the service wrote to standard error."""
        return self._log.read_text(errors="replace").strip()


def free_port(preferred: int) -> int:
    """``preferred`` when nothing listens there, else a port that the kernel picks.

    The port is part of the measurement, so the same one is taken wherever possible.
    """
    for port in (preferred, 0):
        with suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise ToolchainError("TCP port", expected="a free one on 127.0.0.1", got="none")


def _command_line(arguments: Sequence[str | Path]) -> list[str]:
    return [sys.executable, "-m", "casemate", *map(str, arguments), "--json"]


def _as_typed(arguments: Sequence[str | Path]) -> str:
    """The command line as a person in this folder would type it."""
    here = f"{Path.cwd()}/"
    return shlex.join(["casemate", *(str(argument).replace(here, "") for argument in arguments)])


def _document(output: str) -> Mapping[str, Any]:
    """The last JSON document of ``output``; an empty one when there is none."""
    for text in (output, *reversed(output.splitlines())):
        with suppress(json.JSONDecodeError):
            document = json.loads(text)
            if isinstance(document, dict):
                return document
    return {}
