"""One endorsement at a time: what is vouched for, and the first reason why it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.dcap_corpus import CORPUS, needs_corpus
from tests.support.manufacturer import Manufacturer

from casemate.errors import FormatError, RefusedError
from casemate.formats.certificates import Certificate, RevocationList
from casemate.formats.pem import encode_certificates, parse_certificates
from casemate.formats.sgx.collateral import EnclaveId
from casemate.simulator.endorsements import DOCUMENT_LIFE
from casemate.simulator.pki import (
    PCK_NAME,
    CertificateProfile,
    Identity,
    PckAuthority,
    issue_certificate,
    issue_crl,
    new_key,
)
from casemate.verifier.roots import TrustRoots
from casemate.verifier.vouching import (
    Trust,
    Vouched,
    VouchedPck,
    vouch_for_evaluation_numbers,
    vouch_for_identity,
    vouch_for_pck_certificate,
    vouch_for_pck_crl,
    vouch_for_root_crl,
    vouch_for_tcb_info,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def maker() -> Manufacturer:
    return Manufacturer.create(NOW)


@pytest.fixture(scope="module")
def trust(maker: Manufacturer) -> Trust:
    return Trust(roots=TrustRoots.simulated(maker.root.certificate_pem()), at=NOW + timedelta(days=1))


def chain(maker: Manufacturer, leaf: Identity | None = None) -> bytes:
    return encode_certificates(((leaf or maker.tcb_signer).certificate, maker.root.certificate))


def tcb_info(maker: Manufacturer, trust: Trust, body: bytes | None = None, **options: Any) -> Vouched:
    body = body or maker.tcb_info("sgx", maker.fmspc, 17) or b""
    options = {"tee": "SGX", "fmspc": maker.fmspc} | options
    return vouch_for_tcb_info(body, options.pop("chain", chain(maker)), trust, **options)


def pck(maker: Manufacturer, trust: Trust, **options: bytes) -> VouchedPck:
    certificate = maker.platforms[0].simulated.quoting_enclave.pck.certificate_pem()
    issuers = chain(maker, maker.authorities[PckAuthority.PLATFORM])
    return vouch_for_pck_certificate(options.get("pem", certificate), options.get("chain", issuers), trust)


def test_everything_genuine_is_vouched_for_with_its_window(maker: Manufacturer, trust: Trust) -> None:
    ends = NOW + DOCUMENT_LIFE
    document = Vouched(begins=NOW, ends=ends, evaluation_number=17)
    assert tcb_info(maker, trust) == document
    assert tcb_info(maker, trust, number=17) == document
    tdx = maker.tcb_info("tdx", maker.fmspc.upper(), 17)
    assert tcb_info(maker, trust, tdx, tee="TDX", fmspc=maker.fmspc.upper()) == document
    for role in EnclaveId:
        identity = maker.identity(role, 17)
        assert vouch_for_identity(identity, chain(maker), trust, role=role.value) == document
    numbers = maker.evaluation_numbers("sgx")
    assert vouch_for_evaluation_numbers(numbers, chain(maker), trust, tee="SGX") == Vouched(
        begins=NOW, ends=ends, evaluation_number=18
    )
    for authority in PckAuthority:
        issuers = chain(maker, maker.authorities[authority])
        crl = vouch_for_pck_crl(maker.pck_crl(authority), issuers, trust, authority=authority.value)
        assert crl == Vouched(begins=NOW, ends=ends)
    assert vouch_for_root_crl(maker.root_crl(), trust).begins == NOW
    found = pck(maker, trust)
    assert (found.authority, found.extension.fmspc.hex()) == ("platform", maker.fmspc)


@pytest.mark.parametrize("day", [0, 30])
def test_a_window_is_inclusive_and_not_a_second_longer(maker: Manufacturer, trust: Trust, day: int) -> None:
    edge = NOW + timedelta(days=day)
    beyond = edge - SECOND if day == 0 else edge + SECOND
    judged: list[Callable[[Trust], object]] = [
        lambda trust: tcb_info(maker, trust),
        lambda trust: vouch_for_identity(maker.identity(EnclaveId.QE, 17), chain(maker), trust, role="QE"),
        lambda trust: vouch_for_evaluation_numbers(
            maker.evaluation_numbers("sgx"), chain(maker), trust, tee="SGX"
        ),
        lambda trust: vouch_for_pck_crl(
            maker.pck_crl(PckAuthority.PLATFORM),
            chain(maker, maker.authorities[PckAuthority.PLATFORM]),
            trust,
            authority="platform",
        ),
    ]
    for judge in judged:
        judge(replace(trust, at=edge))
        with pytest.raises(RefusedError, match=", validity: expected a window around ") as refused:
            judge(replace(trust, at=beyond))
        assert refused.value.hint == "see that this machine's clock is right"


def test_certificates_and_the_root_crl_have_windows_too(maker: Manufacturer, trust: Trust) -> None:
    for years in (-2, 8):
        at = NOW + timedelta(days=365 * years)
        with pytest.raises(RefusedError, match="PCK certificate, validity: expected a window around"):
            pck(maker, replace(trust, at=at))
        with pytest.raises(RefusedError, match="root CRL, validity: expected a window around"):
            vouch_for_root_crl(maker.root_crl(), replace(trust, at=at))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tee": "TDX"}, "TCB info, id: expected TDX, got SGX"),
        ({"fmspc": "000000000000"}, "TCB info, FMSPC: expected 000000000000, got 00606a000000"),
        ({"number": 18}, "TCB info, TCB evaluation data number: expected 18, got 17"),
        ({"api_version": 3}, "TCB info, version: expected 2, got 3"),
    ],
)
def test_tcb_info_has_to_be_the_one_that_was_asked_for(
    maker: Manufacturer, trust: Trust, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        tcb_info(maker, trust, **options)
    assert str(refused.value) == message


def test_other_documents_have_to_be_those_that_were_asked_for(maker: Manufacturer, trust: Trust) -> None:
    with pytest.raises(RefusedError, match="enclave identity, id: expected TD_QE, got QE"):
        vouch_for_identity(maker.identity(EnclaveId.QE, 17), chain(maker), trust, role="TD_QE")
    with pytest.raises(RefusedError, match="TCB evaluation data numbers, id: expected TDX, got SGX"):
        vouch_for_evaluation_numbers(maker.evaluation_numbers("sgx"), chain(maker), trust, tee="TDX")
    issuers = chain(maker, maker.authorities[PckAuthority.PLATFORM])
    crl = maker.pck_crl(PckAuthority.PLATFORM)
    with pytest.raises(RefusedError, match="PCK CRL, issuer: expected Intel SGX PCK Processor CA, got"):
        vouch_for_pck_crl(crl, issuers, trust, authority="processor")


def test_a_signature_by_anybody_else_is_refused(maker: Manufacturer, trust: Trust) -> None:
    other = Manufacturer.create(NOW)
    with pytest.raises(RefusedError, match="TCB info, signature: expected the signature of Intel SGX TCB"):
        tcb_info(maker, trust, other.tcb_info("sgx", maker.fmspc, 17))
    with pytest.raises(RefusedError, match=r"TCB info issuer chain.*root"):
        tcb_info(maker, trust, chain=chain(other))
    with pytest.raises(RefusedError, match="root CRL, signature: expected the signature of a simulated root"):
        vouch_for_root_crl(other.root_crl(), trust)
    with pytest.raises(RefusedError, match="root CRL, signature"):
        vouch_for_root_crl(maker.pck_crl(PckAuthority.PLATFORM), trust)
    with pytest.raises(RefusedError):
        pck(maker, trust, chain=chain(other, other.authorities[PckAuthority.PLATFORM]))
    with pytest.raises(RefusedError):
        pck(maker, trust, pem=maker.tcb_signer.certificate_pem())


def test_a_crl_of_anybody_else_is_refused(maker: Manufacturer, trust: Trust) -> None:
    crl = maker.pck_crl(PckAuthority.PROCESSOR)
    for issuers, reason in (
        (chain(maker, maker.authorities[PckAuthority.PLATFORM]), "PCK CRL"),
        (chain(maker), "PCK CRL issuer chain"),
        (b"", "PCK CRL issuer chain"),
    ):
        with pytest.raises(RefusedError, match=reason):
            vouch_for_pck_crl(crl, issuers, trust, authority="platform")


def test_a_pck_certificate_has_to_speak_of_a_platform(maker: Manufacturer, trust: Trust) -> None:
    authority = maker.authorities[PckAuthority.PLATFORM]
    profile = CertificateProfile(
        common_name=PCK_NAME, not_before=NOW, life=timedelta(days=30), crl_url="https://example.com/"
    )
    silent = issue_certificate(key=new_key(), issuer=authority, profile=profile)
    with pytest.raises(RefusedError, match="PCK certificate, SGX extension: expected one, got none"):
        pck(maker, trust, pem=silent.certificate_pem())


def test_a_chain_of_another_role_is_refused(maker: Manufacturer, trust: Trust) -> None:
    authority = maker.authorities[PckAuthority.PLATFORM]
    signature = authority.sign(b"{}").hex()
    with pytest.raises(RefusedError, match="TCB info issuer chain"):
        tcb_info(
            maker,
            trust,
            f'{{"tcbInfo":{{}},"signature":"{signature}"}}'.encode(),
            chain=chain(maker, authority),
        )


def test_a_signer_on_the_roots_crl_is_refused(maker: Manufacturer, trust: Trust) -> None:
    def revoking(certificate: bytes) -> Trust:
        serial = Certificate.parse(certificate).serial
        crl = issue_crl(maker.root, this_update=NOW, next_update=NOW + DOCUMENT_LIFE, revoked=(serial,))
        return replace(trust, root_crl=crl)

    tcb_info(maker, replace(trust, root_crl=maker.root_crl()))
    with pytest.raises(RefusedError, match="TCB info, revocation: expected certificates that are not on the"):
        tcb_info(maker, revoking(maker.tcb_signer.certificate))
    authority = maker.authorities[PckAuthority.PLATFORM]
    with pytest.raises(RefusedError, match="PCK certificate, revocation"):
        pck(maker, revoking(authority.certificate))
    with pytest.raises(RefusedError, match="PCK CRL, revocation"):
        vouch_for_pck_crl(
            maker.pck_crl(PckAuthority.PLATFORM),
            chain(maker, authority),
            revoking(authority.certificate),
            authority="platform",
        )


def test_json_that_can_be_read_in_two_ways_is_refused(maker: Manufacturer, trust: Trust) -> None:
    body = maker.tcb_info("sgx", maker.fmspc, 17) or b""
    twice = b'{"tcbInfo":{"id":"SGX"},' + body[1:]
    with pytest.raises(RefusedError, match="TCB info: expected what its format allows, got tcbInfo: "):
        tcb_info(maker, trust, twice)


@given(position=st.integers(0, 1 << 16), bit=st.integers(0, 7))
def test_no_bit_of_a_document_can_be_changed(position: int, bit: int) -> None:
    maker, trust = _world()
    body = bytearray(maker.tcb_info("sgx", maker.fmspc, 17) or b"")
    body[position % len(body)] ^= 1 << bit
    try:
        tcb_info(maker, trust, bytes(body))
    except RefusedError:
        return
    # Hexadecimal digits of the signature have two spellings each.
    assert bytes(body).lower() == (maker.tcb_info("sgx", maker.fmspc, 17) or b"").lower()


@given(st.binary(max_size=400))
def test_anything_is_vouched_for_or_refused(data: bytes) -> None:
    maker, trust = _world()
    judged: list[Callable[[], object]] = [
        lambda: tcb_info(maker, trust, data or b"x"),
        lambda: tcb_info(maker, trust, chain=data),
        lambda: vouch_for_identity(data, chain(maker), trust, role="QE"),
        lambda: vouch_for_evaluation_numbers(data, chain(maker), trust, tee="SGX"),
        lambda: vouch_for_root_crl(data, trust),
        lambda: vouch_for_pck_crl(
            data, chain(maker, maker.authorities[PckAuthority.PLATFORM]), trust, authority="platform"
        ),
        lambda: pck(maker, trust, pem=data),
        lambda: pck(maker, trust, chain=data),
    ]
    for judge in judged:
        with pytest.raises(RefusedError):
            judge()


_WORLD: list[tuple[Manufacturer, Trust]] = []


def _world() -> tuple[Manufacturer, Trust]:
    """Made once: Hypothesis takes no fixtures of a function."""
    if not _WORLD:
        maker = Manufacturer.create(NOW)
        roots = TrustRoots.simulated(maker.root.certificate_pem())
        _WORLD.append((maker, Trust(roots=roots, at=NOW + timedelta(days=1))))
    return _WORLD[0]


@needs_corpus
def test_what_intel_has_signed_is_vouched_for() -> None:
    """Every document of the corpus, at a moment inside its window, with the signer of that time."""
    names = ("tcb-signing-2018-2025", "tcb-signing-2018-2033", "tcb-signing-2025-2032")
    root = (CORPUS / "pool/cert/root.pem").read_bytes()
    signers = [(CORPUS / f"pool/cert/{name}.pem").read_bytes() for name in names]
    counted = 0
    for path in sorted([*CORPUS.glob("pool/tcb/*.json"), *CORPUS.glob("pool/qe/*.json")]):
        body = path.read_bytes()
        (document,) = (value for name, value in json.loads(body).items() if name != "signature")
        at = datetime.fromisoformat(document["issueDate"]) + SECOND
        trust = Trust(roots=TrustRoots.intel(), at=at)
        found = [
            vouched
            for signer in signers
            if (vouched := _vouched(document, body, b"".join(_normalised(signer, root)), trust))
        ]
        assert found, path
        assert found[0].evaluation_number == document["tcbEvaluationDataNumber"]
        counted += 1
    assert counted > 50


def _vouched(document: dict[str, Any], body: bytes, issuers: bytes, trust: Trust) -> Vouched | None:
    try:
        if "fmspc" not in document:
            return vouch_for_identity(body, issuers, trust, role=document["id"])
        return vouch_for_tcb_info(
            body,
            issuers,
            trust,
            tee=document.get("id", "SGX"),
            fmspc=document["fmspc"],
            api_version=document["version"] + 1,
        )
    except (RefusedError, FormatError):
        return None


def _normalised(*pems: bytes) -> list[bytes]:
    return [encode_certificates(parse_certificates(pem, where="corpus")) for pem in pems]


@needs_corpus
def test_crls_of_intel_are_vouched_for() -> None:
    root = (CORPUS / "pool/cert/root.pem").read_bytes()
    counted = 0
    for path in sorted(CORPUS.glob("pool/crl/*.der")):
        crl, which = path.read_bytes(), path.name.split("-")[0]
        trust = Trust(roots=TrustRoots.intel(), at=RevocationList.parse(crl).this_update + SECOND)
        if which == "root":
            vouched = vouch_for_root_crl(crl, trust)
        else:
            authority = (CORPUS / f"pool/cert/pck-{which}-ca.pem").read_bytes()
            vouched = vouch_for_pck_crl(crl, b"".join(_normalised(authority, root)), trust, authority=which)
        assert vouched.begins == RevocationList.parse(crl).this_update
        counted += 1
    assert counted > 50
