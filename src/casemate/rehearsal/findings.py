"""What the application asked for and did not get, and which line of it asked.

The application waits in the kernel for the very answer that is about to be refused, so its Python stack is
what asked. It is read from outside by ``py-spy``, of which the interpreter in the bundle knows nothing. Where
that cannot be done the name of the process stands in for the stack.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

#: Stacks read in one rehearsal; each costs about a fifth of a second.
MAX_STACKS: Final = 40
#: Findings kept in one rehearsal.
MAX_FINDINGS: Final = 1000
#: Seconds that reading one stack may take before it is done without.
STACK_TIMEOUT: Final = 5.0
#: Frames kept of a stack, the innermost first.
MAX_FRAMES: Final = 60
#: Begin of the names of the import system's own frames.
_IMPORT_SYSTEM: Final = "<frozen importlib"


class Kind(Enum):
    """How a request failed. The value is the word in reports."""

    MISSING = "missing"  # measured, or in the environment that was built from, but not in the image: ENOENT
    UNTRUSTED = "untrusted"  # in the image, not in the manifest: EACCES
    CHANGED = "changed"  # in the manifest with another digest: EPERM
    READ_ONLY = "read-only"  # to be written or made where only trusted files are: EACCES
    SYSTEM_CALL = "system-call"  # what the LibOS does not have, or not so


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One level of a Python stack.

    Attributes:
        file: Source file as the application knows it.
        line: Line in it, 0 when unknown.
        function: Name of the function.
    """

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        """``FILE:LINE FUNCTION``."""
        return f"{self.file}:{self.line} {self.function}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that the application asked for and did not get.

    Attributes:
        path: The path as the application sees it; the name of a system call.
        kind: How it failed.
        pid: Process that asked, as the application numbers it; 0 when unknown.
        process: Name of that process, empty when unknown.
        stack: Python frames, the innermost first; empty where they cannot be read.
        asked_by: The innermost frame of the application's own code, else the innermost that is not the
            interpreter's; ``None`` without a stack.
        reason: Why the file is trusted, when it is.
        answer: Name of the error that a system call got.
    """

    path: str
    kind: Kind
    pid: int
    process: str
    stack: tuple[Frame, ...] = ()
    asked_by: Frame | None = None
    reason: str | None = None
    answer: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The finding in the document that ``--json`` prints."""
        return {
            "path": self.path,
            "kind": self.kind.value,
            "pid": self.pid,
            "process": self.process,
            "asked_by": None if self.asked_by is None else str(self.asked_by),
            "stack": [str(frame) for frame in self.stack],
            "reason": self.reason,
            "answer": self.answer,
        }

    @property
    def asker(self) -> str:
        """What asked, in one line."""
        if self.asked_by is not None:
            return str(self.asked_by)
        return f"process {self.pid} ({self.process})" if self.process else "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who waits for an answer, as ``/proc`` of this machine describes it.

    Attributes:
        process: Number of the process on this machine.
        thread: Number of the waiting thread on this machine.
        inner_process: The process's number inside.
        inner_thread: The thread's number inside.
        name: Name of the process.
        parent: Number of its parent on this machine.
        started: When it started, in clock ticks; tells apart processes that had the same number.
    """

    process: int
    thread: int
    inner_process: int
    inner_thread: int
    name: str
    parent: int
    started: int

    @classmethod
    def find(cls, thread: int) -> Asker | None:
        """The asker behind a thread number of this machine; ``None`` when it is gone."""
        try:
            fields = _status(thread)
            process = int(fields["Tgid"])
            inner_process = int(_status(process)["NSpid"].split()[-1])
            stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        except (OSError, KeyError, ValueError):
            return None
        return cls(
            process=process,
            thread=thread,
            inner_process=inner_process,
            inner_thread=int(fields["NSpid"].split()[-1]),
            name=fields["Name"],
            parent=int(fields["PPid"]),
            started=int(stat.rpartition(")")[2].split()[19]),
        )


def _status(number: int) -> dict[str, str]:
    text = Path(f"/proc/{number}/status").read_text(encoding="utf-8", errors="replace")
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs}


class Recorder:
    """Collects findings; may be asked from several threads.

    Args:
        interpreter_home: Folder of the standard library inside; its frames are not the application's.
        application: Folder of the application's own code inside.
        reasons: Path inside to the reason for which it is trusted.
        reader: The ``py-spy`` program; ``None`` does without stacks.
        timeout: Seconds that reading one stack may take.
    """

    def __init__(
        self,
        *,
        interpreter_home: str,
        application: str,
        reasons: Mapping[str, str],
        reader: str | None,
        timeout: float = STACK_TIMEOUT,
    ) -> None:
        self._interpreter_home = interpreter_home
        self._application = application
        self._reasons = reasons
        self._findings: dict[tuple[str, Kind], Finding] = {}
        self._meaningless: set[tuple[str, Kind]] = set()
        self._stacks = 0
        self._lock = threading.Lock()
        self._overdue: list[subprocess.Popen[bytes]] = []
        self._reader = reader
        self._timeout = timeout

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found, in the order in which it was first asked for."""
        with self._lock:
            return tuple(self._findings.values())

    def is_new(self, path: str, kind: Kind) -> bool:
        """Whether this is the first time, and there is room; the caller then owes a :meth:`record`."""
        with self._lock:
            known = (path, kind) in self._findings or (path, kind) in self._meaningless
            # What could not be made is not there: SQLite asks for it again, to read.
            known = known or (kind is Kind.MISSING and (path, Kind.READ_ONLY) in self._findings)
            if known or len(self._findings) >= MAX_FINDINGS:
                return False
            if kind is Kind.READ_ONLY:  # what is to be made is looked for first
                self._findings.pop((path, Kind.MISSING), None)
            self._findings[path, kind] = Finding(path=path, kind=kind, pid=0, process="")
            return True

    def record(self, path: str, kind: Kind, asker: Asker | None, *, answer: str | None = None) -> None:
        """Find out what asked, and keep it. Takes as long as reading a stack; never raises.

        The import system asks for each file that a module could be, one after the other, so what it misses
        means nothing: a module that is missing shows as an ImportError.
        """
        stack = () if asker is None else self._read_stack(asker)
        if kind is Kind.MISSING and stack and stack[0].file.startswith(_IMPORT_SYSTEM):
            with self._lock:
                self._meaningless.add((path, kind))
                del self._findings[path, kind]
            return
        finding = Finding(
            path=path,
            kind=kind,
            pid=0 if asker is None else asker.inner_process,
            process="" if asker is None else asker.name,
            stack=stack,
            asked_by=self._innermost(stack),
            reason=self._reasons.get(path),
            answer=answer,
        )
        with self._lock:
            self._findings[path, kind] = finding

    def reap(self) -> None:
        """Wait for readers that took too long; to be called when nothing that they may wait for is open."""
        with self._lock:
            overdue, self._overdue = self._overdue, []
        for helper in overdue:
            helper.communicate()

    def note(self, path: str, kind: Kind, asked_by: Frame | None) -> None:
        """Keep a finding for which nobody waits any more."""
        if self.is_new(path, kind):
            stack = () if asked_by is None else (asked_by,)
            with self._lock:
                top = "/" + path.lstrip("/").partition("/")[0]
                self._findings.pop((top, Kind.MISSING), None)  # says less
                self._findings[path, kind] = Finding(
                    path=path,
                    kind=kind,
                    pid=0,
                    process="",
                    stack=stack,
                    asked_by=asked_by,
                    reason=self._reasons.get(path),
                )

    def _read_stack(self, asker: Asker) -> tuple[Frame, ...]:
        with self._lock:
            if self._reader is None or self._stacks >= MAX_STACKS:
                return ()
            self._stacks += 1
        # Without full names it would look for __init__.py beside each source: in a folder that the kernel may
        # keep locked until the very request is answered for which it is asked.
        options = ("--json", "--nonblocking", "--full-filenames")
        try:
            helper = subprocess.Popen(
                [self._reader, "dump", *options, "--pid", str(asker.process)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            return ()
        try:
            output, _ = helper.communicate(timeout=self._timeout)
        except subprocess.TimeoutExpired:
            helper.kill()
            with self._lock:
                self._overdue.append(helper)
            return ()
        return parse_stack(output, inner_thread=asker.inner_thread, outer_thread=asker.thread)

    def _innermost(self, stack: Iterable[Frame]) -> Frame | None:
        """The frame to show: the application's own, else a library's, else none."""
        frames = [frame for frame in stack if frame.file.startswith("/")]
        own = [frame for frame in frames if frame.file.startswith(self._application + "/")]
        library = [frame for frame in frames if not self._is_interpreter(frame.file)]
        return next(iter(own + library + frames), None)

    def _is_interpreter(self, file: str) -> bool:
        return file.startswith(self._interpreter_home + "/") and "/site-packages/" not in file


def parse_stack(output: bytes, *, inner_thread: int, outer_thread: int) -> tuple[Frame, ...]:
    """The frames of one thread in what ``py-spy dump --json`` printed; empty when they are not there.

    A thread is known by its number inside (CPython 3.11 keeps that one) or on this machine; a process of one
    thread needs neither.
    """
    try:
        threads = json.loads(output)
        by_number = {thread.get("os_thread_id"): thread for thread in threads}
        only = threads[0] if len(threads) == 1 else None
        chosen = by_number.get(inner_thread) or by_number.get(outer_thread) or only
        if chosen is None:
            return ()
        return tuple(
            Frame(file=frame["filename"], line=frame["line"] or 0, function=frame["name"])
            for frame in chosen["frames"][:MAX_FRAMES]
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return ()


def find_stack_reader() -> str | None:
    """The ``py-spy`` that was installed with this tool, or the one on ``PATH``."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.is_file() else shutil.which("py-spy")
