"""The program that makes the namespaces of a rehearsal; it runs on its own, outside the ``casemate`` package.

It is started by path with ``python -I -S``, before anything of the bundle runs, and imports the standard
library alone, so that the process that becomes the application carries nothing of this tool. Two processes
come of it:

* the *keeper* makes the user, mount, IPC and UTS namespaces, mounts the FUSE root that the rehearsal serves,
  hands its descriptor over, and stays outside the PID namespace: it forwards one signal, waits, and ends
  everything when the rehearsal goes away;
* the *application* is PID 1 of a new PID namespace; it mounts what the manifest asks for, makes the FUSE root
  its root, gives up every capability, has the kernel filter its system calls, hands the filter's listener
  over and executes the entry point.

Messages to the rehearsal are JSON objects over a ``SOCK_SEQPACKET`` socket.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
from typing import Any, NoReturn

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000

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
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
LAST_CAPABILITY = 63
CAPABILITY_VERSION_3 = 0x20080522
# System calls of x86-64; SGX exists nowhere else.
SYS_PIVOT_ROOT = 155
SYS_SECCOMP = 317
SECCOMP_SET_MODE_FILTER = 1
SECCOMP_FILTER_FLAG_NEW_LISTENER = 0x8
#: From Linux 5.19 on: no signal interrupts a call that is being looked at.
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 0x20
#: Bytes of one instruction of a filter, struct sock_filter.
INSTRUCTION_SIZE = 8
SYS_LANDLOCK_CREATE_RULESET = 444
SYS_LANDLOCK_RESTRICT_SELF = 446
LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET = 0x1
#: The kernel has no Landlock, has it switched off, or has one before 6.12, which has no scopes.
NO_LANDLOCK_SCOPES = (errno.ENOSYS, errno.EOPNOTSUPP, errno.E2BIG, errno.EINVAL)

_libc = ctypes.CDLL(None, use_errno=True)


class StepError(Exception):
    """One step of the preparation that the kernel refused.

    Args:
        step: Name of the step, known to the rehearsal.
        number: errno(3).
        subject: The path or the name that the step was about.
    """

    def __init__(self, step: str, number: int, subject: str) -> None:
        self.step = step
        self.number = number
        self.subject = subject
        super().__init__(step, number, subject)

    def to_message(self) -> dict[str, Any]:
        """What the rehearsal is told."""
        return {"failed": self.step, "errno": self.number, "subject": self.subject}


def main(arguments: list[str]) -> None:
    """``inside.py SOCKET PLAN``, or ``inside.py SOCKET`` to try whether this machine allows it."""
    channel = socket.socket(fileno=int(arguments[0]))
    channel.set_inheritable(False)
    try:
        if len(arguments) == 1:
            probe()
            tell(channel, {"possible": True})
            return
        with open(arguments[1], encoding="utf-8") as file:  # noqa: PTH123  # pathlib costs start-up time here
            plan = json.load(file)
        keep(channel, plan)
    except StepError as failure:
        tell(channel, failure.to_message())


def probe() -> None:
    """Try what a rehearsal needs from the machine, and leave nothing behind."""
    enter_namespaces(uid=0, gid=0)
    write("no-namespaces", "/proc/sys/user/max_user_namespaces", "0")
    os.close(open_fuse())
    do("unshare-pid", "PID namespace", _libc.unshare, CLONE_NEWPID)
    child = os.fork()
    if child == 0:
        # PID 1 of the new namespace: mounting its /proc over the old one is what containers often forbid.
        number = _libc.mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, None)
        os._exit(ctypes.get_errno() if number else 0)
    number = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if number:
        raise StepError("mount-proc", number, "/proc")


def keep(channel: socket.socket, plan: dict[str, Any]) -> None:
    """The keeper: prepare, start the application, wait for it, end it when the rehearsal goes away."""
    enter_namespaces(uid=plan["uid"], gid=plan["gid"])
    # What the application gives up it could get back in a user namespace of its own. The limit is that of
    # this namespace, whoever is root outside. Gramine has no namespaces either.
    write("no-namespaces", "/proc/sys/user/max_user_namespaces", "0")
    if plan["hostname"] is not None:
        do("hostname", plan["hostname"], socket.sethostname, plan["hostname"])
    if plan["image"] is None:
        mount_root(channel, plan)
    else:
        show_image(plan)
    do("unshare-pid", "PID namespace", _libc.unshare, CLONE_NEWPID)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        become_application(channel, writing, plan)
    os.close(writing)
    failure = b""
    while piece := os.read(reading, 65536):
        failure += piece
    os.close(reading)
    if failure:
        os.waitpid(child, 0)
        channel.send(failure)
        return
    tell(channel, {"started": child})
    wait(channel, child, plan)


def wait(channel: socket.socket, child: int, plan: dict[str, Any]) -> None:
    """Wait for the application, doing meanwhile what the rehearsal says."""
    watched = os.pidfd_open(child)
    terminated = False
    while True:
        ready, _, _ = select.select([watched, channel.fileno()], [], [])
        if watched in ready:
            status = os.waitpid(child, 0)[1]
            if terminated and os.WIFSIGNALED(status):
                status = int(signal.SIGTERM)
            tell(channel, {"ended": status})
            return
        order = channel.recv(64)
        if order == b"terminate":
            terminated |= terminate(child)
        else:
            os.kill(child, signal.SIGKILL)
            if not order:  # the rehearsal is gone: nobody else cleans up
                os.waitpid(child, 0)
                clean_up(plan)
                return


def terminate(child: int) -> bool:
    """Deliver SIGTERM as a process sees it that is not PID 1; whether its default action was done.

    The kernel spares PID 1 of a namespace signals that it does not handle. In Gramine PID 1 is a process like
    any other, and SIGTERM ends it.
    """
    mask = 1 << (signal.SIGTERM - 1)
    fields = dict.fromkeys(("SigCgt", "SigIgn"), 0)
    with open(f"/proc/{child}/status", encoding="utf-8") as file:  # noqa: PTH123  # as above
        for line in file:
            name, _, value = line.partition(":")
            if name in fields:
                fields[name] = int(value, 16)
    if (fields["SigCgt"] | fields["SigIgn"]) & mask:
        os.kill(child, signal.SIGTERM)
        return False
    os.kill(child, signal.SIGKILL)
    return True


def clean_up(plan: dict[str, Any]) -> None:
    """Remove what the rehearsal had made on disk; its mounts go with this process."""
    _libc.umount2(plan["root"].encode(), MNT_DETACH)
    shutil.rmtree(plan["private"], ignore_errors=True)


def enter_namespaces(*, uid: int, gid: int) -> None:
    """New user, mount, IPC and UTS namespaces, in which this user is ``uid`` and may mount."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS
    do("unshare-user", "user namespace", _libc.unshare, flags)
    write("map-user", "/proc/self/setgroups", "deny")
    write("map-user", "/proc/self/uid_map", f"{uid} {outer_uid} 1")
    write("map-user", "/proc/self/gid_map", f"{gid} {outer_gid} 1")
    do("private-mounts", "/", _libc.mount, None, b"/", None, MS_REC | MS_PRIVATE, None)


def open_fuse() -> int:
    """``/dev/fuse``, opened inside the user namespace: the kernel mounts no other one there."""
    try:
        return os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as refusal:
        raise StepError("open-fuse", refusal.errno or errno.EIO, "/dev/fuse") from refusal


def mount_root(channel: socket.socket, plan: dict[str, Any]) -> None:
    """Mount the FUSE root and hand its descriptor to the rehearsal, which serves it from then on."""
    descriptor = open_fuse()
    options = f"fd={descriptor},rootmode=40555,user_id={plan['uid']},group_id={plan['gid']}"
    mount("mount-fuse", "casemate", plan["root"], "fuse", MS_NOSUID | MS_NODEV, options)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
    channel.sendmsg([json.dumps({"mounted": plan["root"]}).encode()], ancillary)
    # With no copy left here, the death of the rehearsal ends every request of the application.
    os.close(descriptor)


def show_image(plan: dict[str, Any]) -> None:
    """The image as a node shows it: read-only, with what a container runtime mounts into it."""
    root = plan["root"]
    bind_read_only("mount-image", plan["image"], root, MS_NOSUID | MS_NODEV)
    for source, target in plan["volumes"]:
        mount("mount-volume", source, root + target, None, MS_BIND)
    mount("mount-tmpfs", "tmpfs", f"{root}/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755")
    for device in plan["devices"]:
        os.close(os.open(root + device, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
    mount("mount-sys", "/sys", f"{root}/sys", None, MS_BIND | MS_REC)


def become_application(channel: socket.socket, failure: int, plan: dict[str, Any]) -> NoReturn:
    """PID 1 of the new namespace: mount, change the root, give up all power, execute."""
    try:
        do("unshare-mount", "mount namespace", _libc.unshare, CLONE_NEWNS)
        # Leader of a process group, as the first process in Gramine is.
        os.setpgid(0, 0)
        mount_inside(plan)
        change_root(plan)
        close_all_but(channel.fileno(), failure)
        folders = [os.open(path, os.O_RDONLY | os.O_DIRECTORY) for path, _ in plan["tmpfs"]]
        limit(plan["limits"])
        give_up_power()
        if plan["filter"] is not None:  # Gramine brings a filter of its own
            filter_system_calls(channel, folders, bytes.fromhex(plan["filter"]))
        execute(plan)
    except StepError as refusal:
        os.write(failure, json.dumps(refusal.to_message()).encode())
    os._exit(127)


def close_all_but(*kept: int) -> None:
    """Close every descriptor but the three standard ones and those that are kept."""
    begin = 3
    for descriptor in sorted(kept):
        os.closerange(begin, descriptor)
        begin = descriptor + 1
    os.closerange(begin, 65536)


def mount_inside(plan: dict[str, Any]) -> None:
    """The mounts below the FUSE root: /proc, devices, the topology of /sys, and the manifest's own."""
    root = plan["root"]
    # Read-only, because root of this machine is root to the files of /proc/sys, whatever it gave up.
    whole = f"{plan['private']}/proc" if plan["proc"] else f"{root}/proc"
    mount("mount-proc", "proc", whole, "proc", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for path in plan["proc"]:
        source = f"{whole}/{path.removeprefix('/proc/')}"
        bind_read_only("mount-proc", source, root + path, MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for device in plan["devices"]:
        bind_read_only("mount-device", device, root + device, MS_NOSUID | MS_NOEXEC)
    for path in plan["topology"]:
        bind_read_only("mount-sys", path, root + path, MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for path, mode in plan["tmpfs"]:
        options = f"mode={mode},size={plan['tmpfs_size']}"
        mount("mount-tmpfs", "tmpfs", root + path, "tmpfs", MS_NOSUID | MS_NODEV, options)


def bind_read_only(step: str, source: str, target: str, flags: int) -> None:
    """Show ``source`` at ``target``. A device still takes what is written to it; its owner and mode stay."""
    mount(step, source, target, None, MS_BIND)
    mount(step, source, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY | flags)


def change_root(plan: dict[str, Any]) -> None:
    """Make the FUSE root the root, and let go of the old one."""
    os.chdir(plan["root"])
    do("pivot-root", plan["root"], _libc.syscall, SYS_PIVOT_ROOT, b".", b".")
    do("pivot-root", "/", _libc.umount2, b".", MNT_DETACH)
    os.chdir("/")
    try:
        os.chdir(plan["start_dir"])
    except OSError as refusal:
        raise StepError("start-dir", refusal.errno or errno.EIO, plan["start_dir"]) from refusal


def limit(limits: dict[str, int]) -> None:
    """The resource limits of the manifest, as far as this user may set them."""
    for name, wanted in limits.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (soft, hard))


def give_up_power() -> None:
    """No capability, no way to get one back, and death with the keeper."""
    for capability in range(LAST_CAPABILITY + 1):
        if _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) and ctypes.get_errno() != errno.EINVAL:
            raise StepError("drop-capabilities", ctypes.get_errno(), str(capability))
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    do("drop-capabilities", "all", _libc.capset, ctypes.byref(header), ctypes.byref(nothing))
    do("no-new-privileges", "prctl", _libc.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    do("no-new-privileges", "prctl", _libc.prctl, PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    keep_to_own_sockets()


def keep_to_own_sockets() -> None:
    """Abstract UNIX sockets of this machine are out of reach, as in Gramine; from Linux 6.12 on."""
    # struct landlock_ruleset_attr: no files, no ports, one scope.
    attributes = (ctypes.c_uint64 * 3)(0, 0, LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    ruleset = _libc.syscall(SYS_LANDLOCK_CREATE_RULESET, ctypes.byref(attributes), size, 0)
    if ruleset < 0:
        if ctypes.get_errno() in NO_LANDLOCK_SCOPES:
            return
        raise StepError("own-sockets", ctypes.get_errno(), "landlock")
    do("own-sockets", "landlock", _libc.syscall, SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)


def filter_system_calls(channel: socket.socket, folders: list[int], program: bytes) -> None:
    """Answer system calls as the rehearsal says, from the next one on, and hand over what it needs for it."""
    instructions = ctypes.create_string_buffer(program)
    # struct sock_fprog: a number of 16 bits, and a pointer where 64 bits are aligned.
    header = (ctypes.c_uint64 * 2)(len(program) // INSTRUCTION_SIZE, ctypes.addressof(instructions))
    listener = -1
    for more in (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, 0):
        if listener < 0:
            flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | more
            listener = _libc.syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, flags, ctypes.byref(header))
    if listener < 0:
        raise StepError("filter", ctypes.get_errno(), "seccomp")
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener, *folders]))]
    channel.sendmsg([json.dumps({"filtered": len(folders)}).encode()], ancillary)
    for descriptor in (listener, *folders):
        os.close(descriptor)


def execute(plan: dict[str, Any]) -> NoReturn:
    """The entry point with the manifest's arguments and environment, and every signal at its default."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(plan["entrypoint"], plan["argv"], plan["env"])  # noqa: S606  # this is what a rehearsal is
    except OSError as refusal:
        raise StepError("execute", refusal.errno or errno.EIO, plan["entrypoint"]) from refusal


def mount(step: str, source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """One mount, by the C library."""
    do(
        step,
        target,
        _libc.mount,
        source.encode(),
        target.encode(),
        None if kind is None else kind.encode(),
        ctypes.c_ulong(flags),
        options.encode(),
    )


def do(step: str, subject: str, function: Any, *arguments: Any) -> None:
    """Call into the C library; a refusal becomes a :class:`StepError`."""
    try:
        if function(*arguments):
            raise StepError(step, ctypes.get_errno(), subject)
    except OSError as refusal:
        raise StepError(step, refusal.errno or errno.EIO, subject) from refusal


def write(step: str, path: str, text: str) -> None:
    """Write one of the files that configure a user namespace."""
    try:
        with open(path, "w", encoding="ascii") as file:  # noqa: PTH123  # as above
            file.write(text)
    except OSError as refusal:
        raise StepError(step, refusal.errno or errno.EIO, path) from refusal


def tell(channel: socket.socket, message: dict[str, Any]) -> None:
    """One message to the rehearsal, which may be gone."""
    with contextlib.suppress(OSError):
        channel.send(json.dumps(message).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
