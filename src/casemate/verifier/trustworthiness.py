"""What an appraisal found, in the terms of AR4SI: the trustworthiness vector of an attestation result.

draft-ietf-rats-ar4si, section 2.3.4. What was not appraised is 0: Casemate says nothing of an attester's
instance, file systems, storage and data. A simulated platform is hardware that nobody recognises, whatever
the policy accepts.
"""

from __future__ import annotations

from typing import Any, Final

from casemate.formats.ear import EVIDENCE, Submodule, Tier, TrustVector, worst
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.report import ReportBody
from casemate.formats.sgx.td_report import TdAttributes, TdReport
from casemate.verifier.requirements import Requirement
from casemate.verifier.result import AttestationResult, Verdict

_APPROVED: Final = 2
#: Executables that were measured when the trust domain started; what it loads afterwards is not.
_APPROVED_AT_BOOT: Final = 3
_UNSAFE: Final = 32
_UNRECOGNISED_EXECUTABLES: Final = 33
_CONTRAINDICATED: Final = 96
_UNRECOGNISED_HARDWARE: Final = 97
_CRYPTOGRAPHY_FAILED: Final = 99

_IDENTITY: Final = (
    Requirement.MRENCLAVE,
    Requirement.MRSIGNER,
    Requirement.ISVPRODID,
    Requirement.ISVSVN,
    Requirement.MRTD,
    Requirement.RTMRS,
    Requirement.ENCLAVE_NAMED,
)
_CONFIGURATION: Final = (
    Requirement.INIT,
    Requirement.PROVISION_KEY,
    Requirement.EINITTOKEN_KEY,
    Requirement.RESERVED,
    Requirement.ATTRIBUTES,
    Requirement.MISC_SELECT,
    Requirement.TD_RESERVED,
    Requirement.TD_MIGRATION,
    Requirement.TD_SEPT_VE,
    Requirement.TD_SERVICE,
    Requirement.TD_ATTRIBUTES,
    Requirement.MR_CONFIG_ID,
    Requirement.MR_OWNER,
    Requirement.MR_OWNER_CONFIG,
    Requirement.DYNAMIC_PLATFORM,
    Requirement.CACHED_KEYS,
    Requirement.SMT,
)
_REVOCATION: Final = (Requirement.PCK_REVOKED, Requirement.INTERMEDIATE_REVOKED)
_SIGNATURES: Final = (
    Requirement.QUOTE_SIGNATURE,
    Requirement.QE_REPORT_SIGNATURE,
    Requirement.QE_REPORT_DATA,
    Requirement.PCK_CHAIN_SIGNATURES,
)


def submodule_of(
    result: AttestationResult, policy_id: str, further: dict[str, Any] | None = None
) -> Submodule:
    """A result as a submodule of an EAR.

    Args:
        result: What the verifier found.
        policy_id: Which policy was applied.
        further: Further claims; what stands in :data:`~casemate.formats.ear.EVIDENCE` is added to ours.
    """
    vector = vector_of(result)
    verdict = Tier.AFFIRMING if result.verdict is Verdict.AFFIRMING else Tier.CONTRAINDICATED
    more = dict(further or {})
    more[EVIDENCE] = {**_evidence(result), **more.get(EVIDENCE, {})}
    return Submodule(status=worst(verdict, vector.tier), vector=vector, policy_id=policy_id, further=more)


def vector_of(result: AttestationResult) -> TrustVector:
    """The trustworthiness vector. Of evidence that is not genuine nothing is said but that."""
    affirmed = result.verdict is Verdict.AFFIRMING
    refused = set() if affirmed else {check.name for check in result.refusals}

    def any_of(requirements: tuple[Requirement, ...]) -> bool:
        return any(requirement.title in refused for requirement in requirements)

    if result.report is None:
        return TrustVector(hardware=_CRYPTOGRAPHY_FAILED if any_of(_SIGNATURES) else _UNRECOGNISED_HARDWARE)
    return TrustVector(
        configuration=_CONTRAINDICATED
        if _debug(result)
        else _UNSAFE
        if any_of(_CONFIGURATION)
        else _APPROVED,
        executables=_UNRECOGNISED_EXECUTABLES
        if any_of(_IDENTITY)
        else _APPROVED_AT_BOOT
        if isinstance(result.report, TdReport)
        else _APPROVED,
        hardware=_hardware(result, revoked=any_of(_REVOCATION)),
        runtime_opaque=_CONTRAINDICATED if _debug(result) or result.simulated else _APPROVED,
    )


def _hardware(result: AttestationResult, *, revoked: bool) -> int:
    if revoked or result.tcb_status is TcbStatus.REVOKED:
        return _CONTRAINDICATED
    if result.simulated or not result.genuine or result.tcb_status is None:
        return _UNRECOGNISED_HARDWARE
    return _APPROVED if result.tcb_status is TcbStatus.UP_TO_DATE else _UNSAFE


def _debug(result: AttestationResult) -> bool:
    return result.claims is not None and result.claims.debug


def _evidence(result: AttestationResult) -> dict[str, Any]:
    """The evidence as Trustee's verifier names its fields: hexadecimal of the bytes as they lie."""
    worth = {
        "tcb_status": result.tcb_status.value if result.tcb_status else None,
        "advisory_ids": list(result.advisory_ids),
    }
    match result.report:
        case None:
            return {}
        case TdReport() as report:
            attributes = {name: bool(report.td_attributes & bit) for name, bit in _TD_ATTRIBUTES.items()}
            return {"tdx": {**worth, "quote": {"body": _td_body(report)}, "td_attributes": attributes}}
        case report:
            return {"sgx": {**worth, "body": _enclave_body(report)}}


#: Those that Trustee names.
_TD_ATTRIBUTES: Final = {
    "debug": TdAttributes.DEBUG,
    "septve_disable": TdAttributes.SEPT_VE_DISABLE,
    "protection_keys": TdAttributes.PKS,
    "key_locker": TdAttributes.KL,
    "perfmon": TdAttributes.PERFMON,
}


def _enclave_body(report: ReportBody) -> dict[str, str]:
    return {
        "misc_select": report.misc_select.hex(),
        "attributes.flags": report.attributes.flags.to_bytes(8, "little").hex(),
        "attributes.xfrm": report.attributes.xfrm.to_bytes(8, "little").hex(),
        "mr_enclave": report.mrenclave.hex(),
        "mr_signer": report.mrsigner.hex(),
        "isv_prod_id": report.isvprodid.to_bytes(2, "little").hex(),
        "isv_svn": report.isvsvn.to_bytes(2, "little").hex(),
        "report_data": report.report_data.hex(),
    }


def _td_body(report: TdReport) -> dict[str, str]:
    fields = {
        "tcb_svn": report.tee_tcb_svn,
        "mr_seam": report.mr_seam,
        "mrsigner_seam": report.mr_signer_seam,
        "seam_attributes": report.seam_attributes,
        "td_attributes": int(report.td_attributes).to_bytes(8, "little"),
        "xfam": report.xfam.to_bytes(8, "little"),
        "mr_td": report.mr_td,
        "mr_config_id": report.mr_config_id,
        "mr_owner": report.mr_owner,
        "mr_owner_config": report.mr_owner_config,
        "rtmr_0": report.rtmr0,
        "rtmr_1": report.rtmr1,
        "rtmr_2": report.rtmr2,
        "rtmr_3": report.rtmr3,
        "report_data": report.report_data,
        "tee_tcb_svn2": report.tee_tcb_svn2,
        "mr_servicetd": report.mr_service_td,
    }
    return {name: value.hex() for name, value in fields.items() if value is not None}
