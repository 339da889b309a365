"""Whatever the bytes: a value or our error, and what is read is the only encoding of its value."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from casemate.errors import FormatError
from casemate.formats import cbor
from casemate.formats.eat import AttestedCertificate, TaggedEvidence


@given(st.binary(max_size=200))
def test_any_bytes_give_an_item_or_a_format_error(data: bytes) -> None:
    for parse in (cbor.loads, TaggedEvidence.parse, AttestedCertificate.parse):
        with contextlib.suppress(FormatError):
            parse(data)


ITEMS = st.recursive(
    st.integers(-(2**64), 2**64 - 1)
    | st.booleans()
    | st.none()
    | st.binary(max_size=300)
    | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.integers(0, 9) | st.text(max_size=4), inner, max_size=4)
        | st.builds(lambda tag, item: cbor.Tagged(tag=tag, item=item), st.integers(0, 2**32), inner)
    ),
    max_leaves=12,
)


def head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    width = next(w for w in (1, 2, 4, 8) if argument < 1 << 8 * w)
    return bytes([major << 5 | 23 + width.bit_length()]) + argument.to_bytes(width, "big")


def encode(item: cbor.Item) -> bytes:  # noqa: PLR0911 - one line for each major type
    match item:
        case bool() | None:
            return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[item]
        case int():
            return head(0, item) if item >= 0 else head(1, -1 - item)
        case bytes():
            return head(2, len(item)) + item
        case str():
            return head(3, len(item.encode())) + item.encode()
        case tuple():
            return head(4, len(item)) + b"".join(map(encode, item))
        case dict():
            return head(5, len(item)) + b"".join(encode(k) + encode(v) for k, v in item.items())
        case cbor.Tagged():
            return head(6, item.tag) + encode(item.item)


@given(ITEMS)
def test_what_is_encoded_is_read_back(item: cbor.Item) -> None:
    assert cbor.loads(encode(item)) == item
