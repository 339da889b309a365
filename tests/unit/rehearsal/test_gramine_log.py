"""What is made of the lines that Gramine 1.9 logs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.rehearsal.findings import Kind
from casemate.rehearsal.gramine_log import Refusal, explanations, refusals

_LOG = """\
[P1:T1:python3.11] warning: Unsupported system call rseq
[P1:T1:python3.11] warning: Unsupported system call utimensat
[P1:T1:python3.11] warning: Disallowing access to file 'stray.txt'; file is not allowed.
[P1:T1:python3.11] warning: Disallowing creating file '/enclave/app/new'; file is not trusted or allowed.
[P1:T1:python3.11] warning: The app tried to create a subprocess, but this is disabled (sys.disallow)
[P1:T3:python3.11] warning: Unsupported system call utimensat
[P1:T1:python3.11] error: Disallowing write/append to a trusted file 'main.py'
[P1:T1:python3.11] warning: unsupported socket type 5
[P1:T1:python3.11] warning: something that nobody foresaw
what an application printed: Unsupported system call reboot
"""


def test_refusals_are_read_once_each_and_without_what_programs_do_without() -> None:
    assert refusals(_LOG) == (
        Refusal(name="utimensat", kind=Kind.SYSTEM_CALL, answer="ENOSYS"),
        Refusal(name="stray.txt", kind=Kind.UNTRUSTED, answer="EACCES"),
        Refusal(name="/enclave/app/new", kind=Kind.READ_ONLY, answer="EACCES"),
        Refusal(name="a new process", kind=Kind.SYSTEM_CALL, answer="EAGAIN"),
        Refusal(name="main.py", kind=Kind.READ_ONLY, answer="EACCES"),
        Refusal(name="unsupported socket type 5", kind=Kind.SYSTEM_CALL, answer="EAFNOSUPPORT"),
    )


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        (
            "[P1:T1:] error: Internal memory fault at 0x00000000 (IP = +0x1, VMID = 1, TID = 1)",
            "memory ended, or native code is wrong: raise [enclave] size, and run with MALLOC_ARENA_MAX = 1",
        ),
        (
            "error: libos_init() failed in init_exec_handle: Permission denied (EACCES)",
            "Gramine did not start: the image and the manifest have to be of one build and of this Gramine",
        ),
        (
            "error: There are no available TCS pages left for a new thread. Please try to increase",
            "every thread of the enclave is in use: raise [enclave] threads",
        ),
    ],
)
def test_errors_are_explained_with_what_to_do(line: str, meaning: str) -> None:
    own_words = line.partition("error: ")[2]
    assert explanations(f"{line}\n{line}\n") == (f"Gramine says {own_words!r}: {meaning}",)


def test_a_warning_and_an_error_that_nobody_foresaw_are_not_explained() -> None:
    assert explanations("warning: memory fault\nerror: something else\n") == ()


@given(st.text())
def test_any_text_is_read(log: str) -> None:
    assert refusals(log) is not None
    assert explanations(log) is not None
