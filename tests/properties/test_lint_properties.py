"""The linter: whatever the bytes, findings or our error; its TOML reader reads what the standard one does."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from casemate.builder.lint import Finding, lint_manifest
from casemate.builder.lint.scanner import scan
from casemate.builder.lint.schema import REMOVED, SCHEMA
from casemate.builder.lint.template import read_template
from casemate.builder.lint.toml_values import Other

#: Pieces of which manifests and templates are made, right and wrong ones.
PIECES = st.sampled_from(
    [
        *(key.replace("[]", "").replace("*", "X") for key in (*SCHEMA, *REMOVED)),
        *(
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            "=",
            " = ",
            ".",
            ",",
            '"',
            "'",
            '"""',
            "'''",
            "\\",
            "\n",
            "\r\n",
            "\r",
        ),
        *(
            "# ",
            "{{ x }}",
            "{{",
            "}}",
            "{% if a %}",
            "{% else %}",
            "{% endif %}",
            "{% for a in b %}",
            "{% endfor %}",
        ),
        *(
            "{# c #}",
            "{#",
            "#}",
            "{%- raw %}",
            "{% endraw -%}",
            "{% macro m() %}",
            "{% endmacro %}",
            "{% set a = 1 %}",
        ),
        *(
            "true",
            "false",
            "0",
            "1",
            "-7",
            "1.5",
            "1979-05-27",
            "07:32:00",
            "0x1F",
            '"512m"',
            '"any"',
            '"file:/etc/"',
        ),
        *(
            '"encrypted"',
            '"/"',
            '"\\u0000"',
            '"\\x"',
            "\ufeff",
            "\0",
            "\1",
            "é",
            "{ uri = ",
            "sha256 = ",
            "[]",
            "{}",
        ),
        *("{ passthrough = true }", '{ value = "x" }', 'fs.mounts = [{ path = "/a", uri = "file:a" }]\n'),
    ]
)
DOCUMENTS = st.lists(PIECES, max_size=40).map("".join)
LINES = st.lists(
    st.builds(
        "{}{}{}{}{}".format,
        PIECES,
        st.sampled_from(["", " ", "."]),
        PIECES,
        st.sampled_from([" = ", ""]),
        PIECES,
    ),
    max_size=12,
).map("\n".join)


@given(data=st.binary(max_size=300), template=st.booleans())
def test_any_bytes_give_findings(*, data: bytes, template: bool) -> None:
    assert all(
        isinstance(finding, Finding) for finding in lint_manifest(data, "x.manifest.sgx", template=template)
    )


@given(text=DOCUMENTS | LINES, template=st.booleans())
def test_any_pieces_give_findings_with_a_place_in_the_text(*, text: str, template: bool) -> None:
    lines = text.split("\n")
    for finding in lint_manifest(text.encode(), "x.manifest", template=template):
        if finding.line is not None and finding.column is not None:
            assert 1 <= finding.line <= len(lines)
            assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1


@given(text=DOCUMENTS | LINES)
def test_every_variant_of_a_template_has_its_length(text: str) -> None:
    assume("\0" not in text and "\1" not in text)
    template = read_template(text)
    assert template.variants
    assert all(len(variant) == len(text) for variant in template.variants)


@given(text=DOCUMENTS | LINES)
@example(
    text='a = "\\u00e9" # é\n[b.c]\nd = [1, {e = 2}, [true]]\n[[f]]\n[[f]]\n[f.g]\nh = 1979-05-27T07:32:00Z\n'
)
def test_our_reader_and_the_standard_one_agree(text: str) -> None:
    assume("\0" not in text and "\1" not in text)
    read = scan(text)
    try:
        expected = tomllib.loads(text)
    except (ValueError, RecursionError):
        return
    assert read.fault is None, read.fault
    assert not read.duplicates
    assert simple(read.tree) == simple(expected)


def simple(value: Any) -> Any:
    """A value without what our reader does not tell apart."""
    if isinstance(value, dict):
        return {key: simple(item) for key, item in value.items()}
    if isinstance(value, list):
        return [simple(item) for item in value]
    return value if type(value) in (str, bool, int) else Other
