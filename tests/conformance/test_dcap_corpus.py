"""Real quotes with Intel's own collateral: the answers of Intel's library, or a named difference."""

from __future__ import annotations

import hashlib

import pytest
from tests.support.dcap_corpus import CORPUS, Row, appraise_tolerantly, bad_cases, matrix, needs_corpus

from casemate.formats.certificates import Certificate
from casemate.formats.pem import parse_certificates
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.quote import Quote
from casemate.verifier.result import Verdict
from casemate.verifier.roots import INTEL_ROOT_KEY

pytestmark = needs_corpus

#: Quotes whose certificate chain stands in the order leaf, root, authority, in lines of 76 characters.
#: Intel's library refuses them as well (SGX_INTERMEDIATE_CA_INVALID_ISSUER, SGX_PCK_CERT_CHAIN_UNTRUSTED).
CHAIN_IN_ANOTHER_ORDER = {"sgx-v3-00906ea10000-2a49ce72-debug", "sgx-v3-00906ea10000-6dc7792a-debug"}
#: Quotes of 2020 that carry Intel's older root certificate. Intel's library compares root certificates and
#: calls the chain untrusted; the key is the same, and so is our answer.
OLDER_ROOT_CERTIFICATE = {"sgx-v3-00906ed50000-0c131b4f", "sgx-v3-00906ed50000-c64254ba"}

#: For each change, the checks that refuse it; Intel's library accepts some of them, and so does dcap-qvl.
REASONS = {
    "hdr-qe-svn": ["quote signature"],
    "body-cpusvn": ["quote signature"],
    "body-miscselect": ["quote signature"],
    "body-reserved1": ["quote signature"],
    "body-attributes-debug": ["quote signature"],
    "body-mrsigner": ["quote signature"],
    "body-isvprodid": ["quote signature"],
    "body-isvsvn": ["quote signature"],
    "body-reportdata": ["quote signature"],
    "body-reportdata-last": ["quote signature"],
    "authlen-minus1": ["quote format"],
    "authlen-huge": ["quote format"],
    "auth-quote-sig-r": ["quote signature"],
    "auth-att-key-x": ["quoting enclave: binds the attestation key"],
    "auth-att-key-y": ["quoting enclave: binds the attestation key"],
    "auth-qe-report-cpusvn": ["quoting enclave: signature of the PCK"],
    "auth-qe-report-attr": ["quoting enclave: signature of the PCK"],
    "auth-qe-report-reportdata": ["quoting enclave: signature of the PCK"],
    "auth-qe-report-reportdata-hi": ["quoting enclave: signature of the PCK"],
    "auth-qe-report-sig": ["quoting enclave: signature of the PCK"],
    "auth-qe-auth-data": ["quoting enclave: binds the attestation key"],
    "sig-zero": ["quote signature"],
    "sig-r-n": ["quote signature"],
    "certtype-1": ["certification data type"],
    "certtype-3": ["certification data type"],
    "certtype-6": ["certification data type"],
    "certtype-7": ["certification data type"],
    "certtype-65535": ["certification data type"],
    "certlen-plus1": ["quote format"],
    "chain-leaf-only": ["PCK chain: format"],
    "chain-no-root": ["PCK chain: format"],
    "chain-reversed": ["PCK chain: trusted root", "PCK chain: roles", "PCK chain: issuers and signatures"],
    "chain-dup-leaf": ["PCK chain: format"],
    "chain-garbage-tail": ["PCK chain: format"],
    "chain-other-platform": ["quoting enclave: signature of the PCK"],
    "trailing-4096": ["quote format"],
    "truncated-1": ["quote format"],
    "truncated-1000": ["quote format"],
    "empty": ["quote format"],
    "time-before-issue": ["TCB info: validity has begun"],
    "time-after-expiry": ["QE identity: not expired"],
    "time-1970": [
        "PCK chain: validity has begun",
        "PCK CRL issuer chain: validity has begun",
        "TCB info issuer chain: validity has begun",
        "QE identity issuer chain: validity has begun",
        "root CRL: validity has begun",
        "PCK CRL: validity has begun",
        "TCB info: validity has begun",
        "QE identity: validity has begun",
    ],
    "time-2040": [
        "PCK chain: not expired",
        "PCK CRL issuer chain: not expired",
        "TCB info issuer chain: not expired",
        "QE identity issuer chain: not expired",
        "root CRL: not expired",
        "PCK CRL: not expired",
        "TCB info: not expired",
        "QE identity: not expired",
    ],
    "qeid-sig": ["QE identity: signature"],
    "tcbinfo-space": ["TCB info: signature"],
    "tcbinfo-other-fmspc": ["TCB info: FMSPC of the platform"],
    "tcbinfo-tdx": ["TCB info: speaks of the quote's TEE", "TCB info: FMSPC of the platform"],
    "pckcrl-is-root": ["PCK CRL: issuer", "PCK CRL: signature"],
    "rootcrl-is-pck": ["root CRL: issuer", "root CRL: signature"],
    "pckcrl-sig": ["PCK CRL: signature"],
    "rootcrl-sig": ["root CRL: signature"],
    "pckcrl-empty": ["PCK CRL: format"],
    "rootcrl-empty": ["root CRL: format"],
    "pckcrl-expired": ["PCK CRL: not expired"],
    "rootcrl-expired": ["root CRL: not expired"],
    "tcbchain-reversed": [
        "TCB info issuer chain: trusted root",
        "TCB info issuer chain: roles",
        "TCB info issuer chain: issuers and signatures",
    ],
    "tcbchain-empty": ["TCB info issuer chain: format"],
    "collateral-2023": [
        "root CRL: not expired",
        "PCK CRL: not expired",
        "TCB info: not expired",
        "QE identity: not expired",
    ],
}

ROWS = matrix()
CASES = {case.name: case for case in bad_cases()}


def row_id(row: Row) -> str:
    return f"{row.quote_id}-{row.values['tcb'].rpartition('/')[2]}-{row.values['now']}"


def test_the_corpus_is_all_there() -> None:
    assert len(ROWS) == 430
    assert len(CASES) == 59


#: What this verifier demands of trust domains and Intel's library leaves to its caller.
STRICT_TRUST_DOMAINS = {
    "trust domain: no exceptions that the host injects",
    "trust domain: no service TD",
    "trust domain: not migratable",
}


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.quote_id not in CHAIN_IN_ANOTHER_ORDER], ids=row_id
)
def test_the_status_is_that_of_intels_library(row: Row) -> None:
    result = row.appraise()
    expected = row.values["expected"]
    reasons = {check.name for check in result.refusals} - STRICT_TRUST_DOMAINS
    assert result.genuine
    assert not result.simulated
    if expected == "TCB_NOT_SUPPORTED":
        assert result.tcb_status is None
        assert reasons == {"TCB level of the platform"}
        return
    assert result.tcb_status is TcbStatus(expected)
    assert reasons == set()
    assert (result.verdict is Verdict.AFFIRMING) is (result.refusals == ())
    if not row.values["dcap_qvl_070"].startswith("ERR"):
        assert sorted(result.advisory_ids) == sorted(row.values["advisories"])


@pytest.mark.parametrize("row", [row for row in ROWS if row.quote_id in CHAIN_IN_ANOTHER_ORDER], ids=row_id)
def test_chains_in_another_order_are_refused_as_by_intels_library(row: Row) -> None:
    assert row.values["intel_qvl"]["pck"] != "OK"
    result = row.appraise()
    assert result.verdict is Verdict.CONTRAINDICATED
    assert [(check.name, check.got) for check in result.refusals] == [
        (
            "PCK chain: format",
            (
                "certificate chain: expected strict PEM (RFC 7468): lines of 64 characters and nothing"
                " between the certificates, got another spelling (certificate chain)"
            ),
        )
    ]


def test_quotes_with_the_older_root_certificate_are_trusted_for_its_key() -> None:
    rows = [row for row in ROWS if row.quote_id in OLDER_ROOT_CERTIFICATE]
    assert {row.values["intel_qvl"]["pck"] for row in rows} == {"SGX_PCK_CERT_CHAIN_UNTRUSTED"}
    assert {row.appraise().verdict for row in rows} == {Verdict.AFFIRMING}


def test_intels_library_refuses_nothing_else_that_we_accept() -> None:
    others = [
        row
        for row in ROWS
        if row.quote_id not in OLDER_ROOT_CERTIFICATE | CHAIN_IN_ANOTHER_ORDER
        and [row.values["intel_qvl"][step] for step in ("pck", "tcb_info", "qe_identity")] != ["OK"] * 3
    ]
    assert others == []


def test_the_pinned_key_is_that_of_intels_root_certificate() -> None:
    (der,) = parse_certificates((CORPUS / "pool/cert/root.pem").read_bytes(), where="root")
    assert Certificate.parse(der).point == INTEL_ROOT_KEY


def test_genuine_quotes_carry_high_s_so_it_cannot_be_refused() -> None:
    """Why (r, n - s) is accepted, and why the digest of the signed bytes is the identity of evidence."""
    half = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 // 2
    quotes = [Quote.parse(path.read_bytes()) for path in (CORPUS / "quotes").glob("sgx-*/quote.bin")]
    assert len([q for q in quotes if int.from_bytes(q.signature[32:], "big") > half]) == 13
    assert len([q for q in quotes if int.from_bytes(q.qe_report_signature[32:], "big") > half]) == 13


@pytest.mark.parametrize("name", [name for name in CASES if name != "00-good"])
def test_every_change_is_refused(name: str) -> None:
    result = CASES[name].appraise()
    assert result.verdict is Verdict.CONTRAINDICATED
    assert [check.name for check in result.refusals] == REASONS[name]


def test_the_unchanged_one_is_affirmed() -> None:
    good = CASES["00-good"]
    result = good.appraise()
    assert result.refusals == ()
    assert result.tcb_status is TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED
    assert result.advisory_ids == ("INTEL-SA-00289", "INTEL-SA-00615")
    assert result.evidence_digest == hashlib.sha256(good.evidence[:432]).digest()


def test_a_malleated_signature_of_real_evidence_has_the_same_digest() -> None:
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    good = CASES["00-good"]
    s = int.from_bytes(good.evidence[468:500], "big")
    malleated = good.evidence[:468] + (order - s).to_bytes(32, "big") + good.evidence[500:]
    result = appraise_tolerantly(malleated, good.collateral, at=good.at)
    assert result.verdict is Verdict.AFFIRMING
    assert result.evidence_digest == good.appraise().evidence_digest
