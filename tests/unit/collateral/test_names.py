"""Names of documents, and their spelling in stores and packages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.stored_collateral import NAMES

from casemate.collateral.names import DocumentName, parse_name
from casemate.errors import FormatError


@pytest.mark.parametrize("name", NAMES, ids=lambda name: " ".join((name.kind.value, *name.key)))
def test_a_name_is_found_again(name: DocumentName) -> None:
    assert parse_name(name.kind.value, name.key) == name


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("tcb", ("4", "sgx", "00606a000000", "standard")),
        ("tcb-info", ("5", "sgx", "00606a000000", "standard")),
        ("tcb-info", ("4", "sev", "00606a000000", "standard")),
        ("tcb-info", ("4", "sgx", "00606A000000", "standard")),
        ("tcb-info", ("4", "sgx", "00606a000000", "late")),
        ("tcb-info", ("4", "sgx", "00606a000000", "017")),
        ("tcb-info", ("4", "sgx", "00606a000000")),
        ("identity", ("4", "QE", "standard", "more")),
        ("root-crl", ("more",)),
        ("pck-crl", ()),
    ],
)
def test_anything_else_is_no_name(kind: str, key: tuple[str, ...]) -> None:
    with pytest.raises(FormatError) as refused:
        parse_name(kind, key)
    assert str(refused.value) == f"name of a document: expected a kind and its key, got {(kind, *key)!r}"


@given(st.text(max_size=20), st.lists(st.text(max_size=12), max_size=5))
def test_any_words_are_a_name_or_refused(kind: str, key: list[str]) -> None:
    try:
        name = parse_name(kind, tuple(key))
    except FormatError:
        return
    assert (name.kind.value, name.key) == (kind, tuple(key))
