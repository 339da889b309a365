"""Quotes of versions 3, 4 and 5: their layout, their limits, and what is refused by name."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from casemate.errors import FormatError
from casemate.formats.sgx.quote import (
    MAX_QUOTE_SIZE,
    SGX_REPORT,
    TD_REPORT_10,
    TD_REPORT_15,
    TD_REPORT_15_EX,
    Quote,
    QuoteHeader,
    Tee,
    body_descriptor,
)
from casemate.formats.sgx.report import ReportBody
from casemate.formats.sgx.td_report import TdReport

HEADER = QuoteHeader(
    version=3, tee=Tee.SGX, qe_svn=8, pce_svn=13, qe_vendor_id=b"v" * 16, user_data=b"u" * 20
)
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
LATER_HEADER = QuoteHeader(
    version=4, tee=Tee.TDX, qe_vendor_id=b"v" * 16, user_data=b"u" * 20, reserved=b"rsvd"
)
FOURTH = replace(QUOTE, signed=LATER_HEADER.to_bytes() + b"t" * 584)


def fifth(body_type: int, size: int) -> Quote:
    tee = Tee.SGX if body_type == SGX_REPORT else Tee.TDX
    header = replace(LATER_HEADER, version=5, tee=tee)
    return replace(QUOTE, signed=header.to_bytes() + body_descriptor(5, body_type) + b"t" * size)


FIFTH = fifth(TD_REPORT_15, 648)
#: Each beginning that there is: version, TEE, kind of the body, its size.
FORMS = {
    "3, SGX": (QUOTE, 3, Tee.SGX, SGX_REPORT, 384),
    "4, SGX": (
        replace(QUOTE, signed=replace(LATER_HEADER, tee=Tee.SGX).to_bytes() + b"r" * 384),
        4,
        Tee.SGX,
        SGX_REPORT,
        384,
    ),
    "4, TDX": (FOURTH, 4, Tee.TDX, TD_REPORT_10, 584),
    "5, SGX": (fifth(SGX_REPORT, 384), 5, Tee.SGX, SGX_REPORT, 384),
    "5, TDX 1.0": (fifth(TD_REPORT_10, 584), 5, Tee.TDX, TD_REPORT_10, 584),
    "5, TDX 1.5": (FIFTH, 5, Tee.TDX, TD_REPORT_15, 648),
    "5, TDX 1.5 extended": (fifth(TD_REPORT_15_EX, 885), 5, Tee.TDX, TD_REPORT_15_EX, 885),
}


def test_each_field_lies_where_the_format_says() -> None:
    assert HEADER.to_bytes() == bytes.fromhex("03000200 00000000 0800 0d00") + b"v" * 16 + b"u" * 20
    assert QUOTE.to_bytes() == (
        HEADER.to_bytes() + b"r" * 384
        + struct.pack("<I", 64 + 64 + 384 + 64 + 2 + 10 + 6 + 20)
        + b"1" * 64 + b"2" * 64 + b"3" * 384 + b"4" * 64
        + b"\x0a\x00" + b"5" * 10
        + b"\x05\x00\x14\x00\x00\x00" + b"6" * 20
    )  # fmt: skip


def test_each_field_of_version_4_lies_where_the_format_says() -> None:
    header = bytes.fromhex("04000200 81000000") + b"rsvd" + b"v" * 16 + b"u" * 20
    inner = 384 + 64 + 2 + 10 + 6 + 20
    assert FOURTH.to_bytes() == (
        header + b"t" * 584
        + struct.pack("<I", 64 + 64 + 6 + inner)
        + b"1" * 64 + b"2" * 64
        + b"\x06\x00" + struct.pack("<I", inner)
        + b"3" * 384 + b"4" * 64
        + b"\x0a\x00" + b"5" * 10
        + b"\x05\x00\x14\x00\x00\x00" + b"6" * 20
    )  # fmt: skip


def test_version_5_describes_its_body_before_the_body() -> None:
    assert FIFTH.to_bytes()[48:54] == b"\x03\x00" + struct.pack("<I", 648)
    assert FIFTH.to_bytes()[54 + 648 :] == FOURTH.to_bytes()[48 + 584 :]


@pytest.mark.parametrize(("quote", "version", "tee", "body_type", "size"), FORMS.values(), ids=FORMS.keys())
def test_every_form_is_read(quote: Quote, version: int, tee: Tee, body_type: int, size: int) -> None:
    read = Quote.parse(quote.to_bytes())
    assert read == quote
    assert (read.version, read.tee, read.body_type) == (version, tee, body_type)
    assert read.header.version == version
    assert read.header.tee is tee
    assert read.body == read.signed[-size:]
    assert len(read.signed) == size + (54 if version == 5 else 48)
    assert isinstance(read.report, ReportBody if tee is Tee.SGX else TdReport)
    assert read.report.to_bytes() == read.body


def test_a_header_alone_comes_back() -> None:
    assert QuoteHeader.parse(HEADER.to_bytes()) == HEADER
    assert QuoteHeader.parse(LATER_HEADER.to_bytes()) == LATER_HEADER


def test_later_versions_do_not_say_the_svns() -> None:
    header = Quote.parse(FOURTH.to_bytes()).header
    assert (header.qe_svn, header.pce_svn, header.reserved) == (None, None, b"rsvd")


@pytest.mark.parametrize("quote", [QUOTE, FOURTH, FIFTH], ids=["3", "4", "5"])
def test_any_size_of_authentication_data_is_read(quote: Quote) -> None:
    for size in (0, 32, 1000):
        changed = replace(quote, qe_auth_data=bytes(size))
        assert Quote.parse(changed.to_bytes()) == changed


def patched(offset: int, value: bytes, quote: Quote = QUOTE) -> bytes:
    data = bytearray(quote.to_bytes())
    data[offset : offset + len(value)] = value
    return bytes(data)


CUT = "The quote was cut, or something was added behind it."
WRONG_LENGTH = "The quote was cut, or a length in it is wrong."
BEHIND = "Bytes follow the certification data."
#: Where the size of the signature data stands.
AT_4, AT_5 = 48 + 584, 54 + 648
TDX_BODIES = "2 (TD report 1.0) or 3 (TD report 1.5) or 4 (extended TD report 1.5)"


@pytest.mark.parametrize(
    ("data", "message", "hint"),
    [
        (patched(0, b"\x02\x00"), "quote version: expected 3, 4 or 5, got 2 (offset 0)", None),
        (patched(0, b"\x06\x00"), "quote version: expected 3, 4 or 5, got 6 (offset 0)", None),
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
        (
            patched(4, b"\x80\x00\x00\x00", FOURTH),
            "TEE type: expected 0 (SGX) or 0x81 (TDX), got 0x80 (offset 4)",
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
            BEHIND,
        ),
        (
            FOURTH.to_bytes()[:631],
            "quote header and report: expected 632 bytes, got 631 bytes (offset 0)",
            WRONG_LENGTH,
        ),
        (
            FOURTH.to_bytes()[:-1],
            "signature data: expected 620 bytes until the end of the quote, got 619 bytes (offset 636)",
            CUT,
        ),
        (
            FOURTH.to_bytes() + b"\x00",
            "signature data: expected 620 bytes until the end of the quote, got 621 bytes (offset 636)",
            CUT,
        ),
        (
            patched(AT_4 + 4 + 128, b"\x05\x00", FOURTH),
            "outer certification data type: expected 6 (report of the quoting enclave), got 5 (offset 764)",
            None,
        ),
        (
            patched(AT_4 + 4 + 130, struct.pack("<I", 485), FOURTH),
            (
                "outer certification data: expected 485 bytes until the end of the quote, got 486 bytes"
                " (offset 770)"
            ),
            CUT,
        ),
        (
            patched(AT_5 + 4 + 134 + 448, b"\xff\x00", FIFTH),
            "QE authentication data: expected 255 bytes, got 36 bytes (offset 1290)",
            WRONG_LENGTH,
        ),
        (
            patched(AT_5 + 4 + 134 + 450 + 10 + 2, b"\x13\x00\x00\x00", FIFTH),
            "quote size: expected 1325 bytes, got 1326 bytes (offset 1325)",
            BEHIND,
        ),
        (
            FIFTH.to_bytes()[:53],
            "body descriptor: expected 6 bytes, got 5 bytes (offset 48)",
            WRONG_LENGTH,
        ),
        (
            patched(48, b"\x05\x00", FIFTH),
            f"quote body type: expected {TDX_BODIES}, got 5 (offset 48)",
            None,
        ),
        (
            patched(48, b"\x01\x00", FIFTH),
            f"quote body type: expected {TDX_BODIES}, got 1 (offset 48)",
            None,
        ),
        (
            patched(4, bytes(4), FIFTH),
            "quote body type: expected 1 (enclave report), got 3 (offset 48)",
            None,
        ),
        (
            patched(50, struct.pack("<I", 584), FIFTH),
            "quote body size: expected 648 bytes (TD report 1.5), got 584 bytes (offset 50)",
            None,
        ),
    ],
)
def test_another_layout_is_refused(data: bytes, message: str, hint: str | None) -> None:
    with pytest.raises(FormatError) as refusal:
        Quote.parse(data)
    assert str(refusal.value) == message
    assert refusal.value.hint == hint


def test_what_is_no_quote_has_no_version() -> None:
    quote = replace(QUOTE, signed=b"\x07" + QUOTE.signed[1:])
    with pytest.raises(FormatError) as refusal:
        _ = quote.version
    assert str(refusal.value) == "quote version: expected 3, 4 or 5, got 7 (offset 0)"


@pytest.mark.parametrize("quote", [QUOTE, FOURTH, FIFTH], ids=["3", "4", "5"])
def test_the_largest_quote_is_read_and_one_byte_more_is_not(quote: Quote) -> None:
    rest = MAX_QUOTE_SIZE - len(quote.to_bytes())
    largest = replace(quote, certification_data=bytes(20 + rest))
    assert Quote.parse(largest.to_bytes()) == largest
    with pytest.raises(FormatError) as refusal:
        Quote.parse(replace(quote, certification_data=bytes(21 + rest)).to_bytes())
    assert str(refusal.value) == "quote size: expected at most 16384 bytes, got 16385 bytes"
