"""DER: what X.690 forbids is refused, and nothing is read twice."""

from __future__ import annotations

import pytest

from casemate.errors import FormatError
from casemate.formats import der

TAG = "DER element: expected a tag and a length, got the end of the data (test)"
SHORTEST = "DER length: expected a definite length in its shortest form, got 0x{} (test)"
INTEGER = "DER integer: expected a non-negative integer in its shortest form, got {} (test)"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", TAG),
        ("30", TAG),
        ("1f0100", "DER tag: expected a tag number below 31, got 0x1f (test)"),
        ("040161ff", "DER length: expected 3 bytes, got 4 bytes (test)"),
        ("040261", "DER element: expected 2 bytes, got 1 bytes (test)"),
        ("0480610000", SHORTEST.format("80")),
        ("04ff", SHORTEST.format("ff")),
        ("04817f" + "00" * 127, SHORTEST.format("81")),
        ("04820080" + "00" * 128, SHORTEST.format("82")),
        ("048201", SHORTEST.format("82")),
    ],
)
def test_what_is_not_der_is_refused(data: str, message: str) -> None:
    with pytest.raises(FormatError) as refusal:
        der.parse(bytes.fromhex(data), where="test")
    assert str(refusal.value) == message


def test_the_encoding_of_an_element_is_kept() -> None:
    first, second = der.children(der.parse(bytes.fromhex("300704016102020080"), where="test"), where="test")
    assert (first.tag, first.content, first.encoded) == (der.OCTET_STRING, b"a", bytes.fromhex("040161"))
    assert der.integer_of(second, where="test") == 128


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 70_000])
def test_lengths_of_every_form_come_back(size: int) -> None:
    encoded = der.encode(der.OCTET_STRING, bytes(size))
    assert der.parse(encoded, where="test").content == bytes(size)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("0200", INTEGER.format("nothing")),
        ("0201ff", INTEGER.format("ff")),
        ("020180", INTEGER.format("80")),
        ("0202007f", INTEGER.format("007f")),
        ("040101", "DER tag: expected 0x02, got 0x04 (test)"),
    ],
)
def test_an_integer_has_one_form(data: str, message: str) -> None:
    with pytest.raises(FormatError) as refusal:
        der.integer_of(der.parse(bytes.fromhex(data), where="test"), where="test")
    assert str(refusal.value) == message


def test_an_enumerated_value_is_read_by_its_tag() -> None:
    assert der.integer_of(der.parse(b"\x0a\x01\x02", where="test"), tag=der.ENUMERATED, where="test") == 2


@pytest.mark.parametrize(("data", "value"), [("0101ff", True), ("010100", False)])
def test_booleans_have_two_forms(data: str, *, value: bool) -> None:
    assert der.boolean_of(der.parse(bytes.fromhex(data), where="test"), where="test") is value
    assert der.encode_boolean(value=value).hex() == data


@pytest.mark.parametrize(("data", "got"), [("010101", "01"), ("0100", "nothing"), ("0102ffff", "ffff")])
def test_other_booleans_are_refused(data: str, got: str) -> None:
    with pytest.raises(FormatError) as refusal:
        der.boolean_of(der.parse(bytes.fromhex(data), where="test"), where="test")
    assert str(refusal.value) == f"DER boolean: expected 00 or ff, got {got} (test)"


def test_object_identifiers_are_written_in_base_128() -> None:
    assert der.encode_oid("1.2.840.113741.1.13.1").hex() == "06092a864886f84d010d01"
    assert der.encode_oid("2.23.133.5.4.9").hex() == "0606678105050409"
