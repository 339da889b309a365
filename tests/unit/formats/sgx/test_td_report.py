"""TD reports of TDX 1.0, of TDX 1.5 and the extended one: where each field lies, and what bits mean."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casemate.errors import FormatError
from casemate.formats.sgx.td_report import (
    RESERVED_ATTRIBUTES,
    UNDER_DEBUG,
    UNDER_PROFILING,
    MrTd,
    TdAttributes,
    TdReport,
    TdReportExtension,
)

REPORT_10 = TdReport(
    tee_tcb_svn=b"a" * 16,
    mr_seam=b"b" * 48,
    mr_signer_seam=b"c" * 48,
    seam_attributes=b"d" * 8,
    td_attributes=TdAttributes.SEPT_VE_DISABLE | TdAttributes.PERFMON,
    xfam=0x61AE7,
    mr_td=MrTd(b"e" * 48),
    mr_config_id=b"f" * 48,
    mr_owner=b"g" * 48,
    mr_owner_config=b"h" * 48,
    rtmr0=b"0" * 48,
    rtmr1=b"1" * 48,
    rtmr2=b"2" * 48,
    rtmr3=b"3" * 48,
    report_data=b"i" * 64,
)
REPORT_15 = replace(REPORT_10, tee_tcb_svn2=b"j" * 16, mr_service_td=b"k" * 48)
REPORT_15_EX = replace(
    REPORT_15,
    extension=TdReportExtension(
        vmid=2,
        td_id=b"A" * 32,
        dev_info=b"B" * 48,
        init_service_td_hash=b"C" * 48,
        init_service_td_attributes=b"D" * 8,
        init_cpu_svn=b"E" * 16,
        init_tee_tcb_svn=b"F" * 16,
        init_tee_fmspc=b"G" * 12,
        cur_service_td_hash=b"H" * 48,
        cur_service_td_attributes=b"I" * 8,
    ),
)
BYTES_10 = (
    b"a" * 16 + b"b" * 48 + b"c" * 48 + b"d" * 8
    + bytes.fromhex("0000001000000080") + bytes.fromhex("e71a060000000000")
    + b"e" * 48 + b"f" * 48 + b"g" * 48 + b"h" * 48
    + b"0" * 48 + b"1" * 48 + b"2" * 48 + b"3" * 48 + b"i" * 64
)  # fmt: skip
BYTES_15 = BYTES_10 + b"j" * 16 + b"k" * 48
BYTES_15_EX = (
    BYTES_15 + b"\x02" + b"A" * 32 + b"B" * 48 + b"C" * 48 + b"D" * 8 + b"E" * 16 + b"F" * 16 + b"G" * 12
    + b"H" * 48 + b"I" * 8
)  # fmt: skip


@pytest.mark.parametrize(
    ("report", "data", "size"),
    [(REPORT_10, BYTES_10, 584), (REPORT_15, BYTES_15, 648), (REPORT_15_EX, BYTES_15_EX, 885)],
    ids=["1.0", "1.5", "1.5 extended"],
)
def test_each_field_lies_where_the_format_says(report: TdReport, data: bytes, size: int) -> None:
    assert len(data) == size
    assert report.to_bytes() == data
    assert TdReport.parse(data) == report


@pytest.mark.parametrize("size", [0, 583, 585, 647, 649, 884, 886])
def test_another_size_is_refused(size: int) -> None:
    with pytest.raises(FormatError) as refusal:
        TdReport.parse(bytes(size))
    assert str(refusal.value) == f"TD report: expected 584, 648 or 885 bytes, got {size} bytes"


def test_every_bit_of_the_attributes_comes_back_and_is_of_one_kind() -> None:
    nameless = 0b11111 << 18
    for number in range(64):
        bit = 1 << number
        report = replace(REPORT_10, td_attributes=TdAttributes(bit))
        assert TdReport.parse(report.to_bytes()).td_attributes == bit
        named = bit in TdAttributes.__members__.values()
        assert named + bool(bit & RESERVED_ATTRIBUTES) + bool(bit & nameless) == 1


def test_the_groups_of_bits_are_those_of_the_specification() -> None:
    assert UNDER_DEBUG == 0b1111
    assert UNDER_PROFILING == 0b1110000
