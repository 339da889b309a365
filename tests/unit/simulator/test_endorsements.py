"""What a simulated manufacturer says: by default what it should, and anything else that is put into words."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from casemate.formats.certificates import RevocationList
from casemate.formats.sgx.collateral import (
    Collateral,
    EnclaveId,
    EnclaveIdentity,
    TcbInfo,
    TcbInfoId,
    TcbStatus,
)
from casemate.formats.sgx.pck import PckExtension, SgxType
from casemate.formats.sgx.quote import Quote, Tee
from casemate.formats.sgx.report import ReportBody
from casemate.simulator.endorsements import (
    ADVISORY,
    TEE_TCB_SVN,
    Revocation,
    RevokedCertificates,
    Standing,
)
from casemate.simulator.pki import PckAuthority
from casemate.simulator.platform import SimulatedPlatform, sgx_extension_of
from casemate.simulator.trust_domain import SimulatedTrustDomain

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PLATFORM = SimulatedPlatform.create(NOW)


def said(collateral: Collateral) -> tuple[TcbInfo, EnclaveIdentity]:
    return TcbInfo.parse(collateral.tcb_info), EnclaveIdentity.parse(collateral.qe_identity)


@pytest.mark.parametrize("tee", Tee)
def test_what_is_signed_reads_as_what_was_said(tee: Tee) -> None:
    statements = PLATFORM.statements(NOW, tee=tee)
    assert said(PLATFORM.sign(statements)) == (statements.tcb_info, statements.enclave_identity)


def test_sgx_and_tdx_have_documents_of_their_own() -> None:
    for tee, info, enclave in (
        (Tee.SGX, TcbInfoId.SGX, EnclaveId.QE),
        (Tee.TDX, TcbInfoId.TDX, EnclaveId.TD_QE),
    ):
        statements = PLATFORM.statements(NOW, tee=tee)
        assert (statements.tcb_info.id, statements.enclave_identity.id) == (info, enclave)


def test_a_renewal_begins_when_it_is_asked_for() -> None:
    later = NOW + timedelta(days=60)
    info, identity = said(PLATFORM.sign(PLATFORM.statements(later, tee=Tee.TDX)))
    assert (info.issue_date, info.next_update) == (later, later + timedelta(days=30))
    assert (identity.issue_date, identity.next_update) == (later, later + timedelta(days=30))


@pytest.mark.parametrize("status", [TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED])
def test_whatever_is_not_up_to_date_comes_with_a_level_that_is(status: TcbStatus) -> None:
    standing = Standing(platform=status, quoting_enclave=status, tdx_module=status)
    statements = PLATFORM.statements(NOW, tee=Tee.TDX, standing=standing)
    (module,) = statements.tcb_info.tdx_module_identities
    for levels in (statements.tcb_info.levels, statements.enclave_identity.levels, module.levels):
        newer, own = levels
        assert (newer.status, newer.advisory_ids) == (TcbStatus.UP_TO_DATE, ())
        assert (own.status, own.advisory_ids) == (status, (ADVISORY,))
    assert [level.isvsvn for level in module.levels] == [TEE_TCB_SVN[0] + 1, TEE_TCB_SVN[0]]
    components = [level.sgx_components for level in statements.tcb_info.levels]
    assert components[0][0] == components[1][0] + 1
    assert components[1] == PLATFORM.sgx_extension.components


def test_anything_can_be_said() -> None:
    statements = PLATFORM.statements(NOW, tee=Tee.TDX)
    level = statements.tcb_info.levels[0]
    novel = replace(
        level,
        sgx_components=tuple(range(16)),
        tdx_components=tuple(range(16, 32)),
        pce_svn=65535,
        tcb_date=datetime(2018, 1, 4, tzinfo=UTC),
        status=TcbStatus.CONFIGURATION_NEEDED,
        advisory_ids=("INTEL-SA-00001", "INTEL-SA-00002"),
    )
    info = replace(
        statements.tcb_info,
        fmspc=b"fmspc!",
        pce_id=b"\x12\x34",
        tcb_type=1,
        tcb_evaluation_data_number=99,
        issue_date=datetime(1999, 1, 1, tzinfo=UTC),
        next_update=datetime(2101, 1, 1, tzinfo=UTC),
        levels=(level, novel, level),
    )
    identity = replace(statements.enclave_identity, id=EnclaveId.QVE, isvprodid=7, levels=())
    changed = replace(statements, tcb_info=info, enclave_identity=identity)
    assert said(PLATFORM.sign(changed)) == (info, identity)


def test_version_2_of_tcb_info_is_written_as_intel_writes_it() -> None:
    statements = PLATFORM.statements(NOW)
    second = replace(statements.tcb_info, version=2)
    document = PLATFORM.sign(replace(statements, tcb_info=second)).tcb_info
    plain = json.loads(document)
    assert "id" not in plain
    assert list(plain["tcbLevels"][0]["tcb"])[::16] == ["sgxtcbcomp01svn", "pcesvn"]
    assert TcbInfo.parse(document) == second


@pytest.mark.parametrize("tee", Tee)
def test_crls_name_what_they_are_told(tee: Tee) -> None:
    statements = replace(
        PLATFORM.statements(NOW, tee=tee),
        root_crl=RevokedCertificates(this_update=NOW, next_update=NOW + timedelta(days=1), serials=(1, 2)),
        pck_crl=RevokedCertificates(this_update=NOW - timedelta(days=9), next_update=NOW, serials=(3,)),
    )
    collateral = PLATFORM.sign(statements)
    by_root, by_authority = (
        RevocationList.parse(data) for data in (collateral.root_ca_crl, collateral.pck_crl)
    )
    assert (by_root.revoked, by_authority.revoked) == ({1, 2}, {3})
    assert by_root.next_update == NOW + timedelta(days=1)
    assert (by_authority.this_update, by_authority.next_update) == (NOW - timedelta(days=9), NOW)


def test_a_revoked_certificate_is_on_the_list_of_its_issuer() -> None:
    statements = PLATFORM.statements(NOW, standing=Standing(revoked=frozenset(Revocation)))
    authorities = PLATFORM.authorities
    assert statements.root_crl.serials == (authorities.pck_ca.serial, authorities.tcb_signer.serial)
    assert statements.pck_crl.serials == (PLATFORM.quoting_enclave.pck.serial,)


@pytest.mark.parametrize("authority", PckAuthority)
def test_a_platform_is_of_any_family(authority: PckAuthority) -> None:
    extension = replace(
        sgx_extension_of(authority),
        components=tuple(range(16)),
        pce_svn=3,
        fmspc=b"\xb0\xc0\x6f\x00\x00\x00",
        pce_id=b"\x01\x00",
        sgx_type=SgxType.SCALABLE_WITH_INTEGRITY,
    )
    platform = SimulatedPlatform.create(NOW, authority=authority, sgx_extension=extension)
    assert PckExtension.parse(platform.quoting_enclave.pck.sgx_extension()) == extension
    for tee in Tee:
        info, _ = said(platform.sign(platform.statements(NOW, tee=tee)))
        assert (info.fmspc, info.pce_id) == (extension.fmspc, extension.pce_id)
        assert info.levels[0].sgx_components == extension.components


def test_each_technology_has_a_quoting_enclave_of_its_own() -> None:
    quotes = (
        PLATFORM.quote(PLATFORM.quoting_enclave.body),
        SimulatedTrustDomain(platform=PLATFORM).quote(bytes(64)),
    )
    reports = [ReportBody.parse(Quote.parse(quote).qe_report) for quote in quotes]
    assert [report.isvprodid for report in reports] == [1, 2]
    assert len({report.mrsigner for report in reports}) == 2
    for report, tee in zip(reports, Tee, strict=True):
        identity = PLATFORM.statements(NOW, tee=tee).enclave_identity
        assert (identity.mrsigner, identity.isvprodid) == (report.mrsigner, report.isvprodid)
