"""What becomes of each system call in a rehearsal: the rules, as data, and one function that applies them.

The rules say what Gramine 1.9's LibOS does where the kernel of this machine would do something else, as far
as it shows in the number and the arguments of the call. What an argument points to is not looked at here;
calls for which that decides are watched, and :mod:`casemate.rehearsal.supervisor` decides.

The same rules become the program that the kernel runs for each call (:mod:`casemate.rehearsal.seccomp`).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from casemate.rehearsal.system_call_names import NUMBERS, lacking

_WORD: Final = 0xFFFF_FFFF
_NEGATIVE: Final = 0x8000_0000
_LONG: Final = 0xFFFF_FFFF_FFFF_FFFF


class Outcome(Enum):
    """What happens to a call."""

    ALLOW = "allow"  # the kernel of this machine does it
    ANSWER = "answer"  # it is answered at once: programs expect it and do without
    REPORT = "report"  # it is answered, and who asked is reported
    WATCH = "watch"  # the supervisor looks at it and decides


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What happens to a call.

    Attributes:
        outcome: See there.
        number: errno(3) of an answer; 0 for success.
        label: What a report calls it; ``{n}`` stands for an argument.
    """

    outcome: Outcome
    number: int = 0
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at one argument: whether ``argument & mask == value``, or differs.

    Attributes:
        argument: Its position, 0 to 5.
        mask: The bits that count.
        value: What they are compared with.
        equal: Whether they have to be equal, or different.
    """

    argument: int
    mask: int
    value: int
    equal: bool = True

    def holds(self, arguments: Sequence[int]) -> bool:
        """Whether it is so for a call."""
        return (arguments[self.argument] & self.mask == self.value) is self.equal


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A verdict for the calls for which every look holds; the first such case of a call counts."""

    looks: tuple[Look, ...] = ()
    verdict: Verdict


#: Number of a call to its cases; a call without a case that holds is allowed, one without a row is unknown.
Rules = Mapping[int, tuple[Case, ...]]

ALLOW: Final = Verdict(outcome=Outcome.ALLOW)
UNKNOWN: Final = Verdict(outcome=Outcome.REPORT, number=errno.ENOSYS, label="")
_WATCH: Final = Verdict(outcome=Outcome.WATCH)

#: Calls that the LibOS lacks and for which the C library, the interpreter and libraries have another way
#: that they take without a word.
_DONE_WITHOUT: Final = """
capget cachestat clone3 close_range copy_file_range epoll_pwait2 execveat faccessat2 fchmodat2 fsetxattr
futex_waitv get_mempolicy getxattr io_setup io_uring_enter io_uring_register io_uring_setup ioprio_get
ioprio_set landlock_create_ruleset membarrier mremap openat2 pidfd_open pkey_alloc pkey_free preadv2
process_madvise pwritev2 readahead renameat2 rseq sched_getattr sched_setattr seccomp set_mempolicy
set_thread_area setxattr splice statx sync_file_range syncfs sync times
"""
_EXTENDED_ATTRIBUTES: Final = (
    "getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr",
)  # fmt: skip
#: Calls that the LibOS takes and does nothing for.
_WITHOUT_EFFECT: Final = (
    "mlock", "munlock", "mlockall", "munlockall", "mlock2", "mbind", "sched_setparam", "sched_setscheduler",
    "setgroups",
)  # fmt: skip

CLONE_VM: Final = 0x100
CLONE_FS: Final = 0x200
CLONE_FILES: Final = 0x400
CLONE_VFORK: Final = 0x4000
CLONE_THREAD: Final = 0x10000
CLONE_SYSVSEM: Final = 0x40000
#: CSIGNAL, VM, FS, FILES, SIGHAND, PTRACE, VFORK, THREAD, SYSVSEM, SETTLS, PARENT_SETTID, CHILD_CLEARTID,
#: DETACHED, UNTRACED, CHILD_SETTID.
_CLONE_KNOWN: Final = 0x01FD_6FFF
#: DUPFD, GETFD, SETFD, GETFL, SETFL, GETLK, SETLK, SETLKW, SETOWN, DUPFD_CLOEXEC.
_FCNTL_KNOWN: Final = (0, 1, 2, 3, 4, 5, 6, 7, 8, 1030)
#: FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, FIOASYNC, TIOCGPGRP.
_IOCTL_KNOWN: Final = (0x541B, 0x5421, 0x5450, 0x5451, 0x5452, 0x540F)
#: TCGETS, TIOCGWINSZ: whether it is a terminal, which is answered as on a pipe.
_IOCTL_TERMINAL: Final = (0x5401, 0x5413)
#: REMOVE, DONTFORK, DOFORK, DONTDUMP, DODUMP, WIPEONFORK, KEEPONFORK, HWPOISON.
_MADVISE_LACKING: Final = (9, 10, 11, 16, 17, 18, 19, 100)
#: NORMAL to DONTNEED, FREE, MERGEABLE, UNMERGEABLE, HUGEPAGE, NOHUGEPAGE, SOFT_OFFLINE.
_MADVISE_KNOWN: Final = (0, 1, 2, 3, 4, 8, 12, 13, 14, 15, 101)
#: GROWSUP and SEM.
_PROT_LACKING: Final = 0x0200_0008
_MS_INVALIDATE: Final = 2
_PRIORITY: Final = 0x3F
#: SEEK_DATA and SEEK_HOLE.
_SEEK_LACKING: Final = (3, 4)
_O_TMPFILE: Final = 0o20200000
_LOCK_MAND: Final = 32
#: LOCK_PI, UNLOCK_PI, TRYLOCK_PI, WAIT_REQUEUE_PI, CMP_REQUEUE_PI, LOCK_PI2.
_FUTEX_LACKING: Final = (6, 7, 8, 11, 12, 13)
_FUTEX_COMMAND: Final = 0x7F
_SOCKET_TYPE: Final = 0xF
_SOCKET_FLAGS: Final = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
_MSG_DONTWAIT: Final = 0x40
_SEND_KNOWN: Final = 0x4000 | 0x8000 | _MSG_DONTWAIT
_RECEIVE_KNOWN: Final = 0x2 | 0x20 | _MSG_DONTWAIT
_S_IFMT: Final = 0o170000
_S_IFREG: Final = 0o100000
_S_IFIFO: Final = 0o010000
_SOL_TCP: Final = 6
_IPPROTO_TCP: Final = 6
_IPPROTO_UDP: Final = 17
_SOL_IPV6: Final = 41
#: Level to option names that setsockopt(2) takes.
_SET_OPTIONS: Final = {
    socket.SOL_SOCKET: (2, 6, 7, 8, 9, 13, 15, 20, 21),
    _SOL_IPV6: (25, 26),
    _SOL_TCP: (1, 3, 4, 5, 6, 18),
}
_SET_FORBIDDEN: Final = (3, 4, 30, 38, 39)
_GET_OPTIONS: Final = {
    socket.SOL_SOCKET: (2, 3, 4, 6, 7, 8, 9, 13, 15, 20, 21, 30, 38, 39),
    _SOL_IPV6: (26,),
    _SOL_TCP: (1, 3, 4, 5, 6, 18),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the manifest and the version decide about system calls.

    Attributes:
        version: Gramine's, major and minor.
        subprocesses: Whether processes may be made.
        flock: Whether flock(2) is there.
        threads_limited: Whether the number of threads is.
        uid: The application's user.
        gid: Its group.
    """

    version: str
    subprocesses: bool
    flock: bool
    threads_limited: bool
    uid: int
    gid: int


def make_rules(limits: Limits) -> Rules:
    """The rules of one rehearsal."""
    rules: dict[int, tuple[Case, ...]] = dict.fromkeys(NUMBERS.values(), ())
    for name in lacking(limits.version):
        rules[NUMBERS[name]] = (_refuse(name, errno.ENOSYS, quiet=done_without(name)),)
    cases = {**_process_cases(limits), **_file_cases(limits), **_memory_cases(), **_socket_cases()}
    for name, found in cases.items():
        rules[NUMBERS[name]] = tuple(found)
    if "getxattr" not in lacking(limits.version):
        for name in _EXTENDED_ATTRIBUTES:  # there are none: an empty list, and no such one
            answer = 0 if "list" in name else errno.ENODATA
            rules[NUMBERS[name]] = (_refuse(name, answer, quiet=True),)
    for name in _WITHOUT_EFFECT:
        rules[NUMBERS[name]] = (_refuse(name, 0, quiet=True),)
    return rules


def done_without(name: str) -> bool:
    """Whether programs expect a call to be lacking and do without."""
    return name in _DONE_WITHOUT.split()


def judge(rules: Rules, number: int, arguments: Sequence[int]) -> Verdict:
    """What becomes of one call.

    Args:
        rules: Of the rehearsal.
        number: Of the call.
        arguments: Its six arguments, unsigned 64 bits each.
    """
    cases = rules.get(number)
    if cases is None:
        return UNKNOWN
    for case in cases:
        if all(look.holds(arguments) for look in case.looks):
            return case.verdict
    return ALLOW


def _refuse(label: str, number: int, *looks: Look, quiet: bool = False) -> Case:
    outcome = Outcome.ANSWER if quiet else Outcome.REPORT
    return Case(looks=looks, verdict=Verdict(outcome=outcome, number=number, label=label))


def _allow(*looks: Look) -> Case:
    return Case(looks=looks, verdict=ALLOW)


def _watch(*looks: Look) -> Case:
    return Case(looks=looks, verdict=_WATCH)


def _is(argument: int, value: int, mask: int = _WORD) -> Look:
    return Look(argument=argument, mask=mask, value=value)


def _is_not(argument: int, value: int, mask: int = _WORD) -> Look:
    return Look(argument=argument, mask=mask, value=value, equal=False)


def _any_bit(argument: int, bits: int) -> Look:
    return Look(argument=argument, mask=bits, value=0, equal=False)


def _one_of(argument: int, values: Iterable[int]) -> list[Case]:
    return [_allow(_is(argument, value)) for value in values]


def _process_cases(limits: Limits) -> dict[str, list[Case]]:
    """Processes, threads, signals, clocks."""
    made = [_allow()] if limits.subprocesses else [_refuse("a new process", errno.EAGAIN)]
    thread = [_watch(_any_bit(0, CLONE_THREAD))] if limits.threads_limited else []
    return {
        "clone": [
            _refuse("clone flags {0:#x}", errno.EINVAL, _any_bit(0, _LONG & ~_CLONE_KNOWN)),
            *(thread or [_allow(_any_bit(0, CLONE_THREAD))]),
            _refuse("clone flags {0:#x}", errno.EINVAL, _any_bit(0, CLONE_VM), _is(0, 0, CLONE_VFORK)),
            _refuse("clone flags {0:#x}", errno.EINVAL, _any_bit(0, CLONE_FS | CLONE_FILES | CLONE_SYSVSEM)),
            *made,
        ],
        "fork": made,
        "vfork": made,
        "kill": [_watch(_is(0, 0)), _watch(_is(0, 1)), _watch(_any_bit(0, _NEGATIVE))],
        "tgkill": [_watch(_is(0, 1))],
        "tkill": [_watch()],
        "prctl": [
            # PR_SET_NAME and PR_SET_VMA: names of threads and of memory, for people.
            _refuse("prctl", errno.ENOSYS, _is(0, 15), quiet=True),
            _refuse("prctl", errno.ENOSYS, _is(0, 0x53564D41), quiet=True),
            _refuse("prctl option {0}", errno.ENOSYS),
        ],
        "arch_prctl": [*_one_of(0, (0x1002, 0x1003, *range(0x1021, 0x1026))), _quiet_enosys()],
        # 20 minus the nice value, from 1 to 40.
        "setpriority": [
            _refuse("priority {2}", errno.EACCES, _any_bit(2, _WORD & ~_PRIORITY), quiet=True),
            _refuse("priority {2}", errno.EACCES, _is(2, 0), quiet=True),
            _refuse("priority {2}", 0, quiet=True),
        ],
        # Root may become anybody; who it is afterwards shows only in Gramine.
        "setuid": [_refuse("setuid", 0, quiet=True)] if limits.uid == 0 else [],
        "setgid": [_refuse("setgid", 0, quiet=True)] if limits.uid == 0 else [],
        "setitimer": [_refuse("setitimer of clock {0}", errno.ENOSYS, _is_not(0, 0))],
        "getitimer": [_refuse("getitimer of clock {0}", errno.ENOSYS, _is_not(0, 0))],
        "clock_gettime": [
            _refuse("clock of another process or thread", errno.EINVAL, _any_bit(0, _NEGATIVE))
        ],
        "clock_getres": [_refuse("clock of another process or thread", errno.EINVAL, _any_bit(0, _NEGATIVE))],
        "clock_nanosleep": [
            *_one_of(0, (0, 1, 2)),
            _refuse("clock_nanosleep on clock {0}", errno.EOPNOTSUPP),
        ],
        "prlimit64": [*_one_of(0, (0, 1)), _refuse("prlimit64 of another process", errno.ENOSYS)],
        "waitid": [_refuse("waitid by descriptor", errno.EINVAL, _is(0, 3))],
        "futex": [
            _refuse("futex command {1}", errno.ENOSYS, _is(1, command, _FUTEX_COMMAND))
            for command in _FUTEX_LACKING
        ],
    }


def _quiet_enosys() -> Case:
    return _refuse("arch_prctl", errno.ENOSYS, quiet=True)


def _file_cases(limits: Limits) -> dict[str, list[Case]]:
    kinds = (0, _S_IFREG, _S_IFIFO)
    node = "mknod of a device"
    temporary = "open with O_TMPFILE"  # tempfile expects it and does without
    flock = [_refuse("flock", 0, _any_bit(1, _LOCK_MAND), quiet=True)]
    if not limits.flock:
        flock.append(_refuse("flock", errno.ENOSYS))
    return {
        "fcntl": [*_one_of(1, _FCNTL_KNOWN), _refuse("fcntl command {1}", errno.EINVAL)],
        "flock": flock,
        "ioctl": [
            *_one_of(1, _IOCTL_KNOWN),
            *(_refuse("ioctl", errno.ENOTTY, _is(1, command), quiet=True) for command in _IOCTL_TERMINAL),
            _refuse("ioctl request {1:#x}", errno.ENOTTY),
        ],
        "fallocate": [_refuse("fallocate mode {1}", errno.ENOSYS, _is_not(1, 0))],
        "mknod": [*(_allow(_is(1, kind, _S_IFMT)) for kind in kinds), _refuse(node, errno.EINVAL)],
        "mknodat": [*(_allow(_is(2, kind, _S_IFMT)) for kind in kinds), _refuse(node, errno.EINVAL)],
        "lseek": [
            _refuse("lseek to data or a hole", errno.EINVAL, _is(2, whence)) for whence in _SEEK_LACKING
        ],
        "open": [_refuse(temporary, errno.EISDIR, _is(1, _O_TMPFILE, _O_TMPFILE), quiet=True)],
        "openat": [_refuse(temporary, errno.EISDIR, _is(2, _O_TMPFILE, _O_TMPFILE), quiet=True)],
        "chown": _ownership(limits, 1),
        "lchown": [_refuse("lchown", errno.ENOSYS)],
        "fchown": _ownership(limits, 1),
        "fchownat": _ownership(limits, 2),
        "rename": [_watch()],
        "renameat": [_watch()],
    }


def _ownership(limits: Limits, first: int) -> list[Case]:
    """What changes nothing is left to the kernel, which says whether the file is there; all else succeeds."""
    return [
        *(
            _allow(_is(first, user), _is(first + 1, group))
            for user in (limits.uid, _WORD)
            for group in (limits.gid, _WORD)
        ),
        _refuse("chown", 0, quiet=True),
    ]


def _memory_cases() -> dict[str, list[Case]]:
    prot = "memory protection {2:#x}"
    return {
        "mmap": [_refuse(prot, errno.EOPNOTSUPP, _any_bit(2, _PROT_LACKING))],
        "mprotect": [_refuse(prot, errno.EOPNOTSUPP, _any_bit(2, _PROT_LACKING))],
        "msync": [_refuse("msync with MS_INVALIDATE", errno.ENOSYS, _any_bit(2, _MS_INVALIDATE))],
        "madvise": [
            *_one_of(2, _MADVISE_KNOWN),
            # A hint; who gives it does not look at the answer.
            *(_refuse("madvise", errno.ENOSYS, _is(2, advice), quiet=True) for advice in _MADVISE_LACKING),
            _refuse("madvise {2}", errno.EINVAL),
        ],
    }


def _socket_cases() -> dict[str, list[Case]]:
    unix, inet, inet6 = int(socket.AF_UNIX), int(socket.AF_INET), int(socket.AF_INET6)
    stream, datagram = int(socket.SOCK_STREAM), int(socket.SOCK_DGRAM)
    flags = _any_bit(1, _WORD & ~(_SOCKET_TYPE | _SOCKET_FLAGS))
    sending = _refuse("flags {3:#x} of send", errno.EOPNOTSUPP, _any_bit(3, _WORD & ~_SEND_KNOWN))
    message = _refuse("flags {2:#x} of sendmsg", errno.EOPNOTSUPP, _any_bit(2, _WORD & ~_SEND_KNOWN))
    return {
        "socket": [
            # The C library asks it for the machine's addresses, and does without.
            _refuse("socket of family {0}", errno.EAFNOSUPPORT, _is(0, int(socket.AF_NETLINK)), quiet=True),
            _refuse(
                "socket of family {0}",
                errno.EAFNOSUPPORT,
                *(_is_not(0, family) for family in (unix, inet, inet6)),
            ),
            _refuse("socket of type {1:#x}", errno.EINVAL, flags),
            _refuse(
                "UNIX socket of datagrams",
                errno.EPROTONOSUPPORT,
                _is(0, unix),
                _is(1, datagram, _SOCKET_TYPE),
            ),
            *(
                _allow(_is(1, kind, _SOCKET_TYPE), _is(2, protocol))
                for kind, protocols in ((stream, (0, _IPPROTO_TCP)), (datagram, (0, _IPPROTO_UDP)))
                for protocol in protocols
            ),
            _refuse("socket of type {1:#x} and protocol {2}", errno.EPROTONOSUPPORT),
        ],
        "socketpair": [
            _refuse("socketpair of family {0}", errno.EAFNOSUPPORT, _is_not(0, unix)),
            _refuse("socketpair of type {1:#x}", errno.EINVAL, flags),
            _refuse("socketpair of type {1:#x}", errno.EPROTONOSUPPORT, _is_not(1, stream, _SOCKET_TYPE)),
            _refuse("socketpair of protocol {2}", errno.EPROTONOSUPPORT, _is_not(2, 0)),
        ],
        "setsockopt": [
            *_options(_SET_OPTIONS),
            *(
                _refuse("socket option {2}", errno.EPERM, _is(1, int(socket.SOL_SOCKET)), _is(2, option))
                for option in _SET_FORBIDDEN
            ),
            _refuse("socket option {2} of level {1}", errno.ENOPROTOOPT),
        ],
        "getsockopt": [
            *_options(_GET_OPTIONS),
            *(
                _refuse("socket option {2} of level {1}", errno.ENOPROTOOPT, _is(1, level))
                for level in (0, *_GET_OPTIONS)
            ),
            _refuse("socket option {2} of level {1}", errno.EOPNOTSUPP),
        ],
        "sendto": [sending],
        "sendmmsg": [sending],
        "sendmsg": [message],
        "recvfrom": [_refuse("flags {3:#x} of recv", errno.EOPNOTSUPP, _any_bit(3, _WORD & ~_RECEIVE_KNOWN))],
        "recvmsg": [
            _refuse("flags {2:#x} of recvmsg", errno.EOPNOTSUPP, _any_bit(2, _WORD & ~_RECEIVE_KNOWN))
        ],
        "bind": [_watch()],
        "listen": [_watch()],
        "connect": [_watch()],
        "getsockname": [_watch()],
        "getpeername": [_watch()],
    }


def _options(table: Mapping[int, tuple[int, ...]]) -> list[Case]:
    return [
        _allow(_is(1, int(level)), _is(2, option)) for level, options in table.items() for option in options
    ]
