"""Deterministic CBOR is read; everything else is refused by name."""

import pytest

from casemate.errors import FormatError
from casemate.formats import cbor


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        # RFC 8949, appendix A
        ("00", 0),
        ("17", 23),
        ("1818", 24),
        ("1903e8", 1000),
        ("1bffffffffffffffff", 2**64 - 1),
        ("20", -1),
        ("3903e7", -1000),
        ("f4", False),
        ("f5", True),
        ("f6", None),
        ("4401020304", b"\x01\x02\x03\x04"),
        ("6449455446", "IETF"),
        ("8301820203820405", (1, (2, 3), (4, 5))),
        ("a26161016162820203", {"a": 1, "b": (2, 3)}),
        ("c11a514b67b0", cbor.Tagged(tag=1, item=1363896240)),
    ],
)
def test_examples_of_the_rfc_are_read(encoded: str, value: cbor.Item) -> None:
    assert cbor.loads(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        pytest.param("", "CBOR item: expected 1 bytes, got 0 bytes (offset 0)", id="empty"),
        pytest.param("0000", "CBOR item: expected 1 bytes, got 2 bytes (offset 1)", id="trailing"),
        pytest.param("1817", "CBOR length: expected its shortest form, got 1 bytes for 23", id="long-form"),
        pytest.param("1900ff", "CBOR length: expected its shortest form, got 2 bytes for 255", id="long-16"),
        pytest.param("44010203", "CBOR item: expected 4 bytes, got 3 bytes (offset 1)", id="cut-bytes"),
        pytest.param("61ff", "CBOR text string: expected UTF-8 (offset 1)", id="not-utf8"),
        pytest.param(
            "5f42010243030405ff",
            "CBOR initial byte: expected a definite length, got 0x5f (offset 0)",
            id="open",
        ),
        pytest.param(
            "f97e00", "CBOR initial byte: expected a definite length, got 0xf9 (offset 0)", id="float"
        ),
        pytest.param(
            "f7", "CBOR simple value: expected true, false or null, got 23 (offset 0)", id="undefined"
        ),
        pytest.param(
            "a201000100", "CBOR map key: expected distinct integers or text strings (offset 3)", id="twice"
        ),
        pytest.param(
            "a1800000", "CBOR map key: expected distinct integers or text strings (offset 1)", id="array-key"
        ),
        pytest.param("9affffffff", "CBOR length: expected at most 0 items, got 4294967295", id="bomb"),
        pytest.param("81" * 20 + "00", "CBOR nesting: expected at most 16 levels (offset 17)", id="deep"),
    ],
)
def test_anything_else_is_refused_with_its_reason(encoded: str, message: str) -> None:
    with pytest.raises(FormatError) as refused:
        cbor.loads(bytes.fromhex(encoded))
    assert str(refused.value) == message
