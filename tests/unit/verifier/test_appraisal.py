"""One thing wrong at a time: each check refuses by itself, and says what it expected and what it found.

A check whose condition is removed lets its flaw through, and its test fails; a check that is not made at all
makes every verdict a refusal, and the good case fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.support.sgx_world import (
    DAY,
    MRENCLAVE,
    MRSIGNER,
    NOW,
    OTHER_KEY,
    OTHER_ROOT,
    World,
    again,
    binding_of,
    ca,
    crl_of,
    crl_with_foreign_key_id,
    enclave,
    facts,
    flipped,
    good_world,
    impostor_of,
    root,
    signer,
    with_attestation_key,
    with_authority_of_crl,
    with_collateral,
    with_configuration,
    with_crl_chain,
    with_enclave,
    with_flags,
    with_pck,
    with_pck_chain,
    with_pck_under_root,
    with_policy,
    with_qe_body,
    with_qe_chain,
    with_qe_identity,
    with_qe_report_data,
    with_quote,
    with_signed,
    with_signed_qe_identity,
    with_signed_tcb_info,
    with_signer_revoked,
    with_standing,
    with_tcb_chain,
    with_tcb_info,
)

from casemate.errors import RefusedError
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.quote import Quote, Tee
from casemate.formats.sgx.report import (
    AEX_NOTIFY,
    CET,
    DEBUG,
    EINITTOKEN_KEY,
    INIT,
    KSS,
    MODE64BIT,
    PROVISION_KEY,
    Attributes,
    MrEnclave,
    MrSigner,
)
from casemate.simulator.endorsements import ADVISORY, Revocation
from casemate.simulator.pki import PCK_NAME, TCB_SIGNING_NAME, PckAuthority
from casemate.verifier.policy import AcceptedStatus, AppraisalPolicy, Freshness
from casemate.verifier.requirements import Requirement
from casemate.verifier.result import Check, Verdict, require_affirming
from casemate.verifier.roots import TrustRoots

#: The checks that concern enclaves.
SGX = [requirement for requirement in Requirement if Tee.SGX in requirement.tees]
FUTURE = {"not_before": NOW + DAY}
PAST = {"not_before": NOW - 100 * DAY, "life": 99 * DAY}
AT = "2026-11-20T13:00:00Z"
TOMORROW = "2026-11-21T12:00:00Z"
YESTERDAY = "2026-11-19T12:00:00Z"
BEGUN = f"at or before {AT}, got {TOMORROW}"
EXPIRED = f"at or after {AT}, got {YESTERDAY}"
ROLES_2 = "{}, Intel SGX Root CA; only issuers are authorities, got {}, Intel SGX Root CA (authority)"
ROLES_3 = (
    "Intel SGX PCK Certificate, Intel SGX PCK Platform CA or Intel SGX PCK Processor CA, Intel SGX Root CA;"
    " only issuers are authorities, got {}, Intel SGX PCK Platform CA (authority), Intel SGX Root CA"
    " (authority)"
)
SIGNATURES = "each certificate signed by the next, and the root by itself, got not so: {}"
STRANGER = "the key of a simulated root ({root_point:.18}…), got 04{other_root:.16}…"
FORMAT = "what its format allows, got {}"
JSON_FORM = FORMAT.format("{0}: expected its JSON form, got Object missing required field `{1}`")


def speak_of_tdx(tcb_info: dict[str, Any]) -> None:
    module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    tcb_info.update(id="TDX", tdxModule=module)
    for level in tcb_info["tcbLevels"]:
        level["tcb"]["tdxtcbcomponents"] = [{"svn": 0}] * 16


MASK = "fbffffffffffffff0000000000000000"

#: The flaw that only this check can see, and its message.
FLAWS: dict[Requirement, tuple[Callable[[World], World], str]] = {
    Requirement.ENCLAVE_NAMED: (
        lambda w: replace(w, policy=AppraisalPolicy()),
        "MRENCLAVE, or MRSIGNER with ISVPRODID, or MRTD, got neither",
    ),
    Requirement.QUOTE_FORMAT: (
        lambda w: replace(w, evidence=w.evidence + b"\x00"),
        FORMAT.format(
            "signature data: expected {size} bytes until the end of the quote, got {size_1} bytes (offset"
            " 436). The quote was cut, or something was added behind it."
        ),
    ),
    Requirement.QE_VENDOR: (
        lambda w: with_signed(w, 12, bytes(16)),
        f"939a7233f79c4ca9940a0db3957f0607 (Intel), got {'00' * 16}",
    ),
    Requirement.CERTIFICATION_DATA: (
        lambda w: with_quote(w, certification_type=4),
        "5 (certificate chain of the PCK), got 4 (certificate of the PCK without its chain)",
    ),
    Requirement.PCK_CHAIN_FORMAT: (
        lambda w: with_pck_chain(w, w.platform.quoting_enclave.pck.certificate, ca(w).certificate),
        "3 certificates, leaf first, got 2 certificates",
    ),
    Requirement.PCK_CHAIN_ROOT: (
        lambda w: with_pck_under_root(w, OTHER_ROOT),
        STRANGER,
    ),
    Requirement.PCK_CHAIN_ROLES: (
        lambda w: with_pck(w, common_name="Intel SGX PCK Certificat"),
        ROLES_3.format("Intel SGX PCK Certificat"),
    ),
    Requirement.PCK_CHAIN_SIGNATURES: (
        lambda w: with_pck(w, issuer=impostor_of(ca(w))),
        SIGNATURES.format("Intel SGX PCK Certificate"),
    ),
    Requirement.PCK_CHAIN_BEGUN: (lambda w: with_pck(w, **FUTURE), BEGUN),
    Requirement.PCK_CHAIN_EXPIRY: (lambda w: with_pck(w, **PAST), EXPIRED),
    Requirement.CRL_CHAIN_FORMAT: (
        lambda w: with_crl_chain(w, ca(w)),
        "2 certificates, leaf first, got 1 certificates",
    ),
    Requirement.CRL_CHAIN_ROOT: (
        lambda w: with_crl_chain(w, again(ca(w), OTHER_ROOT, path_length=0), OTHER_ROOT),
        STRANGER,
    ),
    Requirement.CRL_CHAIN_ROLES: (
        lambda w: with_crl_chain(w, again(ca(w), root(w)), root(w)),
        ROLES_2.format(
            "Intel SGX PCK Platform CA or Intel SGX PCK Processor CA", "Intel SGX PCK Platform CA"
        ),
    ),
    Requirement.CRL_CHAIN_SIGNATURES: (
        lambda w: with_crl_chain(w, again(ca(w), impostor_of(root(w)), path_length=0), root(w)),
        SIGNATURES.format("Intel SGX PCK Platform CA"),
    ),
    Requirement.CRL_CHAIN_BEGUN: (
        lambda w: with_crl_chain(w, again(ca(w), root(w), path_length=0, **FUTURE), root(w)),
        BEGUN,
    ),
    Requirement.CRL_CHAIN_EXPIRY: (
        lambda w: with_crl_chain(w, again(ca(w), root(w), path_length=0, **PAST), root(w)),
        EXPIRED,
    ),
    Requirement.CRL_CHAIN_KEY: (
        lambda w: with_authority_of_crl(w, again(replace(ca(w), key=OTHER_KEY), root(w), path_length=0)),
        "the key {ca_point}, got 04{other_key}",
    ),
    Requirement.TCB_CHAIN_FORMAT: (
        lambda w: with_tcb_chain(w, signer(w)),
        "2 certificates, leaf first, got 1 certificates",
    ),
    Requirement.TCB_CHAIN_ROOT: (
        lambda w: with_tcb_chain(w, again(signer(w), OTHER_ROOT), OTHER_ROOT),
        STRANGER,
    ),
    Requirement.TCB_CHAIN_ROLES: (
        lambda w: with_tcb_chain(w, again(signer(w), root(w), common_name=PCK_NAME), root(w)),
        ROLES_2.format(TCB_SIGNING_NAME, PCK_NAME),
    ),
    Requirement.TCB_CHAIN_SIGNATURES: (
        lambda w: with_tcb_chain(w, again(signer(w), impostor_of(root(w))), root(w)),
        SIGNATURES.format(TCB_SIGNING_NAME),
    ),
    Requirement.TCB_CHAIN_BEGUN: (
        lambda w: with_tcb_chain(w, again(signer(w), root(w), **FUTURE), root(w)),
        BEGUN,
    ),
    Requirement.TCB_CHAIN_EXPIRY: (
        lambda w: with_tcb_chain(w, again(signer(w), root(w), **PAST), root(w)),
        EXPIRED,
    ),
    Requirement.QE_CHAIN_FORMAT: (
        lambda w: with_qe_chain(w, signer(w)),
        "2 certificates, leaf first, got 1 certificates",
    ),
    Requirement.QE_CHAIN_ROOT: (
        lambda w: with_qe_chain(w, again(signer(w), OTHER_ROOT), OTHER_ROOT),
        STRANGER,
    ),
    Requirement.QE_CHAIN_ROLES: (
        lambda w: with_qe_chain(w, again(signer(w), root(w), common_name=PCK_NAME), root(w)),
        ROLES_2.format(TCB_SIGNING_NAME, PCK_NAME),
    ),
    Requirement.QE_CHAIN_SIGNATURES: (
        lambda w: with_qe_chain(w, again(signer(w), impostor_of(root(w))), root(w)),
        SIGNATURES.format(TCB_SIGNING_NAME),
    ),
    Requirement.QE_CHAIN_BEGUN: (
        lambda w: with_qe_chain(w, again(signer(w), root(w), **FUTURE), root(w)),
        BEGUN,
    ),
    Requirement.QE_CHAIN_EXPIRY: (
        lambda w: with_qe_chain(w, again(signer(w), root(w), **PAST), root(w)),
        EXPIRED,
    ),
    Requirement.ROOT_CRL_FORMAT: (
        lambda w: with_collateral(w, root_ca_crl=b""),
        FORMAT.format("DER element: expected a tag and a length, got the end of the data (CRL)"),
    ),
    Requirement.ROOT_CRL_ISSUER: (
        lambda w: with_collateral(w, root_ca_crl=crl_of(replace(ca(w), key=root(w).key))),
        "Intel SGX Root CA, key {root_key}, got key {root_key}",
    ),
    Requirement.ROOT_CRL_SIGNATURE: (
        lambda w: with_collateral(w, root_ca_crl=flipped(w.collateral.root_ca_crl, -1)),
        "the signature of Intel SGX Root CA, got a wrong signature",
    ),
    Requirement.ROOT_CRL_BEGUN: (
        lambda w: with_collateral(w, root_ca_crl=crl_of(root(w), this_update=NOW + DAY)),
        BEGUN,
    ),
    Requirement.ROOT_CRL_EXPIRY: (
        lambda w: with_collateral(w, root_ca_crl=crl_of(root(w), next_update=NOW - DAY)),
        EXPIRED,
    ),
    Requirement.PCK_CRL_FORMAT: (
        lambda w: with_collateral(w, pck_crl=w.collateral.pck_crl + b"\x00"),
        FORMAT.format(
            "DER length: expected {crl_size} bytes, got {crl_size_1} bytes (CRL). "
            "Bytes follow the encoded value."
        ),
    ),
    Requirement.PCK_CRL_ISSUER: (
        lambda w: with_collateral(w, pck_crl=crl_of(replace(root(w), key=ca(w).key))),
        "Intel SGX PCK Platform CA, key {ca_key}, got key {ca_key}",
    ),
    Requirement.PCK_CRL_SIGNATURE: (
        lambda w: with_collateral(w, pck_crl=flipped(w.collateral.pck_crl, -1)),
        "the signature of Intel SGX PCK Platform CA, got a wrong signature",
    ),
    Requirement.PCK_CRL_BEGUN: (
        lambda w: with_collateral(w, pck_crl=crl_of(ca(w), this_update=NOW + DAY)),
        BEGUN,
    ),
    Requirement.PCK_CRL_EXPIRY: (
        lambda w: with_collateral(w, pck_crl=crl_of(ca(w), next_update=NOW - DAY)),
        EXPIRED,
    ),
    Requirement.ROOT_REVOKED: (
        lambda w: with_collateral(w, root_ca_crl=crl_of(root(w), revoked=(root(w).serial,))),
        "a serial number that is not on the CRL, got {root_serial}",
    ),
    Requirement.INTERMEDIATE_REVOKED: (
        lambda w: with_standing(w, revoked=frozenset({Revocation.PCK_AUTHORITY})),
        "a serial number that is not on the CRL, got {ca_serial}",
    ),
    Requirement.PCK_REVOKED: (
        lambda w: with_standing(w, revoked=frozenset({Revocation.PCK})),
        "a serial number that is not on the CRL, got {pck_serial}",
    ),
    Requirement.TCB_SIGNER_REVOKED: (
        lambda w: with_signer_revoked(w, with_tcb_chain),
        "a serial number that is not on the CRL, got {tcb_chain_serial}",
    ),
    Requirement.QE_SIGNER_REVOKED: (
        lambda w: with_signer_revoked(w, with_qe_chain),
        "a serial number that is not on the CRL, got {qe_chain_serial}",
    ),
    Requirement.TCB_INFO_SIGNATURE: (
        lambda w: with_collateral(w, tcb_info=w.collateral.tcb_info.replace(b":", b": ", 1)),
        "the signature of Intel SGX TCB Signing, got a wrong signature",
    ),
    Requirement.TCB_INFO_FORMAT: (
        lambda w: with_signed_tcb_info(w, b"{}"),
        JSON_FORM.format("TCB info", "version"),
    ),
    Requirement.TCB_INFO_ID: (lambda w: with_tcb_info(w, speak_of_tdx), "SGX, got TDX"),
    Requirement.TCB_INFO_TYPE: (lambda w: with_tcb_info(w, lambda d: d.update(tcbType=1)), "0, got 1"),
    Requirement.TCB_INFO_DUPLICATES: (
        lambda w: with_tcb_info(w, lambda d: d["tcbLevels"].append(d["tcbLevels"][0])),
        "2 different levels, got 1 different levels",
    ),
    Requirement.TCB_INFO_BEGUN: (
        lambda w: with_tcb_info(w, lambda d: d.update(issueDate=TOMORROW)),
        BEGUN,
    ),
    Requirement.TCB_INFO_EXPIRY: (
        lambda w: with_tcb_info(w, lambda d: d.update(nextUpdate=YESTERDAY)),
        EXPIRED,
    ),
    Requirement.QE_IDENTITY_SIGNATURE: (
        lambda w: with_collateral(w, qe_identity=w.collateral.qe_identity.replace(b":", b": ", 1)),
        "the signature of Intel SGX TCB Signing, got a wrong signature",
    ),
    Requirement.QE_IDENTITY_FORMAT: (
        lambda w: with_signed_qe_identity(w, b"{}"),
        JSON_FORM.format("enclave identity", "version"),
    ),
    Requirement.QE_IDENTITY_ID: (
        lambda w: with_qe_identity(w, lambda d: d.update(id="TD_QE")),
        "QE, got TD_QE",
    ),
    Requirement.QE_IDENTITY_DUPLICATES: (
        lambda w: with_qe_identity(w, lambda d: d["tcbLevels"].append(d["tcbLevels"][0])),
        "2 different levels, got 1 different levels",
    ),
    Requirement.QE_IDENTITY_BEGUN: (
        lambda w: with_qe_identity(w, lambda d: d.update(issueDate=TOMORROW)),
        BEGUN,
    ),
    Requirement.QE_IDENTITY_EXPIRY: (
        lambda w: with_qe_identity(w, lambda d: d.update(nextUpdate=YESTERDAY)),
        EXPIRED,
    ),
    Requirement.PCK_EXTENSION: (
        lambda w: with_pck(w, sgx_extension=None),
        FORMAT.format(
            "DER element: expected a tag and a length, got the end of the data "
            "(SGX extension of the PCK certificate)"
        ),
    ),
    Requirement.FMSPC: (
        lambda w: with_tcb_info(w, lambda d: d.update(fmspc="00906ED50000")),
        "00606a000000 as in the PCK certificate, got 00906ed50000",
    ),
    Requirement.PCE_ID: (
        lambda w: with_tcb_info(w, lambda d: d.update(pceId="0001")),
        "0000 as in the PCK certificate, got 0001",
    ),
    Requirement.QE_REPORT_SIGNATURE: (
        lambda w: with_quote(w, qe_report_signature=flipped(Quote.parse(w.evidence).qe_report_signature, 63)),
        "the signature of the PCK over the report of the quoting enclave, got a wrong signature",
    ),
    Requirement.QE_REPORT_DATA: (
        lambda w: with_qe_report_data(w, bytes(64)),
        "{binding} (SHA-256 of attestation key and authentication data, then zeros), got " + "00" * 64,
    ),
    Requirement.QE_MISC_SELECT: (
        lambda w: with_qe_body(w, misc_select=b"\x01\x00\x00\x00"),
        "00000000 under the mask ffffffff, got 01000000",
    ),
    Requirement.QE_ATTRIBUTES: (
        lambda w: with_qe_body(
            w, attributes=Attributes(flags=INIT | DEBUG | MODE64BIT | PROVISION_KEY, xfrm=0xE7)
        ),
        f"11000000000000000000000000000000 under the mask {MASK}, got 1700000000000000e700000000000000",
    ),
    Requirement.QE_MRSIGNER: (
        lambda w: with_qe_body(w, mrsigner=MRSIGNER),
        f"8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff, got {MRSIGNER.hex()}",
    ),
    Requirement.QE_ISVPRODID: (lambda w: with_qe_body(w, isvprodid=2), "1, got 2"),
    Requirement.QE_LEVEL: (
        lambda w: with_qe_body(w, isvsvn=7),
        "an ISVSVN that reaches a level of the QE identity, got 7",
    ),
    Requirement.QUOTE_SIGNATURE: (
        lambda w: with_quote(w, signature=flipped(Quote.parse(w.evidence).signature, 63)),
        "the signature of the attestation key over header and report, got a wrong signature",
    ),
    Requirement.TCB_LEVEL: (
        lambda w: with_tcb_info(
            w, lambda d: d["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].__setitem__(15, {"svn": 1})
        ),
        (
            "security versions that reach a level of TCB info, got "
            "(14, 14, 3, 3, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0), PCESVN 13"
            "; too low for the lowest level: component 16 is 0, not 1"
        ),
    ),
    Requirement.TCB_STATUS: (
        lambda w: with_standing(w, platform=TcbStatus.OUT_OF_DATE),
        "UpToDate, got OutOfDate (platform OutOfDate, quoting enclave UpToDate)",
    ),
    Requirement.ADVISORIES: (
        lambda w: with_policy(
            with_standing(w, platform=TcbStatus.OUT_OF_DATE),
            statuses=(AcceptedStatus(status=TcbStatus.OUT_OF_DATE, reason="until Sunday"),),
        ),
        f"those that the policy accepts, got {ADVISORY} (not accepted)",
    ),
    Requirement.DYNAMIC_PLATFORM: (lambda w: with_policy(w, allow_dynamic_platform=False), "no, got yes"),
    Requirement.CACHED_KEYS: (
        lambda w: with_policy(with_configuration(w, cached_keys=True), allow_cached_keys=False),
        "no, got yes",
    ),
    Requirement.SMT: (
        lambda w: with_policy(with_configuration(w, smt_enabled=True), allow_smt=False),
        "no, got yes",
    ),
    Requirement.INIT: (lambda w: with_flags(w, MODE64BIT), "1, got 0"),
    Requirement.DEBUG: (lambda w: with_flags(w, INIT | DEBUG | MODE64BIT), "0, got 1"),
    Requirement.PROVISION_KEY: (lambda w: with_flags(w, INIT | MODE64BIT | PROVISION_KEY), "0, got 1"),
    Requirement.EINITTOKEN_KEY: (lambda w: with_flags(w, INIT | MODE64BIT | EINITTOKEN_KEY), "0, got 1"),
    Requirement.RESERVED: (
        lambda w: with_flags(w, INIT | MODE64BIT | 1 << 3),
        f"zero, got fields {'00' * 118}, ATTRIBUTES 0x8, MISCSELECT 0x0",
    ),
    Requirement.MRENCLAVE: (
        lambda w: with_enclave(w, mrenclave=MrEnclave(bytes(32))),
        f"{MRENCLAVE.hex()}, got {'00' * 32}",
    ),
    Requirement.MRSIGNER: (
        lambda w: with_enclave(w, mrsigner=MrSigner(bytes(32))),
        f"{MRSIGNER.hex()}, got {'00' * 32}",
    ),
    Requirement.ISVPRODID: (lambda w: with_enclave(w, isvprodid=8), "7, got 8"),
    Requirement.ISVSVN: (lambda w: with_enclave(w, isvsvn=2), "at least 3, got 2"),
    Requirement.ATTRIBUTES: (
        lambda w: with_enclave(w, attributes=Attributes(flags=INIT | MODE64BIT, xfrm=3)),
        f"0500000000000000e700000000000000 under the mask {'ff' * 16}, got 05000000000000000300000000000000",
    ),
    Requirement.MISC_SELECT: (
        lambda w: with_enclave(w, misc_select=b"\x01\x00\x00\x00"),
        "00000000, got 01000000",
    ),
    Requirement.TCB_NUMBER: (
        lambda w: with_tcb_info(
            with_policy(w, freshness=Freshness(min_evaluation_number=17)),
            lambda d: d.update(tcbEvaluationDataNumber=16),
        ),
        "at least 17, got 16",
    ),
    Requirement.QE_NUMBER: (
        lambda w: with_qe_identity(
            with_policy(w, freshness=Freshness(min_evaluation_number=17)),
            lambda d: d.update(tcbEvaluationDataNumber=16),
        ),
        "at least 17, got 16",
    ),
    Requirement.TCB_INFO_AGE: (
        lambda w: with_tcb_info(
            with_policy(w, freshness=Freshness(max_age=timedelta(hours=2))),
            lambda d: d.update(issueDate="2026-11-20T10:59:59Z"),
        ),
        "at most 2:00:00, got 2:00:01",
    ),
    Requirement.QE_IDENTITY_AGE: (
        lambda w: with_qe_identity(
            with_policy(w, freshness=Freshness(max_age=timedelta(hours=2))),
            lambda d: d.update(issueDate="2026-11-20T10:59:59Z"),
        ),
        "at most 2:00:00, got 2:00:01",
    ),
    Requirement.REPORT_DATA: (
        lambda w: replace(w, evidence=enclave(w.platform).quote(bytes(63) + b"\x01")),
        f"{'00' * 64}, got {'00' * 63}01",
    ),
}


def message(check: Check) -> str:
    return f"{check.expected}, got {check.got}"


def test_good_evidence_is_affirmed_with_every_check_made() -> None:
    result = good_world().appraise()
    assert result.verdict is Verdict.AFFIRMING
    assert [check.name for check in result.checks] == [requirement.title for requirement in SGX]
    assert result.refusals == ()


def test_there_is_a_flaw_for_every_check() -> None:
    assert set(FLAWS) == set(SGX)


@pytest.mark.parametrize("requirement", SGX, ids=lambda requirement: requirement.title)
def test_each_flaw_is_refused_by_its_check_alone(requirement: Requirement) -> None:
    make, expected = FLAWS[requirement]
    world = make(good_world())
    result = world.appraise()
    assert result.verdict is Verdict.CONTRAINDICATED
    values = facts(world) | {
        "binding": binding_of(world).hex() + "00" * 32 if "{binding}" in expected else ""
    }
    assert {check.name: message(check) for check in result.refusals} == {
        requirement.title: expected.format_map(values) if "{" in expected else expected
    }


#: Other flaws that the same check has to see.
MORE_FLAWS: dict[str, tuple[Requirement, Callable[[World], World], str]] = {
    "a product without its signer": (
        Requirement.ENCLAVE_NAMED,
        lambda w: replace(w, policy=AppraisalPolicy(isvprodid=7)),
        "MRENCLAVE, or MRSIGNER with ISVPRODID, or MRTD, got neither",
    ),
    "a signer without a product": (
        Requirement.ENCLAVE_NAMED,
        lambda w: replace(w, policy=AppraisalPolicy(mrsigner=MRSIGNER)),
        "MRENCLAVE, or MRSIGNER with ISVPRODID, or MRTD, got neither",
    ),
    "a PCK that may sign certificates": (
        Requirement.PCK_CHAIN_ROLES,
        lambda w: with_pck(w, path_length=0),
        ROLES_3.format("Intel SGX PCK Certificate (authority)"),
    ),
    "a PCK that names another issuer": (
        Requirement.PCK_CHAIN_SIGNATURES,
        lambda w: with_pck(w, issuer=replace(root(w), key=ca(w).key)),
        SIGNATURES.format(PCK_NAME),
    ),
    "a root certificate that the root did not sign": (
        Requirement.PCK_CHAIN_SIGNATURES,
        lambda w: with_pck_chain(
            w,
            w.platform.quoting_enclave.pck.certificate,
            ca(w).certificate,
            again(root(w), impostor_of(root(w)), path_length=1).certificate,
        ),
        SIGNATURES.format("Intel SGX Root CA"),
    ),
    "bytes after the certificate chain": (
        Requirement.PCK_CHAIN_FORMAT,
        lambda w: with_quote(
            w, certification_data=Quote.parse(w.evidence).certification_data.rstrip(b"\x00") + b"x\n"
        ),
        FORMAT.format(
            'certificate chain: expected PEM that ends with "-----END CERTIFICATE-----", got {chain_size}'
            " bytes that end otherwise (certificate chain). Nothing may follow the last certificate."
        ),
    ),
    "a root CRL that names another key": (
        Requirement.ROOT_CRL_ISSUER,
        lambda w: with_collateral(w, root_ca_crl=crl_with_foreign_key_id(root(w))),
        f"Intel SGX Root CA, key {{root_key}}, got key {'00' * 20}",
    ),
    "a PCK CRL that names another key": (
        Requirement.PCK_CRL_ISSUER,
        lambda w: with_collateral(w, pck_crl=crl_with_foreign_key_id(ca(w))),
        f"Intel SGX PCK Platform CA, key {{ca_key}}, got key {'00' * 20}",
    ),
    "bytes after the hash in the quoting enclave's report data": (
        Requirement.QE_REPORT_DATA,
        lambda w: with_qe_report_data(w, binding_of(w) + bytes(31) + b"\x01"),
        (
            "{binding} (SHA-256 of attestation key and authentication data, then zeros), got {hash}"
            f"{'00' * 31}01"
        ),
    ),
    "an attestation key that is no point of the curve": (
        Requirement.QUOTE_SIGNATURE,
        lambda w: with_attestation_key(w, bytes(64)),
        "the signature of the attestation key over header and report, got a wrong signature",
    ),
    "a reserved field of the report": (
        Requirement.RESERVED,
        lambda w: with_signed(w, 48 + 20, b"\x01"),
        f"zero, got fields 01{'00' * 117}, ATTRIBUTES 0x0, MISCSELECT 0x0",
    ),
    "the last reserved field of the report": (
        Requirement.RESERVED,
        lambda w: with_signed(w, 48 + 303, b"\x01"),
        f"zero, got fields {'00' * 117}01, ATTRIBUTES 0x0, MISCSELECT 0x0",
    ),
    "a reserved bit of MISCSELECT": (
        Requirement.RESERVED,
        lambda w: with_policy(with_enclave(w, misc_select=b"\x04\x00\x00\x00"), misc_select=None),
        f"zero, got fields {'00' * 118}, ATTRIBUTES 0x0, MISCSELECT 0x4",
    ),
    "a revoked platform, whatever the policy accepts": (
        Requirement.TCB_STATUS,
        lambda w: with_policy(
            with_standing(w, platform=TcbStatus.REVOKED), accepted_statuses=frozenset(TcbStatus)
        ),
        (
            "ConfigurationAndSWHardeningNeeded or ConfigurationNeeded or OutOfDate or"
            " OutOfDateConfigurationNeeded or SWHardeningNeeded or TDRelaunchAdvised or"
            " TDRelaunchAdvisedConfigurationNeeded or UpToDate,"
            " got Revoked (platform Revoked, quoting enclave UpToDate)"
        ),
    ),
    "a revoked quoting enclave": (
        Requirement.TCB_STATUS,
        lambda w: with_standing(w, quoting_enclave=TcbStatus.REVOKED),
        "UpToDate, got Revoked (platform UpToDate, quoting enclave Revoked)",
    ),
    "a policy that accepts no status": (
        Requirement.TCB_STATUS,
        lambda w: with_policy(w, accepted_statuses=frozenset()),
        "none (the policy accepts none), got UpToDate (platform UpToDate, quoting enclave UpToDate)",
    ),
    "an attribute under the policy's mask": (
        Requirement.ATTRIBUTES,
        lambda w: with_policy(
            w,
            attributes=Attributes(flags=INIT | MODE64BIT, xfrm=3),
            attributes_mask=Attributes(flags=0, xfrm=4),
        ),
        (
            "05000000000000000300000000000000 under the mask 00000000000000000400000000000000,"
            " got 0500000000000000e700000000000000"
        ),
    ),
    "collateral that begins a second later": (
        Requirement.TCB_INFO_BEGUN,
        lambda w: with_tcb_info(w, lambda d: d.update(issueDate="2026-11-20T13:00:01Z")),
        "at or before 2026-11-20T13:00:00Z, got 2026-11-20T13:00:01Z",
    ),
    "collateral that ended a second ago": (
        Requirement.QE_IDENTITY_EXPIRY,
        lambda w: with_qe_identity(w, lambda d: d.update(nextUpdate="2026-11-20T12:59:59Z")),
        "at or after 2026-11-20T13:00:00Z, got 2026-11-20T12:59:59Z",
    ),
}


@pytest.mark.parametrize("name", MORE_FLAWS)
def test_another_flaw_is_refused_by_the_check_alone(name: str) -> None:
    requirement, make, expected = MORE_FLAWS[name]
    world = make(good_world())
    result = world.appraise()
    binding = binding_of(world).hex()
    chain_size = len(Quote.parse(world.evidence).certification_data)
    values = facts(world) | {"binding": binding + "00" * 32, "hash": binding, "chain_size": chain_size}
    assert result.verdict is Verdict.CONTRAINDICATED
    assert {check.name: message(check) for check in result.refusals} == {
        requirement.title: expected.format_map(values)
    }


def test_the_limits_of_validity_are_inside() -> None:
    moment = "2026-11-20T13:00:00Z"
    world = with_tcb_info(good_world(), lambda d: d.update(issueDate=moment, nextUpdate=moment))
    assert world.appraise().refusals == ()


def test_every_reason_is_found_not_only_the_first() -> None:
    world = with_standing(good_world(), platform=TcbStatus.OUT_OF_DATE)
    world = with_policy(world, mrenclaves=(MrEnclave(bytes(32)),), min_isvsvn=4)
    world = replace(world, at=world.at + timedelta(days=40))
    assert [check.name for check in world.appraise().refusals] == [
        "PCK CRL: not expired",
        "TCB info: not expired",
        "QE identity: not expired",
        "TCB status",
        "enclave: MRENCLAVE",
        "enclave: ISVSVN",
    ]


def test_expired_endorsements_pass_where_the_policy_names_them() -> None:
    world = good_world()
    late = replace(world, at=world.at + timedelta(days=5000))
    assert late.appraise().verdict is Verdict.CONTRAINDICATED
    result = with_policy(late, freshness=Freshness(expiry_grace=timedelta(days=5000))).appraise()
    assert result.verdict is Verdict.AFFIRMING
    expiry = next(check for check in result.checks if check.name == "TCB info: not expired")
    assert expiry.expected == (
        "at or after 2040-07-29T13:00:00Z, or up to 5000 days, 0:00:00 before that (grace of the policy)"
    )


def test_accepting_expired_endorsements_does_not_accept_those_to_come() -> None:
    world = with_policy(good_world(), freshness=Freshness(expiry_grace=timedelta(days=5000)))
    early = replace(world, at=NOW - timedelta(seconds=1))
    assert [check.name for check in early.appraise().refusals] == [
        "root CRL: validity has begun",
        "PCK CRL: validity has begun",
        "TCB info: validity has begun",
        "QE identity: validity has begun",
    ]


def test_a_debug_enclave_passes_where_the_policy_allows_it() -> None:
    world = with_flags(good_world(), INIT | DEBUG | MODE64BIT, allow_debug=True)
    result = world.appraise()
    assert result.verdict is Verdict.AFFIRMING
    assert result.claims is not None
    assert result.claims.debug


def test_flags_that_the_manual_defines_are_not_reserved() -> None:
    assert with_flags(good_world(), INIT | MODE64BIT | CET | KSS | AEX_NOTIFY).appraise().refusals == ()


def test_a_mask_leaves_other_attributes_open() -> None:
    policy = {
        "attributes": Attributes(flags=INIT | MODE64BIT, xfrm=3),
        "attributes_mask": Attributes(flags=2**64 - 1, xfrm=3),
    }
    assert with_policy(good_world(), **policy).appraise().refusals == ()


def test_one_of_several_measurements_is_enough() -> None:
    policy = AppraisalPolicy(mrenclaves=(MrEnclave(bytes(32)), MRENCLAVE))
    assert replace(good_world(), policy=policy).appraise().verdict is Verdict.AFFIRMING


def test_a_signer_with_its_product_is_enough() -> None:
    policy = AppraisalPolicy(mrsigner=MRSIGNER, isvprodid=7)
    assert replace(good_world(), policy=policy).appraise().verdict is Verdict.AFFIRMING


@pytest.mark.parametrize("authority", PckAuthority)
def test_both_authorities_certify_platforms(authority: PckAuthority) -> None:
    assert good_world(authority=authority).appraise().refusals == ()


@pytest.mark.parametrize("chain", ["crl", "tcb", "qe"])
def test_two_trusted_roots_do_not_mix(chain: str) -> None:
    """The platform's chain decides which root holds; another trusted root vouches for nothing of it."""
    world = good_world()
    both = TrustRoots.simulated(world.platform.root_certificate, OTHER_ROOT.certificate_pem())
    world = replace(world, roots=both)
    mixed = {
        "crl": lambda: with_crl_chain(world, again(ca(world), OTHER_ROOT, path_length=0), OTHER_ROOT),
        "tcb": lambda: with_tcb_chain(world, again(signer(world), OTHER_ROOT), OTHER_ROOT),
        "qe": lambda: with_qe_chain(world, again(signer(world), OTHER_ROOT), OTHER_ROOT),
    }[chain]()
    assert world.appraise().verdict is Verdict.AFFIRMING
    assert [check.name.partition(": ")[2] for check in mixed.appraise().refusals] == ["trusted root"]


def test_two_root_certificates_of_one_key_are_one_root() -> None:
    """As with Intel's, whose two certificates end in 2033 and in 2049."""
    world = good_world()
    older = again(root(world), None, path_length=1)
    assert older.certificate != root(world).certificate
    assert with_tcb_chain(world, signer(world), older).appraise().refusals == ()


def test_a_malleated_signature_does_not_change_what_the_evidence_is() -> None:
    """(r, n - s) is as valid as (r, s), and Intel's hardware makes either: the digest is the identity."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    world = good_world()
    signature = Quote.parse(world.evidence).signature
    other_s = (order - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    malleated = with_quote(world, signature=signature[:32] + other_s)
    assert malleated.evidence != world.evidence
    assert malleated.appraise().verdict is Verdict.AFFIRMING
    assert malleated.appraise().evidence_digest == world.appraise().evidence_digest


@pytest.mark.parametrize(
    ("platform", "quoting_enclave", "together"),
    [
        ("UpToDate", "UpToDate", "UpToDate"),
        ("UpToDate", "OutOfDate", "OutOfDate"),
        ("UpToDate", "Revoked", "Revoked"),
        ("SWHardeningNeeded", "UpToDate", "SWHardeningNeeded"),
        ("SWHardeningNeeded", "OutOfDate", "OutOfDate"),
        ("SWHardeningNeeded", "Revoked", "Revoked"),
        ("ConfigurationNeeded", "UpToDate", "ConfigurationNeeded"),
        ("ConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("ConfigurationNeeded", "Revoked", "Revoked"),
        ("ConfigurationAndSWHardeningNeeded", "UpToDate", "ConfigurationAndSWHardeningNeeded"),
        ("ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("ConfigurationAndSWHardeningNeeded", "Revoked", "Revoked"),
        ("OutOfDate", "UpToDate", "OutOfDate"),
        ("OutOfDate", "OutOfDate", "OutOfDate"),
        ("OutOfDate", "Revoked", "Revoked"),
        ("OutOfDateConfigurationNeeded", "UpToDate", "OutOfDateConfigurationNeeded"),
        ("OutOfDateConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("OutOfDateConfigurationNeeded", "Revoked", "Revoked"),
        ("Revoked", "UpToDate", "Revoked"),
        ("Revoked", "OutOfDate", "Revoked"),
        ("Revoked", "Revoked", "Revoked"),
    ],
)
def test_platform_and_quoting_enclave_converge(platform: str, quoting_enclave: str, together: str) -> None:
    world = with_standing(
        good_world(), platform=TcbStatus(platform), quoting_enclave=TcbStatus(quoting_enclave)
    )
    result = with_policy(world, accepted_statuses=frozenset({TcbStatus(together)})).appraise()
    assert result.tcb_status is TcbStatus(together)
    assert result.verdict is (Verdict.CONTRAINDICATED if together == "Revoked" else Verdict.AFFIRMING)
    assert result.advisory_ids == (() if together == "UpToDate" else (ADVISORY,))


def test_the_highest_level_that_is_reached_counts_whatever_the_order() -> None:
    def add_lower_levels(document: dict[str, object]) -> None:
        levels = document["tcbLevels"]
        assert isinstance(levels, list)
        lower = {
            "tcb": {"sgxtcbcomponents": [{"svn": 0}] * 16, "pcesvn": 0},
            "tcbDate": "2020-01-01T00:00:00Z",
            "tcbStatus": "OutOfDate",
        }
        levels.insert(0, lower)

    result = with_tcb_info(good_world(), add_lower_levels).appraise()
    assert result.tcb_status is TcbStatus.UP_TO_DATE


def test_a_lower_pce_svn_does_not_reach_a_level() -> None:
    world = with_tcb_info(good_world(), lambda d: d["tcbLevels"][0]["tcb"].update(pcesvn=14))
    assert [check.name for check in world.appraise().refusals] == ["TCB level of the platform"]


def test_simulated_evidence_says_so_and_only_where_its_root_is_trusted() -> None:
    world = good_world()
    assert world.appraise().simulated
    assert not replace(world, roots=TrustRoots.intel()).appraise().simulated


def test_the_result_carries_what_genuine_evidence_says() -> None:
    world = with_enclave(good_world(), mrenclave=MrEnclave(bytes(32)), isvsvn=9)
    claims = world.appraise().claims
    assert claims is not None
    assert (claims.mrenclave, claims.mrsigner, claims.isvprodid, claims.isvsvn) == (bytes(32), MRSIGNER, 7, 9)


@pytest.mark.parametrize(
    "requirement",
    [
        Requirement.QUOTE_FORMAT,
        Requirement.PCK_CHAIN_ROOT,
        Requirement.PCK_CHAIN_SIGNATURES,
        Requirement.QE_REPORT_SIGNATURE,
        Requirement.QE_REPORT_DATA,
        Requirement.QUOTE_SIGNATURE,
    ],
    ids=lambda requirement: requirement.title,
)
def test_evidence_that_is_not_authentic_has_no_claims(requirement: Requirement) -> None:
    result = FLAWS[requirement][0](good_world()).appraise()
    assert result.claims is None
    assert result.tcb_status is None


def test_the_first_end_is_that_of_everything() -> None:
    assert good_world().appraise().earliest_expiration == NOW + timedelta(days=30)
    soon = NOW + timedelta(days=2)
    world = good_world()
    world = with_collateral(world, pck_crl=crl_of(ca(world), next_update=soon))
    assert world.appraise().earliest_expiration == soon


@pytest.mark.parametrize(
    ("requirement", "not_made"),
    [
        (Requirement.ROOT_CRL_SIGNATURE, "PCK issuer: not revoked"),
        (Requirement.ROOT_CRL_ISSUER, "TCB info signer: not revoked"),
        (Requirement.PCK_CRL_SIGNATURE, "PCK certificate: not revoked"),
        (Requirement.PCK_CHAIN_SIGNATURES, "PCK certificate: SGX extension"),
        (Requirement.PCK_CHAIN_ROLES, "PCK certificate: SGX extension"),
        (Requirement.TCB_CHAIN_SIGNATURES, "TCB info: signature"),
        (Requirement.TCB_CHAIN_ROLES, "TCB info: signature"),
        (Requirement.QE_CHAIN_ROOT, "QE identity: signature"),
        (Requirement.CRL_CHAIN_ROLES, "PCK CRL issuer chain: the PCK's issuer"),
        (Requirement.CRL_CHAIN_ROLES, "PCK CRL: format"),
        (Requirement.CRL_CHAIN_KEY, "PCK certificate: not revoked"),
        (Requirement.TCB_INFO_SIGNATURE, "TCB info: format"),
        (Requirement.TCB_INFO_ID, "TCB level of the platform"),
        (Requirement.TCB_INFO_TYPE, "TCB level of the platform"),
        (Requirement.TCB_INFO_DUPLICATES, "TCB level of the platform"),
        (Requirement.FMSPC, "TCB level of the platform"),
        (Requirement.PCE_ID, "TCB level of the platform"),
        (Requirement.QE_IDENTITY_SIGNATURE, "QE identity: format"),
        (Requirement.QE_IDENTITY_ID, "quoting enclave: level"),
        (Requirement.QE_IDENTITY_DUPLICATES, "quoting enclave: level"),
        (Requirement.QE_VENDOR, "PCK chain: format"),
        (Requirement.CERTIFICATION_DATA, "PCK chain: format"),
        (Requirement.QE_REPORT_SIGNATURE, "quoting enclave: binds the attestation key"),
        (Requirement.QE_REPORT_DATA, "quote signature"),
    ],
    ids=lambda value: value.title if isinstance(value, Requirement) else "",
)
def test_what_is_refused_is_not_relied_upon(requirement: Requirement, not_made: str) -> None:
    """Verify, then read: a check that needs what another has refused is not made."""
    made = {check.name for check in good_world().appraise().checks}
    assert not_made in made
    result = FLAWS[requirement][0](good_world()).appraise()
    assert not_made not in {check.name for check in result.checks}


def test_requiring_affirmation_lets_affirmed_evidence_pass() -> None:
    require_affirming(good_world().appraise())


def test_requiring_affirmation_raises_the_first_reason_with_a_remedy() -> None:
    world = with_policy(
        with_enclave(good_world(), mrenclave=MrEnclave(bytes(32)), isvsvn=2), allow_debug=True
    )
    with pytest.raises(RefusedError) as refusal:
        require_affirming(world.appraise())
    assert str(refusal.value) == (f"enclave: MRENCLAVE: expected {MRENCLAVE.hex()}, got {'00' * 32} (policy)")
    assert refusal.value.hint == (
        "Another build: compare the bundles, or update the reference values. Also refused: enclave: ISVSVN."
    )


def test_requiring_affirmation_refuses_a_result_with_checks_missing() -> None:
    result = good_world().appraise()
    partial = replace(result, verdict=Verdict.CONTRAINDICATED, checks=result.checks[:3])
    with pytest.raises(RefusedError) as refusal:
        require_affirming(partial)
    assert str(refusal.value) == "attestation: expected every check to be made, got 3 checks"
    assert refusal.value.hint is None
