"""Simulated trust domains before another judge: dcap-qvl, told the simulated root.

Where it is stricter than Intel's library, the rule is named.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dcap_qvl
import pytest

from casemate.formats.sgx.collateral import (
    ISV_STATUSES,
    PLATFORM_STATUSES,
    Collateral,
    IsvLevel,
    TcbLevel,
    TcbStatus,
)
from casemate.formats.sgx.pck import SgxType
from casemate.formats.sgx.quote import Tee
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.formats.sgx.td_report import TdAttributes, TdReport
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.endorsements import ADVISORY, Revocation, Standing, Statements
from casemate.simulator.pki import PckAuthority
from casemate.simulator.platform import SimulatedPlatform, sgx_extension_of
from casemate.simulator.trust_domain import (
    TD_REPORT_10,
    TD_REPORT_15,
    TD_REPORT_15_EX,
    SimulatedTrustDomain,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PLATFORM = SimulatedPlatform.create(NOW)
REPORTS = {"1.0": TD_REPORT_10, "1.5": TD_REPORT_15, "1.5 extended": TD_REPORT_15_EX}


def judge(
    quote: bytes, collateral: Collateral, *, platform: SimulatedPlatform = PLATFORM, at: datetime = NOW + HOUR
) -> tuple[str, list[str]]:
    """Status and advisories, or why it refuses."""
    theirs = dcap_qvl.QuoteCollateralV3.from_json(collateral.to_json().decode())
    root = platform.authorities.root.certificate
    try:
        verified = dcap_qvl.verify_with_root_ca(quote, theirs, root, int(at.timestamp()))
    except ValueError as refusal:
        return str(refusal), []
    return verified.status, sorted(verified.advisory_ids)


def quote_of(report: TdReport = TD_REPORT_10, version: int | None = None) -> bytes:
    return SimulatedTrustDomain(platform=PLATFORM, report=report).quote(bytes(range(64)), version=version)


def said(**standing: TcbStatus) -> Collateral:
    return PLATFORM.sign(PLATFORM.statements(NOW, tee=Tee.TDX, standing=Standing(**standing)))


@pytest.mark.parametrize(
    ("kind", "version"), [("1.0", 4), ("1.0", 5), ("1.5", 5), ("1.5 extended", 5)], ids=str
)
def test_simulated_trust_domains_are_accepted(kind: str, version: int) -> None:
    assert judge(quote_of(REPORTS[kind], version), said()) == ("UpToDate", [])


@pytest.mark.parametrize("kind", REPORTS)
def test_it_reads_every_field_as_we_wrote_it(kind: str) -> None:
    theirs = dcap_qvl.parse_quote(quote_of(REPORTS[kind])).report
    assert (theirs.mr_td, theirs.mr_seam) == (TD_REPORT_10.mr_td, TD_REPORT_10.mr_seam)
    assert theirs.report_data == bytes(range(64))
    extension = REPORTS[kind].extension
    if extension is not None:
        for name in (
            "vmid", "td_id", "dev_info", "init_service_td_hash", "init_service_td_attributes", "init_cpu_svn",
            "init_tee_tcb_svn", "init_tee_fmspc", "cur_service_td_hash", "cur_service_td_attributes",
        ):  # fmt: skip
            assert getattr(theirs, name) == getattr(extension, name), name


@pytest.mark.parametrize(
    "status", [status for status in PLATFORM_STATUSES if status is not TcbStatus.REVOKED]
)
@pytest.mark.parametrize("kind", REPORTS)
def test_statuses_of_the_platform_are_understood(kind: str, status: TcbStatus) -> None:
    advisories = [] if status is TcbStatus.UP_TO_DATE else [ADVISORY]
    assert judge(quote_of(REPORTS[kind]), said(platform=status)) == (status.value, advisories)


@pytest.mark.parametrize("what", ["platform", "quoting_enclave", "tdx_module"])
def test_what_is_revoked_is_refused(what: str) -> None:
    reason, _ = judge(quote_of(), said(**{what: TcbStatus.REVOKED}))
    assert reason == "Verification failed: TCB status is invalid: Revoked"


@pytest.mark.parametrize("what", ["quoting_enclave", "tdx_module"])
def test_what_is_outdated_makes_all_outdated(what: str) -> None:
    assert judge(quote_of(), said(**{what: TcbStatus.OUT_OF_DATE})) == ("OutOfDate", [ADVISORY])


@pytest.mark.parametrize("which", Revocation)
def test_revoked_certificates_are_refused(which: Revocation) -> None:
    standing = Standing(revoked=frozenset({which}))
    reason, _ = judge(quote_of(), PLATFORM.sign(PLATFORM.statements(NOW, tee=Tee.TDX, standing=standing)))
    assert "CertRevoked" in reason


def svns(*first: int) -> bytes:
    return bytes(first) + bytes(16 - len(first))


def outdated_levels() -> Statements:
    """A mended and an outdated level, of the platform and of the TDX module."""
    statements = PLATFORM.statements(NOW, tee=Tee.TDX)
    (platform,), (module,) = statements.tcb_info.levels, statements.tcb_info.tdx_module_identities
    old_platform = replace(
        platform,
        tdx_components=(4, 0, 2, *bytes(13)),
        status=TcbStatus.OUT_OF_DATE,
        advisory_ids=("INTEL-SA-00001",),
    )
    old_module = IsvLevel(
        isvsvn=4, tcb_date=NOW, status=TcbStatus.OUT_OF_DATE, advisory_ids=("INTEL-SA-00002",)
    )
    info = replace(
        statements.tcb_info,
        levels=(platform, old_platform),
        tdx_module_identities=(replace(module, levels=(*module.levels, old_module)),),
    )
    return replace(statements, tcb_info=info)


@pytest.mark.parametrize(
    ("launched", "now", "status", "advisories"),
    [
        (svns(7, 1, 3), svns(7, 1, 3), "UpToDate", []),
        (svns(4, 1, 3), svns(7, 1, 3), "TDRelaunchAdvised", ["INTEL-SA-00002"]),
        (svns(7, 1, 2), svns(7, 1, 3), "TDRelaunchAdvised", ["INTEL-SA-00001"]),
        (svns(4, 1, 2), svns(4, 1, 2), "OutOfDate", ["INTEL-SA-00001", "INTEL-SA-00002"]),
        (svns(4, 1, 1), svns(7, 1, 3), "Verification failed: No matching TCB level found", []),
    ],
    ids=["never outdated", "module mended", "platform mended", "still outdated", "below all levels"],
)
def test_a_trust_domain_older_than_its_mended_platform_is_told_to_relaunch(
    launched: bytes, now: bytes, status: str, advisories: list[str]
) -> None:
    report = replace(TD_REPORT_15, tee_tcb_svn=launched, tee_tcb_svn2=now)
    assert judge(quote_of(report), PLATFORM.sign(outdated_levels())) == (status, advisories)


@pytest.mark.parametrize("tee", Tee)
@pytest.mark.parametrize("authority", PckAuthority)
def test_any_family_and_any_levels_are_understood(tee: Tee, authority: PckAuthority) -> None:
    extension = replace(
        sgx_extension_of(authority),
        components=tuple(range(16, 32)),
        cpu_svn=bytes(range(16, 32)),
        pce_svn=11,
        fmspc=bytes.fromhex("b0c06f000000"),
        sgx_type=SgxType.SCALABLE_WITH_INTEGRITY,
    )
    platform = SimulatedPlatform.create(NOW, authority=authority, sgx_extension=extension)
    statements = platform.statements(NOW, tee=tee)
    (own,) = statements.tcb_info.levels

    def level(pce_svn: int, last: int, status: TcbStatus) -> TcbLevel:
        return replace(
            own,
            sgx_components=(*range(16, 31), last),
            pce_svn=pce_svn,
            status=status,
            advisory_ids=(f"INTEL-SA-{last:05}",),
        )

    levels = (
        level(12, 31, TcbStatus.UP_TO_DATE),
        level(11, 32, TcbStatus.UP_TO_DATE),
        level(11, 30, TcbStatus.CONFIGURATION_NEEDED),
        level(10, 31, TcbStatus.SW_HARDENING_NEEDED),
        level(5, 0, TcbStatus.OUT_OF_DATE),
    )
    collateral = platform.sign(replace(statements, tcb_info=replace(statements.tcb_info, levels=levels)))
    # The highest level counts: components come before PCESVN.
    expected = ("SWHardeningNeeded", ["INTEL-SA-00031"])
    if tee is Tee.SGX:
        enclave = SimulatedEnclave(
            platform=platform, mrenclave=MrEnclave(bytes(32)), mrsigner=MrSigner(bytes(32))
        )
        quote = enclave.quote(bytes(64))
    else:
        quote = SimulatedTrustDomain(platform=platform).quote(bytes(64))
    assert judge(quote, collateral, platform=platform) == expected


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (NOW - timedelta(seconds=1), "issue date is in the future"),
        (NOW + timedelta(days=30, seconds=1), "expired"),
    ],
)
def test_collateral_outside_of_its_time_is_refused(at: datetime, reason: str) -> None:
    assert reason in judge(quote_of(), said(), at=at)[0]


@pytest.mark.parametrize("status", ISV_STATUSES)
def test_levels_of_an_enclave_identity_may_be_many(status: TcbStatus) -> None:
    statements = PLATFORM.statements(NOW, tee=Tee.TDX)
    (own,) = statements.enclave_identity.levels
    levels = (
        replace(own, isvsvn=own.isvsvn + 1),
        replace(own, status=status, advisory_ids=("INTEL-SA-00003",)),
        replace(own, isvsvn=1, status=TcbStatus.REVOKED),
    )
    identity = replace(statements.enclave_identity, levels=levels)
    got, advisories = judge(quote_of(), PLATFORM.sign(replace(statements, enclave_identity=identity)))
    if status is TcbStatus.REVOKED:
        assert got == "Verification failed: TCB status is invalid: Revoked"
    else:
        assert (got, advisories) == (status.value, ["INTEL-SA-00003"])


# What it refuses and Intel's library leaves to the caller.


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (replace(TD_REPORT_10, td_attributes=TdAttributes(0)), "SEPT_VE_DISABLE is not enabled"),
        (
            replace(TD_REPORT_10, td_attributes=TdAttributes.SEPT_VE_DISABLE | TdAttributes.DEBUG),
            "Debug mode is enabled",
        ),
        (
            replace(TD_REPORT_10, td_attributes=TdAttributes.SEPT_VE_DISABLE | TdAttributes.MIGRATABLE),
            "TD migration is enabled",
        ),
        (replace(TD_REPORT_15, mr_service_td=b"s" * 48), "Invalid MR service TD"),
    ],
    ids=["no SEPT_VE_DISABLE", "debug", "migratable", "service trust domain"],
)
def test_attributes_are_judged_by_rules_of_its_own(report: TdReport, reason: str) -> None:
    assert judge(quote_of(report), said()) == (f"Verification failed: {reason}", [])


@pytest.mark.parametrize("version", [4, 5])
def test_it_accepts_enclaves_in_version_3_only(version: int) -> None:
    enclave = SimulatedEnclave(
        platform=PLATFORM, mrenclave=MrEnclave(bytes(32)), mrsigner=MrSigner(bytes(32))
    )
    reason, _ = judge(enclave.quote(bytes(64), version=version), PLATFORM.collateral)
    assert reason.startswith("Verification failed: ")


def test_it_does_not_read_version_2_of_tcb_info() -> None:
    enclave = SimulatedEnclave(
        platform=PLATFORM, mrenclave=MrEnclave(bytes(32)), mrsigner=MrSigner(bytes(32))
    )
    statements = PLATFORM.statements(NOW)
    second = replace(statements, tcb_info=replace(statements.tcb_info, version=2))
    reason, _ = judge(enclave.quote(bytes(64)), PLATFORM.sign(second))
    assert "Failed to decode TcbInfo" in reason


def test_it_wants_32_bytes_of_authentication_data() -> None:
    quoting_enclave = replace(PLATFORM.td_quoting_enclave, auth_data=bytes(31))
    reason, _ = judge(quoting_enclave.quote(TD_REPORT_10), said())
    assert "auth" in reason.lower()
