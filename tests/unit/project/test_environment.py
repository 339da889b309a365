"""The table ``[env]``: what is measured, what the host may choose, and what it may not."""

from __future__ import annotations

import pytest
from tests.support.projects import project

from casemate.errors import ProjectError
from casemate_attester.variables import Absent, Variable

_FORM = 'write NAME = "value", or NAME = { pass = true, one_of = ["a", "b"] }'


def test_a_variable_that_the_host_may_choose_has_a_rule() -> None:
    value = project(
        """[env]
B = "measured"
LEVEL = { pass = true, one_of = ["info", "debug"], default = "info" }
A = { pass = true, pattern = "[a-z]{2}", max_length = 2 }
NOTE = { pass = true, max_length = 80, required = false }
"""
    )

    assert value.env == (("B", "measured"),)
    assert value.variables == (
        Variable(name="A", pattern="[a-z]{2}", max_length=2),
        Variable(name="LEVEL", one_of=("info", "debug"), absent=Absent.DEFAULT, default="info"),
        Variable(name="NOTE", max_length=80, absent=Absent.UNSET),
    )


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("A = { one_of = ['x'] }", "pass: expected true, got nothing (casemate.toml: env.A.pass)", _FORM),
        (
            "A = { pass = false }",
            "pass: expected true, got something else (casemate.toml: env.A.pass)",
            _FORM,
        ),
        (
            "A = { pass = true }",
            (
                "rule of a variable that the host may choose: expected one_of, pattern or max_length, "
                "got none (casemate.toml: env.A.pass)"
            ),
            "whoever starts the enclave is the attacker: say what the application can take",
        ),
        (
            "A = { pass = true, paterm = 'x' }",
            'unknown key "paterm": expected a key of [env.A] (casemate.toml: env.A.paterm)',
            'did you mean "pattern"?',
        ),
        (
            "LD_AUDIT = { pass = true, one_of = ['x'] }",
            (
                "variable that the host may choose: expected none that decides which code runs, which peers "
                'are believed or what is given away, got "LD_AUDIT" (casemate.toml: env.LD_AUDIT.pass)'
            ),
            "write its value: it is measured then",
        ),
        (
            "LD_LIBRARY_PATH = { pass = true, one_of = ['x'] }",
            (
                'name of a variable: expected one that is left to the application, got "LD_LIBRARY_PATH" '
                "(casemate.toml: env.LD_LIBRARY_PATH)"
            ),
            "Casemate sets it from what it has put into the image",
        ),
        (
            "A = { pass = true, pattern = '(a+)+' }",
            (
                "pattern of A: expected characters and [sets] of them, each with ?, *, +, {n} or {n,m} "
                "behind it, got what is none from character 1 on (casemate.toml: env.A.pattern)"
            ),
            "escape with \\ what is meant as itself; there are no groups, | and .",
        ),
        (
            "A = { pass = true, pattern = 'a', one_of = ['a'] }",
            "rule of A: expected one of one_of and pattern, got both (casemate.toml: env.A.pass)",
            None,
        ),
        (
            "A = { pass = true, one_of = ['a'], default = 'b' }",
            "default of A: expected one of \"a\", got 'b' (casemate.toml: env.A.default)",
            None,
        ),
        (
            "A = { pass = true, one_of = ['a'], default = 'a', required = true }",
            "required: expected no default beside it, got true (casemate.toml: env.A.required)",
            None,
        ),
        (
            "A = { pass = true, max_length = 5, default = 1 }",
            "type of default: expected a text, got a number (casemate.toml: env.A.default)",
            None,
        ),
        (
            "A = { pass = true, max_length = 4097 }",
            "max_length: expected 1 to 4096, got 4097 (casemate.toml: env.A.max_length)",
            None,
        ),
    ],
)
def test_a_rule_that_is_none_is_refused_with_its_place(line: str, message: str, hint: str | None) -> None:
    with pytest.raises(ProjectError) as refused:
        project(f"[env]\n{line}\n")
    assert (str(refused.value), refused.value.hint) == (message, hint)


def test_a_secret_is_not_the_host_s_to_choose() -> None:
    with pytest.raises(ProjectError) as refused:
        project(
            """[env]
TOKEN = { pass = true, max_length = 9 }
[secrets]
"env:TOKEN" = "kbs:///a/b/c"
[broker]
url = "https://broker"
ca = "ca.pem"
"""
        )
    assert (
        str(refused.value)
        == "TOKEN: expected one of [env] and [secrets], got both (casemate.toml: env.TOKEN)"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[app]\n", 4),
        ("port = 1\nport = 2\n", 5),
        ('[env]\nA = "1"\nA = "2"\n', 6),
        ("[env]\nA = { pass = true, pass = true }\n", 5),
        ('[enclave.cpu]\navx = "required"\n[enclave.cpu]\n', 6),
    ],
)
def test_what_is_there_twice_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(ProjectError) as refused:
        project(text)
    assert (
        str(refused.value)
        == f"key or table that is there twice: expected each once (casemate.toml, line {line})"
    )
    assert refused.value.hint == "join the two, or remove one"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            'cpu = { avx512 = "disabled" }',
            (
                'avx512: expected "unspecified" or "required", or avx = "disabled" beside it, got "disabled" '
                "(casemate.toml: enclave.cpu.avx512)"
            ),
            "in Gramine it takes AVX away as well: the mask of AVX-512 contains the bit of AVX",
        ),
        (
            'cpu = { avx512 = "required", avx = "disabled" }',
            (
                'avx: expected no "disabled" where avx512 is required, got "disabled" '
                "(casemate.toml: enclave.cpu.avx)"
            ),
            None,
        ),
        (
            'cpu = { avx2 = "required" }',
            'unknown key "avx2": expected a key of [enclave.cpu] (casemate.toml: enclave.cpu.avx2)',
            'did you mean "avx"?',
        ),
        (
            "edmm = true\npreheat = true",
            "preheat: expected false with edmm = true, got true (casemate.toml: enclave.preheat)",
            "with edmm there is no memory yet that could be touched at start",
        ),
        ("files = 63", "files: expected 64 to 1048576, got 63 (casemate.toml: enclave.files)", None),
        (
            'brk = "5000"',
            'brk: expected a multiple of 4K, not above size, got "5000" (casemate.toml: enclave.brk)',
            None,
        ),
    ],
)
def test_a_setting_that_does_not_work_is_refused(text: str, message: str, hint: str | None) -> None:
    with pytest.raises(ProjectError) as refused:
        project(f"[enclave]\n{text}\n")
    assert (str(refused.value), refused.value.hint) == (message, hint)


def test_both_kinds_of_avx_can_be_disabled() -> None:
    value = project('[enclave]\ncpu = { avx512 = "disabled", avx = "disabled" }\n')

    assert value.enclave.cpu == (("avx", "disabled"), ("avx512", "disabled"))
