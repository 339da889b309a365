"""One thing wrong with a trust domain at a time: each check refuses by itself, and says what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.support.sgx_world import NOW
from tests.support.tdx_world import (
    Domain,
    good_domain,
    with_policy,
    with_report,
    with_standing,
    with_statements,
    with_tcb_info,
)

from casemate.formats.sgx.collateral import (
    IsvLevel,
    TcbInfo,
    TcbLevel,
    TcbStatus,
    TdxModuleIdentity,
)
from casemate.formats.sgx.quote import Tee
from casemate.formats.sgx.td_report import TdAttributes
from casemate.simulator.endorsements import ADVISORY, Statements
from casemate.simulator.trust_domain import TD_REPORT_10, TD_REPORT_15, TD_REPORT_15_EX, SimulatedTrustDomain
from casemate.verifier.grants import Grant
from casemate.verifier.policy import AcceptedStatus, AppraisalPolicy, Exemption, Freshness
from casemate.verifier.requirements import Requirement
from casemate.verifier.result import AttestationResult, Check, TdClaims, Verdict

TDX = [requirement for requirement in Requirement if Tee.TDX in requirement.tees]
ONES, ZEROS = b"\x01" * 48, bytes(48)
SEPT_VE = TdAttributes.SEPT_VE_DISABLE
STATUS = "{0} (platform {1}, quoting enclave {2}, TDX module {3})"


@pytest.fixture(scope="module")
def domain() -> Domain:
    return good_domain()


def svns(*first: int) -> bytes:
    return bytes(first) + bytes(16 - len(first))


def with_attributes(domain: Domain, attributes: int, **policy: Any) -> Domain:
    """A trust domain with these attributes, which the policy's own demand does not mind."""
    changed = with_report(domain, td_attributes=TdAttributes(attributes))
    return with_policy(changed, td_attributes=None, **policy)


def speak_of_sgx(tcb_info: dict[str, Any]) -> None:
    tcb_info.update(id="SGX")
    del tcb_info["tdxModule"], tcb_info["tdxModuleIdentities"]
    for level in tcb_info["tcbLevels"]:
        del level["tcb"]["tdxtcbcomponents"]


def with_sgx_identity(domain: Domain) -> Domain:
    """The identity of the quoting enclave of enclaves."""
    other = domain.platform.collateral
    return replace(
        domain,
        collateral=replace(
            domain.collateral,
            qe_identity=other.qe_identity,
            qe_identity_signature=other.qe_identity_signature,
        ),
    )


def with_quoting_enclave(domain: Domain, **changes: Any) -> Domain:
    """Endorsements that know another quoting enclave."""

    def change(statements: Statements) -> Statements:
        return replace(statements, enclave_identity=replace(statements.enclave_identity, **changes))

    return with_statements(domain, change)


def an_older_level(statements: Statements) -> Statements:
    """The quoting enclave reaches no level."""
    (level,) = statements.enclave_identity.levels
    levels = (replace(level, isvsvn=level.isvsvn + 1),)
    return replace(statements, enclave_identity=replace(statements.enclave_identity, levels=levels))


#: What differs from an enclave, or is for trust domains alone -> the flaw, and its message.
FLAWS: dict[Requirement, tuple[Callable[[Domain], Domain], str]] = {
    Requirement.ENCLAVE_NAMED: (
        lambda d: with_policy(d, mrtds=()),
        "MRENCLAVE, or MRSIGNER with ISVPRODID, or MRTD, got neither",
    ),
    Requirement.TCB_INFO_ID: (lambda d: with_tcb_info(d, speak_of_sgx), "TDX, got SGX"),
    Requirement.QE_IDENTITY_ID: (with_sgx_identity, "TD_QE, got QE"),
    Requirement.QE_MRSIGNER: (
        lambda d: with_quoting_enclave(d, mrsigner=bytes(32)),
        "00" * 32 + ", got dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5",
    ),
    Requirement.QE_ISVPRODID: (lambda d: with_quoting_enclave(d, isvprodid=1), "1, got 2"),
    Requirement.QE_LEVEL: (
        lambda d: with_statements(d, an_older_level),
        "an ISVSVN that reaches a level of the QE identity, got 4",
    ),
    Requirement.TDX_MODULE_SIGNER: (
        lambda d: with_report(d, mr_signer_seam=ONES),
        f"{ZEROS.hex()}, got {ONES.hex()}",
    ),
    Requirement.TDX_MODULE_ATTRIBUTES: (
        lambda d: with_report(d, seam_attributes=bytes(7) + b"\x01"),
        f"{'00' * 8} under the mask {'ff' * 8}, got {'00' * 7}01",
    ),
    Requirement.TCB_LEVEL: (
        lambda d: with_report(d, tee_tcb_svn=svns(7, 1, 2)),
        (
            "security versions that reach a level of TCB info, got"
            " (14, 14, 3, 3, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0), PCESVN 13,"
            " TDX (7, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)"
            "; too low for the lowest level: TDX component 3 is 2, not 3"
        ),
    ),
    Requirement.TDX_MODULE_IDENTITY: (
        lambda d: with_report(d, tee_tcb_svn=svns(7, 2, 3)),
        "an identity in TCB info, got module version 2",
    ),
    Requirement.TDX_MODULE_LEVEL: (
        lambda d: with_report(d, tee_tcb_svn=svns(6, 1, 3)),
        "an ISVSVN that reaches a level of TDX_01, got 6",
    ),
    Requirement.TCB_STATUS: (
        lambda d: with_standing(d, tdx_module=TcbStatus.OUT_OF_DATE),
        "UpToDate, got " + STATUS.format("OutOfDate", "UpToDate", "UpToDate", "OutOfDate"),
    ),
    Requirement.ADVISORIES: (
        lambda d: with_policy(
            with_standing(d, tdx_module=TcbStatus.OUT_OF_DATE),
            statuses=(AcceptedStatus(status=TcbStatus.OUT_OF_DATE, reason="r"),),
        ),
        f"those that the policy accepts, got {ADVISORY} (not accepted)",
    ),
    Requirement.DYNAMIC_PLATFORM: (lambda d: with_policy(d, allow_dynamic_platform=False), "no, got yes"),
    Requirement.TCB_NUMBER: (
        lambda d: with_policy(
            with_tcb_info(d, lambda info: info.update(tcbEvaluationDataNumber=20)),
            freshness=Freshness(min_evaluation_number=21),
        ),
        "at least 21, got 20",
    ),
    Requirement.TD_DEBUG: (
        lambda d: with_attributes(d, SEPT_VE | TdAttributes.DEBUG),
        "none of the bits, got 0x1",
    ),
    Requirement.TD_RESERVED: (lambda d: with_attributes(d, SEPT_VE | 1 << 7), "none of the bits, got 0x80"),
    Requirement.TD_SEPT_VE: (lambda d: with_attributes(d, 0), "1, got 0"),
    Requirement.TD_MIGRATION: (
        lambda d: with_attributes(d, SEPT_VE | TdAttributes.MIGRATABLE),
        "none of the bits, got 0x20000000",
    ),
    Requirement.TD_SERVICE: (
        lambda d: with_report(d, mr_service_td=ONES),
        f"{ZEROS.hex()}, got {ONES.hex()}",
    ),
    Requirement.MRTD: (
        lambda d: with_report(d, mr_td=ONES),
        f"{TD_REPORT_15.mr_td.hex()}, got {ONES.hex()}",
    ),
    Requirement.RTMRS: (
        lambda d: with_report(d, rtmr2=ONES),
        (
            f"{ZEROS.hex()}, any, {ZEROS.hex()}, any, got"
            f" {ZEROS.hex()}, {ZEROS.hex()}, {ONES.hex()}, {ZEROS.hex()}"
        ),
    ),
    Requirement.MR_CONFIG_ID: (
        lambda d: with_report(d, mr_config_id=ONES),
        f"{ZEROS.hex()}, got {ONES.hex()}",
    ),
    Requirement.MR_OWNER: (lambda d: with_report(d, mr_owner=ONES), f"{ZEROS.hex()}, got {ONES.hex()}"),
    Requirement.MR_OWNER_CONFIG: (
        lambda d: with_report(d, mr_owner_config=ONES),
        f"{ZEROS.hex()}, got {ONES.hex()}",
    ),
    Requirement.TD_ATTRIBUTES: (
        lambda d: with_report(d, td_attributes=SEPT_VE | TdAttributes.PKS),
        f"0000000010000000 under the mask {'ff' * 8}, got 0000000050000000",
    ),
    Requirement.REPORT_DATA: (
        lambda d: with_policy(d, report_data=bytes(64)),
        "00" * 64 + ", got " + bytes(range(64)).hex(),
    ),
}


def message(check: Check) -> str:
    return f"{check.expected}, got {check.got}"


def refusals(result: AttestationResult) -> dict[str, str]:
    return {check.name: message(check) for check in result.refusals}


@pytest.mark.parametrize(
    ("report", "version"),
    [(TD_REPORT_10, 4), (TD_REPORT_10, 5), (TD_REPORT_15, 5), (TD_REPORT_15_EX, 5)],
    ids=["1.0 in version 4", "1.0 in version 5", "1.5", "1.5 extended"],
)
def test_a_good_trust_domain_is_affirmed_with_every_check_made(report: Any, version: int) -> None:
    result = good_domain(report).appraise()
    assert SimulatedTrustDomain(platform=good_domain().platform, report=report).quote(
        bytes(64), version=version
    )
    assert result.verdict is Verdict.AFFIRMING
    assert [check.name for check in result.checks] == [requirement.title for requirement in TDX]
    assert tuple(result.grants) == ()


def test_there_is_a_flaw_for_every_check_of_trust_domains_alone() -> None:
    assert {requirement for requirement in Requirement if requirement.tees == (Tee.TDX,)} <= set(FLAWS)


@pytest.mark.parametrize("requirement", FLAWS, ids=lambda requirement: requirement.title)
def test_each_flaw_is_refused_by_its_check_alone(domain: Domain, requirement: Requirement) -> None:
    make, expected = FLAWS[requirement]
    result = make(domain).appraise()
    assert result.verdict is Verdict.CONTRAINDICATED
    assert refusals(result) == {requirement.title: expected}


#: Other flaws that the same check has to see.
MORE_FLAWS: dict[str, tuple[Requirement, Callable[[Domain], Domain], str]] = {
    **{
        f"attribute bit {bit}": (
            Requirement.TD_DEBUG,
            lambda d, bit=bit: with_attributes(d, SEPT_VE | 1 << bit),  # type: ignore[misc]  # one for each
            f"none of the bits, got {1 << bit:#x}",
        )
        for bit in (4, 5, 6)
    },
    **{
        f"reserved bit {bit}": (
            Requirement.TD_RESERVED,
            lambda d, bit=bit: with_attributes(d, SEPT_VE | 1 << bit),  # type: ignore[misc]  # one for each
            f"none of the bits, got {1 << bit:#x}",
        )
        for bit in (15, 23, 26, 32, 61)
    },
    "debug that has ended": (
        Requirement.TD_DEBUG,
        lambda d: with_attributes(
            d, SEPT_VE | TdAttributes.DEBUG, debug=Exemption(reason="staging", until=NOW)
        ),
        "none of the bits, got 0x1",
    ),
    "exceptions of the host that have ended": (
        Requirement.TD_SEPT_VE,
        lambda d: with_attributes(d, 0, host_exceptions=Exemption(reason="old kernel", until=NOW)),
        "1, got 0",
    ),
    "another service than the one that is accepted": (
        Requirement.TD_SERVICE,
        lambda d: with_policy(with_report(d, mr_service_td=ONES), service_tds=(b"\x02" * 48,)),
        f"{ZEROS.hex()} or {'02' * 48}, got {ONES.hex()}",
    ),
    "an attribute under the policy's mask": (
        Requirement.TD_ATTRIBUTES,
        lambda d: with_policy(d, td_attributes=TdAttributes.PKS, td_attributes_mask=TdAttributes.PKS),
        "0000000040000000 under the mask 0000000040000000, got 0000000010000000",
    ),
    "a revoked TDX module": (
        Requirement.TCB_STATUS,
        lambda d: with_standing(d, tdx_module=TcbStatus.REVOKED),
        "UpToDate, got " + STATUS.format("Revoked", "UpToDate", "UpToDate", "Revoked"),
    ),
    "an outdated quoting enclave": (
        Requirement.TCB_STATUS,
        lambda d: with_standing(d, quoting_enclave=TcbStatus.OUT_OF_DATE),
        "UpToDate, got " + STATUS.format("OutOfDate", "UpToDate", "OutOfDate", "UpToDate"),
    ),
    "a policy that names enclaves only": (
        Requirement.ENCLAVE_NAMED,
        lambda d: replace(d, policy=AppraisalPolicy(mrenclaves=(bytes(32),))),  # type: ignore[arg-type]
        "MRTD, got only MRENCLAVE, or MRSIGNER with ISVPRODID",
    ),
}


@pytest.mark.parametrize("name", MORE_FLAWS)
def test_another_flaw_is_refused_by_the_check_alone(domain: Domain, name: str) -> None:
    requirement, make, expected = MORE_FLAWS[name]
    result = make(domain).appraise()
    assert result.verdict is Verdict.CONTRAINDICATED
    assert refusals(result) == {requirement.title: expected}
    assert tuple(result.grants) == ()


def test_a_module_of_the_first_generation_is_judged_by_the_first_identity(domain: Domain) -> None:
    """Version 0 has no level of its own: its components are those of the platform's level."""
    assert with_report(domain, tee_tcb_svn=svns(7, 0, 3)).appraise().refusals == ()
    older = with_report(domain, tee_tcb_svn=svns(6, 0, 3)).appraise()
    assert list(refusals(older)) == ["TCB level of the platform"]


def test_a_service_that_is_named_is_accepted(domain: Domain) -> None:
    bound = with_policy(with_report(domain, mr_service_td=ONES), service_tds=(ONES,))
    assert bound.appraise().verdict is Verdict.AFFIRMING


def test_what_is_accepted_by_exception_is_a_grant(domain: Domain) -> None:
    debug = with_attributes(
        domain, SEPT_VE | TdAttributes.DEBUG, debug=Exemption(reason="staging")
    ).appraise()
    assert debug.verdict is Verdict.AFFIRMING
    assert tuple(debug.grants) == (Grant(what="a trust domain in debug mode", reason="staging", until=None),)
    assert isinstance(debug.claims, TdClaims)
    assert debug.claims.debug
    hosted = with_attributes(domain, 0, host_exceptions=Exemption(reason="old kernel")).appraise()
    assert hosted.verdict is Verdict.AFFIRMING
    assert tuple(hosted.grants) == (
        Grant(what="a trust domain into which the host injects exceptions", reason="old kernel", until=None),
    )


# TD relaunch (QVL 4.1.2.4.17.4.3): each branch.


def levels(
    statements: Statements,
    *,
    old_platform: TcbStatus | None = None,
    new_platform: TcbStatus = TcbStatus.UP_TO_DATE,
    old_module: TcbStatus | None = TcbStatus.OUT_OF_DATE,
    quoting_enclave: TcbStatus = TcbStatus.UP_TO_DATE,
    further_modules: tuple[TdxModuleIdentity, ...] = (),
) -> Statements:
    """A TDX module of version 5 is outdated, and 7 is not; likewise for TDX components of the platform."""
    info: TcbInfo = statements.tcb_info
    platform: TcbLevel = replace(info.levels[0], status=new_platform)
    older = replace(platform, tdx_components=(0, 0, 2, *bytes(13)), status=old_platform or new_platform)
    module = info.tdx_module_identities[0]
    outdated = (
        ()
        if old_module is None
        else (IsvLevel(isvsvn=5, tcb_date=NOW, status=old_module, advisory_ids=("INTEL-SA-00002",)),)
    )
    modules = (replace(module, levels=(*module.levels, *outdated)), *further_modules)
    (level,) = statements.enclave_identity.levels
    return replace(
        statements,
        tcb_info=replace(
            info,
            levels=(platform, older) if old_platform else (platform,),
            tdx_module_identities=modules,
        ),
        enclave_identity=replace(
            statements.enclave_identity, levels=(replace(level, status=quoting_enclave),)
        ),
    )


SECOND = TdxModuleIdentity(
    id="TDX_02",
    mrsigner=ZEROS,
    attributes=bytes(8),
    attributes_mask=b"\xff" * 8,
    levels=(IsvLevel(isvsvn=3, tcb_date=NOW, status=TcbStatus.UP_TO_DATE, advisory_ids=()),),
)
C = TcbStatus.CONFIGURATION_NEEDED
OUT = TcbStatus.OUT_OF_DATE
#: (security versions at the start, now, what differs of the endorsements) -> status.
RELAUNCH: dict[str, tuple[bytes, bytes, dict[str, Any], str | None]] = {
    "the module was updated": (svns(5, 1, 3), svns(7, 1, 3), {}, "TDRelaunchAdvised"),
    "the module was updated beyond the newest level": (
        svns(5, 1, 3),
        svns(9, 1, 9),
        {},
        "TDRelaunchAdvised",
    ),
    "nothing was updated": (svns(5, 1, 3), svns(5, 1, 3), {}, "OutOfDate"),
    "it was updated, not far enough": (svns(5, 1, 3), svns(6, 1, 3), {}, "OutOfDate"),
    "the module is up to date since the start": (svns(7, 1, 3), svns(7, 1, 3), {}, "UpToDate"),
    "the module is new, and what is late-loaded is old": (
        svns(5, 1, 2),
        svns(7, 1, 2),
        {"old_platform": OUT},
        "OutOfDate",
    ),
    "both were updated": (svns(5, 1, 2), svns(7, 1, 3), {"old_platform": OUT}, "TDRelaunchAdvised"),
    "only what is late-loaded was updated": (
        svns(7, 1, 2),
        svns(7, 1, 3),
        {"old_platform": OUT},
        "OutOfDate",
    ),
    "the quoting enclave is outdated": (
        svns(5, 1, 3),
        svns(7, 1, 3),
        {"quoting_enclave": OUT},
        "OutOfDate",
    ),
    "the platform itself is outdated": (
        svns(5, 1, 3),
        svns(7, 1, 3),
        {"new_platform": OUT},
        "OutOfDate",
    ),
    "the platform needs configuration": (
        svns(5, 1, 3),
        svns(7, 1, 3),
        {"new_platform": C},
        "TDRelaunchAdvisedConfigurationNeeded",
    ),
    "the platform needs hardening": (
        svns(5, 1, 3),
        svns(7, 1, 3),
        {"new_platform": TcbStatus.SW_HARDENING_NEEDED},
        "TDRelaunchAdvised",
    ),
    "the module is revoked": (
        svns(5, 1, 3),
        svns(7, 1, 3),
        {"old_module": TcbStatus.REVOKED},
        "Revoked",
    ),
    "the module of another version was updated enough": (
        svns(5, 1, 3),
        svns(3, 2, 3),
        {"further_modules": (SECOND,)},
        "TDRelaunchAdvised",
    ),
    "the module of another version was not updated enough": (
        svns(5, 1, 3),
        svns(2, 2, 3),
        {"further_modules": (SECOND,)},
        "OutOfDate",
    ),
    "the module of now is unknown": (svns(5, 1, 3), svns(9, 2, 3), {}, None),
    "the module of now has no level": (
        svns(5, 1, 3),
        svns(9, 2, 3),
        {"further_modules": (replace(SECOND, levels=()),)},
        None,
    ),
    "the module of now is of the first generation": (svns(5, 1, 3), svns(7, 0, 3), {}, "TDRelaunchAdvised"),
    "the module of now is an old one of the first generation": (
        svns(5, 1, 3),
        svns(6, 0, 3),
        {},
        "OutOfDate",
    ),
}


@pytest.mark.parametrize("name", RELAUNCH)
def test_a_trust_domain_is_told_to_start_again_where_that_mends_it(domain: Domain, name: str) -> None:
    launched, now, said, status = RELAUNCH[name]
    started = with_report(domain, tee_tcb_svn=launched, tee_tcb_svn2=now)
    result = with_statements(started, lambda statements: levels(statements, **said)).appraise()
    assert (result.tcb_status and result.tcb_status.value) == status
    if status is None:
        assert refusals(result) == {
            "TDX module: identity": "an identity in TCB info, with levels,"
            " got module version 2 (the module as it is now)"
        }
    elif status != "UpToDate":
        assert list(refusals(result)) == ["TCB status"]


def test_a_report_of_tdx_1_0_says_nothing_of_now() -> None:
    """Without a second TEE_TCB_SVN nobody can know that the module was updated."""
    first = good_domain(TD_REPORT_10)
    started = with_report(first, tee_tcb_svn=svns(5, 1, 3))
    result = with_statements(started, levels).appraise()
    assert result.tcb_status is TcbStatus.OUT_OF_DATE


def test_relaunch_may_be_accepted_for_a_reason(domain: Domain) -> None:
    accepted = AcceptedStatus(
        status=TcbStatus.TD_RELAUNCH_ADVISED, reason="restarts on Sunday", any_advisory=True
    )
    started = with_policy(
        with_report(domain, tee_tcb_svn=svns(5, 1, 3), tee_tcb_svn2=svns(7, 1, 3)), statuses=(accepted,)
    )
    result = with_statements(started, levels).appraise()
    assert result.verdict is Verdict.AFFIRMING
    assert [(grant.what, grant.reason) for grant in result.grants] == [
        ("TCB status TDRelaunchAdvised", "restarts on Sunday")
    ]


@pytest.mark.parametrize(
    ("after", "names"),
    [
        (timedelta(0), []),
        (timedelta(days=30), []),
        (-timedelta(seconds=1), ["root CRL", "PCK CRL", "TCB info", "QE identity"]),
        (timedelta(days=30, seconds=1), ["PCK CRL", "TCB info", "QE identity"]),
    ],
    ids=["the first instant", "the last instant", "a second before", "a second after"],
)
def test_the_limits_of_validity_are_inside(domain: Domain, after: timedelta, names: list[str]) -> None:
    result = replace(domain, at=NOW + after).appraise()
    assert [name.partition(":")[0] for name in refusals(result)] == names
