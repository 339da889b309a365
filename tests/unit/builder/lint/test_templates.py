"""Templates: nothing is rendered, every branch is read, places are those of the template."""

from __future__ import annotations

import pytest

from casemate.builder.lint import Finding, lint_manifest
from casemate.builder.lint.scanner import scan
from casemate.builder.lint.template import MAX_DEPTH, MAX_VARIANTS, read_template
from casemate.builder.lint.tree import UNKNOWN_VALUE

QUIET = {"isv-numbers", "no-attestation", "root-identity", "missing-key"}


def found(text: str) -> list[Finding]:
    return [
        one
        for one in lint_manifest(text.encode(), "x.manifest.template", template=True)
        if one.rule not in QUIET
    ]


def places(text: str) -> list[tuple[str, int | None, int | None]]:
    return [(one.rule, one.line, one.column) for one in found(text)]


def trees(text: str) -> list[object]:
    return [scan(variant, text).tree for variant in read_template(text).variants]


def test_an_expression_is_a_value_that_no_rule_guesses() -> None:
    text = (
        'sgx.debug = {{ debug }}\nloader.log_level = "{{ log_level '
        "}}\"\nsgx.max_threads = {{ '1' if edmm else 8 }}\n"
    )
    assert found(text) == []
    assert trees("a = {{ b }}\nc = [{{ d }}, 1]\n") == [{"a": UNKNOWN_VALUE, "c": [UNKNOWN_VALUE, 1]}]


def test_quotation_marks_and_braces_inside_an_expression_are_jinjas() -> None:
    text = "a = \"{{ env['X'] }}\"\nb = {{ {'k': '}}'}['k'] }}\nc = {{ {'a': 1}}}\nsgx.debug = true\n"
    assert ("debug-enclave", 4, 13) in places(text)
    assert {rule for rule, _, _ in places(text)} == {"unknown-key", "debug-enclave"}


def test_every_branch_of_a_condition_is_read() -> None:
    text = (
        "{% if a %}\nsgx.debug = true\n{% elif b %}\nsgx.enable_stats "
        "= true\n{% else %}\nsgx.use_exinfo = 1\n{% endif %}\n"
    )
    assert places(text) == [("debug-enclave", 2, 13), ("profiling", 4, 20), ("wrong-type", 6, 18)]


def test_a_condition_inside_a_value_gives_both_values() -> None:
    assert trees("a = {% if x %}true{% else %}false{% endif %}\n") == [{"a": True}, {"a": False}]
    assert trees('a = "x{% if x %}y{% endif %}z"\n') == [{"a": "xyz"}, {"a": "xz"}]


def test_branches_do_not_make_duplicates_and_what_one_has_is_not_missing() -> None:
    text = (
        'fs.mounts = []\n{% if a %}\nlibos.entrypoint = "/a"\n{% '
        'else %}\nlibos.entrypoint = "/b"\n{% endif %}\n'
    )
    assert "missing-key" not in {one.rule for one in lint_manifest(text.encode(), "x", template=True)}
    assert found(text) == []


def test_conditions_inside_conditions_are_read() -> None:
    text = "{% if a %}x\n{% else %}{% if b %}y{% else %}z{% endif %}{% endif %}"
    shown = {variant.replace("\1", "").strip() for variant in read_template(text).variants}
    assert shown == {"x", "y", "z"}


def test_the_body_of_a_loop_is_read_once() -> None:
    text = 'sgx.allowed_files = [\n{% for p in paths %}\n  "file:/etc/x",\n{% endfor %}\n]\n'
    assert places(text) == [("allowed-files", 1, 5), ("allowed-code", 3, 3)]


def test_white_space_that_jinja_takes_away_joins_lines() -> None:
    broken = "a = 1\n{%- if x -%}\nb = 2\n{%- endif -%}\n"
    assert [one.message for one in found(broken) if one.rule == "toml-syntax"] == [
        "manifest: expected a value, got '1'"
    ]
    assert trees("{% set a = 1 -%}\n\nb = 2\n") == [{"b": 2}]


def test_comments_of_jinja_render_to_nothing() -> None:
    assert trees("a = 1 {# sgx.debug = true\n b = 2 #}\nc = 3\n") == [{"a": 1, "c": 3}]


def test_raw_text_is_not_jinja() -> None:
    assert trees('{% raw %}a = "{{ b }}"{% endraw %}\n') == [{"a": "{{ b }}"}]
    assert trees('a = "{% raw -%} {{ {%- endraw -%} "\n') == [{"a": "{{"}]


def test_jinja_in_a_comment_of_toml_is_told_at_the_expression() -> None:
    text = '# x = "{{ y }}"\n#{% if a %}\nsgx.debug = true # {{ z }}\n#{% endif %}\n'
    assert [place for place in places(text) if place[0] == "template-in-comment"] == [
        ("template-in-comment", 1, 8),
        ("template-in-comment", 2, 2),
        ("template-in-comment", 3, 20),
        ("template-in-comment", 4, 2),
    ]
    assert [one.fixable for one in found(text) if one.rule == "template-in-comment"] == [
        True,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{{ mounts() }}\n", "an expression that stands for whole lines"),
        ("{% include 'x' %}\n", "{% include %}"),
        ("{% extends 'x' %}\n", "{% extends %}"),
        ("{% macro m() %}\nsgx.debug = true\n{% endmacro %}\n", "the body of a macro"),
        ("{% call m() %}x{% endcall %}\n", "{% call %}"),
    ],
)
def test_what_only_rendering_would_tell_is_said_not_to_be_checked(text: str, what: str) -> None:
    (finding,) = found(text)
    assert (finding.rule, finding.found, finding.line) == ("template-not-checked", what, 1)


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("a = {{ b", 5, "manifest: expected }} further down, got the end of the file"),
        ("a = {# b", 5, "manifest: expected #} further down, got the end of the file"),
        ("{% raw %}", 1, "manifest: expected {% endraw %} further down, got the end of the file"),
        ("{% if a %}", 1, "manifest: expected {% endif %} further down, got the end of the file"),
        ("{% endif %}", 1, "manifest: expected no end of a block, got {% endif %}"),
        ("{% if a %}{% endfor %}", 11, "manifest: expected {% endif %}, got {% endfor %}"),
        ("{% else %}", 1, "manifest: expected an open {% if %} or {% for %}, got {% else %}"),
        ("{% frob %}", 1, "manifest: expected a statement that Jinja knows, got {% frob %}"),
        ("{{ (a }}", 7, "manifest: expected brackets in pairs, got '}'"),
        ("{{ 'a }}", 4, "manifest: expected a string that ends, got the end of the file"),
    ],
)
def test_what_jinja_would_refuse_is_told(text: str, column: int, message: str) -> None:
    (finding,) = [one for one in found(text) if one.rule == "template-syntax"]
    assert (finding.line, finding.column, finding.message) == (1, column, message)


def test_blocks_are_not_read_beyond_the_limit() -> None:
    deep = "{% if a %}" * MAX_DEPTH
    assert read_template(deep + "{% endif %}" * MAX_DEPTH).fault is None
    fault = read_template(deep + "{% if a %}").fault
    assert fault is not None
    assert fault.expected == f"at most {MAX_DEPTH} blocks inside each other"


def test_branches_beyond_the_limit_are_said_not_to_be_read() -> None:
    many = "{% if a %}x{% elif b %}" + "{% elif c %}\n" * MAX_VARIANTS + "{% endif %}"
    template = read_template(many)
    assert len(template.variants) == MAX_VARIANTS
    assert [unread.what for unread in template.unread] == [
        f"what only further combinations of its conditions hold, after {MAX_VARIANTS} of them"
    ]


def test_trusted_files_of_expressions_make_no_mount_idle() -> None:
    text = 'fs.mounts = [{ path = "/lib", uri = "file:/lib" }]\nsgx.trusted_files = ["file:{{ libdir }}/"]\n'
    assert found(text) == []


def test_a_mend_leaves_alone_what_a_condition_decides() -> None:
    findings = found('sgx.enclave_size = "5{% if a %}12m{% endif %}"\n')
    assert [(one.rule, one.fixable) for one in findings] == [("enclave-size", False), ("size-syntax", False)]
