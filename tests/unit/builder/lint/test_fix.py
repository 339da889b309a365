"""Mending: only what has one right answer, in the text itself, once and for all."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.builder.lint import RULES, Finding, lint_manifest
from casemate.builder.lint.fix import difference, fixed

CASES = [
    ("removed-key", "[sgx]\nthread_num = 8 # eight\n", "[sgx]\nmax_threads = 8 # eight\n"),
    ("removed-key", "sgx.thread_num=8\n", "sgx.max_threads=8\n"),
    ("removed-key", 'sgx."thread_num" = 8\n', "sgx.max_threads = 8\n"),
    ("removed-key", "sgx.require_exinfo = true\n", "sgx.use_exinfo = true\n"),
    ("removed-key", "sgx.require_avx = true\n", 'sgx.cpu_features.avx = "required"\n'),
    ("removed-key", "sgx.require_pkru = false\n", 'sgx.cpu_features.pkru = "disabled"\n'),
    ("removed-key", "sgx.remote_attestation = true\n", 'sgx.remote_attestation = "dcap"\n'),
    ("removed-key", 'loader.entrypoint = "file:x"\n', 'loader.entrypoint.uri = "file:x"\n'),
    (
        "removed-variable",
        '[loader.env]\nSECRET_PROVISION_SET_PF_KEY = "k"\n',
        '[loader.env]\nSECRET_PROVISION_SET_KEY = "k"\n',
    ),
    ("wrong-type", "sgx.debug = 0\n", "sgx.debug = false\n"),
    ("wrong-type", 'sgx.use_exinfo = "true"\n', "sgx.use_exinfo = true\n"),
    ("wrong-type", "sgx.isvsvn = '12'\n", "sgx.isvsvn = 12\n"),
    ("wrong-type", "sys.stack.size = 2097152\n", 'sys.stack.size = "2097152"\n'),
    ("size-syntax", "sgx.enclave_size = '512m'\n", 'sgx.enclave_size = "512M"\n'),
    ("size-syntax", 'sys.stack.size = "0x200000"\n', 'sys.stack.size = "2M"\n'),
]
TEMPLATES = [
    ("template-in-comment", "a = 1 # x {{ y }}  \n", "a = 1 {# x {{ y }} #}  \n"),
    ("template-in-comment", "#- {{ y }}\n", "{# #- {{ y }} #}\n"),
]
TEXTS = [
    ("gramine-toml", "a = 1\r\nb = 2\r\n", "a = 1\nb = 2\n"),
    ("gramine-toml", "\ufeffa = 1\n", "a = 1\n"),
]
#: What has more than one answer, or none that is known.
LEFT_ALONE = [
    "sgx.thread_num = 8\nsgx.max_threads = 4\n",
    "sgx.require_avx = true\n[sgx.cpu_features]\namx = 'required'\n",
    'sgx.enclave_size = "768M"\n',
    'sgx.enclave_size = "2T"\n',
    "sgx.debug = 2\n",
    "sgx.debug = true\n",
    'sgx.isvsvn = "007"\n',
    'x = """a"""\n',
]


def mended(text: str, *, template: bool = False) -> str:
    return fixed(text.encode(), partial(lint_manifest, where="x.manifest", template=template)).decode()


@pytest.mark.parametrize(("rule", "before", "after"), [*CASES, *TEXTS], ids=lambda value: str(value)[:40])
def test_what_has_one_right_answer_is_mended(rule: str, before: str, after: str) -> None:
    assert rule in {one.rule for one in lint_manifest(before.encode(), "x.manifest") if one.fixable}
    assert mended(before) == after
    assert rule not in {one.rule for one in lint_manifest(after.encode(), "x.manifest")}


@pytest.mark.parametrize(("rule", "before", "after"), [*CASES, *TEMPLATES], ids=lambda value: str(value)[:40])
def test_templates_are_mended_alike(rule: str, before: str, after: str) -> None:
    assert mended(before, template=True) == after
    assert rule not in {one.rule for one in lint_manifest(after.encode(), "x.manifest", template=True)}


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_what_has_more_answers_is_left_alone(text: str) -> None:
    assert mended(text) == text


def test_the_catalogue_says_which_rules_have_mends() -> None:
    assert {rule.id for rule in RULES if rule.fixes} == {case[0] for case in (*CASES, *TEMPLATES, *TEXTS)}


def test_all_else_stays_as_it_is() -> None:
    before = "# about\n\n[sgx]   # sgx\n  thread_num   =  8\t# é\nenclave_size='1g'\n"
    assert mended(before) == '# about\n\n[sgx]   # sgx\n  max_threads   =  8\t# é\nenclave_size="1G"\n'


@given(
    st.lists(
        st.sampled_from([*(case[1] for case in (*CASES, *TEMPLATES)), *LEFT_ALONE, "# {{ x }}\n"]), max_size=6
    ),
    st.booleans(),
)
def test_mending_twice_is_mending_once_and_breaks_nothing(pieces: list[str], template: bool) -> None:  # noqa: FBT001 - Hypothesis fills in positional arguments
    def faults(text: str) -> int:
        return sum(one.rule in {"toml-syntax", "duplicate-key"} for one in found(text))

    def found(text: str) -> tuple[Finding, ...]:
        return lint_manifest(text.encode(), "x.manifest", template=template)

    before = "".join(pieces)
    after = mended(before, template=template)
    assert mended(after, template=template) == after
    assert faults(after) <= faults(before)


def test_the_difference_is_a_unified_diff() -> None:
    assert difference(b"a\nb", b"a\nc\n", "/x/y") == (
        "--- a/x/y\n+++ b/x/y\n@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+c\n"
    )
    assert difference(b"a", b"a", "x") == ""
