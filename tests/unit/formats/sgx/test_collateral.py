"""TCB info, QE identity and collateral: Intel's JSON, tolerant of what Intel adds and of nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from casemate.errors import FormatError
from casemate.formats.sgx.collateral import (
    MAX_COLLATERAL_SIZE,
    Collateral,
    QeIdentity,
    TcbInfo,
    TcbLevel,
    TcbStatus,
)
from casemate.simulator.platform import SimulatedPlatform

COLLATERAL = SimulatedPlatform.create(datetime(2026, 11, 20, tzinfo=UTC)).collateral
STATUSES = (
    "UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded, OutOfDate,"
    " OutOfDateConfigurationNeeded, Revoked"
)


def tcb_info(change: Callable[[dict[str, Any]], object] = lambda _: None) -> TcbInfo:
    document = json.loads(COLLATERAL.tcb_info)
    change(document)
    return TcbInfo.parse(json.dumps(document).encode())


def qe_identity(change: Callable[[dict[str, Any]], object] = lambda _: None) -> QeIdentity:
    document = json.loads(COLLATERAL.qe_identity)
    change(document)
    return QeIdentity.parse(json.dumps(document).encode())


def test_tcb_info_of_version_2_says_the_same_as_version_3() -> None:
    levels = [
        {
            "tcb": {f"sgxtcbcomp{number:02}svn": number for number in range(1, 17)} | {"pcesvn": 10},
            "tcbDate": "2020-11-11T00:00:00Z",
            "tcbStatus": "OutOfDate",
            "advisoryIDs": ["INTEL-SA-00001"],
        }
    ]
    second = {
        "version": 2,
        "issueDate": "2021-04-20T18:27:52Z",
        "nextUpdate": "2021-05-20T18:27:52Z",
        "fmspc": "00606A000000",
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": 10,
        "tcbLevels": levels,
    }
    assert TcbInfo.parse(json.dumps(second).encode()) == TcbInfo(
        id="SGX",
        version=2,
        issue_date=datetime(2021, 4, 20, 18, 27, 52, tzinfo=UTC),
        next_update=datetime(2021, 5, 20, 18, 27, 52, tzinfo=UTC),
        fmspc=bytes.fromhex("00606a000000"),
        pce_id=bytes(2),
        tcb_type=0,
        levels=(
            TcbLevel(
                components=tuple(range(1, 17)),
                pce_svn=10,
                status=TcbStatus.OUT_OF_DATE,
                advisory_ids=("INTEL-SA-00001",),
            ),
        ),
    )


def test_members_that_intel_adds_are_ignored() -> None:
    assert tcb_info(lambda d: d.update(novel={"a": 1})) == tcb_info()
    assert qe_identity(lambda d: d.update(novel=[1])) == qe_identity()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=1), "TCB info version: expected 2 or 3, got 1"),
        (lambda d: d.update(version=4), "TCB info version: expected 2 or 3, got 4"),
        (
            lambda d: d.pop("version"),
            "TCB info: expected its JSON form, got Object missing required field `version`",
        ),
        (
            lambda d: d.update(issueDate="2026-11-20"),
            "date: expected YYYY-MM-DDThh:mm:ssZ, got 2026-11-20 (TCB info)",
        ),
        (
            lambda d: d["tcbLevels"][0].update(tcbStatus="Fine"),
            f"TCB status: expected one of {STATUSES}, got Fine (TCB info)",
        ),
        (
            lambda d: d["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].pop(),
            (
                "TCB info: expected its JSON form, got Expected `array` of length >= 16"
                " - at `$.tcbLevels[0].tcb.sgxtcbcomponents`"
            ),
        ),
        (
            lambda d: d["tcbLevels"][0]["tcb"]["sgxtcbcomponents"][3].update(svn=256),
            (
                "TCB info: expected its JSON form, got Expected `int` <= 255"
                " - at `$.tcbLevels[0].tcb.sgxtcbcomponents[3].svn`"
            ),
        ),
    ],
)
def test_other_tcb_info_is_refused(change: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(FormatError) as refusal:
        tcb_info(change)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(version=1), "QE identity version: expected 2, got 1"),
        (lambda d: d.update(version=3), "QE identity version: expected 2, got 3"),
        (
            lambda d: d["tcbLevels"][0].update(tcbStatus="SWHardeningNeeded"),
            "TCB status: expected one of UpToDate, OutOfDate, Revoked, got SWHardeningNeeded (QE identity)",
        ),
        (
            lambda d: d.update(nextUpdate="never"),
            "date: expected YYYY-MM-DDThh:mm:ssZ, got never (QE identity)",
        ),
        (
            lambda d: d.pop("mrsigner"),
            "QE identity: expected its JSON form, got Object missing required field `mrsigner`",
        ),
    ],
)
def test_another_qe_identity_is_refused(change: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(FormatError) as refusal:
        qe_identity(change)
    assert str(refusal.value) == message


@pytest.mark.parametrize("mask", ["attributes", "attributesMask", "mrsigner", "miscselect", "miscselectMask"])
def test_values_of_another_size_are_refused(mask: str) -> None:
    with pytest.raises(FormatError):
        qe_identity(lambda d: d.update({mask: d[mask][2:]}))


def test_collateral_comes_back() -> None:
    assert Collateral.parse_json(COLLATERAL.to_json()) == COLLATERAL


def test_collateral_of_the_largest_size_is_read_and_one_byte_more_is_not() -> None:
    data = COLLATERAL.to_json()
    assert Collateral.parse_json(data.ljust(MAX_COLLATERAL_SIZE)) == COLLATERAL
    with pytest.raises(FormatError) as refusal:
        Collateral.parse_json(data.ljust(MAX_COLLATERAL_SIZE + 1))
    assert str(refusal.value) == "collateral: expected at most 4194304 bytes, got 4194305 bytes"


@pytest.mark.parametrize("name", ["root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"])
@pytest.mark.parametrize("text", ["0", "zz", "00\n"])
def test_what_is_not_hexadecimal_is_refused(name: str, text: str) -> None:
    document = json.loads(COLLATERAL.to_json()) | {name: text}
    with pytest.raises(FormatError) as refusal:
        Collateral.parse_json(json.dumps(document).encode())
    assert str(refusal.value).endswith(f" - at `$.{name}`")
