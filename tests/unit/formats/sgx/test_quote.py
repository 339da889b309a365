"""The quote, version 3: its layout, its limits, and what is not supported yet."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from casemate.errors import FormatError
from casemate.formats.sgx.quote import MAX_QUOTE_SIZE, Quote, QuoteHeader

HEADER = QuoteHeader(qe_svn=8, pce_svn=13, qe_vendor_id=b"v" * 16, user_data=b"u" * 20)
QUOTE = Quote(
    signed=HEADER.to_bytes() + b"r" * 384,
    signature=b"1" * 64,
    attestation_key=b"2" * 64,
    qe_report=b"3" * 384,
    qe_report_signature=b"4" * 64,
    qe_auth_data=b"5" * 10,
    certification_type=5,
    certification_data=b"6" * 20,
)


def test_each_field_lies_where_the_format_says() -> None:
    assert HEADER.to_bytes() == bytes.fromhex("03000200 00000000 0800 0d00") + b"v" * 16 + b"u" * 20
    assert QUOTE.to_bytes() == (
        HEADER.to_bytes() + b"r" * 384
        + struct.pack("<I", 64 + 64 + 384 + 64 + 2 + 10 + 6 + 20)
        + b"1" * 64 + b"2" * 64 + b"3" * 384 + b"4" * 64
        + b"\x0a\x00" + b"5" * 10
        + b"\x05\x00\x14\x00\x00\x00" + b"6" * 20
    )  # fmt: skip


def test_a_header_alone_comes_back() -> None:
    assert QuoteHeader.parse(HEADER.to_bytes()) == HEADER


def test_any_size_of_authentication_data_is_read() -> None:
    for size in (0, 32, 1000):
        quote = replace(QUOTE, qe_auth_data=bytes(size))
        assert Quote.parse(quote.to_bytes()) == quote


def patched(offset: int, value: bytes) -> bytes:
    data = bytearray(QUOTE.to_bytes())
    data[offset : offset + len(value)] = value
    return bytes(data)


CUT = "The quote was cut, or something was added behind it."
WRONG_LENGTH = "The quote was cut, or a length in it is wrong."
NOT_YET = "Versions 4 and 5, and TDX with them, are not supported yet."


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        (patched(0, b"\x02\x00"), "quote version: expected 3, got 2 (offset 0)", None),
        (patched(0, b"\x04\x00"), "quote version: expected 3, got 4 (offset 0)", NOT_YET),
        (patched(0, b"\x05\x00"), "quote version: expected 3, got 5 (offset 0)", NOT_YET),
        (
            patched(2, b"\x03\x00"),
            "attestation key type: expected 2 (ECDSA with P-256), got 3 (offset 2)",
            None,
        ),
        (
            patched(4, b"\x81\x00\x00\x00"),
            "TEE type: expected 0 (SGX), got 0x81 (offset 4)",
            None,
        ),
        (b"", "quote header: expected 48 bytes, got 0 bytes", None),
        (QUOTE.to_bytes()[:47], "quote header: expected 48 bytes, got 47 bytes", None),
        (
            QUOTE.to_bytes()[:431],
            "quote header and report: expected 432 bytes, got 431 bytes (offset 0)",
            WRONG_LENGTH,
        ),
        (
            QUOTE.to_bytes()[:435],
            "size of the signature data: expected 4 bytes, got 3 bytes (offset 432)",
            WRONG_LENGTH,
        ),
        (
            QUOTE.to_bytes()[:-1],
            "signature data: expected 614 bytes until the end of the quote, got 613 bytes (offset 436)",
            CUT,
        ),
        (
            QUOTE.to_bytes() + b"\x00",
            "signature data: expected 614 bytes until the end of the quote, got 615 bytes (offset 436)",
            CUT,
        ),
        (
            QUOTE.to_bytes()[:432] + b"\x01\x00\x00\x00a",
            "signatures and QE report: expected 578 bytes, got 1 bytes (offset 436)",
            WRONG_LENGTH,
        ),
        (
            patched(436 + 576, b"\xff\xff"),
            "QE authentication data: expected 65535 bytes, got 36 bytes (offset 1014)",
            WRONG_LENGTH,
        ),
        (
            patched(436 + 576, b"\x21\x00"),
            "certification data header: expected 6 bytes, got 3 bytes (offset 1047)",
            WRONG_LENGTH,
        ),
        (
            patched(1026, b"\x15\x00\x00\x00"),
            "certification data: expected 21 bytes, got 20 bytes (offset 1030)",
            WRONG_LENGTH,
        ),
        (
            patched(1026, b"\x13\x00\x00\x00"),
            "quote size: expected 1049 bytes, got 1050 bytes (offset 1049)",
            "Bytes follow the certification data.",
        ),
    ],
)
def test_another_layout_is_refused(data: bytes, message: str, hint: str | None) -> None:
    with pytest.raises(FormatError) as refusal:
        Quote.parse(data)
    assert str(refusal.value) == message
    assert refusal.value.hint == hint


def test_the_largest_quote_is_read_and_one_byte_more_is_not() -> None:
    rest = MAX_QUOTE_SIZE - len(QUOTE.to_bytes())
    largest = replace(QUOTE, certification_data=bytes(20 + rest))
    assert Quote.parse(largest.to_bytes()) == largest
    with pytest.raises(FormatError) as refusal:
        Quote.parse(replace(QUOTE, certification_data=bytes(21 + rest)).to_bytes())
    assert str(refusal.value) == "quote size: expected at most 16384 bytes, got 16385 bytes"
