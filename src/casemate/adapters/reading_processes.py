"""Modules read by several processes at the same time: this one, and helpers that it starts.

A helper (``reading_processes_inside.py``) is told which files to read, and answers with what that gave. When
one ends before its time, the others do its work: nothing depends on it but the time.
"""

from __future__ import annotations

import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import Final

import msgspec

from casemate.builder.closure.reader import ModuleFile, Read, read_module

#: Modules that a helper has been given and has not read: it shall not wait until this process looks.
_AHEAD: Final = 3
#: Seconds to wait for a helper before its work is done here: on a busy machine it may get no processor.
_PATIENCE: Final = 0.02
#: More would wait for this process, which follows what they find.
_MOST: Final = 3
_INSIDE: Final = "casemate.adapters.reading_processes_inside"


class ReadingProcesses:
    """Reads on all processors.

    Args:
        processors: How many there are; the first of them is this process.
    """

    def __init__(self, processors: int) -> None:
        self._most = min(processors - 1, _MOST)
        self._helpers: list[_Helper] | None = None

    def __call__(self, modules: Sequence[ModuleFile], /) -> Iterator[tuple[ModuleFile, Read | None]]:
        """Each of ``modules`` once with what reading it gives, in the order in which that is known."""
        if self._helpers is None:
            self._helpers = []
            with suppress(OSError):  # this user may have no more processes: then with fewer
                while len(self._helpers) < self._most:
                    self._helpers.append(_Helper())
        missing = dict.fromkeys(modules)
        waiting = deque(missing)
        while missing:
            for helper in self._helpers:
                helper.give(waiting)
            answered = self._answered(0 if waiting else _PATIENCE)
            read_now = [pair for helper in answered for pair in self._taken(helper)]
            if waiting or not answered:
                # A helper that is slow, or has ended, has the last of those that are missing.
                module = waiting.popleft() if waiting else next(reversed(missing))
                read_now.append((module, read_module(module)))
            for module, read in read_now:
                if module in missing:
                    del missing[module]
                    yield module, read

    def _answered(self, seconds: float) -> list[_Helper]:
        """Helpers with an answer, after at most so many seconds."""
        busy = {helper.pipe: helper for helper in self._helpers or () if helper.given}
        ready = wait(list(busy), seconds) if busy else ()
        return [helper for pipe, helper in busy.items() if pipe in ready]

    def _taken(self, helper: _Helper) -> list[tuple[ModuleFile, Read | None]]:
        """What a helper has read; nothing when it has ended, and then it is asked no more."""
        try:
            return [helper.take()]
        except (EOFError, OSError, msgspec.MsgspecError):
            helper.end()
            self._helpers = [other for other in self._helpers or () if other is not helper]
            return []

    def end(self) -> None:
        """End the helpers."""
        for helper in self._helpers or ():
            helper.end()
        self._helpers = None


class _Helper:
    """A process that reads, as its parent sees it. It ends with its parent, whose end closes the pipe."""

    def __init__(self) -> None:
        self.pipe, other = Pipe()
        self.given: deque[ModuleFile] = deque()
        with other:
            # -P: whatever lies in the current folder is not imported.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _INSIDE, str(other.fileno())],
                pass_fds=(other.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def give(self, waiting: deque[ModuleFile]) -> None:
        """Let it read some of those that wait."""
        while waiting and len(self.given) < _AHEAD:
            self.given.append(waiting.popleft())
            with suppress(OSError):  # asking for the answer says why
                self.pipe.send_bytes(msgspec.msgpack.encode(self.given[-1]))

    def take(self) -> tuple[ModuleFile, Read | None]:
        """What it has read.

        Raises:
            EOFError: It has ended.
            OSError: It cannot be asked.
            MsgspecError: It has said something else.
        """
        read = msgspec.msgpack.decode(self.pipe.recv_bytes(), type=Read | None)
        return self.given.popleft(), read

    def end(self) -> None:
        self.pipe.close()
        self._process.kill()
        self._process.wait()
