"""A simulated trust domain: quotes in every version that can carry its report."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from casemate.errors import FormatError
from casemate.formats.sgx.quote import Quote, Tee
from casemate.formats.sgx.report import MrEnclave, MrSigner, ReportBody
from casemate.formats.sgx.td_report import TdReport
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.platform import SimulatedPlatform
from casemate.simulator.trust_domain import (
    TD_REPORT_10,
    TD_REPORT_15,
    TD_REPORT_15_EX,
    SimulatedTrustDomain,
)

PLATFORM = SimulatedPlatform.create(datetime(2026, 11, 20, tzinfo=UTC))
REPORTS = {"1.0": TD_REPORT_10, "1.5": TD_REPORT_15, "1.5 extended": TD_REPORT_15_EX}


@pytest.mark.parametrize(
    ("kind", "asked", "version", "body_type"),
    [
        ("1.0", None, 4, 2),
        ("1.0", 4, 4, 2),
        ("1.0", 5, 5, 2),
        ("1.5", None, 5, 3),
        ("1.5", 5, 5, 3),
        ("1.5 extended", None, 5, 4),
    ],
)
def test_a_quote_says_what_the_trust_domain_is(
    kind: str, asked: int | None, version: int, body_type: int
) -> None:
    domain = SimulatedTrustDomain(platform=PLATFORM, report=REPORTS[kind])
    quote = Quote.parse(domain.quote(bytes(range(64)), version=asked))
    assert (quote.version, quote.tee, quote.body_type) == (version, Tee.TDX, body_type)
    assert quote.report == replace(REPORTS[kind], report_data=bytes(range(64)))
    bound = hashlib.sha256(quote.attestation_key + quote.qe_auth_data).digest() + bytes(32)
    assert ReportBody.parse(quote.qe_report).report_data == bound


@pytest.mark.parametrize("version", [3, 4, 5])
def test_an_enclave_is_quoted_in_every_version(version: int) -> None:
    enclave = SimulatedEnclave(
        platform=PLATFORM, mrenclave=MrEnclave(b"e" * 32), mrsigner=MrSigner(b"s" * 32)
    )
    quote = Quote.parse(enclave.quote(bytes(64), version=version))
    assert (quote.version, quote.tee, quote.body_type) == (version, Tee.SGX, 1)
    assert ReportBody.parse(quote.body).mrenclave == b"e" * 32


@pytest.mark.parametrize(
    ("report", "version", "possible"),
    [
        (TD_REPORT_10, 3, "4 or 5"),
        (TD_REPORT_15, 4, "5"),
        (TD_REPORT_15_EX, 4, "5"),
        (PLATFORM.quoting_enclave.body, 6, "3 or 4 or 5"),
    ],
)
def test_a_version_that_cannot_carry_the_report_is_refused(
    report: TdReport | ReportBody, version: int, possible: str
) -> None:
    with pytest.raises(FormatError) as refusal:
        PLATFORM.quote(report, version=version)
    assert str(refusal.value) == f"quote version: expected {possible}, got {version}"


@pytest.mark.parametrize("size", [0, 63, 65])
def test_report_data_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(FormatError) as refusal:
        SimulatedTrustDomain(platform=PLATFORM).quote(bytes(size))
    assert str(refusal.value) == f"report data: expected 64 bytes, got {size} bytes"
