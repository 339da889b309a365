"""The rules for system calls, and the program that the kernel runs for them."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.rehearsal import seccomp
from casemate.rehearsal.system_call_names import NAMES, NUMBERS, VERSIONS, lacking
from casemate.rehearsal.system_calls import Limits, Outcome, judge, make_rules

_X32 = 0x4000_0000
_I386 = 0x4000_0003
LIMITS = Limits(version="1.9", subprocesses=False, flock=False, threads_limited=True, uid=0, gid=0)
RULES = make_rules(LIMITS)
PROGRAM = seccomp.assemble(RULES)
#: Numbers that stand in the rules, so that random arguments meet them.
_VALUES = sorted({look.value for cases in RULES.values() for case in cases for look in case.looks})
_WORDS = st.one_of(st.sampled_from(_VALUES), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1))


def run(program: bytes, number: int, arguments: Sequence[int], architecture: int = 0xC000_003E) -> int:
    """What the kernel would do: an interpreter of the few instructions that are used."""
    data = struct.pack("<iIQ6Q", number, architecture, 0, *arguments)
    instructions = list(struct.iter_unpack("<HBBI", program))
    place, accumulator = 0, 0
    while True:
        code, if_true, if_false, operand = instructions[place]
        place += 1
        match code:
            case seccomp.LOAD:
                (accumulator,) = struct.unpack_from("<I", data, operand)
            case seccomp.AND:
                accumulator &= operand
            case seccomp.JUMP:
                place += operand
            case seccomp.JUMP_EQUAL:
                place += if_true if accumulator == operand else if_false
            case seccomp.JUMP_AT_LEAST:
                place += if_true if accumulator >= operand else if_false
            case seccomp.RETURN:
                return int(operand)
            case _:
                raise AssertionError(code)


@given(
    number=st.one_of(st.sampled_from(sorted(RULES)), st.integers(0, 600), st.integers(_X32, _X32 + 600)),
    arguments=st.lists(_WORDS, min_size=6, max_size=6),
)
def test_the_program_does_what_the_rules_say(number: int, arguments: list[int]) -> None:
    verdict = judge(RULES, number, arguments)
    expected = {
        Outcome.ALLOW: seccomp.RET_ALLOW,
        Outcome.ANSWER: seccomp.RET_ERRNO | verdict.number,
        Outcome.REPORT: seccomp.RET_USER_NOTIF,
        Outcome.WATCH: seccomp.RET_USER_NOTIF,
    }
    assert run(PROGRAM, number, arguments) == expected[verdict.outcome]


def test_the_program_is_one_that_the_kernel_takes() -> None:
    instructions = len(PROGRAM) // 8
    assert instructions <= seccomp.MAX_INSTRUCTIONS
    for place, (code, if_true, if_false, operand) in enumerate(struct.iter_unpack("<HBBI", PROGRAM)):
        furthest = operand if code == seccomp.JUMP else max(if_true, if_false)
        assert place + furthest < instructions


def test_calls_of_another_architecture_are_refused() -> None:
    assert run(PROGRAM, NUMBERS["read"], [0] * 6, _I386) == seccomp.RET_ERRNO | errno.ENOSYS


@pytest.mark.parametrize("number", [335, 400, 463, 9999, _X32, _X32 + NUMBERS["read"]])
def test_a_number_that_nobody_knows_is_not_implemented(number: int) -> None:
    verdict = judge(RULES, number, [0] * 6)
    assert (verdict.outcome, verdict.number) == (Outcome.REPORT, errno.ENOSYS)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_that_is_lacking_has_a_number(version: str) -> None:
    assert lacking(version) <= NUMBERS.keys()
    assert not lacking(version) & {"read", "mmap", "futex", "execve", "restart_syscall", "rt_sigreturn"}


def test_earlier_versions_lack_more() -> None:
    assert lacking("1.7") - lacking("1.8") == {
        "close_range",
        "getxattr",
        "lgetxattr",
        "fgetxattr",
        "listxattr",
        "llistxattr",
        "flistxattr",
    }
    assert lacking("1.9") == lacking("1.8")


def test_the_numbers_are_those_of_x86_64() -> None:
    known = {"read": 0, "clone": 56, "prctl": 157, "utimensat": 280, "clone3": 435, "mseal": 462}
    assert {name: NUMBERS[name] for name in known} == known
    assert len(NAMES) == len(NUMBERS)


@given(
    identity=st.integers(0, 2**64 - 1),
    thread=st.integers(0, 2**32 - 1),
    number=st.integers(0, 2**31 - 1),
    arguments=st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6),
)
def test_a_notification_is_read_as_the_kernel_writes_it(
    identity: int, thread: int, number: int, arguments: list[int]
) -> None:
    data = struct.pack("<QIIiIQ6Q", identity, thread, 0, number, 0xC000_003E, 7, *arguments)
    assert len(data) == seccomp.NOTIFICATION_SIZE
    assert seccomp.Notification.parse(data) == seccomp.Notification(
        identity=identity, thread=thread, number=number, arguments=tuple(arguments)
    )
