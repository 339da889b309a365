"""DCAP's formats before other readers: dcap-qvl for quotes and certificates, plain JSON for documents."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import dcap_qvl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.dcap_corpus import CORPUS, needs_corpus

from casemate.formats.certificates import Certificate
from casemate.formats.sgx.collateral import (
    EnclaveIdentity,
    IsvLevel,
    TcbInfo,
    TcbLevel,
    TdxModule,
    parse_signed,
)
from casemate.formats.sgx.pck import EXTENSION_OID, PckExtension
from casemate.formats.sgx.quote import Quote, Tee
from casemate.formats.sgx.report import ReportBody
from casemate.formats.sgx.td_report import TdReport

pytestmark = needs_corpus

QUOTES = sorted((CORPUS / "quotes").glob("*/quote.bin"))
TCB_INFOS = sorted((CORPUS / "pool" / "tcb").glob("*.json"))
IDENTITIES = sorted((CORPUS / "pool" / "qe").glob("*.json"))

#: Names of dcap-qvl for what we call otherwise.
TD_NAMES = {"rtmr0": "rt_mr0", "rtmr1": "rt_mr1", "rtmr2": "rt_mr2", "rtmr3": "rt_mr3"}
TD_BYTES = (
    "tee_tcb_svn", "mr_seam", "mr_signer_seam", "seam_attributes", "mr_td", "mr_config_id", "mr_owner",
    "mr_owner_config", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "report_data",
)  # fmt: skip


def test_the_corpus_is_all_there() -> None:
    assert (len(QUOTES), len(TCB_INFOS), len(IDENTITIES)) == (52, 104, 81)


@pytest.mark.parametrize("path", QUOTES, ids=lambda path: path.parent.name)
def test_every_quote_is_read_as_dcap_qvl_reads_it(path: Path) -> None:
    data = path.read_bytes()
    quote, theirs = Quote.parse(data), dcap_qvl.parse_quote(data)
    assert quote.to_bytes() == data
    assert quote.header.to_bytes() == data[:48]
    header = quote.header
    assert (header.version, header.tee.value) == (theirs.header.version, theirs.header.tee_type)
    assert header.qe_vendor_id == theirs.header.qe_vendor_id
    assert header.user_data == theirs.header.user_data
    if header.version == 3:
        assert (header.qe_svn, header.pce_svn) == (theirs.header.qe_svn, theirs.header.pce_svn)
    assert quote.certification_type == 5
    # It counts no NUL after the chain.
    assert quote.certification_data.removesuffix(b"\x00") == theirs.cert_chain_pem_bytes()
    assert quote.report.to_bytes() == quote.body
    match quote.tee:
        case Tee.SGX:
            compare_reports(ReportBody.parse(quote.body), theirs.report)
        case Tee.TDX:
            compare_td_reports(TdReport.parse(quote.body), theirs.report)


def compare_reports(ours: ReportBody, theirs: Any) -> None:
    assert ours.cpu_svn == theirs.cpu_svn
    assert ours.attributes.to_bytes() == theirs.attributes
    assert ours.mrenclave == theirs.mr_enclave
    assert ours.mrsigner == theirs.mr_signer
    assert ours.report_data == theirs.report_data


def compare_td_reports(ours: TdReport, theirs: Any) -> None:
    for name in TD_BYTES:
        assert getattr(ours, name) == getattr(theirs, TD_NAMES.get(name, name)), name
    assert ours.td_attributes.to_bytes(8, "little") == theirs.td_attributes
    assert ours.xfam.to_bytes(8, "little") == theirs.xfam
    assert ours.tee_tcb_svn2 == getattr(theirs, "tee_tcb_svn2", None)
    assert ours.mr_service_td == getattr(theirs, "mr_service_td", None)


@pytest.mark.parametrize("path", QUOTES, ids=lambda path: path.parent.name)
def test_every_pck_certificate_is_read_as_dcap_qvl_reads_it(path: Path) -> None:
    chain = Quote.parse(path.read_bytes()).certification_data
    leaf = chain.partition(b"-----END CERTIFICATE-----\n")
    theirs = dcap_qvl.parse_pck_extension_from_pem(leaf[0] + leaf[1])
    ours = PckExtension.parse(extension_of(leaf[0] + leaf[1]))
    assert (ours.ppid, ours.cpu_svn, ours.fmspc, ours.pce_id) == (
        theirs.ppid,
        theirs.cpu_svn,
        theirs.fmspc,
        theirs.pce_id,
    )
    assert (ours.pce_svn, ours.sgx_type.value) == (theirs.pce_svn, theirs.sgx_type)
    assert ours.platform_instance_id == theirs.platform_instance_id
    svns = [theirs.get_value(f"{EXTENSION_OID}.2.{number}") for number in range(1, 17)]
    assert ours.components == tuple(int.from_bytes(svn, "big") for svn in svns)
    flags = [theirs.get_value(f"{EXTENSION_OID}.7.{number}") for number in (1, 2, 3)]
    expected = tuple(None if flag is None else flag == b"\xff" for flag in flags)
    assert (ours.dynamic_platform, ours.cached_keys, ours.smt_enabled) == expected


def extension_of(pem: bytes) -> bytes:
    # Two quotes carry their chain in lines of another length, which our own reader refuses.
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    return Certificate.parse(der).sgx_extension or b""


@pytest.mark.parametrize("path", TCB_INFOS, ids=lambda path: path.stem)
def test_all_tcb_info_is_read_with_every_level(path: Path) -> None:
    data = path.read_bytes()
    signed, signature = parse_signed(data, "tcbInfo")
    whole = json.loads(data)
    plain = whole["tcbInfo"]
    assert signed in data
    assert signature == bytes.fromhex(whole["signature"])
    info = TcbInfo.parse(signed)
    assert (info.id, info.version) == (plain.get("id", "SGX"), plain["version"])
    assert (info.fmspc, info.pce_id) == (bytes.fromhex(plain["fmspc"]), bytes.fromhex(plain["pceId"]))
    assert (spelled(info.issue_date), spelled(info.next_update)) == (plain["issueDate"], plain["nextUpdate"])
    assert info.tcb_evaluation_data_number == plain["tcbEvaluationDataNumber"]
    assert [as_plain(level) for level in info.levels] == [flat(level) for level in plain["tcbLevels"]]
    assert (info.tdx_module is None) == (info.id == "SGX")
    if info.tdx_module is not None:
        compare_modules(info.tdx_module, plain["tdxModule"])
    for ours, theirs in zip(info.tdx_module_identities, plain.get("tdxModuleIdentities", ()), strict=True):
        assert ours.id == theirs["id"]
        compare_modules(ours, theirs)
        assert [as_plain_isv(level) for level in ours.levels] == [flat(lv) for lv in theirs["tcbLevels"]]


@pytest.mark.parametrize("path", IDENTITIES, ids=lambda path: path.stem)
def test_all_enclave_identities_are_read_with_every_level(path: Path) -> None:
    data = path.read_bytes()
    signed, _ = parse_signed(data, "enclaveIdentity")
    plain = json.loads(data)["enclaveIdentity"]
    identity = EnclaveIdentity.parse(signed)
    assert identity.id == plain["id"]
    assert (spelled(identity.issue_date), spelled(identity.next_update)) == (
        plain["issueDate"],
        plain["nextUpdate"],
    )
    assert identity.tcb_evaluation_data_number == plain["tcbEvaluationDataNumber"]
    assert identity.isvprodid == plain["isvprodid"]
    for ours, name in (
        (identity.misc_select, "miscselect"),
        (identity.misc_select_mask, "miscselectMask"),
        (identity.attributes, "attributes"),
        (identity.attributes_mask, "attributesMask"),
        (identity.mrsigner, "mrsigner"),
    ):
        assert ours == bytes.fromhex(plain[name])
    assert [as_plain_isv(level) for level in identity.levels] == [flat(lv) for lv in plain["tcbLevels"]]


def compare_modules(ours: TdxModule, theirs: dict[str, str]) -> None:
    assert ours.mrsigner == bytes.fromhex(theirs["mrsigner"])
    assert ours.attributes == bytes.fromhex(theirs["attributes"])
    assert ours.attributes_mask == bytes.fromhex(theirs["attributesMask"])


def flat(level: dict[str, Any]) -> tuple[Any, ...]:
    """A level of a document, with the numbers of its TCB in one list."""
    tcb = level["tcb"]
    if "isvsvn" in tcb:
        numbers = [tcb["isvsvn"]]
    elif "sgxtcbcomponents" in tcb:
        lists = (tcb["sgxtcbcomponents"], tcb.get("tdxtcbcomponents", ()))
        numbers = [component["svn"] for components in lists for component in components] + [tcb["pcesvn"]]
    else:
        numbers = [tcb[f"sgxtcbcomp{number:02}svn"] for number in range(1, 17)] + [tcb["pcesvn"]]
    return numbers, level["tcbDate"], level["tcbStatus"], tuple(level.get("advisoryIDs", ()))


def as_plain(level: TcbLevel) -> tuple[Any, ...]:
    numbers = [*level.sgx_components, *(level.tdx_components or ()), level.pce_svn]
    return numbers, spelled(level.tcb_date), level.status.value, level.advisory_ids


def as_plain_isv(level: IsvLevel) -> tuple[Any, ...]:
    return [level.isvsvn], spelled(level.tcb_date), level.status.value, level.advisory_ids


def spelled(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
