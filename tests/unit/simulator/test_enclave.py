"""A simulated enclave: quotes, reports for its neighbours, keys that nobody else gets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.cmac import CMAC

from casemate.errors import FormatError, UsageError
from casemate.formats.sgx.quote import Quote
from casemate.formats.sgx.report import (
    DEBUG,
    INIT,
    MODE64BIT,
    Attributes,
    MrEnclave,
    MrSigner,
    Report,
    ReportBody,
    TargetInfo,
)
from casemate.simulator.enclave import SimulatedEnclave, report_key
from casemate.simulator.platform import SimulatedPlatform

PLATFORM = SimulatedPlatform.create(datetime(2026, 11, 20, tzinfo=UTC))
ENCLAVE = SimulatedEnclave(
    platform=PLATFORM,
    mrenclave=MrEnclave(b"e" * 32),
    mrsigner=MrSigner(b"s" * 32),
    isvprodid=258,
    isvsvn=3,
    attributes=Attributes(flags=INIT | MODE64BIT, xfrm=7),
    misc_select=b"\x01\x00\x00\x00",
)


def test_a_quote_says_what_the_enclave_is_and_what_it_bound() -> None:
    report = ReportBody.parse(Quote.parse(ENCLAVE.quote(bytes(range(64)))).body)
    assert (report.mrenclave, report.mrsigner) == (b"e" * 32, b"s" * 32)
    assert (report.isvprodid, report.isvsvn) == (258, 3)
    assert report.attributes.to_bytes().hex() == "05000000000000000700000000000000"
    assert report.misc_select == b"\x01\x00\x00\x00"
    assert report.cpu_svn == PLATFORM.sgx_extension.cpu_svn
    assert report.report_data == bytes(range(64))
    assert not any(report.reserved)


@pytest.mark.parametrize("size", [0, 63, 65])
def test_report_data_of_another_size_is_refused(size: int) -> None:
    for make in (ENCLAVE.quote, lambda data: ENCLAVE.report(ENCLAVE.my_target_info(), data)):
        with pytest.raises(FormatError) as refusal:
            make(bytes(size))
        assert str(refusal.value) == f"report data: expected 64 bytes, got {size} bytes"


def test_a_report_is_made_for_its_target_alone() -> None:
    neighbour = replace(ENCLAVE, mrenclave=MrEnclave(b"n" * 32))
    report = Report.parse(ENCLAVE.report(neighbour.my_target_info(), bytes(64)))
    assert report.mac == mac_for(neighbour, report)
    assert report.mac != mac_for(ENCLAVE, report)
    assert report.mac != mac_for(
        replace(neighbour, platform=SimulatedPlatform.create(datetime.now(UTC))), report
    )


def mac_for(target: SimulatedEnclave, report: Report) -> bytes:
    key = report_key(target.platform, TargetInfo.parse(target.my_target_info()), report.key_id)
    mac = CMAC(AES128(key))
    mac.update(report.body.to_bytes())
    return mac.finalize()


def test_target_information_of_another_size_is_refused() -> None:
    with pytest.raises(FormatError) as refusal:
        ENCLAVE.report(bytes(511), bytes(64))
    assert str(refusal.value) == "target information: expected 512 bytes, got 511 bytes"


@pytest.mark.parametrize("name", ["_sgx_mrenclave", "_sgx_mrsigner"])
def test_a_key_has_16_bytes_and_comes_back(name: str) -> None:
    assert len(ENCLAVE.key(name)) == 16
    assert ENCLAVE.key(name) == replace(ENCLAVE).key(name)


def test_the_two_keys_differ() -> None:
    assert ENCLAVE.key("_sgx_mrenclave") != ENCLAVE.key("_sgx_mrsigner")


@pytest.mark.parametrize(
    ("name", "change", "same"),
    [
        ("_sgx_mrenclave", {"mrenclave": MrEnclave(bytes(32))}, False),
        ("_sgx_mrenclave", {"mrsigner": MrSigner(bytes(32))}, True),
        ("_sgx_mrsigner", {"mrenclave": MrEnclave(bytes(32))}, True),
        ("_sgx_mrsigner", {"mrsigner": MrSigner(bytes(32))}, False),
        ("_sgx_mrsigner", {"isvprodid": 1}, False),
        ("_sgx_mrsigner", {"isvsvn": 4}, False),
        ("_sgx_mrsigner", {"attributes": Attributes(flags=INIT | DEBUG | MODE64BIT, xfrm=7)}, False),
        ("_sgx_mrenclave", {"platform": SimulatedPlatform.create(datetime(2026, 11, 20, tzinfo=UTC))}, False),
    ],
)
def test_a_key_belongs_to_an_identity(name: str, change: dict[str, Any], *, same: bool) -> None:
    assert (replace(ENCLAVE, **change).key(name) == ENCLAVE.key(name)) is same


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(UsageError) as refusal:
        ENCLAVE.key("_sgx_other")
    assert str(refusal.value) == "enclave key: expected _sgx_mrenclave or _sgx_mrsigner, got _sgx_other"
