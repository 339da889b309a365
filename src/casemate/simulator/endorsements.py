"""What a simulated manufacturer says about a platform, and signs: TCB info, enclave identity and CRLs.

Intel SGX and TDX Provisioning Certification Service API, version 4. :class:`Standing` says in a few words how
a platform stands; :class:`Statements` are all that is signed, as values, for whoever wants something else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from casemate.formats.pem import encode_certificates
from casemate.formats.sgx.collateral import (
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
)
from casemate.formats.sgx.pck import PckExtension
from casemate.formats.sgx.quote import Tee
from casemate.formats.sgx.report import ReportBody
from casemate.simulator.documents import encode_enclave_identity, encode_tcb_info
from casemate.simulator.pki import Authorities, Identity, issue_crl

#: How long Intel's TCB info, enclave identities and PCK CRL are valid, and its root CRL.
DOCUMENT_LIFE = timedelta(days=30)
ROOT_CRL_LIFE = timedelta(days=365)
#: The advisory that a level that is not up to date names.
ADVISORY = "INTEL-SA-00615"
#: Security versions of the TDX components: the module's own, its major version, late microcode; 16 bytes.
TEE_TCB_SVN = bytes((7, 1, 3)) + bytes(13)

_TCB_EVALUATION_DATA_NUMBER = 21
_QE_ATTRIBUTES = bytes.fromhex("11000000000000000000000000000000")
_QE_ATTRIBUTES_MASK = bytes.fromhex("fbffffffffffffff0000000000000000")
_MODULE = TdxModule(mrsigner=bytes(48), attributes=bytes(8), attributes_mask=b"\xff" * 8)


class Revocation(Enum):
    """Which certificate of a simulated platform is revoked."""

    PCK = "PCK certificate"
    PCK_AUTHORITY = "PCK authority"
    TCB_SIGNER = "TCB signing certificate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a simulated platform stands with its simulated manufacturer.

    Attributes:
        platform: Status of the platform's TCB level.
        quoting_enclave: Status of the quoting enclave's level: up to date, out of date or revoked.
        tdx_module: Status of the TDX module's level: up to date, out of date or revoked.
        revoked: Certificates on the CRLs.
    """

    platform: TcbStatus = TcbStatus.UP_TO_DATE
    quoting_enclave: TcbStatus = TcbStatus.UP_TO_DATE
    tdx_module: TcbStatus = TcbStatus.UP_TO_DATE
    revoked: frozenset[Revocation] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedCertificates:
    """What a CRL says.

    Attributes:
        this_update: From when it is valid.
        next_update: Until when it is valid.
        serials: Serial numbers of revoked certificates.
    """

    this_update: datetime
    next_update: datetime
    serials: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """All that a simulated manufacturer says about a platform in one technology, before it is signed.

    Attributes:
        tcb_info: About the platform.
        enclave_identity: About the quoting enclave.
        root_crl: What the root revokes.
        pck_crl: What the authority of the PCK certificate revokes.
    """

    tcb_info: TcbInfo
    enclave_identity: EnclaveIdentity
    root_crl: RevokedCertificates
    pck_crl: RevokedCertificates

    def sign(self, authorities: Authorities) -> Collateral:
        """The collateral that says this."""
        signer = authorities.tcb_signer
        signer_chain = encode_certificates((signer.certificate, authorities.root.certificate))
        crl_chain = encode_certificates((authorities.pck_ca.certificate, authorities.root.certificate))
        tcb_info = encode_tcb_info(self.tcb_info)
        identity = encode_enclave_identity(self.enclave_identity)
        return Collateral(
            pck_crl_issuer_chain=crl_chain,
            root_ca_crl=_sign_crl(authorities.root, self.root_crl),
            pck_crl=_sign_crl(authorities.pck_ca, self.pck_crl),
            tcb_info_issuer_chain=signer_chain,
            tcb_info=tcb_info,
            tcb_info_signature=signer.sign(tcb_info),
            qe_identity_issuer_chain=signer_chain,
            qe_identity=identity,
            qe_identity_signature=signer.sign(identity),
        )


def state(
    authorities: Authorities,
    pck: Identity,
    sgx_extension: PckExtension,
    quoting_enclave: ReportBody,
    *,
    tee: Tee,
    now: datetime,
    standing: Standing,
) -> Statements:
    """What the manufacturer says from ``now`` on about a platform that has this ``standing``.

    Args:
        authorities: The manufacturer.
        pck: The certificate of the platform's PCK.
        sgx_extension: What that certificate says of the platform.
        quoting_enclave: The report of the quoting enclave of ``tee``.
        tee: The technology.
        now: From when it is valid.
        standing: How the platform stands.
    """
    revocable = {
        Revocation.PCK_AUTHORITY: authorities.pck_ca,
        Revocation.TCB_SIGNER: authorities.tcb_signer,
    }
    by_root = tuple(revocable[which].serial for which in revocable if which in standing.revoked)
    by_ca = (pck.serial,) if Revocation.PCK in standing.revoked else ()
    return Statements(
        tcb_info=_tcb_info(sgx_extension, tee, now, standing),
        enclave_identity=_enclave_identity(quoting_enclave, tee, now, standing.quoting_enclave),
        root_crl=RevokedCertificates(this_update=now, next_update=now + ROOT_CRL_LIFE, serials=by_root),
        pck_crl=RevokedCertificates(this_update=now, next_update=now + DOCUMENT_LIFE, serials=by_ca),
    )


def _tcb_info(platform: PckExtension, tee: Tee, now: datetime, standing: Standing) -> TcbInfo:
    """TCB info, version 3, in which the platform has the status of ``standing``.

    A status other than up to date comes with a newer level that is, as with Intel.
    """
    of_tdx = tee is Tee.TDX
    own = TcbLevel(
        sgx_components=platform.components,
        # The major version of the TDX module is no security version: modules have identities of their own.
        tdx_components=(TEE_TCB_SVN[0], 0, *TEE_TCB_SVN[2:]) if of_tdx else None,
        pce_svn=platform.pce_svn,
        tcb_date=now,
        status=standing.platform,
        advisory_ids=_advisories(standing.platform),
    )
    levels = [own]
    if standing.platform is not TcbStatus.UP_TO_DATE:
        newer = (platform.components[0] + 1, *platform.components[1:])
        mended = replace(own, sgx_components=newer, status=TcbStatus.UP_TO_DATE, advisory_ids=())
        levels.insert(0, mended)
    module_levels = _isv_levels(TEE_TCB_SVN[0], standing.tdx_module, now)
    return TcbInfo(
        id=TcbInfoId.TDX if of_tdx else TcbInfoId.SGX,
        version=3,
        issue_date=now,
        next_update=now + DOCUMENT_LIFE,
        fmspc=platform.fmspc,
        pce_id=platform.pce_id,
        tcb_type=0,
        tcb_evaluation_data_number=_TCB_EVALUATION_DATA_NUMBER,
        tdx_module=_MODULE if of_tdx else None,
        tdx_module_identities=(_module_identity(module_levels),) if of_tdx else (),
        levels=tuple(levels),
    )


def _module_identity(levels: tuple[IsvLevel, ...]) -> TdxModuleIdentity:
    return TdxModuleIdentity(
        id=f"TDX_{TEE_TCB_SVN[1]:02X}",
        mrsigner=_MODULE.mrsigner,
        attributes=_MODULE.attributes,
        attributes_mask=_MODULE.attributes_mask,
        levels=levels,
    )


def _enclave_identity(
    quoting_enclave: ReportBody, tee: Tee, now: datetime, status: TcbStatus
) -> EnclaveIdentity:
    return EnclaveIdentity(
        id=EnclaveId.TD_QE if tee is Tee.TDX else EnclaveId.QE,
        issue_date=now,
        next_update=now + DOCUMENT_LIFE,
        tcb_evaluation_data_number=_TCB_EVALUATION_DATA_NUMBER,
        misc_select=bytes(4),
        misc_select_mask=b"\xff" * 4,
        attributes=_QE_ATTRIBUTES,
        attributes_mask=_QE_ATTRIBUTES_MASK,
        mrsigner=quoting_enclave.mrsigner,
        isvprodid=quoting_enclave.isvprodid,
        levels=_isv_levels(quoting_enclave.isvsvn, status, now),
    )


def _isv_levels(own: int, status: TcbStatus, now: datetime) -> tuple[IsvLevel, ...]:
    level = IsvLevel(isvsvn=own, tcb_date=now, status=status, advisory_ids=_advisories(status))
    if status is TcbStatus.UP_TO_DATE:
        return (level,)
    mended = replace(level, isvsvn=own + 1, status=TcbStatus.UP_TO_DATE, advisory_ids=())
    return (mended, level)


def _advisories(status: TcbStatus) -> tuple[str, ...]:
    return () if status is TcbStatus.UP_TO_DATE else (ADVISORY,)


def _sign_crl(issuer: Identity, content: RevokedCertificates) -> bytes:
    return issue_crl(
        issuer, this_update=content.this_update, next_update=content.next_update, revoked=content.serials
    )
