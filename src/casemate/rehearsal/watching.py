"""Decides the system calls for which the arguments alone do not show what Gramine does.

* A thread more than the enclave has room for: ENOMEM, as the host's part of Gramine answers.
* A signal that PID 1 sends itself and whose default action ends it: the kernel spares PID 1 of a namespace,
  Gramine does not, so the rehearsal ends it and says which signal it was.
* A UNIX socket's address names no file: it is a name known inside the instance only. An abstract socket whose
  name nobody else knows takes its place. No listener is ENOENT.
* Folders cannot be renamed: ENOSYS.

A thread that waits for its answer can be looked at, but other threads can change what was looked at. These
rules imitate; they do not protect.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import posixpath
import secrets
import signal
import socket
import stat
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casemate.rehearsal.findings import Asker
from casemate.rehearsal.seccomp import Notification
from casemate.rehearsal.system_call_names import name_of
from casemate.rehearsal.system_calls import ALLOW, Outcome, Verdict

#: struct sockaddr_un: the family, and 108 bytes of path.
_LONGEST_ADDRESS: Final = 110
_FAMILY_SIZE: Final = 2
_LONGEST_PATH: Final = 4096
_PAGE: Final = 4096
_WORD: Final = 0xFFFF_FFFF
#: A length as the kernel writes it, socklen_t.
_LENGTH: Final = struct.Struct("<I")
#: AT_FDCWD as an unsigned argument of 32 bits.
_WORKING_DIRECTORY: Final = 0xFFFF_FF9C
_PIDFD_GETFD: Final = 438
#: Signals whose default action leaves a process alone, or stops it, which Gramine does not do.
_HARMLESS: Final = frozenset(
    (
        signal.SIGCHLD,
        signal.SIGURG,
        signal.SIGWINCH,
        signal.SIGCONT,
        signal.SIGSTOP,
        signal.SIGTSTP,
        signal.SIGTTIN,
        signal.SIGTTOU,
    )
)
_LARGEST_SIGNAL: Final = 64

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a rehearsal is like, as far as system calls depend on it.

    Attributes:
        threads: Most threads of the application at once; ``None`` without a limit.
        mounts: Path of a mount that is kept in memory to a descriptor of its folder.
    """

    threads: int | None
    mounts: Mapping[str, int]


class Watcher:
    """Decides call by call; used by one thread.

    Args:
        surroundings: See there.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._instance = secrets.token_hex(16)
        self._ended_by: int | None = None
        #: Address of an abstract socket to the address that it stands for, as struct sockaddr_un.
        self._addresses: dict[bytes, bytes] = {}
        self._deciders: dict[str, Callable[[Notification], Verdict | Callable[[], Verdict]]] = {
            "clone": self._new_thread,
            "kill": self._kill,
            "tgkill": lambda asked: self._signal(asked, asked.arguments[1], asked.arguments[2]),
            "tkill": lambda asked: self._signal(asked, asked.arguments[0], asked.arguments[1]),
            "listen": self._listen,
            "getsockname": lambda asked: self._name(asked, socket.socket.getsockname),
            "getpeername": lambda asked: self._name(asked, socket.socket.getpeername),
            "bind": lambda asked: self._address(asked, self._bind),
            "connect": lambda asked: self._address(asked, self._connect),
            "rename": lambda asked: self._rename(
                asked, (_WORKING_DIRECTORY, asked.arguments[0]), (_WORKING_DIRECTORY, asked.arguments[1])
            ),
            "renameat": lambda asked: self._rename(
                asked, (asked.arguments[0], asked.arguments[1]), (asked.arguments[2], asked.arguments[3])
            ),
        }

    @property
    def ended_by(self) -> int | None:
        """The signal with which the application ended itself."""
        return self._ended_by

    def decide(self, asked: Notification) -> Verdict | Callable[[], Verdict]:
        """The verdict, or what takes its time to find it."""
        try:
            return self._deciders[name_of(asked.number)](asked)
        except OSError:  # whoever asked has ended
            return ALLOW

    def _new_thread(self, asked: Notification) -> Verdict:
        limit = self._surroundings.threads
        if limit is None or len(_threads(asked.thread)) < limit:
            return ALLOW
        return Verdict(
            outcome=Outcome.REPORT, number=errno.ENOMEM, label=f"more than {limit} threads at once"
        )

    def _kill(self, asked: Notification) -> Verdict:
        asker = Asker.find(asked.thread)
        target, number = ctypes.c_int32(asked.arguments[0] & _WORD).value, asked.arguments[1]
        if asker is None or (target > 0 and target != asker.inner_process):
            return ALLOW
        if target < -1 and -target != asker.inner_process:  # Gramine knows its own process group only
            return Verdict(outcome=Outcome.REPORT, number=errno.ENOSYS, label="kill of a process group")
        verdict = self._end(asker, number, _blocked(asker.process))
        if target < 0 and self._ended_by is None:  # the kernel spares whoever signals everybody
            os.kill(asker.process, number)
            return _done(0)
        return verdict

    def _signal(self, asked: Notification, target: int, number: int) -> Verdict:
        asker = Asker.find(asked.thread)
        if asker is None:
            return ALLOW
        # raise(3) blocks signals only while it sends one to its own thread.
        own = asker.inner_thread == target & _WORD
        return self._end(asker, number, 0 if own else _blocked(asker.process))

    def _end(self, asker: Asker, number: int, blocked: int) -> Verdict:
        """End PID 1 by a signal that it neither handles nor blocks."""
        if asker.inner_process != 1 or number in _HARMLESS or not 1 <= number <= _LARGEST_SIGNAL:
            return ALLOW
        if (_mask(asker.process, "SigCgt") | _mask(asker.process, "SigIgn") | blocked) >> (number - 1) & 1:
            return ALLOW
        self._ended_by = number
        os.kill(asker.process, signal.SIGKILL)
        return ALLOW

    def _address(
        self, asked: Notification, use: Callable[[socket.socket, bytes], int]
    ) -> Verdict | Callable[[], Verdict]:
        """Do what was asked with a UNIX address in place of the caller, whose socket is borrowed."""
        size = min(asked.arguments[2] & _WORD, _LONGEST_ADDRESS)
        address = _read(asked.thread, asked.arguments[1], size)
        if int.from_bytes(address[:_FAMILY_SIZE], "little") != socket.AF_UNIX:
            return ALLOW
        path = address[_FAMILY_SIZE:]
        if not path:
            return _done(errno.EINVAL)
        name = path if path[:1] == b"\0" else path.partition(b"\0")[0]
        shown = address[:_FAMILY_SIZE] + name + (b"" if name[:1] == b"\0" else b"\0")
        borrowed = _borrow(asked.thread, asked.arguments[0] & _WORD)
        if borrowed is None:
            return ALLOW
        stand_in = f"\0casemate/{self._instance}/{hashlib.sha256(name).hexdigest()}".encode()
        self._addresses[stand_in] = shown

        def act() -> Verdict:
            with borrowed:
                return _done(use(borrowed, stand_in))

        return act

    def _listen(self, asked: Notification) -> Verdict:
        """Gramine gives no address to a socket that listens without one."""
        borrowed = _borrow(asked.thread, asked.arguments[0] & _WORD)
        if borrowed is None:
            return ALLOW
        with borrowed:
            unbound = borrowed.family != socket.AF_UNIX and not borrowed.getsockname()[1]
        return _done(errno.EINVAL) if unbound else ALLOW

    def _name(self, asked: Notification, ask: Callable[[socket.socket], object]) -> Verdict:
        """The address that the application gave, in place of the one that stands for it."""
        if not self._addresses:
            return ALLOW
        borrowed = _borrow(asked.thread, asked.arguments[0] & _WORD)
        if borrowed is None:
            return ALLOW
        with borrowed:
            address = ask(borrowed) if borrowed.family == socket.AF_UNIX else None
        shown = self._addresses.get(address) if isinstance(address, bytes) else None
        room = _read(asked.thread, asked.arguments[2], _LENGTH.size)
        if shown is None or len(room) < _LENGTH.size:
            return ALLOW
        _write(asked.thread, asked.arguments[1], shown[: _LENGTH.unpack(room)[0]])
        _write(asked.thread, asked.arguments[2], _LENGTH.pack(len(shown)))
        return _done(0)

    @staticmethod
    def _bind(borrowed: socket.socket, name: bytes) -> int:
        return _errno_of(lambda: borrowed.bind(name))

    @staticmethod
    def _connect(borrowed: socket.socket, name: bytes) -> int:
        if borrowed.getsockname():  # Gramine connects no socket that has an address
            return errno.EINVAL
        number = _errno_of(lambda: borrowed.connect(name))
        return errno.ENOENT if number == errno.ECONNREFUSED else number

    def _rename(self, asked: Notification, *places: tuple[int, int]) -> Verdict:
        if any(self._is_folder(asked.thread, *place) for place in places):
            return Verdict(outcome=Outcome.REPORT, number=errno.ENOSYS, label="rename of a folder")
        return ALLOW

    def _is_folder(self, thread: int, descriptor: int, pointer: int) -> bool:
        """Whether a path of the application leads to a folder on a mount that is kept in memory."""
        raw = _read_text(thread, pointer)
        descriptor &= _WORD
        start = "cwd" if descriptor == _WORKING_DIRECTORY else f"fd/{descriptor}"
        path = posixpath.join(str(Path(f"/proc/{thread}/{start}").readlink()), os.fsdecode(raw))
        path = posixpath.normpath(path)
        for mount, folder in self._surroundings.mounts.items():
            if path.startswith(f"{mount}/"):
                with contextlib.suppress(OSError):
                    found = os.stat(path.removeprefix(f"{mount}/"), dir_fd=folder, follow_symlinks=False)
                    return stat.S_ISDIR(found.st_mode)
        return False


def _done(number: int) -> Verdict:
    return Verdict(outcome=Outcome.ANSWER, number=number)


def _errno_of(function: Callable[[], object]) -> int:
    try:
        function()
    except OSError as refusal:
        return refusal.errno or errno.EIO
    return 0


def _mask(process: int, name: str) -> int:
    """One of the signal masks of a process, as ``/proc`` shows them; 0 when it has ended."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1], 16)
    return 0


def _threads(number: int) -> list[int]:
    """The threads of a process, given one of them."""
    return [int(entry.name) for entry in Path(f"/proc/{number}/task").iterdir()]


def _blocked(process: int) -> int:
    """Signals that every thread of a process blocks."""
    blocked = (1 << _LARGEST_SIGNAL) - 1
    for thread in _threads(process):
        blocked &= _mask(thread, "SigBlk")
    return blocked


def _read(thread: int, pointer: int, size: int) -> bytes:
    """Memory of the application; empty where there is none."""
    try:
        with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:  # noqa: PTH123  # no buffer
            memory.seek(pointer)
            return memory.read(size)
    except (OSError, OverflowError, ValueError):
        return b""


def _write(thread: int, pointer: int, data: bytes) -> None:
    """Into the memory of the application, where there is some."""
    with (
        contextlib.suppress(OSError, OverflowError, ValueError),
        open(f"/proc/{thread}/mem", "r+b", buffering=0) as memory,  # noqa: PTH123  # no buffer
    ):
        memory.seek(pointer)
        memory.write(data)


def _read_text(thread: int, pointer: int) -> bytes:
    """A text that ends with a NUL, page by page, because the page behind it may not be there."""
    text = b""
    while len(text) < _LONGEST_PATH:
        piece = _read(thread, pointer + len(text), _PAGE - (pointer + len(text)) % _PAGE)
        text += piece
        if not piece or b"\0" in piece:
            break
    return text.partition(b"\0")[0]


def _borrow(thread: int, descriptor: int) -> socket.socket | None:
    """The very socket that a process has under ``descriptor``; ``None`` when it is none."""
    asker = Asker.find(thread)
    if asker is None:
        return None
    process = os.pidfd_open(asker.process)
    try:
        number = _libc.syscall(_PIDFD_GETFD, process, descriptor, 0)
    finally:
        os.close(process)
    if number < 0:
        return None
    try:
        return socket.socket(fileno=number)
    except OSError:  # no socket
        os.close(number)
        return None
