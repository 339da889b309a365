"""SHA-256 of many files, on all processors.

Files are handed out in batches to as many threads as there are processors. Hashing a large file leaves the
interpreter's lock to the other threads, reading thousands of small ones does not; so when there are many
files, every thread but one has a process of its own, which runs :mod:`casemate.builder.trusted.file_digest`.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from casemate.builder.trusted.file_digest import FileChangedError, Stamp, answer
from casemate.errors import ToolchainError

#: From this many files on, starting processes takes less than they save.
MANY: Final = 2000
#: Files of one batch for a process: few enough to share them out evenly, many enough that asking is cheap.
BATCH: Final = 128
#: More than this wait for the disk, not for a processor.
MAX_WORKERS: Final = 16

_WORKER: Final = Path(__file__).with_name("file_digest.py")
_DIGEST_SIZE: Final = 64


class Digested(str):
    """A digest and what the file was, as one line: parts are made when somebody asks for them."""

    __slots__ = ()

    @property
    def sha256(self) -> str:
        """Hexadecimal."""
        return self[:_DIGEST_SIZE]

    @property
    def stamp(self) -> Stamp:
        """What the file was when it was read."""
        device, inode, size, mtime, ctime = map(int, self[_DIGEST_SIZE:].split())
        return device, inode, size, mtime, ctime


#: What became of a file.
Outcome = Digested | OSError
_Hash = Callable[[Sequence[str]], list[Outcome]]


def digest_files(paths: Sequence[str], *, workers: int | None = None) -> list[Outcome]:
    """Digest and stamp of each of ``paths`` in their order, or why there is none.

    Args:
        paths: Files; links are followed.
        workers: How many are read at the same time; as many as there are processors when left out.

    Raises:
        ToolchainError: A process that hashes could not be started, or has died.
    """
    count = min(workers or len(os.sched_getaffinity(0)), MAX_WORKERS, max(1, len(paths)))
    many = len(paths) >= MANY
    run = _Run(paths=paths, size=BATCH if many else 1)
    with ExitStack() as stack:
        others: list[_Hash] = [
            stack.enter_context(_Process()).digest if many else _digest_here for _ in range(count - 1)
        ]
        threads = [threading.Thread(target=run.work, args=(each,)) for each in others]
        for thread in threads:
            thread.start()
        run.work(_digest_here)
        for thread in threads:
            thread.join()
    if run.failures:
        raise run.failures[0]
    return [outcome for start in sorted(run.done) for outcome in run.done[start]]


@dataclass(slots=True)
class _Run:
    """The files that are yet to be hashed, and what became of the others."""

    paths: Sequence[str]
    size: int
    done: dict[int, list[Outcome]] = field(default_factory=dict)
    failures: list[ToolchainError] = field(default_factory=list)
    _starts: Iterator[int] = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._starts = iter(range(0, len(self.paths), self.size))

    def work(self, digest: _Hash) -> None:
        """Take batches until none is left."""
        while (start := self._next()) is not None:
            try:
                self.done[start] = digest(self.paths[start : start + self.size])
            except ToolchainError as error:
                self.failures.append(error)

    def _next(self) -> int | None:
        with self._lock:
            return None if self.failures else next(self._starts, None)


def _digest_here(paths: Sequence[str]) -> list[Outcome]:
    return [_outcome(answer(path), path) for path in paths]


class _Process:
    """A process that hashes what it is asked to; it ends when its standard input does."""

    def __init__(self) -> None:
        # Without site packages and the environment: it needs neither, and starts in a third of the time.
        command = (sys.executable, "-I", "-S", str(_WORKER))
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise _died(error.strerror) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def digest(self, paths: Sequence[str]) -> list[Outcome]:
        """The outcomes of ``paths``.

        Raises:
            ToolchainError: The process has died.
        """
        question = b"\0".join(map(os.fsencode, paths))
        asked, told = self._process.stdin, self._process.stdout
        if asked is None or told is None:
            raise _died("no pipe to it")
        try:
            asked.write(b"%d\n%b" % (len(question), question))
            asked.flush()
        except OSError as error:
            raise _died(error.strerror) from error
        header = told.readline()
        answers = told.read(int(header)).decode("ascii").split("\n") if header.strip().isdigit() else []
        if len(answers) != len(paths):
            raise _died("another")
        return [_outcome(answer, path) for answer, path in zip(answers, paths, strict=True)]


def _outcome(line: str, path: str) -> Outcome:
    if not line.startswith("!"):
        return Digested(line)
    if line == "!changed":
        return FileChangedError(errno.EAGAIN, "it changed while it was read", path)
    return OSError(int(line[1:]), os.strerror(int(line[1:])), path)


def _died(why: str | None) -> ToolchainError:
    return ToolchainError("process that hashes files", expected="an answer", got=why, where=sys.executable)
