import re
import subprocess
import sys
import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate_attester.errors import ConfigurationError, VariableError
from casemate_attester.variables import Absent, Pattern, Variable, admit, decides_what_runs

_NO_PATTERN = "pattern: expected characters and [sets] of them, each with ?, *, +, {n} or {n,m} behind it"
LEVEL = Variable(name="LEVEL", one_of=("info", "debug"))
REGION = Variable(name="REGION", pattern=r"[a-z]{2}-[a-z]+-[0-9]", max_length=20)
NOTE = Variable(name="NOTE", max_length=5)


def refusal(variable: Variable, value: str | None) -> VariableError:
    environment = {} if value is None else {variable.name: value}
    with pytest.raises(VariableError) as refused:
        admit([variable], environment)
    return refused.value


@pytest.mark.parametrize(
    ("variable", "value"),
    [(LEVEL, "info"), (LEVEL, "debug"), (REGION, "eu-central-1"), (NOTE, "grüße"), (NOTE, "")],
)
def test_a_value_that_meets_its_rule_stays_as_it_is(variable: Variable, value: str) -> None:
    environment = {variable.name: value, "OTHER": "x"}

    admit([variable], environment)

    assert environment == {variable.name: value, "OTHER": "x"}


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (LEVEL, "trace", 'LEVEL: expected one of "info", "debug", got another text of length 5'),
        (LEVEL, None, 'LEVEL: expected one of "info", "debug", got nothing'),
        (LEVEL, "", 'LEVEL: expected one of "info", "debug", got another text of length 0'),
        (
            REGION,
            "eu-central-1\n",
            f"REGION: expected {REGION.rule}, got another text of length 13",
        ),
        (
            REGION,
            "eu-" + "a" * 40 + "-1",
            f"REGION: expected {REGION.rule}, got another text of length 45",
        ),
        (
            NOTE,
            "secret",
            "NOTE: expected printable text, at most 5 characters, got another text of length 6",
        ),
        (
            NOTE,
            "\udc80",
            "NOTE: expected printable text, at most 5 characters, got another text of length 1",
        ),
    ],
)
def test_any_other_value_stops_the_workload_and_is_not_shown(
    variable: Variable, value: str | None, message: str
) -> None:
    error = refusal(variable, value)

    assert str(error) == f"variable {message} (environment)"
    assert (
        error.hint
        == "give it such a value where the enclave is started: in a pod, below env of the container"
    )


def test_what_is_absent_gets_its_default_or_stays_absent() -> None:
    with_default = Variable(name="A", pattern="[0-9]+", absent=Absent.DEFAULT, default="8")
    optional = Variable(name="B", absent=Absent.UNSET)
    environment: dict[str, str] = {}

    admit([with_default, optional], environment)

    assert environment == {"A": "8"}


def test_a_value_that_is_given_twice_is_the_one_that_was_judged_for_everybody() -> None:
    program = (
        "import os; from casemate_attester.variables import Variable, admit;"
        "admit([Variable(name='LEVEL', one_of=('info',))], os.environ);"
        "os.execv('/usr/bin/env', ['env'])"
    )
    # No shell and no call of Python's gives a name twice.
    start = "import ctypes, sys; a = lambda *w: (ctypes.c_char_p * (len(w) + 1))(*map(str.encode, w), None);"
    start += "ctypes.CDLL(None).execve(sys.executable.encode(), a(sys.executable, '-c', sys.argv[1]),"
    start += "a('LEVEL=info', 'LEVEL=other', 'PATH=/usr/bin:/bin'))"

    done = subprocess.run([sys.executable, "-c", start, program], capture_output=True, text=True, check=True)

    assert [line for line in done.stdout.splitlines() if line.startswith("LEVEL")] == ["LEVEL=info"]


def test_a_rule_says_in_words_what_it_wants() -> None:
    assert LEVEL.rule == 'one of "info", "debug"'
    assert REGION.rule == "text that matches [a-z]{2}-[a-z]+-[0-9], at most 20 characters"


@pytest.mark.parametrize(
    "name",
    [
        *("LD_PRELOAD", "LD_AUDIT", "PYTHONPATH", "PYTHONSTARTUP", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "CURL_CA_BUNDLE"),
        *("OPENSSL_CONF", "https_proxy", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY", "RA_TLS_MRENCLAVE"),
        *("PGSSLROOTCERT", "PGSSLMODE", "PGSERVICEFILE", "LDAPTLS_CACERT", "ODBCSYSINI"),
        *("SECRET_PROVISION_SERVERS", "PATH", "HOME", "SSLKEYLOGFILE", "GCONV_PATH", "TMPDIR", "TZ"),
    ],
)
def test_no_rule_lets_the_host_choose_what_decides_about_code_and_peers(name: str) -> None:
    assert decides_what_runs(name)
    with pytest.raises(ConfigurationError) as refused:
        Variable(name=name, one_of=("x",))
    assert str(refused.value) == (
        "variable that the host may choose: expected none that decides which code runs, which peers are "
        f"believed or what is given away, got {name} (variables: {name})"
    )


@pytest.mark.parametrize("name", ["LOG_LEVEL", "REGION", "OMP_NUM_THREADS", "DATABASE_HOST", "PATHS"])
def test_other_names_are_left_to_a_rule(name: str) -> None:
    assert not decides_what_runs(name)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"name": "A B"}, "name: expected a name, got 'A B' (variables: A B)"),
        ({"max_length": 0}, "max_length: expected 1 to 4096, got 0 (variables: A)"),
        (
            {"one_of": ("x",), "pattern": "x"},
            "rule: expected one of one_of and pattern, got both (variables: A)",
        ),
        (
            {"default": "x"},
            "default: expected a value for what is absent, got none (variables: A)",
        ),
        (
            {"one_of": ("x",), "absent": Absent.DEFAULT, "default": "y"},
            "default: expected one of \"x\", got 'y' (variables: A)",
        ),
        (
            {"one_of": ("x\0",)},
            "one_of: expected texts without control characters, got 'x\\x00' (variables: A)",
        ),
        *(
            (
                {"pattern": pattern},
                f"{_NO_PATTERN}, got {fault} (variables: A)",
            )
            for pattern, fault in (
                ("(a+)+", "what is none from character 1 on"),
                ("a|b", "what is none from character 2 on"),
                ("a.", "what is none from character 2 on"),
                ("a*?", "what is none from character 3 on"),
                ("[^a]", "what is none from character 1 on"),
                ("[]", "what is none from character 1 on"),
                (r"\d", "what is none from character 1 on"),
                ("a{3,2}", "{3,2}"),
                ("a{5000}", "{5000}"),
                ("[z-a]", "z-a, which is the wrong way round"),
                ("ü", "other characters than printable ASCII"),
                ("a" * 65, "more than can be read from character 65 on"),
            )
        ),
    ],
)
def test_a_rule_that_is_none_is_refused(rule: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Variable(**{"name": "A", **rule})  # type: ignore[arg-type]  # made from a table
    assert str(refused.value) == message


_ESCAPED = st.sampled_from(r"""-.[]()^$*+?{}|\/""").map(lambda character: "\\" + character)
_LETTERS = st.sampled_from("abc01-_ /:@~")
_MEMBERS = st.one_of(_ESCAPED, st.sampled_from(["a-c", "0-9", "b", "_", "+"]))
_SETS = st.lists(_MEMBERS, min_size=1, max_size=3).map(lambda members: f"[{''.join(members)}]")
_TIMES = st.sampled_from(["", "", "?", "*", "+", "{2}", "{0,2}", "{1,}"])
_PATTERNS = st.lists(st.tuples(st.one_of(_ESCAPED, _LETTERS, _SETS), _TIMES).map("".join), max_size=6).map(
    "".join
)


@given(_PATTERNS, st.text("abc019-_ /.+[]\\\n", max_size=8))
def test_a_pattern_means_what_it_means_to_python(pattern: str, text: str) -> None:
    assert Pattern.parse(pattern).matches(text) == (re.fullmatch(pattern, text) is not None)


@given(_PATTERNS)
def test_what_a_pattern_describes_matches(pattern: str) -> None:
    for text in (example(pattern, extra) for extra in (0, 1)):
        assert Pattern.parse(pattern).matches(text)
        assert re.fullmatch(pattern, text)


def example(pattern: str, extra: int) -> str:
    """A text that ``pattern`` describes."""
    pieces = Pattern.parse(pattern).pieces
    return "".join(min(characters) * min(most, least + extra) for characters, least, most in pieces)


@given(st.text(max_size=30))
def test_any_text_is_a_pattern_or_refused(text: str) -> None:
    try:
        Variable(name="A", pattern=text)
    except ConfigurationError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of sets that may mean more in a later Python
        assert re.compile(text)


def test_no_value_keeps_a_pattern_busy() -> None:
    variable = Variable(name="A", pattern="[a-z]*" * 63 + "!", max_length=4096)

    begun = time.process_time()

    assert not variable.accepts("a" * 4096)
    assert time.process_time() - begun < 5
