"""Starts one program of a foreign root, confined; started on its own (``python -I -S``), never imported.

The program's code is a stranger's. It gets namespaces of its own (user, mount, PID, network, IPC, UTS,
control groups), a session and a keyring of its own, the root read-only, an empty ``/tmp`` in memory,
``/proc`` read-only, no device, no capability and no way to get one back, limits of processor time, memory,
processes and bytes written to a file, and the three descriptors that it was started with.

It is not PID 1 of its namespace. A process may take back that it dies with its parent, so PID 1 is code of
this file, which the program can neither end nor trace; with it everything ends that the program has started.

``confined_programs_inside.py REPORT PLAN``: two descriptors. What the kernel refused goes to the first, as
JSON; from the second the plan is read, which may be longer than an argument.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import sys
from typing import Any, NoReturn

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 0x2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
LAST_CAPABILITY = 63
CAPABILITY_VERSION_3 = 0x20080522
#: System calls of x86-64; SGX exists nowhere else.
SYS_PIVOT_ROOT = 155
SYS_KEYCTL = 250
KEYCTL_JOIN_SESSION_KEYRING = 1
#: What a shell adds to the number of the signal that ended a program.
BY_SIGNAL = 128
FAILED = 127

_libc = ctypes.CDLL(None, use_errno=True)


class StepError(Exception):
    """One step that the kernel refused.

    Args:
        step: What was to be done.
        number: errno(3).
    """

    def __init__(self, step: str, number: int) -> None:
        self.step = step
        self.number = number
        super().__init__(step, number)


def main(arguments: list[str]) -> int:
    """The exit status of the program, with 128 added to the number of a signal that ended it."""
    report = int(arguments[0])
    with os.fdopen(int(arguments[1]), encoding="utf-8") as file:
        plan = json.load(file)
    os.set_inheritable(report, False)
    die_with_parent()
    try:
        enter_namespaces()
        child = os.fork()
    except StepError as refusal:
        tell(report, refusal)
        return FAILED
    if child == 0:
        keep_program(report, plan)
    os.close(report)
    return status_of(child)


def status_of(child: int) -> int:
    """The exit status of a child, when it has ended; others that end meanwhile are buried."""
    while True:
        process, status = os.wait()
        if process == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else BY_SIGNAL - code


def tell(report: int, refusal: StepError) -> None:
    """What was refused, for whoever started this."""
    os.write(report, json.dumps({"step": refusal.step, "errno": refusal.number}).encode())


def enter_namespaces() -> None:
    """Namespaces in which this user may mount, and which hold nothing of the machine's."""
    uid, gid = os.geteuid(), os.getegid()
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP
    do("make namespaces", _libc.unshare, flags)
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{uid} {uid} 1")
    write("/proc/self/gid_map", f"{gid} {gid} 1")
    # What is given up below could be had again in a user namespace of one's own.
    write("/proc/sys/user/max_user_namespaces", "0")
    do("keep mounts private", _libc.mount, None, b"/", None, MS_REC | MS_PRIVATE, None)
    do("make a PID namespace", _libc.unshare, CLONE_NEWPID)


def keep_program(report: int, plan: dict[str, Any]) -> NoReturn:
    """PID 1: mount, change the root, start the program, and end with it."""
    try:
        die_with_parent()
        do("be out of reach", _libc.prctl, PR_SET_DUMPABLE, 0, 0, 0, 0)
        mount_root(plan)
        child = os.fork()
        if child == 0:
            become_program(report, plan)
        os.close(report)
        os._exit(status_of(child))
    except StepError as refusal:
        tell(report, refusal)
    except OSError as refusal:
        tell(report, StepError("keep the program", refusal.errno or errno.EIO))
    finally:
        os._exit(FAILED)


def become_program(report: int, plan: dict[str, Any]) -> NoReturn:
    """Give up all power, execute."""
    try:
        # Signals and priorities can be for a whole process group, also for members in other namespaces.
        os.setsid()
        leave_keyring()
        limit(plan["limits"])
        os.closerange(3, report)
        os.closerange(report + 1, 65536)
        give_up_power()
        os.umask(0o022)
        os.execve(plan["argv"][0], plan["argv"], plan["env"])  # noqa: S606  # this is what it is for
    except StepError as refusal:
        tell(report, refusal)
    except OSError as refusal:
        tell(report, StepError("start the program", refusal.errno or errno.EIO))
    finally:
        os._exit(FAILED)


def leave_keyring() -> None:
    """An empty session keyring in the place of the user's, whose keys a program could read."""
    joined = _libc.syscall(SYS_KEYCTL, KEYCTL_JOIN_SESSION_KEYRING, None)
    # Where the kernel or a container's filter has no keyrings, there is nothing to be read.
    if joined < 0 and ctypes.get_errno() not in {errno.ENOSYS, errno.EPERM}:
        raise StepError("leave the keyring", ctypes.get_errno())


def mount_root(plan: dict[str, Any]) -> None:
    """The root, read-only; then let go of the machine's."""
    root = plan["root"]
    mount(root, root, None, MS_BIND)
    mount(root, root, None, MS_BIND | MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV)
    # Read-only, because root of this machine is root to the files of /proc/sys, whatever it gave up.
    mount("proc", f"{root}/proc", "proc", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    size = f"size={plan['temporary']}"
    mount("tmpfs", f"{root}/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, size)  # noqa: S108 - the root's
    os.chdir(root)
    do("change the root", _libc.syscall, SYS_PIVOT_ROOT, b".", b".")
    do("leave the old root", _libc.umount2, b".", MNT_DETACH)
    os.chdir("/")


def limit(limits: dict[str, int]) -> None:
    """Limits of resources, as far as this user may set them."""
    for name, wanted in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))


def give_up_power() -> None:
    """No capability, no way to get one back, and death with the process that waits."""
    for capability in range(LAST_CAPABILITY + 1):
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) and ctypes.get_errno() != errno.EINVAL:
            raise StepError("drop capabilities", ctypes.get_errno())
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    do("drop capabilities", _libc.capset, ctypes.byref(header), ctypes.byref(nothing))
    do("forbid new privileges", _libc.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    die_with_parent()


def die_with_parent() -> None:
    """Have the kernel end this process when the one ends that has started it."""
    do("die with the parent", _libc.prctl, PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """One mount, by the C library."""
    names = (os.fsencode(source), os.fsencode(target), None if kind is None else kind.encode())
    what = kind or ("bind a folder" if not flags & MS_REMOUNT else "make a folder read-only")
    do(f"mount: {what}", _libc.mount, *names, ctypes.c_ulong(flags), options.encode())


def do(step: str, function: Any, *arguments: Any) -> None:
    """Call into the C library; a refusal becomes a :class:`StepError`."""
    if function(*arguments):
        raise StepError(step, ctypes.get_errno())


def write(path: str, text: str) -> None:
    """Write one of the files that configure a user namespace."""
    try:
        with open(path, "w", encoding="ascii") as file:  # noqa: PTH123  # without pathlib it starts faster
            file.write(text)
    except OSError as refusal:
        raise StepError(f"write {path}", refusal.errno or errno.EIO) from refusal


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
