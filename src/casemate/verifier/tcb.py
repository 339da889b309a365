"""The status of a platform: its TCB level, the level of its quoting enclave, and both together.

QVL ``VerifyQuote``, section 4.1.2.4.17.
"""

from __future__ import annotations

from dataclasses import dataclass

from casemate.formats.certificates import Certificate
from casemate.formats.sgx.collateral import IsvLevel, TcbInfo, TcbLevel, TcbStatus
from casemate.formats.sgx.pck import PckExtension
from casemate.verifier.checklist import Checklist
from casemate.verifier.policy import AppraisalPolicy
from casemate.verifier.requirements import Requirement

# What an outdated quoting enclave makes of a platform's status; others stay as they are.
_WITH_OUTDATED_QE = {
    TcbStatus.UP_TO_DATE: TcbStatus.OUT_OF_DATE,
    TcbStatus.SW_HARDENING_NEEDED: TcbStatus.OUT_OF_DATE,
    TcbStatus.CONFIGURATION_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How platform and quoting enclave stand with Intel, taken together.

    Attributes:
        status: The status.
        advisory_ids: Intel's advisories for both levels.
    """

    status: TcbStatus
    advisory_ids: tuple[str, ...]


def read_pck(checks: Checklist, pck: Certificate) -> PckExtension | None:
    """What the PCK certificate says about the platform."""
    return checks.read(Requirement.PCK_EXTENSION, PckExtension.parse, pck.sgx_extension or b"")


def match_level(checks: Checklist, platform: PckExtension | None, info: TcbInfo | None) -> TcbLevel | None:
    """The highest level of TCB info that the platform reaches, once TCB info speaks of this platform."""
    if platform is None or info is None:
        return None
    same_family = checks.require(
        Requirement.FMSPC,
        passed=info.fmspc == platform.fmspc,
        expected=f"{platform.fmspc.hex()} as in the PCK certificate",
        got=info.fmspc.hex(),
    )
    same_pce = checks.require(
        Requirement.PCE_ID,
        passed=info.pce_id == platform.pce_id,
        expected=f"{platform.pce_id.hex()} as in the PCK certificate",
        got=info.pce_id.hex(),
    )
    if not (same_family and same_pce):
        return None
    ordered = sorted(info.levels, key=lambda level: (level.sgx_components, level.pce_svn), reverse=True)
    level = next((level for level in ordered if _reaches(platform, level)), None)
    checks.require(
        Requirement.TCB_LEVEL,
        passed=level is not None,
        expected="components and PCESVN that reach a level of TCB info",
        got=f"{platform.components}, PCESVN {platform.pce_svn}",
    )
    return level


def converge(platform: TcbStatus, quoting_enclave: TcbStatus) -> TcbStatus:
    """The status of both together: a quoting enclave can only make it worse."""
    match quoting_enclave:
        case TcbStatus.REVOKED:
            return TcbStatus.REVOKED
        case TcbStatus.OUT_OF_DATE:
            return _WITH_OUTDATED_QE.get(platform, platform)
        case _:
            return platform


def judge_status(
    checks: Checklist, level: TcbLevel | None, qe_level: IsvLevel | None, policy: AppraisalPolicy
) -> Standing | None:
    """The status of both together, and whether the policy accepts it. Revoked is never accepted."""
    if level is None or qe_level is None:
        return None
    status = converge(level.status, qe_level.status)
    accepted = policy.accepted_statuses - {TcbStatus.REVOKED}
    checks.require(
        Requirement.TCB_STATUS,
        passed=status in accepted,
        expected=" or ".join(sorted(word.value for word in accepted)) or "none (the policy accepts none)",
        got=f"{status.value} (platform {level.status.value}, quoting enclave {qe_level.status.value})",
    )
    # A dictionary keeps the order and drops what both levels name.
    advisories = dict.fromkeys(level.advisory_ids + qe_level.advisory_ids)
    return Standing(status=status, advisory_ids=tuple(advisories))


def _reaches(platform: PckExtension, level: TcbLevel) -> bool:
    return platform.pce_svn >= level.pce_svn and all(
        svn >= least for svn, least in zip(platform.components, level.sgx_components, strict=True)
    )
