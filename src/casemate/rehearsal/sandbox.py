"""The namespaces of a rehearsal, seen from outside: start them, give a signal, wait, say what is missing.

Everything is done by this machine's kernel and the Python interpreter that runs this tool. There is no
fallback: where the kernel refuses something, the rehearsal does not run, and the error says what was refused.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from casemate.errors import RehearsalError

_PROGRAM: Final = Path(__file__).with_name("inside.py")
_MESSAGE_SIZE: Final = 65536
#: What the kernel passes on with one message: SCM_MAX_FD.
_MOST_DESCRIPTORS: Final = 253
#: Seconds in which the kernel has to answer; nothing of it waits for anything but this machine.
PREPARATION_TIMEOUT: Final = 60.0
_LOST: Final = "build, sign and verify work without it, but the bundle cannot be run here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Something that this machine lacks or does not allow.

    Attributes:
        what: Its name.
        got: What the kernel answered.
        remedy: How to get it.
    """

    what: str
    got: str
    remedy: str

    def to_error(self) -> RehearsalError:
        """The error that says that a rehearsal cannot run here."""
        return RehearsalError(
            self.what, expected="allowed on this machine", got=self.got, hint=f"{self.remedy}; {_LOST}"
        )


def available() -> tuple[Missing, ...]:
    """What this machine lacks to rehearse a bundle, found out by trying; empty when it can."""
    if not Path("/dev/fuse").exists():
        return (_missing("open-fuse", errno.ENOENT, "/dev/fuse"),)
    outside, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with outside, inside:
        with _start(inside, ()) as process:
            inside.close()
            message = _receive(outside, PREPARATION_TIMEOUT)[0]
        process.wait()
    if "possible" in message:
        return ()
    return (_missing(message["failed"], message["errno"], message["subject"]),)


class Sandbox:
    """One set of namespaces with one application in it.

    Args:
        plan: What :mod:`casemate.rehearsal.inside` is told.
        private: Folder of this rehearsal alone, which is removed with it.
        serve: Begins to serve the root file system, given the descriptor of the mounted ``/dev/fuse``.
        supervise: Begins to answer system calls, given the listener of the filter and the folders of the
            plan's mounts, in their order.
        stdout: Descriptor that the application writes to.
        stderr: The same for its errors.

    Raises:
        RehearsalError: The kernel refused something, or the application cannot be executed.
    """

    def __init__(
        self,
        plan: dict[str, Any],
        private: Path,
        serve: Callable[[int], None] | None = None,
        supervise: Callable[[int, list[int]], None] | None = None,
        *,
        stdout: int | None,
        stderr: int | None,
    ) -> None:
        path = private / "plan.json"
        path.write_text(json.dumps(plan), encoding="utf-8")
        self._channel, inside = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with inside:
            self._process = _start(inside, (str(path),), stdout=stdout, stderr=stderr)
        self.pid = 0
        try:
            self._prepare(serve or _nothing, supervise or _nothing)
        except BaseException:
            self.close()
            raise

    def terminate(self) -> None:
        """Deliver SIGTERM to the application."""
        self._order(b"terminate")

    def kill(self) -> None:
        """End the application at once."""
        self._order(b"kill")

    def wait(self, timeout: float | None) -> int | None:
        """The exit code, 128 and the signal's number for a death by signal; ``None`` when time is up."""
        message = _receive(self._channel, timeout)[0]
        if "timeout" in message:
            return None
        if "ended" not in message:
            return 128 + 9  # the keeper was killed, and the application with it
        code = os.waitstatus_to_exitcode(message["ended"])
        return code if code >= 0 else 128 - code

    def close(self) -> None:
        """End whatever still runs; the mounts go with the last process."""
        self._channel.close()
        self._process.wait()

    def _order(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # it has just ended by itself
            self._channel.send(word)

    def _prepare(self, serve: Callable[[int], None], supervise: Callable[[int, list[int]], None]) -> None:
        while True:
            message, descriptors = _receive(self._channel, PREPARATION_TIMEOUT)
            if "started" in message:
                self.pid = message["started"]
                return
            if not descriptors:
                raise _explain(message)
            if "filtered" in message:
                supervise(descriptors[0], descriptors[1:])
            else:
                serve(descriptors[0])


def _nothing(*_: object) -> None:
    """For a plan that mounts and filters nothing of the rehearsal's."""


def _start(
    inside: socket.socket,
    arguments: tuple[str, ...],
    *,
    stdout: int | None = None,
    stderr: int | None = None,
) -> subprocess.Popen[bytes]:
    # A session of its own: what a terminal sends to this tool is not meant for the application.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", str(_PROGRAM), str(inside.fileno()), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        pass_fds=[inside.fileno()],
        start_new_session=True,
    )


def _receive(channel: socket.socket, timeout: float | None) -> tuple[dict[str, Any], list[int]]:
    """One message and the descriptors that came with it; an empty message when the other side is gone."""
    channel.settimeout(timeout)
    try:
        data, ancillary, _, _ = channel.recvmsg(_MESSAGE_SIZE, socket.CMSG_SPACE(4 * _MOST_DESCRIPTORS))
    except TimeoutError:
        return {"timeout": True}, []
    except OSError:
        return {}, []
    descriptors = [number for _, _, content in ancillary for number in array.array("i", content)]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    message: dict[str, Any] = json.loads(data) if data else {}
    return message, descriptors


def _explain(message: dict[str, Any]) -> RehearsalError:
    """The error behind a step that failed."""
    if "failed" not in message:
        return RehearsalError(
            "sandbox of the rehearsal",
            expected="the application started",
            got="the process that starts it ended",
        )
    step, number, subject = message["failed"], message["errno"], message["subject"]
    answer = os.strerror(number)
    if step == "execute":
        return RehearsalError(
            "entry point",
            expected="a program that can be executed",
            got=answer,
            where=subject,
            hint=_ENTRY_HINT,
        )
    if step == "start-dir":
        return RehearsalError("fs.start_dir", expected="a folder of the image", got=answer, where=subject)
    return _missing(step, number, subject).to_error()


_ENTRY_HINT: Final = "the program and its loader have to be trusted files that are what was measured"
_STEPS: Final = {
    "unshare-user": "user namespaces",
    "map-user": "user namespaces",
    "open-fuse": "/dev/fuse",
    "mount-fuse": "mounting FUSE in a user namespace",
    "mount-proc": "mounting /proc in a PID namespace",
    "no-namespaces": "limiting namespaces in /proc/sys/user",
    "filter": "filtering system calls (seccomp)",
}


def _missing(step: str, number: int, subject: str) -> Missing:
    answer = f"{os.strerror(number)} ({subject})"
    return Missing(
        what=_STEPS.get(step, f"step {step} of the sandbox"), got=answer, remedy=_remedy(step, number)
    )


def _remedy(step: str, number: int) -> str:
    if step == "open-fuse":
        if number == errno.ENOENT:
            return "load the module (modprobe fuse), or give the container the device (--device /dev/fuse)"
        return "let this user read and write it (chmod 666 /dev/fuse is what most systems have)"
    for name, bad, good in _SWITCHES:
        path = Path("/proc/sys") / name.replace(".", "/")
        if path.exists() and path.read_text(encoding="ascii").strip() == bad:
            return f"an administrator can allow it with: sysctl -w {name}={good}"
    if step in ("mount-proc", "no-namespaces"):
        return "a container needs an unmasked /proc (--security-opt systempaths=unconfined)"
    return "in a container, its security profile has to allow user namespaces and mounts"


#: Kernel settings that forbid it: name, the value that does, a value that does not.
_SWITCHES: Final = (
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("user.max_user_namespaces", "0", "10000"),
    ("user.max_mnt_namespaces", "0", "10000"),
    ("user.max_pid_namespaces", "0", "10000"),
)
