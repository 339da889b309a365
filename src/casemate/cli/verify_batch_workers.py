"""Lines over several processes, results in the order of the lines.

The library that checks signatures holds the interpreter's lock, so threads would not help. Processes are
forked from one that has loaded everything. Lines with the same collateral go to the process that has verified
it, unless another one would stand idle. However long the input is, :data:`MOST_AT_ONCE` lines are held at
most.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final

from casemate.cli.verify_batch_lines import Lines
from casemate.errors import ToolchainError

#: Lines that are held at once: waiting, being judged, or judged before one that comes before them.
MOST_AT_ONCE: Final = 4096
#: Lines that a process is given at once.
_PORTION: Final = 128
#: Sets of collateral of which is remembered which process has verified them.
_MOST_OWNED: Final = 4096

#: Judges one line.
Judging = Callable[[bytes], bytes]
#: What lines have in common that are better judged by one process.
Grouping = Callable[[bytes], object]


def judge_here(lines: Lines, judge: Judging) -> Generator[list[bytes], None, None]:
    """The results of all lines, one after the other in this process."""
    while not lines.ended:
        yield [judge(line) for line in lines.read()]


def judge_in_processes(
    lines: Lines, judge: Judging, group: Grouping, processes: int
) -> Generator[list[bytes], None, None]:
    """The results of all lines, in their order, as soon as they are there.

    Args:
        lines: The input.
        judge: Judges a line; each process has a copy of it, made when the first line is there.
        group: What a line has in common with others.
        processes: How many processes there may be.

    Raises:
        ToolchainError: A process has ended before its time.
    """
    crowd = _Crowd(judge, processes)
    queue = _Queue(group)
    order = _Order()
    try:
        while not (lines.ended and order.is_empty):
            sources: list[int | Connection] = [worker.pipe for worker in crowd.busy]
            if not lines.ended and order.held < MOST_AT_ONCE:
                sources.append(lines.descriptor)
            ready = wait(sources)
            if lines.descriptor in ready:
                queue.add(order.expect(lines.read()))
            for worker in crowd.answered(ready):
                order.fill(worker.take())
            while queue.waiting and (idle := crowd.idle()):
                idle.give(queue.portion(idle, processes))
            if results := order.complete():
                yield results
    finally:
        crowd.end()


_Numbered = tuple[int, bytes]


class _Order:
    """Puts results into the order of their lines."""

    def __init__(self) -> None:
        self._next = 0
        self._expected = 0
        self._results: dict[int, bytes] = {}

    @property
    def held(self) -> int:
        """How many lines have no result yet, or wait for one that comes before them."""
        return self._expected - self._next

    @property
    def is_empty(self) -> bool:
        return self.held == 0

    def expect(self, lines: Sequence[bytes]) -> list[_Numbered]:
        """Number further lines."""
        first = self._expected
        self._expected += len(lines)
        return list(enumerate(lines, start=first))

    def fill(self, results: Sequence[_Numbered]) -> None:
        self._results.update(results)

    def complete(self) -> list[bytes]:
        """The results whose turn it is."""
        found = []
        while (result := self._results.pop(self._next, None)) is not None:
            found.append(result)
            self._next += 1
        return found


class _Worker:
    """One process, as its parent sees it."""

    def __init__(self, judge: Judging, inherited: Sequence[Connection]) -> None:
        context = multiprocessing.get_context("fork")
        self.pipe, other = context.Pipe()
        self._numbers: list[int] = []
        self._process: BaseProcess = context.Process(
            target=_serve, args=(other, judge, (*inherited, self.pipe)), daemon=True
        )
        self._process.start()
        other.close()

    @property
    def is_busy(self) -> bool:
        return bool(self._numbers)

    def give(self, lines: Sequence[_Numbered]) -> None:
        """Lines to judge; only when it has none, so that neither side waits for the other to read."""
        self._numbers = [number for number, _ in lines]
        with suppress(BrokenPipeError):  # asking for the answer says why
            self.pipe.send([line for _, line in lines])

    def take(self) -> list[_Numbered]:
        """The results of those lines.

        Raises:
            ToolchainError: The process has ended before its time.
        """
        try:
            results: list[bytes] = self.pipe.recv()
        except (EOFError, ConnectionError) as error:
            self._process.join()
            raise _ended(self._process.exitcode) from error
        numbered = list(zip(self._numbers, results, strict=True))
        self._numbers = []
        return numbered

    def end(self) -> None:
        self.pipe.close()
        self._process.terminate()
        self._process.join()


def _ended(code: int | None) -> ToolchainError:
    killed = code is not None and code < 0
    return ToolchainError(
        "process of the batch",
        expected="results",
        got=f"its end by signal {-code}" if killed and code else f"its end with exit code {code}",
        hint="If the machine is short of memory, take fewer processes: --jobs."
        if killed
        else "This is a defect of Casemate; what the process has said stands above.",
    )


def _serve(pipe: Connection, judge: Judging, inherited: Sequence[Connection]) -> None:
    """What a process does: judge what it is given until nothing more comes."""
    # An interrupt from the terminal reaches all processes; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Ends of pipes that belong to the parent: while they are open here, nobody notices that it has gone.
    for connection in inherited:
        connection.close()
    with suppress(EOFError, ConnectionError):
        while True:
            pipe.send([judge(line) for line in pipe.recv()])


class _Crowd:
    """The processes, each started when it is needed."""

    def __init__(self, judge: Judging, most: int) -> None:
        self._judge = judge
        self._most = most
        self._workers: list[_Worker] = []

    @property
    def busy(self) -> list[_Worker]:
        return [worker for worker in self._workers if worker.is_busy]

    def answered(self, ready: Sequence[object]) -> list[_Worker]:
        return [worker for worker in self.busy if worker.pipe in ready]

    def idle(self) -> _Worker | None:
        """One that has nothing to do; a new one, while there may be more."""
        for worker in self._workers:
            if not worker.is_busy:
                return worker
        if len(self._workers) == self._most:
            return None
        if not self._workers:
            gc.freeze()  # what is there already is shared, as long as nobody looks through it
        self._workers.append(_Worker(self._judge, [worker.pipe for worker in self._workers]))
        return self._workers[-1]

    def end(self) -> None:
        for worker in self._workers:
            worker.end()


class _Queue:
    """Lines that wait, by what they have in common, the oldest first."""

    def __init__(self, group: Grouping) -> None:
        self._group = group
        self._waiting: OrderedDict[object, deque[_Numbered]] = OrderedDict()
        self._owners: dict[object, _Worker] = {}
        self.waiting = 0

    def add(self, lines: Sequence[_Numbered]) -> None:
        for number, line in lines:
            self._waiting.setdefault(self._group(line), deque()).append((number, line))
        self.waiting += len(lines)

    def portion(self, worker: _Worker, processes: int) -> list[_Numbered]:
        """Lines for ``worker``: of groups that are its own or nobody's yet, or else of the oldest group."""
        size = min(_PORTION, -(-self.waiting // (2 * processes)))
        own = [group for group in self._waiting if self._owners.get(group, worker) is worker]
        groups = own or [next(iter(self._waiting))]
        taken: list[_Numbered] = []
        for group in groups:
            self._own(group, worker)
            taken += self._take(group, size - len(taken))
            if len(taken) == size:
                break
        self.waiting -= len(taken)
        return taken

    def _own(self, group: object, worker: _Worker) -> None:
        if len(self._owners) >= _MOST_OWNED:
            self._owners.clear()
        self._owners.setdefault(group, worker)

    def _take(self, group: object, most: int) -> list[_Numbered]:
        lines = self._waiting[group]
        taken = [lines.popleft() for _ in range(min(most, len(lines)))]
        if not lines:
            del self._waiting[group]
        return taken
