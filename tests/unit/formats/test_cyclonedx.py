"""Bills of materials: of the form that the official schema asks for, and the same for the same image."""

from __future__ import annotations

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st

from casemate.errors import FormatError
from casemate.formats.cyclonedx import Distribution, MaterialFile, bill_of_materials

METADATA = b"Name: Zope_Thing\nVersion: 1!2.0+local\nLicense-Expression: MIT OR Apache-2.0\n\n"
FILES = (MaterialFile(path="/b", sha256="ab" * 32), MaterialFile(path="/a", sha256="cd" * 32))


def distribution(*lines: str) -> Distribution:
    return Distribution.parse("\n".join(["Name: thing", "Version: 1.0", *lines]).encode(), "METADATA")


def sbom(*distributions: Distribution) -> bytes:
    return bill_of_materials(
        workload="notes", python="3.11.9", casemate="0.1.0", distributions=distributions, files=FILES
    )


def test_the_official_schema_accepts_it() -> None:
    named, text = distribution("License: BSD"), distribution("License: UNKNOWN")
    document = sbom(Distribution.parse(METADATA, "METADATA"), named, text)

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document.decode()) is None


def test_the_order_in_which_things_are_found_does_not_matter() -> None:
    one, other = distribution(), Distribution.parse(METADATA, "METADATA")

    assert sbom(one, other) == sbom(other, one, one)


def test_it_names_interpreter_distributions_and_files() -> None:
    components = json.loads(sbom(Distribution.parse(METADATA, "METADATA")))["components"]

    assert [(one["type"], one["name"], one.get("purl")) for one in components] == [
        ("platform", "cpython", None),
        ("library", "Zope_Thing", "pkg:pypi/zope-thing@1%212.0%2Blocal"),
        ("file", "/a", None),
        ("file", "/b", None),
    ]
    assert components[1]["licenses"] == [{"expression": "MIT OR Apache-2.0"}]
    assert components[3]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]


@pytest.mark.parametrize(
    ("line", "licence"),
    [
        ("License: BSD", "BSD"),
        ("License: The whole\n  text of it", "The whole"),
        ("License: " + "x" * 300, "x" * 199 + "…"),
        ("License: UNKNOWN", None),
        ("License:", None),
        ("Summary: none", None),
    ],
)
def test_a_licence_is_one_line_or_none(line: str, licence: str | None) -> None:
    assert distribution(line).licence == licence


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (
            b"Version: 1",
            "Name of a distribution: expected letters, digits and a few marks, got '' (METADATA)",
        ),
        (
            b"Name: a b\nVersion: 1",
            "Name of a distribution: expected letters, digits and a few marks, got 'a b' (METADATA)",
        ),
        (
            b"Name: a\nVersion: 1/2",
            "Version of a distribution: expected letters, digits and a few marks, got '1/2' (METADATA)",
        ),
    ],
)
def test_metadata_without_a_name_or_a_version_is_refused(metadata: bytes, message: str) -> None:
    with pytest.raises(FormatError) as refused:
        Distribution.parse(metadata, "METADATA")
    assert str(refused.value) == message


@given(
    st.binary()
    | st.text().map(lambda text: b"Name: a\nVersion: 1\nLicense: " + text.encode("utf-8", "replace"))
)
def test_any_bytes_give_a_distribution_or_our_error(metadata: bytes) -> None:
    try:
        one = Distribution.parse(metadata, "METADATA")
    except FormatError:
        return
    assert (one.licence or "").isprintable()
    sbom(one)
