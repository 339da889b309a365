"""Two verifiers about one case, and the rules by which they may differ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import dcap_qvl
from tests.differential.cases import MRENCLAVE, Case, good_cases

from casemate.errors import FormatError
from casemate.formats.sgx.collateral import EnclaveIdentity, TcbStatus
from casemate.simulator.trust_domain import TD_REPORT_10
from casemate.verifier.appraisal import Verifier
from casemate.verifier.endorsements import Endorsements
from casemate.verifier.policy import AppraisalPolicy
from casemate.verifier.result import AttestationResult
from casemate.verifier.roots import TrustRoots

_POLICY = AppraisalPolicy(
    mrenclaves=(MRENCLAVE,), mrtds=(TD_REPORT_10.mr_td,), accepted_statuses=frozenset(TcbStatus)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a verifier says.

    Attributes:
        status: The TCB status; ``None`` when the evidence is refused as not genuine, or of no level.
        advisories: Sorted.
        reasons: Why it refuses; of ours also what the policy refuses in genuine evidence.
    """

    status: str | None
    advisories: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


class Ours:
    """Our verifier, which keeps what it has verified for the good collateral."""

    def __init__(self) -> None:
        self._verifiers: Mapping[int, Verifier] = {
            id(case.collateral): _verifier(case) for case in good_cases()
        }

    def judge(self, case: Case) -> Opinion:
        """Genuine evidence with a level has a status; everything else is refused."""
        verifier = self._verifiers.get(id(case.collateral)) or _verifier(case)
        result = verifier.appraise(case.quote, case.at)
        reasons = tuple(check.name for check in result.refusals)
        if not result.genuine or result.tcb_status in (None, TcbStatus.REVOKED):
            return Opinion(status=None, reasons=reasons or (f"TCB status {result.tcb_status}",))
        return Opinion(status=_word(result), advisories=tuple(sorted(result.advisory_ids)), reasons=reasons)


def _verifier(case: Case) -> Verifier:
    roots = TrustRoots.simulated(case.platform.root_certificate)
    return Verifier(Endorsements.of(case.collateral, roots), _POLICY)


def _word(result: AttestationResult) -> str | None:
    return result.tcb_status.value if result.tcb_status else None


def theirs(case: Case) -> Opinion:
    """dcap-qvl, told the simulated root."""
    try:
        collateral = dcap_qvl.QuoteCollateralV3.from_json(case.collateral.to_json().decode())
        verified = dcap_qvl.verify_with_root_ca(
            case.quote, collateral, case.platform.authorities.root.certificate, int(case.at.timestamp())
        )
    except (ValueError, OverflowError) as refusal:
        return Opinion(status=None, reasons=(str(refusal),))
    return Opinion(status=verified.status, advisories=tuple(sorted(set(verified.advisory_ids))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Where evidence is genuine for us and refused there, and why that is right.

    Attributes:
        message: What dcap-qvl says, a regular expression.
        why: The reason.
        policy: The check of ours that refuses the same under any policy, if there is one.
    """

    message: str
    why: str
    policy: str | None = None


RULES: Final[Mapping[str, Rule]] = {
    "debug enclave": Rule(
        message="Debug mode is enabled",
        why="genuine evidence of an enclave that its host can read",
        policy="enclave: not in debug mode",
    ),
    "trust domain under debug": Rule(
        message="Debug mode is enabled",
        why="genuine evidence of a trust domain that its host can read",
        policy="trust domain: not in debug mode",
    ),
    "trust domain under profiling": Rule(
        message="TD profiling is enabled",
        why="as under debug",
        policy="trust domain: not in debug mode",
    ),
    "reserved attributes of a trust domain": Rule(
        message="Reserved bits in TD attributes are set",
        why="genuine, and of a TDX module whose meaning nobody knows",
        policy="trust domain: reserved attributes",
    ),
    "exceptions injected into a trust domain": Rule(
        message="SEPT_VE_DISABLE is not enabled",
        why="genuine, and its kernel has to be able to take them",
        policy="trust domain: no exceptions that the host injects",
    ),
    "migratable trust domain": Rule(
        message="TD migration is enabled",
        why="genuine, and may be elsewhere soon",
        policy="trust domain: not migratable",
    ),
    "service of a trust domain": Rule(
        message="Invalid MR service TD|SERVTD_EXT",
        why="genuine, and another trust domain can read it",
        policy="trust domain: no service TD",
    ),
    "SGX in versions 4 and 5": Rule(
        message="SGX TEE quote must have version 3",
        why="Intel's library takes enclave reports in quotes of versions 4 and 5",
    ),
    "authentication data of any length": Rule(
        message="Invalid QE auth data length",
        why="the format gives it a length, and the quoting enclave binds it",
    ),
    "last second of a CRL": Rule(
        message=r"CrlExpired \{ time: UnixTime\((\d+)\), next_update: UnixTime\(\1\) \}",
        why="nextUpdate is the last second that counts, as in Intel's library",
    ),
    "TDX module as it is now": Rule(
        message=r"Failed to evaluate the current TDX TCB \(TEE_TCB_SVN2\)",
        why="Intel's library asks for it only when the module that started the trust domain is out of date",
    ),
    "PCESVN above 32767": Rule(
        message="PceSvn length mismatch",
        why="DER puts a zero before it; it is a number of 16 bits",
    ),
}


def rule_for(ours: Opinion, there: Opinion) -> str | None:
    """The rule by which we may accept what dcap-qvl refuses; ``None`` when there is none."""
    for name, rule in RULES.items():
        if re.search(rule.message, there.reasons[0]) and (rule.policy is None or rule.policy in ours.reasons):
            return name
    return None


def levels_are_out_of_order(case: Case) -> bool:
    """Whether the levels of the quoting enclave do not fall, as Intel's do.

    The highest level that is reached counts, as in Intel's library; dcap-qvl takes the first.
    """
    try:
        levels = [level.isvsvn for level in EnclaveIdentity.parse(case.collateral.qe_identity).levels]
    except FormatError:
        return False
    return levels != sorted(levels, reverse=True)
