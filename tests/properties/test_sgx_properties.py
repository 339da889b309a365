"""DCAP's formats and the verifier, whatever the bytes: our errors only, and nothing changed is affirmed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import MISSING, fields, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.sgx_world import good_world

from casemate.errors import FormatError
from casemate.formats import der
from casemate.formats.certificates import Certificate, RevocationList
from casemate.formats.pem import encode_certificates, parse_certificates
from casemate.formats.sgx.collateral import Collateral, EnclaveIdentity, TcbInfo, parse_signed
from casemate.formats.sgx.pck import PckExtension, PlatformConfiguration, SgxType
from casemate.formats.sgx.quote import (
    SGX_REPORT,
    TD_REPORT_10,
    TD_REPORT_15,
    TD_REPORT_15_EX,
    Quote,
    QuoteHeader,
    Tee,
    body_descriptor,
)
from casemate.formats.sgx.report import Attributes, MrEnclave, MrSigner, Report, ReportBody, TargetInfo
from casemate.formats.sgx.td_report import TdAttributes, TdReport, TdReportExtension
from casemate.verifier.result import Verdict

WORLD = good_world()
PLATFORM = WORLD.platform

#: Each parser with something that it reads.
PARSERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "DER": (
        lambda data: der.children(der.parse(data, where="test"), where="test"),
        PLATFORM.collateral.pck_crl,
    ),
    "PEM": (lambda data: parse_certificates(data, where="test"), PLATFORM.collateral.tcb_info_issuer_chain),
    "certificate": (Certificate.parse, PLATFORM.quoting_enclave.pck.certificate),
    "CRL": (RevocationList.parse, PLATFORM.collateral.pck_crl),
    "attributes": (Attributes.parse, bytes(16)),
    "report body": (ReportBody.parse, bytes(384)),
    "report": (Report.parse, bytes(432)),
    "target information": (TargetInfo.parse, bytes(512)),
    "quote": (Quote.parse, WORLD.evidence),
    "TD report": (TdReport.parse, bytes(648)),
    "signed document": (
        lambda data: parse_signed(data, "tcbInfo"),
        b'{"tcbInfo":' + PLATFORM.collateral.tcb_info + b',"signature":"' + b"00" * 64 + b'"}',
    ),
    "PCK extension": (PckExtension.parse, PLATFORM.sgx_extension.to_der()),
    "TCB info": (TcbInfo.parse, PLATFORM.collateral.tcb_info),
    "enclave identity": (EnclaveIdentity.parse, PLATFORM.collateral.qe_identity),
    "collateral": (Collateral.parse_json, PLATFORM.collateral.to_json()),
}


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """``good`` with a stretch of it replaced, which gets deeper into a parser than bytes made up."""
    start = draw(st.integers(0, len(good)))
    end = draw(st.integers(start, min(len(good), start + 8)))
    return good[:start] + draw(st.binary(max_size=8)) + good[end:]


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_bytes_give_a_value_or_our_error(name: str, data: st.DataObject) -> None:
    parse, good = PARSERS[name]
    with contextlib.suppress(FormatError):
        parse(data.draw(st.one_of(st.binary(max_size=600), damaged(good))))


def of(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


uint16 = st.integers(0, 0xFFFF)
attributes = st.builds(Attributes, flags=st.integers(0, 2**64 - 1), xfrm=st.integers(0, 2**64 - 1))
bodies = st.builds(
    ReportBody,
    cpu_svn=of(16),
    misc_select=of(4),
    attributes=attributes,
    mrenclave=of(32).map(MrEnclave),
    mrsigner=of(32).map(MrSigner),
    isvprodid=uint16,
    isvsvn=uint16,
    report_data=of(64),
    isvextprodid=of(16),
    isvfamilyid=of(16),
    configid=of(64),
    configsvn=uint16,
    reserved=of(118),
)
targets = st.builds(
    TargetInfo,
    mrenclave=of(32).map(MrEnclave),
    attributes=attributes,
    misc_select=of(4),
    configid=of(64),
    configsvn=uint16,
)
extensions = st.builds(
    PckExtension,
    ppid=of(16),
    components=st.tuples(*[st.integers(0, 255)] * 16),
    pce_svn=uint16,
    cpu_svn=of(16),
    pce_id=of(2),
    fmspc=of(6),
    sgx_type=st.sampled_from(SgxType),
)
configurations = st.builds(
    PlatformConfiguration,
    dynamic_platform=st.booleans(),
    cached_keys=st.booleans(),
    smt_enabled=st.booleans(),
)
#: Version, TEE, kind of the body and its size, for each form of quotes.
FORMS = (
    (3, Tee.SGX, SGX_REPORT, 384),
    (4, Tee.SGX, SGX_REPORT, 384),
    (4, Tee.TDX, TD_REPORT_10, 584),
    (5, Tee.SGX, SGX_REPORT, 384),
    (5, Tee.TDX, TD_REPORT_10, 584),
    (5, Tee.TDX, TD_REPORT_15, 648),
    (5, Tee.TDX, TD_REPORT_15_EX, 885),
)


@st.composite
def signed_stretches(draw: st.DrawFn) -> bytes:
    version, tee, body_type, size = draw(st.sampled_from(FORMS))
    svns: dict[str, st.SearchStrategy[int]] = {"qe_svn": uint16, "pce_svn": uint16} if version == 3 else {}
    headers = st.builds(
        QuoteHeader,
        version=st.just(version),
        tee=st.just(tee),
        qe_vendor_id=of(16),
        user_data=of(20),
        **svns,
    )
    return draw(headers).to_bytes() + body_descriptor(version, body_type) + draw(of(size))


td_extensions = st.builds(
    TdReportExtension,
    vmid=st.integers(0, 255),
    td_id=of(32),
    dev_info=of(48),
    init_service_td_hash=of(48),
    init_service_td_attributes=of(8),
    init_cpu_svn=of(16),
    init_tee_tcb_svn=of(16),
    init_tee_fmspc=of(12),
    cur_service_td_hash=of(48),
    cur_service_td_attributes=of(8),
)
td_reports = of(584).map(TdReport.parse)
quotes = st.builds(
    Quote,
    signed=signed_stretches(),
    signature=of(64),
    attestation_key=of(64),
    qe_report=of(384),
    qe_report_signature=of(64),
    qe_auth_data=st.binary(max_size=300),
    certification_type=uint16,
    certification_data=st.binary(max_size=300),
)


@given(body=bodies)
def test_report_bodies_come_back(body: ReportBody) -> None:
    assert len(body.to_bytes()) == 384
    assert ReportBody.parse(body.to_bytes()) == body


@given(body=bodies, key_id=of(32), mac=of(16))
def test_reports_come_back(body: ReportBody, key_id: bytes, mac: bytes) -> None:
    report = Report(body=body, key_id=key_id, mac=mac)
    assert Report.parse(report.to_bytes()) == report


@given(target=targets)
def test_target_information_comes_back(target: TargetInfo) -> None:
    assert len(target.to_bytes()) == 512
    assert TargetInfo.parse(target.to_bytes()) == target


@given(extension=extensions, instance=of(16), configuration=configurations)
def test_pck_extensions_come_back(
    extension: PckExtension, instance: bytes, configuration: PlatformConfiguration
) -> None:
    of_platform = replace(extension, platform_instance_id=instance, configuration=configuration)
    assert PckExtension.parse(extension.to_der()) == extension
    assert PckExtension.parse(of_platform.to_der()) == of_platform


@given(quote=quotes)
def test_quotes_come_back(quote: Quote) -> None:
    assert Quote.parse(quote.to_bytes()) == quote
    descriptor = body_descriptor(quote.version, quote.body_type)
    assert quote.header.to_bytes() + descriptor + quote.report.to_bytes() == quote.signed
    assert quote.report.to_bytes() == quote.body


@given(quote=quotes, data=st.data())
@settings(max_examples=300)
def test_every_byte_of_a_quote_that_is_read_belongs_to_a_field(quote: Quote, data: st.DataObject) -> None:
    changed = data.draw(damaged(quote.to_bytes()))
    with contextlib.suppress(FormatError):
        assert Quote.parse(changed).to_bytes() == changed


@given(
    report=td_reports,
    svn=of(16),
    service_td=of(48),
    extension=td_extensions,
    attributes=st.integers(0, 2**64 - 1),
)
def test_td_reports_come_back(
    report: TdReport, svn: bytes, service_td: bytes, extension: TdReportExtension, attributes: int
) -> None:
    of_10 = replace(report, td_attributes=TdAttributes(attributes))
    of_15 = replace(of_10, tee_tcb_svn2=svn, mr_service_td=service_td)
    for form in (of_10, of_15, replace(of_15, extension=extension)):
        assert TdReport.parse(form.to_bytes()) == form


@given(chain=st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=4).map(tuple))
def test_certificate_chains_come_back(chain: tuple[bytes, ...]) -> None:
    pem = encode_certificates(chain)
    for ending in (pem, pem[:-1], pem + b"\x00"):
        assert parse_certificates(ending, where="test") == chain


@given(number=st.integers(0, 2**200))
def test_der_integers_come_back(number: int) -> None:
    element = der.parse(der.encode_integer(number), where="test")
    assert der.integer_of(element, where="test") == number


def test_a_quote_cut_at_any_byte_is_refused_by_name() -> None:
    for size in range(len(WORLD.evidence)):
        with pytest.raises(FormatError) as refusal:
            Quote.parse(WORLD.evidence[:size])
        assert refusal.value.subject in {
            "quote header",
            "quote header and report",
            "size of the signature data",
            "signature data",
        }
        assert refusal.value.got is not None


@given(byte=st.integers(0, len(WORLD.evidence) - 1), bit=st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_any_flipped_bit_of_a_good_quote_is_refused(byte: int, bit: int) -> None:
    changed = bytearray(WORLD.evidence)
    changed[byte] ^= 1 << bit
    assert replace(WORLD, evidence=bytes(changed)).appraise().verdict is Verdict.CONTRAINDICATED


@pytest.mark.parametrize("name", [one.name for one in fields(Collateral) if one.default is MISSING])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_flipped_bit_of_good_collateral_is_refused(name: str, data: st.DataObject) -> None:
    changed = bytearray(getattr(WORLD.collateral, name))
    byte = data.draw(st.integers(0, len(changed) - 1))
    changed[byte] ^= 1 << data.draw(st.integers(0, 7))
    world = replace(WORLD, collateral=replace(WORLD.collateral, **{name: bytes(changed)}))
    assert world.appraise().verdict is Verdict.CONTRAINDICATED


@given(evidence=st.one_of(st.binary(max_size=600), damaged(WORLD.evidence)))
@settings(deadline=None)
def test_appraisal_never_raises(evidence: bytes) -> None:
    result = replace(WORLD, evidence=evidence).appraise()
    assert result.verdict is Verdict.CONTRAINDICATED or evidence == WORLD.evidence
