"""The life of one rehearsed application, whatever stands for Gramine: start, signal, wait, end."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from casemate.rehearsal.output import Tee
from casemate.rehearsal.plan import Plan
from casemate.rehearsal.report import Report, Stop
from casemate.rehearsal.sandbox import Sandbox

#: Seconds between SIGTERM and SIGKILL, as Kubernetes has it by default.
GRACE: Final = 30.0
#: Seconds in which what is left of an ended application has to end.
END_TIMEOUT: Final = 10.0
#: Seconds between two looks at the clock while waiting.
_PACE: Final = 0.5


class Session(ABC):
    """Runs one application; a context manager that leaves nothing behind.

    Args:
        stdout: Descriptor that the application writes to; this process's own by default.
        stderr: The same for its errors.
    """

    def __init__(self, *, stdout: int = 1, stderr: int = 2) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._stack = contextlib.ExitStack()
        self._started: float | None = None
        self._stop: Stop | None = None
        self._deadline: float | None = None
        self._report: Report | None = None
        self._plan: Plan
        self._sandbox: Sandbox

    def __enter__(self) -> Self:
        """Start it, unless it has been started."""
        if self._started is None:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it at once if it still runs, and remove everything."""
        self._stack.close()

    @property
    def report(self) -> Report | None:
        """The report, once the application has ended."""
        return self._report

    @property
    def process(self) -> int:
        """Number of the application's process on this machine, once it has been started."""
        return self._sandbox.pid

    @property
    def plan(self) -> Plan:
        """What the manifest asks for, once it has been started."""
        return self._plan

    def start(self) -> None:
        """Prepare everything and execute the application; returns as soon as it runs.

        Raises:
            RehearsalError: The machine, the image or the manifest does not allow it.
            FormatError: The manifest is not one.
        """
        self._started = time.monotonic()
        with contextlib.ExitStack() as stack:
            private = Path(tempfile.mkdtemp(prefix="casemate-rehearsal-"))
            stack.callback(shutil.rmtree, private, ignore_errors=True)
            self._prepare(private)
            # Pipes, both of them: a terminal that is handed over can be read from.
            self._output, self._errors = Tee(self._stdout), Tee(self._stderr)
            stack.callback(self._output.finish, END_TIMEOUT)
            stack.callback(self._errors.finish, END_TIMEOUT)
            self._execute(private, stack)
            self._output.detach()
            self._errors.detach()
            self._stack = stack.pop_all()

    def terminate(self, reason: Stop = Stop.ASKED) -> None:
        """Tell the application to end; the second time, end it."""
        if self._stop is None and self._plan.sigterm:
            self._sandbox.terminate()
            self._deadline = time.monotonic() + GRACE
        else:
            self._sandbox.kill()
        self._stop = self._stop or reason

    def wait(self, timeout: float | None = None) -> Report:
        """Wait for the end of the application; after ``timeout`` seconds it is told to end.

        Returns:
            The report; the same one when called again.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while self._report is None:
            code = self._sandbox.wait(_PACE)
            if code is not None:
                self._report = self._finish(code)
                break
            now = time.monotonic()
            if end is not None and now >= end and self._stop is None:
                self.terminate(Stop.TIMEOUT)
            if self._deadline is not None and now >= self._deadline:
                self._sandbox.kill()
        return self._report

    def stop(self) -> Report:
        """Tell the application to end, and wait until it has."""
        if self._report is None:
            self.terminate()
        return self.wait()

    @property
    def seconds(self) -> float:
        """How long it has run, from the first step of its preparation."""
        return time.monotonic() - (self._started or 0.0)

    @abstractmethod
    def _prepare(self, private: Path) -> None:
        """Read what is to be run, given a folder of this session alone; sets the plan."""

    @abstractmethod
    def _execute(self, private: Path, stack: contextlib.ExitStack) -> None:
        """Start the sandbox, and put what has to be done at the end on ``stack``."""

    @abstractmethod
    def _finish(self, code: int) -> Report:
        """Clean up after the end with the exit code ``code``, and say what happened."""
