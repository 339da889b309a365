"""Answers the system calls that Gramine does not have, and remembers who asked.

The kernel stops a thread that makes such a call and asks here (seccomp's user notification). A call that is
to be reported is answered once it is known which line made it; the others at once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import threading
from collections.abc import Callable
from typing import Final

from casemate.rehearsal.findings import Asker, Kind, Recorder
from casemate.rehearsal.seccomp import NOTIFICATION_SIZE, RECEIVE, SEND, Notification, answer, go_on
from casemate.rehearsal.system_call_names import name_of
from casemate.rehearsal.system_calls import Outcome, Rules, Verdict, judge
from casemate.rehearsal.watching import Watcher

_STOP_TIMEOUT: Final = 10.0


class Supervisor:
    """Serves the listener of one rehearsal.

    Args:
        rules: What becomes of each call.
        recorder: Keeps what was asked for.
        watcher: Decides what the arguments alone do not show.
    """

    def __init__(self, rules: Rules, recorder: Recorder, watcher: Watcher) -> None:
        self._rules = rules
        self._recorder = recorder
        self._watcher = watcher
        self._stop_reading, self._stop_writing = os.pipe()
        self._thread: threading.Thread | None = None

    def start(self, descriptor: int) -> None:
        """Serve ``descriptor``, a listener, until no process has its filter any more; then close it."""
        self._thread = threading.Thread(
            target=self._serve, args=(descriptor,), name="casemate-system-calls", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop; every call that still waits is answered by the kernel with ENOSYS."""
        os.close(self._stop_writing)
        if self._thread is not None:
            self._thread.join(_STOP_TIMEOUT)
        os.close(self._stop_reading)

    def _serve(self, descriptor: int) -> None:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.register(self._stop_reading, select.POLLIN)
        waiting: list[threading.Thread] = []
        try:
            while True:
                events = dict(poll.poll())
                if self._stop_reading in events or not events.get(descriptor, 0) & select.POLLIN:
                    return  # POLLHUP: the last process has ended
                buffer = bytearray(NOTIFICATION_SIZE)
                try:
                    fcntl.ioctl(descriptor, RECEIVE, buffer)
                except OSError:  # ENOENT, EINTR: whoever asked was interrupted or ended meanwhile
                    continue
                thread = self._answer(descriptor, Notification.parse(bytes(buffer)))
                waiting = [earlier for earlier in waiting if earlier.is_alive()]
                waiting += [] if thread is None else [thread]
        finally:
            for thread in waiting:
                thread.join(_STOP_TIMEOUT)
            os.close(descriptor)

    def _answer(self, descriptor: int, asked: Notification) -> threading.Thread | None:
        """Answer at once, or in a thread that takes its time."""
        verdict = judge(self._rules, asked.number, asked.arguments)
        if verdict.outcome is Outcome.WATCH:
            decided = self._watcher.decide(asked)
            if callable(decided):
                return self._later(descriptor, asked, decided)
            verdict = decided
        if verdict.outcome is not Outcome.REPORT:
            _send(descriptor, _response(asked, verdict))
            return None
        label = _label(asked, verdict)
        if not self._recorder.is_new(label, Kind.SYSTEM_CALL):
            _send(descriptor, _response(asked, verdict))
            return None

        def inquire() -> Verdict:
            self._recorder.record(
                label, Kind.SYSTEM_CALL, Asker.find(asked.thread), answer=errno.errorcode[verdict.number]
            )
            return verdict

        return self._later(descriptor, asked, inquire)

    def _later(
        self, descriptor: int, asked: Notification, find_out: Callable[[], Verdict]
    ) -> threading.Thread:
        thread = threading.Thread(
            target=lambda: _send(descriptor, _response(asked, find_out())),
            name="casemate-system-call",
            daemon=True,
        )
        thread.start()
        return thread


def _label(asked: Notification, verdict: Verdict) -> str:
    # What is shown of arguments are flags, options and commands, all of 32 bits.
    words = (argument & 0xFFFF_FFFF for argument in asked.arguments)
    return verdict.label.format(*words) or name_of(asked.number)


def _response(asked: Notification, verdict: Verdict) -> bytes:
    if verdict.outcome is Outcome.ALLOW:
        return go_on(asked.identity)
    return answer(asked.identity, verdict.number)


def _send(descriptor: int, response: bytes) -> None:
    # ENOENT: whoever asked has gone. Nobody waits for the answer then.
    with contextlib.suppress(OSError):
        fcntl.ioctl(descriptor, SEND, response)
