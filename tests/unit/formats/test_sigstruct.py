"""SIGSTRUCT: the bytes of Gramine's own signer are read and written, and everything else is refused."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path

import pytest

from casemate.errors import FormatError
from casemate.formats.sgx.sigstruct import NO_DATE, SigningDate, SigStruct

VECTORS = Path(__file__).parents[2] / "vectors/measurement"
FOLDERS = sorted(path.parent for path in VECTORS.glob("*/app.sig"))
SIGNATURE = (VECTORS / "defaults/app.sig").read_bytes()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_fields_of_gramines_signatures_are_read(folder: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text())
    data = (folder / "app.sig").read_bytes()
    read = SigStruct.parse(data)
    assert {
        "date": str(read.date),
        "mrenclave": read.enclave.mrenclave.hex(),
        "mrsigner": read.mrsigner.hex(),
        "isvprodid": read.enclave.isvprodid,
        "isvsvn": read.enclave.isvsvn,
        "attributes": read.enclave.attributes.to_bytes().hex(),
        "attributes_mask": read.enclave.attributes_mask.to_bytes().hex(),
        "misc_select": read.enclave.misc_select.hex(),
        "sigstruct_sha256": hashlib.sha256(data).hexdigest(),
    } == {key: value for key, value in expected.items() if key != "pal"}
    assert read.to_bytes() == data


def test_the_signature_covers_both_halves_and_nothing_of_itself() -> None:
    assert SigStruct.parse(SIGNATURE).signed_bytes == SIGNATURE[:128] + SIGNATURE[900:1028]


def changed(offset: int, data: bytes) -> bytes:
    return SIGNATURE[:offset] + data + SIGNATURE[offset + len(data) :]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(SIGNATURE[:-1], "SIGSTRUCT size: expected 1808 bytes, got 1807", id="too short"),
        pytest.param(SIGNATURE + b"\0", "SIGSTRUCT size: expected 1808 bytes, got 1809", id="too long"),
        pytest.param(
            changed(0, b"\x07"),
            "SIGSTRUCT header: expected 06000000e10000000000010000000000, "
            "got 07000000e10000000000010000000000 (offset 0)",
            id="header",
        ),
        pytest.param(
            changed(24, b"\x02"),
            "SIGSTRUCT second header: expected 01010000600000006000000001000000, "
            "got 02010000600000006000000001000000 (offset 24)",
            id="second header",
        ),
        pytest.param(
            changed(512, (65537).to_bytes(4, "little")),
            "SIGSTRUCT exponent: expected 3, got 65537 (offset 512)",
            id="exponent",
        ),
        pytest.param(
            changed(20, b"\x30\x02"),
            "date: expected a day that exists, got 2026-02-30 (SIGSTRUCT, offset 20)",
            id="no such day",
        ),
        pytest.param(
            changed(20, b"\x1a"),
            "date: expected YYYY-MM-DD, got '2026-01-1a' (SIGSTRUCT, offset 20)",
            id="not decimal",
        ),
        pytest.param(
            changed(44, b"\x01"), "SIGSTRUCT reserved byte: expected 0, got 1 (offset 44)", id="reserved"
        ),
        pytest.param(
            changed(912, b"\x01"), "SIGSTRUCT reserved byte: expected 0, got 1 (offset 912)", id="family id"
        ),
    ],
)
def test_anything_else_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as refused:
        SigStruct.parse(data)
    assert str(refused.value) == message


def test_a_day_of_the_calendar_becomes_a_date() -> None:
    assert SigningDate.of(date(2026, 11, 20)) == SigningDate.parse("2026-11-20")


def test_no_date_is_written_as_zeros() -> None:
    assert SigningDate.parse("0000-00-00") == NO_DATE
    assert str(NO_DATE) == "0000-00-00"


@pytest.mark.parametrize("text", ["2026-02-29", "2026-13-01", "2026-00-10", "0000-01-01", "2026-04-31"])
def test_days_that_do_not_exist_are_refused(text: str) -> None:
    with pytest.raises(FormatError) as refused:
        SigningDate.parse(text)
    assert str(refused.value) == f"date: expected a day that exists, got {text} (SIGSTRUCT date)"
    assert refused.value.hint == "0000-00-00 stands for no date"


@pytest.mark.parametrize("text", ["", "20260102", "2026-1-2", "02.01.2026", "2026-01-02T00:00"])
def test_other_forms_of_dates_are_refused(text: str) -> None:
    with pytest.raises(FormatError) as refused:
        SigningDate.parse(text)
    assert str(refused.value) == f"date: expected YYYY-MM-DD, got {text!r} (SIGSTRUCT date)"
