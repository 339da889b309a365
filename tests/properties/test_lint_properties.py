"""The linter: whatever the bytes, findings or our error; its TOML reader reads what the standard one does."""

from __future__ import annotations

import contextlib
import tomllib
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from casemate.builder.lint import Finding, lint_manifest
from casemate.builder.lint.dockerfile_rules import lint_dockerfile
from casemate.builder.lint.kinds import FileKind, kind_of
from casemate.builder.lint.scanner import scan
from casemate.builder.lint.schema import REMOVED, SCHEMA
from casemate.builder.lint.template import read_template
from casemate.builder.lint.tree import Other
from casemate.errors import FormatError, UsageError

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


DOCKERFILES = st.lists(
    st.sampled_from(
        [
            *(
                "FROM a",
                "FROM ${B} AS b",
                "ARG B=a:1",
                "ENV A=1 B=2",
                "ENV A b",
                "RUN <<EOT",
                "EOT",
                "COPY <<-'X' /x",
            ),
            *(
                "ONBUILD",
                "USER",
                "USER 0",
                "ENTRYPOINT",
                'CMD ["a"',
                'CMD ["sh"]',
                "ADD https://x /y",
                "# escape=`",
            ),
            *(
                " \\",
                "\n",
                "\r\n",
                "\t",
                " ",
                '"',
                "'",
                "\\",
                "`",
                "${",
                "$A",
                "--from=x",
                "\0",
                "é",
                "<<",
                "#",
            ),
        ]
    ),
    max_size=30,
).map("".join)


@given(text=DOCKERFILES)
def test_any_dockerfile_gives_findings_with_a_place_in_the_text(text: str) -> None:
    lines = text.split("\n")
    for finding in lint_dockerfile(text.encode(), "Dockerfile"):
        assert finding.line is not None
        assert finding.column is not None
        assert 1 <= finding.column <= len(lines[finding.line - 1]) + 1


@given(data=st.binary(max_size=300))
def test_any_bytes_of_a_dockerfile_give_findings_or_our_error(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        lint_dockerfile(data, "Dockerfile")


@given(
    data=st.binary(max_size=100) | DOCUMENTS.map(str.encode),
    name=st.sampled_from(["x", "x.manifest", "Dockerfile"]),
)
def test_any_bytes_are_of_a_kind_or_refused(data: bytes, name: str) -> None:
    with contextlib.suppress(UsageError):
        assert isinstance(kind_of(data, name), FileKind)


#: Texts that trap a reader into quadratic time.
TRAPS = {
    "parts of a key": "a" + ".a" * 50_000 + " = 1",
    "arrays inside each other": "a = " + "[" * 50_000,
    "quotation marks": 'a = "' + '\\"' * 50_000,
    "duplicates": "a = 1\n" * 10_000,
    "comments with expressions": "# {{ a }}\n" * 10_000,
    "conditions": "{% if a %}\nx = 1\n{% endif %}\n" * 3_000,
    "branches": "{% if a %}" + "{% elif b %}\nx = 1\n" * 5_000 + "{% endif %}",
    "brackets": "{{ " + "(" * 50_000,
    "folders": 'fs.mounts = [{ path = "/a", uri = "file:/'
    + "a/" * 50_000
    + '" }]\nsgx.trusted_files = ["file:/b"]',
    "variables": "[loader.env]\n" + "".join(f"A{number}_KEY = 'x'\n" for number in range(5_000)),
}


@pytest.mark.parametrize("text", TRAPS.values(), ids=TRAPS)
@pytest.mark.timeout(20)
def test_no_text_takes_quadratic_time(text: str) -> None:
    lint_manifest(text.encode(), "x.manifest.sgx")
    lint_manifest(text.encode(), "x.manifest", template=True)


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
