import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate_attester.cbor import Item, Tagged, encode


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        # RFC 8949, appendix A.
        (0, "00"),
        (10, "0a"),
        (23, "17"),
        (24, "1818"),
        (100, "1864"),
        (1000, "1903e8"),
        (1000000, "1a000f4240"),
        (1000000000000, "1b000000e8d4a51000"),
        (18446744073709551615, "1bffffffffffffffff"),
        (b"", "40"),
        (bytes.fromhex("01020304"), "4401020304"),
        ("", "60"),
        ("IETF", "6449455446"),
        ("\u6c34", "63e6b0b4"),
        ((), "80"),
        ((1, (2, 3), (4, 5)), "8301820203820405"),
        ({}, "a0"),
        ({"a": 1, "b": (2, 3)}, "a26161016162820203"),
        (Tagged(tag=32, item="http://www.example.com"), "d82076687474703a2f2f7777772e6578616d706c652e636f6d"),
        # Section 4.2.1: keys in the order of their encoded bytes, so shorter ones first.
        ({"aa": 1, "b": 2}, "a2616202626161" + "01"),
        (255, "18ff"),
        (256, "190100"),
        (65535, "19ffff"),
        (65536, "1a00010000"),
        (2**32 - 1, "1affffffff"),
        (2**32, "1b0000000100000000"),
    ],
)
def test_items_are_encoded_as_the_rfc_shows(item: Item, expected: str) -> None:
    assert encode(item).hex() == expected


@given(st.dictionaries(st.text(), st.integers(0, 2**64 - 1) | st.binary()))
def test_the_order_of_a_map_does_not_matter(item: dict) -> None:
    assert encode(item) == encode(dict(reversed(item.items())))


@given(st.binary(max_size=70000))
def test_bytes_are_under_the_shortest_head(data: bytes) -> None:
    encoded = encode(data)
    assert encoded.endswith(data)
    limits = ((24, 1), (2**8, 2), (2**16, 3), (2**32, 5))
    assert len(encoded) - len(data) == next(size for limit, size in limits if len(data) < limit)
