"""TCB info, enclave identity, collateral: Intel's JSON, tolerant of what Intel adds and of nothing else."""

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
    EnclaveId,
    EnclaveIdentity,
    IsvLevel,
    TcbInfo,
    TcbInfoId,
    TcbLevel,
    TcbStatus,
    TdxModule,
    TdxModuleIdentity,
    parse_signed,
)
from casemate.formats.sgx.intel_json import raw_member
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


def qe_identity(change: Callable[[dict[str, Any]], object] = lambda _: None) -> EnclaveIdentity:
    document = json.loads(COLLATERAL.qe_identity)
    change(document)
    return EnclaveIdentity.parse(json.dumps(document).encode())


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
        id=TcbInfoId.SGX,
        version=2,
        issue_date=datetime(2021, 4, 20, 18, 27, 52, tzinfo=UTC),
        next_update=datetime(2021, 5, 20, 18, 27, 52, tzinfo=UTC),
        fmspc=bytes.fromhex("00606a000000"),
        pce_id=bytes(2),
        tcb_type=0,
        tcb_evaluation_data_number=10,
        levels=(
            TcbLevel(
                sgx_components=tuple(range(1, 17)),
                pce_svn=10,
                tcb_date=datetime(2020, 11, 11, tzinfo=UTC),
                status=TcbStatus.OUT_OF_DATE,
                advisory_ids=("INTEL-SA-00001",),
            ),
        ),
    )


def level(**tcb: Any) -> dict[str, Any]:
    return {"tcb": tcb, "tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": "UpToDate"}


TDX: dict[str, Any] = {
    "id": "TDX",
    "version": 3,
    "issueDate": "2026-10-08T00:28:26Z",
    "nextUpdate": "2026-11-07T00:28:26Z",
    "fmspc": "B0C06F000000",
    "pceId": "0000",
    "tcbType": 0,
    "tcbEvaluationDataNumber": 20,
    "tdxModule": {"mrsigner": "0A" * 48, "attributes": "0B" * 8, "attributesMask": "0C" * 8},
    "tdxModuleIdentities": [
        {
            "id": "TDX_01",
            "mrsigner": "1A" * 48,
            "attributes": "1B" * 8,
            "attributesMask": "1C" * 8,
            "tcbLevels": [level(isvsvn=4) | {"tcbStatus": "OutOfDate", "advisoryIDs": ["INTEL-SA-00002"]}],
        }
    ],
    "tcbLevels": [
        level(
            sgxtcbcomponents=[{"svn": svn, "category": "BIOS", "type": "a name"} for svn in range(16)],
            pcesvn=13,
            tdxtcbcomponents=[{"svn": svn} for svn in range(16, 32)],
        )
    ],
}


def tdx_tcb_info(change: Callable[[dict[str, Any]], object] = lambda _: None) -> TcbInfo:
    document = json.loads(json.dumps(TDX))
    change(document)
    return TcbInfo.parse(json.dumps(document).encode())


def test_tcb_info_for_tdx_says_what_modules_are_genuine() -> None:
    march = datetime(2024, 3, 13, tzinfo=UTC)
    assert tdx_tcb_info() == TcbInfo(
        id=TcbInfoId.TDX,
        version=3,
        issue_date=datetime(2026, 10, 8, 0, 28, 26, tzinfo=UTC),
        next_update=datetime(2026, 11, 7, 0, 28, 26, tzinfo=UTC),
        fmspc=bytes.fromhex("b0c06f000000"),
        pce_id=bytes(2),
        tcb_type=0,
        tcb_evaluation_data_number=20,
        tdx_module=TdxModule(mrsigner=b"\x0a" * 48, attributes=b"\x0b" * 8, attributes_mask=b"\x0c" * 8),
        tdx_module_identities=(
            TdxModuleIdentity(
                id="TDX_01",
                mrsigner=b"\x1a" * 48,
                attributes=b"\x1b" * 8,
                attributes_mask=b"\x1c" * 8,
                levels=(
                    IsvLevel(
                        isvsvn=4,
                        tcb_date=march,
                        status=TcbStatus.OUT_OF_DATE,
                        advisory_ids=("INTEL-SA-00002",),
                    ),
                ),
            ),
        ),
        sgx_component_names=("BIOS: a name",) * 16,
        levels=(
            TcbLevel(
                sgx_components=tuple(range(16)),
                tdx_components=tuple(range(16, 32)),
                pce_svn=13,
                tcb_date=march,
                status=TcbStatus.UP_TO_DATE,
                advisory_ids=(),
            ),
        ),
    )


def test_tcb_info_for_tdx_need_not_name_modules_of_later_versions() -> None:
    assert tdx_tcb_info(lambda d: d.pop("tdxModuleIdentities")).tdx_module_identities == ()


def test_tcb_info_for_sgx_says_nothing_about_tdx() -> None:
    info = tcb_info()
    assert info.id is TcbInfoId.SGX
    assert (info.tdx_module, info.tdx_module_identities) == (None, ())
    assert {level.tdx_components for level in info.levels} == {None}


@pytest.mark.parametrize("name", ["QE", "TD_QE", "QVE", "QAE"])
def test_the_identity_of_each_of_intels_enclaves_is_read(name: str) -> None:
    assert qe_identity(lambda d: d.update(id=name)).id is EnclaveId(name)


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
            lambda d: d["tcbLevels"][0].update(tcbStatus="TDRelaunchAdvised"),
            f"TCB status: expected one of {STATUSES}, got TDRelaunchAdvised (TCB info)",
        ),
        (
            lambda d: d["tcbLevels"][0].update(tcbStatus="TDRelaunchAdvisedConfigurationNeeded"),
            (f"TCB status: expected one of {STATUSES}, got TDRelaunchAdvisedConfigurationNeeded (TCB info)"),
        ),
        (lambda d: d.update(id="SEV"), "TCB info id: expected SGX or TDX, got SEV (TCB info)"),
        (
            lambda d: d.update(id="TDX", tcbLevels=[]),
            "TCB info: expected its JSON form, got Object missing required field `tdxModule`",
        ),
        (
            lambda d: d.pop("tcbEvaluationDataNumber"),
            "TCB info: expected its JSON form, got Object missing required field `tcbEvaluationDataNumber`",
        ),
        (
            lambda d: d["tcbLevels"][0].pop("tcbDate"),
            (
                "TCB info: expected its JSON form, got Object missing required field `tcbDate`"
                " - at `$.tcbLevels[0]`"
            ),
        ),
        (
            lambda d: d["tcbLevels"][0].update(tcbDate="2024-02-30T00:00:00Z"),
            "date: expected YYYY-MM-DDThh:mm:ssZ, got 2024-02-30T00:00:00Z (TCB info)",
        ),
        (
            lambda d: d.update(nextUpdate="2024-02-20T24:00:00Z"),
            "date: expected YYYY-MM-DDThh:mm:ssZ, got 2024-02-20T24:00:00Z (TCB info)",
        ),
        (
            lambda d: d.update(nextUpdate="2024-2-20T20:00:00Z"),
            "date: expected YYYY-MM-DDThh:mm:ssZ, got 2024-2-20T20:00:00Z (TCB info)",
        ),
        (
            lambda d: d.update(nextUpdate="0000-02-20T20:00:00Z"),
            "date: expected YYYY-MM-DDThh:mm:ssZ, got 0000-02-20T20:00:00Z (TCB info)",
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
        (lambda d: d.update(version=1), "enclave identity version: expected 2, got 1"),
        (lambda d: d.update(version=3), "enclave identity version: expected 2, got 3"),
        (
            lambda d: d.update(id="PCE"),
            ("enclave identity id: expected QE or TD_QE or QVE or QAE, got PCE (enclave identity)"),
        ),
        (
            lambda d: d["tcbLevels"][0].update(tcbStatus="SWHardeningNeeded"),
            (
                "TCB status: expected one of UpToDate, OutOfDate, Revoked, got SWHardeningNeeded"
                " (enclave identity)"
            ),
        ),
        (
            lambda d: d.update(nextUpdate="never"),
            "date: expected YYYY-MM-DDThh:mm:ssZ, got never (enclave identity)",
        ),
        (
            lambda d: d.pop("mrsigner"),
            "enclave identity: expected its JSON form, got Object missing required field `mrsigner`",
        ),
    ],
)
def test_another_qe_identity_is_refused(change: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(FormatError) as refusal:
        qe_identity(change)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["tdxModule"].update(mrsigner="00" * 32),
            (
                "TCB info: expected its JSON form, got Expected `str` matching regex"
                " '^[0-9a-fA-F]{96}\\\\Z' - at `$.tdxModule.mrsigner`"
            ),
        ),
        (
            lambda d: d["tcbLevels"][0]["tcb"].pop("tdxtcbcomponents"),
            (
                "TCB info: expected its JSON form, got Object missing required field `tdxtcbcomponents`"
                " - at `$.tcbLevels[0].tcb`"
            ),
        ),
        (
            lambda d: d["tdxModuleIdentities"][0]["tcbLevels"][0].update(tcbStatus="ConfigurationNeeded"),
            "TCB status: expected one of UpToDate, OutOfDate, Revoked, got ConfigurationNeeded (TCB info)",
        ),
        (
            lambda d: d["tdxModuleIdentities"][0].pop("id"),
            (
                "TCB info: expected its JSON form, got Object missing required field `id`"
                " - at `$.tdxModuleIdentities[0]`"
            ),
        ),
    ],
)
def test_other_tcb_info_for_tdx_is_refused(change: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(FormatError) as refusal:
        tdx_tcb_info(change)
    assert str(refusal.value) == message


#: What two readers of JSON could understand differently, or what could exhaust one.
AMBIGUOUS = {
    "a key that comes twice": (b'"version":3,"version":3', "an object with a duplicate key"),
    "a key that comes twice further in": (b'"a":[{"b":1,"b":1}]', "an object with a duplicate key"),
    "a key that comes twice, spelled otherwise": (
        b'"version":3,"\\u0076ersion":3',
        "an object with a duplicate key",
    ),
    "not a number": (b'"a":NaN', "a number that is not an integer"),
    "infinity": (b'"a":-Infinity', "a number that is not an integer"),
    "a fraction": (b'"tcbType":0.0', "a number that is not an integer"),
    "an exponent": (b'"tcbType":1e999', "a number that is not an integer"),
    "an integer of 17 digits": (b'"a":12345678901234567', "an integer of more than 16 characters"),
    "an integer of a million digits": (b'"a":' + b"9" * 1_000_000, "an integer of more than 16 characters"),
    "very deep nesting": (b'"a":' + b"[" * 100_000 + b"]" * 100_000, None),
    "deep nesting of objects": (b'"a":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000, None),
    "a lone surrogate": (b'"a":"\\ud800"', None),
    "bytes that are not UTF-8": (b'"a":"\xff"', None),
    "a control character": (b'"a":"\x00"', None),
    "a comment": (b'"a":1/**/', None),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
@pytest.mark.parametrize(
    "parse",
    [
        TcbInfo.parse,
        EnclaveIdentity.parse,
        Collateral.parse_json,
        lambda data: parse_signed(data, "tcbInfo"),
    ],
    ids=["TCB info", "enclave identity", "collateral", "signed document"],
)
def test_ambiguous_json_is_refused(name: str, parse: Callable[[bytes], object]) -> None:
    text, reason = AMBIGUOUS[name]
    with pytest.raises(FormatError) as refusal:
        parse(b"{" + text + b"}")
    assert refusal.value.expected == "its JSON form"
    if reason is not None:
        assert refusal.value.got == reason


def test_an_integer_of_16_digits_is_read() -> None:
    assert tcb_info(lambda d: d.update(novel=10**15)) == tcb_info()


def test_the_signed_bytes_come_as_they_are() -> None:
    body = b' { "tcbInfo" :  {"b" : 1 ,\n"a":"\\u0041"} , "signature":"' + b"aB" * 64 + b'", "novel": [] } '
    assert parse_signed(body, "tcbInfo") == (b'{"b" : 1 ,\n"a":"\\u0041"}', b"\xab" * 64)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[]", "tcbInfo: expected its JSON form, got Expected `object`, got `array`"),
        (
            b'{"tcbInfo":{}}',
            "tcbInfo: expected its JSON form, got Object missing required field `signature`",
        ),
        (
            b'{"enclaveIdentity":{},"signature":"' + b"00" * 64 + b'"}',
            "tcbInfo: expected an object with the member tcbInfo, got no such member",
        ),
        (
            b'{"tcbInfo":{},"signature":"' + b"00" * 63 + b'"}',
            (
                "tcbInfo: expected its JSON form, got Expected `str` matching regex"
                " '^[0-9a-fA-F]{128}\\\\Z' - at `$.signature`"
            ),
        ),
    ],
)
def test_another_signed_document_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as refusal:
        parse_signed(data, "tcbInfo")
    assert str(refusal.value) == message


@pytest.mark.parametrize("data", [b"[]", b"{", b"\xff", b'{"a":' * 100_000])
def test_a_member_of_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError) as refusal:
        raw_member(data, "tcbInfo")
    assert (refusal.value.subject, refusal.value.expected) == ("tcbInfo", "its JSON form")


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


def test_the_first_level_that_names_components_says_what_they_are() -> None:
    def name_them(document: dict[str, Any]) -> None:
        second = json.loads(json.dumps(document["tcbLevels"][0]))
        for component in document["tcbLevels"][0]["tcb"]["sgxtcbcomponents"]:
            del component["category"], component["type"]
        second["tcb"]["sgxtcbcomponents"][2] = {"svn": 1, "category": "OS/VMM"}
        document["tcbLevels"].append(second)

    names = tdx_tcb_info(name_them).sgx_component_names
    assert names[1:4] == ("BIOS: a name", "OS/VMM", "BIOS: a name")
    assert tdx_tcb_info().tdx_component_names == ()
