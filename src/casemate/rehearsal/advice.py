"""What to do in place of a system call that Gramine does not have."""

from __future__ import annotations

from typing import Final

_TIMES: Final = "Gramine cannot set times of files; copy with shutil.copyfile, which does not try"
_LINKS: Final = "Gramine makes no links; copy the file with shutil.copyfile"
_SEMAPHORES: Final = (
    "Gramine has no semaphores or queues between processes, so multiprocessing does not work; use threads"
)
_WATCH: Final = "Gramine tells of no changes of files; switch the reloader or the watcher off"
_PROCESSES: Final = (
    "the manifest allows one process (sys.disallow_subprocesses); do it in a thread, or in another service"
)
_USAGE: Final = "Gramine does not count what a process uses; measure with time.monotonic"
#: Name of a call, or begin of the label of one, to the advice.
_ADVICE: Final = {
    "utimensat": _TIMES,
    "utimes": _TIMES,
    "utime": _TIMES,
    "futimesat": _TIMES,
    "link": _LINKS,
    "linkat": _LINKS,
    "symlink": _LINKS,
    "symlinkat": _LINKS,
    "flock": "Gramine has no flock; lock with fcntl.lockf, or with filelock.SoftFileLock",
    "inotify_init": _WATCH,
    "inotify_init1": _WATCH,
    "fanotify_init": _WATCH,
    "semget": _SEMAPHORES,
    "msgget": _SEMAPHORES,
    "mq_open": _SEMAPHORES,
    "shmget": "Gramine has no memory shared between processes; use threads",
    "memfd_create": "Gramine has no files without a name; use tempfile.TemporaryFile",
    "signalfd": "handle signals with signal.signal, or with loop.add_signal_handler of asyncio",
    "signalfd4": "handle signals with signal.signal, or with loop.add_signal_handler of asyncio",
    "timerfd_create": "use time.sleep, threading.Timer or asyncio's call_later",
    "timer_create": "use time.sleep, threading.Timer or asyncio's call_later",
    "getrusage": _USAGE,
    "times": _USAGE,
    "preadv": "read with os.pread or os.readv",
    "pwritev": "write with os.pwrite or os.writev",
    "a new process": _PROCESSES,
    "more than": "raise [enclave] threads in casemate.toml and build again, or use fewer threads",
    "UNIX socket of datagrams": "use TCP, or a UNIX socket of streams",
    "rename of a folder": "Gramine renames files only; make the folder under its last name",
    "fallocate mode": "Gramine makes files longer and no more; use os.posix_fallocate or truncate",
    "socket of family": "Gramine has UNIX and IP sockets only",
}


def advice(label: str, answer: str | None) -> str:
    """What to do about a call.

    Args:
        label: What the report calls it.
        answer: Name of the error that it got.
    """
    for begin, text in _ADVICE.items():
        if label == begin or label.startswith(f"{begin} "):
            return text
    return f"Gramine answers it with {answer or 'an error'}; the application has to do without it"
