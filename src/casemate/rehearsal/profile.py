"""What an application uses while it is rehearsed, read from outside of its sandbox, in ``/proc``.

The kernel keeps the peaks of address space and memory; threads, descriptors, stacks and temporary files are
looked at again and again, so that what comes and goes between two looks is not seen.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from casemate.builder.enclave.sizing import Usage
from casemate.formats.manifest import dump_manifest, load_manifest
from casemate.rehearsal.run import Stage

#: Seconds between two looks at counters, and between two looks at every mapping, which take longer.
_PACE: Final = 0.05
_SLOW_PACE: Final = 0.25
_KIBIBYTE: Final = 1024
_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+)\s*(.*)")
_STACK: Final = "[stack]"


#: What the enclave has room for while it is looked at how much is needed.
_ROOM: Final = {"enclave_size": "64G", "max_threads": 4096}
_DESCRIPTORS: Final = 65536


def with_room(stage: Stage) -> Stage:
    """The stage with more memory, threads and descriptors than its manifest gives, so that no limit is met.

    The stack of threads stays as it is: it shows in the address space, and an overflow shows by itself.
    """
    manifest = load_manifest(stage.manifest)
    manifest["sgx"] = {**manifest["sgx"], **_ROOM}
    manifest["sys"] = {**manifest.get("sys", {}), "fds": {"limit": _DESCRIPTORS}}
    return replace(stage, manifest=dump_manifest(manifest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """One line of ``smaps``.

    Attributes:
        start: First address.
        end: First address after it.
        access: ``"rw-p"``.
        is_file: Whether a file is behind it.
        name: The file's path, or a name such as ``[stack]``.
        resident: Bytes in memory.
    """

    start: int
    end: int
    access: str
    is_file: bool
    name: str
    resident: int


class Profiler:
    """Looks at a process until it ends; a context manager that looks in a thread of its own.

    Args:
        process: Number of the process on this machine.
        folders: Folders inside that are memory of the enclave.
        stack_size: Bytes of stack that each thread has.
        port: Where the application listens.
    """

    def __init__(self, process: int, *, folders: tuple[str, ...], stack_size: int, port: int) -> None:
        self._process = process
        self._folders = folders
        self._stack_size = stack_size
        self._port = port
        self._ended = threading.Event()
        self._listens = threading.Event()
        self._thread = threading.Thread(target=self._look, name="casemate-profile", daemon=True)
        self._started = time.monotonic()
        self._peaks: dict[str, int] = {}
        self._looks = 0
        self._ready: float | None = None

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()

    def wait_until_it_listens(self, timeout: float) -> bool:
        """Whether the application listens within ``timeout`` seconds, or has ended before."""
        end = time.monotonic() + timeout
        while time.monotonic() < end and self._thread.is_alive():
            if self._listens.wait(_PACE):
                return True
        return self._listens.is_set()

    @property
    def usage(self) -> Usage:
        """What was seen until now."""
        peaks = self._peaks
        return Usage(
            seconds=time.monotonic() - self._started,
            looks=self._looks,
            address_space=peaks.get("VmPeak", 0),
            resident=peaks.get("VmHWM", 0),
            libraries=peaks.get("libraries", 0),
            mapped=peaks.get("mapped", 0),
            threads=peaks.get("Threads", 0),
            stack=peaks.get("stack", 0),
            stack_size=self._stack_size,
            descriptors=peaks.get("descriptors", 0),
            temporary=peaks.get("temporary", 0),
            processes=peaks.get("processes", 1),
            ready=self._ready,
        )

    def _look(self) -> None:
        slow = 0.0
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            while not self._ended.wait(_PACE):
                self._counters()
                now = time.monotonic()
                if now >= slow:
                    self._mappings()
                    slow = now + _SLOW_PACE
                if self._ready is None and listens(self._port):
                    self._ready = now - self._started
                    self._listens.set()
                self._looks += 1
            self._counters()
            self._mappings()

    def _keep(self, name: str, value: int) -> None:
        self._peaks[name] = max(value, self._peaks.get(name, 0))

    def _counters(self) -> None:
        processes = tuple(processes_of(self._process))
        self._keep("processes", len(processes))
        for process in processes:
            status = status_of(process)
            for name in ("VmPeak", "VmHWM", "Threads"):
                self._keep(name, status.get(name, 0))
            self._keep("descriptors", sum(1 for _ in Path(f"/proc/{process}/fd").iterdir()))
        root = Path(f"/proc/{self._process}/root")
        used = 0
        for folder in self._folders:
            volume = os.statvfs(root / folder.lstrip("/"))
            used += (volume.f_blocks - volume.f_bfree) * volume.f_frsize
        self._keep("temporary", used)

    def _mappings(self) -> None:
        mappings = tuple(mappings_of(self._process))
        files = [it for it in mappings if it.is_file]
        code = {it.name for it in files if "x" in it.access}
        self._keep("libraries", sum(it.end - it.start for it in files if it.name in code))
        self._keep("mapped", sum(it.end - it.start for it in files if it.name not in code))
        pointers = tuple(stack_pointers(self._process))
        for it in mappings:
            if it.name == _STACK or any(it.start <= pointer < it.end for pointer in pointers):
                self._keep("stack", it.resident)


def processes_of(process: int) -> Iterator[int]:
    """A process and those that it has started, as far as they live."""
    yield process
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text("ascii").split():
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                yield from processes_of(int(child))


def status_of(process: int) -> dict[str, int]:
    """Numbers of ``/proc/PID/status``, sizes in bytes."""
    numbers = {}
    for line in Path(f"/proc/{process}/status").read_text("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        words = value.split()
        if words and words[0].isdecimal():
            numbers[name] = int(words[0]) * (_KIBIBYTE if words[1:] == ["kB"] else 1)
    return numbers


def mappings_of(process: int) -> Iterator[Mapping]:
    """The mappings of a process, in the order of their addresses."""
    found: re.Match[str] | None = None
    for line in Path(f"/proc/{process}/smaps").read_text("utf-8", "replace").splitlines():
        match = _MAPPING.fullmatch(line)
        if match is not None:
            found = match
        elif found is not None and line.startswith("Rss:"):
            yield Mapping(
                start=int(found[1], 16),
                end=int(found[2], 16),
                access=found[3],
                is_file=found[4] != "0",
                name=found[5],
                resident=int(line.split()[1]) * _KIBIBYTE,
            )
            found = None


def stack_pointers(process: int) -> Iterator[int]:
    """Where the stacks of those threads are that wait in a system call at this moment."""
    for task in Path(f"/proc/{process}/task").iterdir():
        with contextlib.suppress(OSError, ValueError):
            words = (task / "syscall").read_text("ascii").split()
            if len(words) >= 3:
                yield int(words[-2], 16)


def listens(port: int) -> bool:
    """Whether something accepts connections at ``port`` of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
