"""TCB info and QE identity: genuine, in time, and about SGX.

QVL ``VerifyTCBInfo`` and ``VerifyEnclaveIdentity``. The signature is checked over the very bytes that came,
and before anything in them is read. Without a trusted signer there is nothing to check.
"""

from __future__ import annotations

from collections.abc import Sequence

from casemate.formats.certificates import Certificate
from casemate.formats.sgx.collateral import Collateral, EnclaveIdentity, TcbInfo
from casemate.verifier.checklist import Checklist
from casemate.verifier.requirements import Requirement
from casemate.verifier.signatures import raw_signed_by


def verify_tcb_info(checks: Checklist, collateral: Collateral, signer: Certificate | None) -> TcbInfo | None:
    """TCB info, once it is signed and speaks of SGX in a way that is understood."""
    if signer is None:
        return None
    if not checks.require_signature(
        Requirement.TCB_INFO_SIGNATURE,
        right=raw_signed_by(signer.public_key, collateral.tcb_info_signature, collateral.tcb_info),
        by=signer.common_name,
    ):
        return None
    info = checks.read(Requirement.TCB_INFO_FORMAT, TcbInfo.parse, collateral.tcb_info)
    if info is None:
        return None
    checks.period(Requirement.TCB_INFO_BEGUN, Requirement.TCB_INFO_EXPIRY, info.issue_date, info.next_update)
    usable = (
        checks.require(Requirement.TCB_INFO_ID, passed=info.id == "SGX", expected="SGX", got=info.id),
        checks.require(
            Requirement.TCB_INFO_TYPE, passed=info.tcb_type == 0, expected="0", got=str(info.tcb_type)
        ),
        _each_once(
            checks,
            Requirement.TCB_INFO_DUPLICATES,
            [(level.sgx_components, level.pce_svn) for level in info.levels],
        ),
    )
    return info if all(usable) else None


def verify_qe_identity(
    checks: Checklist, collateral: Collateral, signer: Certificate | None
) -> EnclaveIdentity | None:
    """QE identity, once it is signed and speaks of the quoting enclave of SGX."""
    if signer is None:
        return None
    if not checks.require_signature(
        Requirement.QE_IDENTITY_SIGNATURE,
        right=raw_signed_by(signer.public_key, collateral.qe_identity_signature, collateral.qe_identity),
        by=signer.common_name,
    ):
        return None
    identity = checks.read(Requirement.QE_IDENTITY_FORMAT, EnclaveIdentity.parse, collateral.qe_identity)
    if identity is None:
        return None
    checks.period(
        Requirement.QE_IDENTITY_BEGUN,
        Requirement.QE_IDENTITY_EXPIRY,
        identity.issue_date,
        identity.next_update,
    )
    usable = (
        checks.require(
            Requirement.QE_IDENTITY_ID, passed=identity.id == "QE", expected="QE", got=identity.id
        ),
        _each_once(checks, Requirement.QE_IDENTITY_DUPLICATES, [level.isvsvn for level in identity.levels]),
    )
    return identity if all(usable) else None


def _each_once(checks: Checklist, requirement: Requirement, levels: Sequence[object]) -> bool:
    """A level that stands twice could have two statuses."""
    return checks.require(
        requirement,
        passed=len(set(levels)) == len(levels),
        expected=f"{len(levels)} different levels",
        got=f"{len(set(levels))} different levels",
    )
