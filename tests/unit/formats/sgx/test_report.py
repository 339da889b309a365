"""REPORT, TARGETINFO and ATTRIBUTES at the offsets of the SDM."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from casemate.errors import FormatError
from casemate.formats.sgx.report import (
    INIT,
    Attributes,
    MrEnclave,
    MrSigner,
    Report,
    ReportBody,
    TargetInfo,
)

BODY = ReportBody(
    cpu_svn=b"c" * 16,
    misc_select=b"m" * 4,
    attributes=Attributes(flags=0x0101010101010101, xfrm=0x0202020202020202),
    mrenclave=MrEnclave(b"e" * 32),
    mrsigner=MrSigner(b"s" * 32),
    isvprodid=0x1234,
    isvsvn=0x5678,
    report_data=b"d" * 64,
    isvextprodid=b"x" * 16,
    isvfamilyid=b"f" * 16,
    configid=b"i" * 64,
    configsvn=0x9ABC,
)


@pytest.mark.parametrize(
    ("offset", "content"),
    [
        (0, b"c" * 16),
        (16, b"m" * 4),
        (20, bytes(12)),
        (32, b"x" * 16),
        (48, b"\x01" * 8 + b"\x02" * 8),
        (64, b"e" * 32),
        (96, bytes(32)),
        (128, b"s" * 32),
        (160, bytes(32)),
        (192, b"i" * 64),
        (256, b"\x34\x12"),
        (258, b"\x78\x56"),
        (260, b"\xbc\x9a"),
        (262, bytes(42)),
        (304, b"f" * 16),
        (320, b"d" * 64),
    ],
)
def test_each_field_lies_where_the_manual_says(offset: int, content: bytes) -> None:
    assert BODY.to_bytes()[offset : offset + len(content)] == content


@pytest.mark.parametrize("offset", [20, 31, 96, 127, 160, 191, 262, 303])
def test_the_reserved_fields_are_these(offset: int) -> None:
    data = bytearray(BODY.to_bytes())
    data[offset] = 1
    assert ReportBody.parse(bytes(data)).reserved.count(1) == 1


def test_target_information_lies_where_the_manual_says() -> None:
    data = TargetInfo(
        mrenclave=MrEnclave(b"e" * 32),
        attributes=Attributes(flags=INIT, xfrm=3),
        misc_select=b"m" * 4,
        configid=b"i" * 64,
        configsvn=0x1234,
    ).to_bytes()
    assert data == (
        b"e" * 32
        + b"\x01" + bytes(7) + b"\x03" + bytes(7)
        + bytes(2) + b"\x34\x12" + b"m" * 4 + bytes(8) + b"i" * 64 + bytes(384)
    )  # fmt: skip


@pytest.mark.parametrize("offset", [48, 49, 56, 63, 128, 511])
def test_target_information_with_reserved_bytes_is_refused(offset: int) -> None:
    data = bytearray(512)
    data[offset] = 1
    with pytest.raises(FormatError) as refusal:
        TargetInfo.parse(bytes(data))
    assert str(refusal.value) == "target information: expected reserved fields that are zero, got other bytes"


@pytest.mark.parametrize(
    ("parse", "subject", "size"),
    [
        (Attributes.parse, "ATTRIBUTES", 16),
        (ReportBody.parse, "report body", 384),
        (Report.parse, "report", 432),
        (TargetInfo.parse, "target information", 512),
    ],
)
@pytest.mark.parametrize("change", [-1, 1])
def test_another_size_is_refused(
    parse: Callable[[bytes], object], subject: str, size: int, change: int
) -> None:
    with pytest.raises(FormatError) as refusal:
        parse(bytes(size + change))
    assert str(refusal.value) == f"{subject}: expected {size} bytes, got {size + change} bytes"


@pytest.mark.parametrize("bit", range(64))
def test_flags_that_the_manual_does_not_define_are_reserved(bit: int) -> None:
    reserved = Attributes(flags=1 << bit, xfrm=0).reserved_flags
    assert reserved == (0 if bit in {0, 1, 2, 4, 5, 6, 7, 10} else 1 << bit)
