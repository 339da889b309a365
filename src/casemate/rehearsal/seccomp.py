"""The rules for system calls as a program of the kernel's seccomp, and what is said over its listener.

Numbers of the kernel's interface: ``linux/seccomp.h``, ``linux/filter.h``, ``linux/audit.h``.

The program looks at the architecture and the number first, finds the cases of the call by halving, and looks
at the arguments only where a case does. The kernel remembers calls that are allowed whatever their arguments,
so that most calls of a running application never reach the program.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from casemate.rehearsal.system_calls import UNKNOWN, Case, Look, Outcome, Rules, Verdict

AUDIT_ARCH_X86_64: Final = 0xC000_003E
RET_ALLOW: Final = 0x7FFF_0000
RET_USER_NOTIF: Final = 0x7FC0_0000
RET_ERRNO: Final = 0x0005_0000
#: What a filter may have at most.
MAX_INSTRUCTIONS: Final = 4096

#: BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ, BPF_JMP | BPF_JGE, BPF_JMP | BPF_JA, BPF_ALU | BPF_AND,
#: BPF_RET | BPF_K.
LOAD: Final = 0x20
JUMP_EQUAL: Final = 0x15
JUMP_AT_LEAST: Final = 0x35
JUMP: Final = 0x05
AND: Final = 0x54
RETURN: Final = 0x06

#: Offsets in struct seccomp_data.
_NUMBER: Final = 0
_ARCHITECTURE: Final = 4
_ARGUMENTS: Final = 16
_LOW: Final = 0xFFFF_FFFF

#: One instruction: code, jumps if true and if not, operand.
Instruction = tuple[int, int, int, int]

#: struct seccomp_notif: id, pid, flags; then struct seccomp_data: nr, arch, instruction pointer, arguments.
_NOTIFICATION: Final = struct.Struct("<QIIiIQ6Q")
NOTIFICATION_SIZE: Final = _NOTIFICATION.size
_RESPONSE: Final = struct.Struct("<QqiI")
#: SECCOMP_IOCTL_NOTIF_RECV, _SEND.
RECEIVE: Final = 0xC050_2100
SEND: Final = 0xC018_2101
_CONTINUE: Final = 1


def assemble(rules: Rules) -> bytes:
    """The program, as an array of struct sock_filter."""
    program = [
        (LOAD, 0, 0, _ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, AUDIT_ARCH_X86_64),
        # Another way into the kernel; its calls have other numbers, and Gramine has none of it.
        (RETURN, 0, 0, RET_ERRNO | errno.ENOSYS),
        (LOAD, 0, 0, _NUMBER),
        *_search(_ranges(rules)),
    ]
    if len(program) > MAX_INSTRUCTIONS:
        raise AssertionError(f"{len(program)} instructions")  # a program error: the rules are this tool's
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def _ranges(rules: Rules) -> list[tuple[int, list[Instruction]]]:
    """First number of each range of calls that are treated alike, with what is done for them."""
    ranges: list[tuple[int, list[Instruction]]] = []
    for number in range(max(rules) + 2):
        cases = rules.get(number)
        code = [_return(UNKNOWN)] if cases is None else _cases(cases)
        if not ranges or ranges[-1][1] != code:
            ranges.append((number, code))
    return ranges


def _search(ranges: Sequence[tuple[int, list[Instruction]]]) -> list[Instruction]:
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, above = _search(ranges[:middle]), _search(ranges[middle:])
    # A conditional jump reaches 255 instructions, the other one any.
    return [(JUMP_AT_LEAST, 0, 1, ranges[middle][0]), (JUMP, 0, 0, len(below)), *below, *above]


def _cases(cases: Sequence[Case]) -> list[Instruction]:
    code: list[Instruction] = []
    for case in cases:
        code += _case(case)
        if not case.looks:
            return code
    return [*code, (RETURN, 0, 0, RET_ALLOW)]


def _case(case: Case) -> list[Instruction]:
    """Every look, each of which leads past the end when it does not hold, and the verdict."""
    code = [_return(case.verdict)]
    for look in reversed(case.looks):
        code = [*_look(look, len(code)), *code]
    return code


def _look(look: Look, behind: int) -> list[Instruction]:
    """Go on when it holds, else past the ``behind`` instructions that follow."""
    halves = [
        (look.mask >> shift & _LOW, look.value >> shift & _LOW, _ARGUMENTS + 8 * look.argument + shift // 8)
        for shift in (0, 32)
        if look.mask >> shift & _LOW
    ]
    code: list[Instruction] = []
    for position, (mask, value, offset) in reversed(list(enumerate(halves))):
        last = position == len(halves) - 1
        # Every half has to be equal, or one that differs is enough.
        differs = (behind if last else 0, 0 if last else len(code))
        jumps = (0, len(code) + behind) if look.equal else differs
        code = [(LOAD, 0, 0, offset), (AND, 0, 0, mask), (JUMP_EQUAL, *jumps, value), *code]
    return code


def _return(verdict: Verdict) -> Instruction:
    if verdict.outcome is Outcome.ALLOW:
        value = RET_ALLOW
    elif verdict.outcome is Outcome.ANSWER:
        value = RET_ERRNO | verdict.number
    else:
        value = RET_USER_NOTIF
    return (RETURN, 0, 0, value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A call that waits for an answer.

    Attributes:
        identity: By which it is answered.
        thread: Number of the waiting thread on this machine.
        number: Of the call.
        arguments: Its six arguments, unsigned.
    """

    identity: int
    thread: int
    number: int
    arguments: tuple[int, ...]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read what the kernel wrote: :data:`NOTIFICATION_SIZE` bytes."""
        identity, thread, _, number, _, _, *arguments = _NOTIFICATION.unpack(data)
        return cls(identity=identity, thread=thread, number=number, arguments=tuple(arguments))


def answer(identity: int, number: int) -> bytes:
    """The answer that fails a call with errno(3) ``number``, or has it succeed with 0."""
    return _RESPONSE.pack(identity, 0, -number, 0)


def go_on(identity: int) -> bytes:
    """The answer that lets the kernel do the call."""
    return _RESPONSE.pack(identity, 0, 0, _CONTINUE)
