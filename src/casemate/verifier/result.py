"""The result of an appraisal: RFC 9334's attestation result, with every reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Protocol, overload

from casemate.errors import RefusedError
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.report import DEBUG, Attributes, MrEnclave, MrSigner, ReportBody
from casemate.formats.sgx.td_report import UNDER_DEBUG, MrTd, TdAttributes, TdReport
from casemate.verifier.checklist import Record, in_words
from casemate.verifier.facts import Facts, facts_in_json
from casemate.verifier.grants import Grant
from casemate.verifier.limits import not_checked
from casemate.verifier.policy import Freshness
from casemate.verifier.requirements import Requirement
from casemate.verifier.validity import Validity


class Verdict(Enum):
    """What a relying party may do with the evidence; the words are those of EAR (draft-ietf-rats-ear)."""

    AFFIRMING = "affirming"
    CONTRAINDICATED = "contraindicated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check that was made.

    Attributes:
        name: What was checked.
        passed: Whether it was as it should be.
        expected: What would have been right: one printable line of at most 1000 characters.
        got: What was found, likewise.
        reference: The specification and section that asks for it, or ``policy``.
    """

    name: str
    passed: bool
    expected: str
    got: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What genuine evidence says about the enclave. Genuine is not acceptable: see the verdict.

    Attributes:
        mrenclave: Measurement.
        mrsigner: Signer.
        isvprodid: Product.
        isvsvn: Security version.
        attributes: ATTRIBUTES.
        misc_select: MISCSELECT, 4 bytes.
        report_data: What the enclave bound into the evidence, 64 bytes.
    """

    mrenclave: MrEnclave
    mrsigner: MrSigner
    isvprodid: int
    isvsvn: int
    attributes: Attributes
    misc_select: bytes
    report_data: bytes

    @property
    def debug(self) -> bool:
        """Whether the host can read and change the enclave."""
        return bool(self.attributes.flags & DEBUG)


@dataclass(frozen=True, slots=True, kw_only=True)
class TdClaims:
    """What genuine evidence says about a trust domain. Genuine is not acceptable: see the verdict.

    Attributes:
        mr_td: Measurement of its initial content.
        rtmrs: RTMR0 to RTMR3, 48 bytes each.
        mr_config_id: Its configuration, 48 bytes.
        mr_owner: Its owner, 48 bytes.
        mr_owner_config: Its owner's configuration, 48 bytes.
        attributes: ATTRIBUTES.
        report_data: What it bound into the evidence, 64 bytes.
    """

    mr_td: MrTd
    rtmrs: tuple[bytes, bytes, bytes, bytes]
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    attributes: TdAttributes
    report_data: bytes

    @property
    def debug(self) -> bool:
        """Whether the host can read and change the trust domain."""
        return bool(self.attributes & UNDER_DEBUG)


class Recorded(Protocol):
    """What has kept records of an appraisal."""

    def records(self) -> Iterator[Record]:
        """Every check that was made."""

    def grants(self) -> tuple[Grant, ...]:
        """What the policy accepted that is refused otherwise."""

    def facts(self) -> Facts:
        """What was found out about the platform."""


class Granted(Sequence[Grant]):
    """What the policy accepted that is refused otherwise, found out when it is read."""

    __slots__ = ("_at", "_findings", "_freshness", "_grants", "_validity")

    def __init__(self, findings: Recorded, validity: Validity, at: datetime, freshness: Freshness) -> None:
        self._findings = findings
        self._validity = validity
        self._at = at
        self._freshness = freshness
        self._grants: tuple[Grant, ...] | None = None

    def _found(self) -> tuple[Grant, ...]:
        if self._grants is None:
            self._grants = (*self._validity.grants(self._at, self._freshness), *self._findings.grants())
        return self._grants

    @overload
    def __getitem__(self, index: int) -> Grant: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Grant, ...]: ...
    def __getitem__(self, index: int | slice) -> Grant | tuple[Grant, ...]:
        return self._found()[index]

    def __len__(self) -> int:
        return len(self._found())


class Trail(Sequence[Check]):
    """The checks of an appraisal, in the order of :class:`Requirement`, put into words when they are read."""

    __slots__ = ("_at", "_checks", "_findings", "_freshness", "_settled", "_validity")

    def __init__(
        self,
        settled: tuple[Sequence[Record], ...],
        findings: Recorded,
        validity: Validity,
        at: datetime,
        freshness: Freshness,
    ) -> None:
        self._settled = settled
        self._findings = findings
        self._validity = validity
        self._at = at
        self._freshness = freshness
        self._checks: tuple[Check, ...] | None = None

    def _made(self) -> list[Record]:
        made = [record for records in self._settled for record in records]
        made += self._validity.records(self._at, self._freshness)
        made += self._findings.records()
        made.sort(key=lambda record: _ORDER[record[0]])
        return made

    def _in_words(self) -> tuple[Check, ...]:
        if self._checks is None:
            self._checks = tuple(_worded(record) for record in self._made())
        return self._checks

    def refused(self) -> tuple[Check, ...]:
        """Those that did not pass; no other is put into words."""
        return tuple(_worded(record) for record in self._made() if not record[1])

    @overload
    def __getitem__(self, index: int) -> Check: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Check, ...]: ...
    def __getitem__(self, index: int | slice) -> Check | tuple[Check, ...]:
        return self._in_words()[index]

    def __len__(self) -> int:
        return len(self._in_words())


def _worded(record: Record) -> Check:
    requirement, passed, expected, got = record
    return Check(
        name=requirement.title,
        passed=passed,
        expected=in_words(expected),
        got=in_words(got),
        reference=requirement.reference,
    )


_ORDER = {requirement: number for number, requirement in enumerate(Requirement)}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationResult:
    """What the verifier found.

    Attributes:
        verdict: Affirming only when every check of the procedure was made and has passed.
        genuine: Whether every check of structure, signature, certificate and time was made and has passed:
            the evidence is what it says, of a real platform. That says nothing of what it is worth.
        tcb_status: Status of platform, quoting enclave and TDX module together; ``None`` when it could not be
            determined, or when one of them reaches no level.
        advisory_ids: Intel's advisories for their levels.
        report: What the evidence says; ``None`` unless the signatures from the root down to it are right.
        simulated: The evidence is rooted in a simulated platform: it protects nothing.
        earliest_expiration: When the first of certificates, CRLs and documents expires; ``None`` when none of
            them could be read.
        evidence_digest: SHA-256 of the signed part of the quote, 32 bytes: one value for one statement of the
            quoting enclave, whatever is done to its signatures. Hashes of the whole quote are not: ECDSA
            signatures can be changed into another valid one. ``None`` when the evidence is not a quote.
        checks: Every check that was made, in the order of the procedure.
        grants: What the policy accepted that is refused otherwise, each with its reason.
        findings: From what :attr:`facts` are put together; ``None`` where there is no quote.
    """

    verdict: Verdict
    genuine: bool
    tcb_status: TcbStatus | None
    advisory_ids: tuple[str, ...]
    report: ReportBody | TdReport | None
    simulated: bool
    earliest_expiration: datetime | None
    evidence_digest: bytes | None
    checks: Sequence[Check]
    grants: Sequence[Grant] = ()
    findings: Recorded | None = field(default=None, repr=False, compare=False)

    @property
    def facts(self) -> Facts | None:
        """What was found out about the platform, put together when it is asked for."""
        return None if self.findings is None else self.findings.facts()

    @property
    def not_checked(self) -> tuple[str, ...]:
        """What the verdict does not say: a sentence for each thing that was not looked at."""
        return not_checked(self.report, self.facts, self.checks)

    @property
    def claims(self) -> Claims | TdClaims | None:
        """What genuine evidence says; ``None`` where ``report`` is."""
        match self.report:
            case None:
                return None
            case TdReport():
                return _td_claims(self.report)
            case _:
                return _enclave_claims(self.report)

    @property
    def refusals(self) -> tuple[Check, ...]:
        """The checks that did not pass: the reasons of a refusal."""
        if isinstance(self.checks, Trail):
            return self.checks.refused()
        return tuple(check for check in self.checks if not check.passed)

    def to_dict(self) -> dict[str, Any]:
        """The result in terms of JSON, with its version; bytes in hexadecimal."""
        return {
            "version": 1,
            "verdict": self.verdict.value,
            "genuine": self.genuine,
            "tcb_status": self.tcb_status.value if self.tcb_status else None,
            "advisory_ids": list(self.advisory_ids),
            "claims": claims_in_json(self.claims),
            "simulated": self.simulated,
            "earliest_expiration": self.earliest_expiration.isoformat() if self.earliest_expiration else None,
            "evidence_digest": self.evidence_digest.hex() if self.evidence_digest else None,
            "grants": [
                {
                    "what": grant.what,
                    "reason": grant.reason,
                    "until": grant.until.isoformat() if grant.until else None,
                }
                for grant in self.grants
            ],
            **facts_in_json(self.facts),
            "not_checked": list(self.not_checked),
            "checks": [asdict(check) for check in self.checks],
        }


def require_affirming(result: AttestationResult) -> None:
    """Let only affirmed evidence pass.

    Raises:
        RefusedError: With the first reason, and what to do about it and the names of the others as a hint.
    """
    if result.verdict is Verdict.AFFIRMING:
        return
    reasons = result.refusals
    if not reasons:
        raise RefusedError(
            "attestation", expected="every check to be made", got=f"{len(result.checks)} checks"
        )
    first, *others = reasons
    remedies = [_REMEDIES[first.name]] if first.name in _REMEDIES else []
    if others:
        remedies.append("Also refused: " + ", ".join(check.name for check in others) + ".")
    raise RefusedError(
        first.name,
        expected=first.expected,
        got=first.got,
        where=first.reference,
        hint=" ".join(remedies) or None,
    )


#: Name of the first check of an RA-TLS certificate.
EVIDENCE_CHECK = "certificate: evidence"
_FETCH_AGAIN = "Fetch the collateral again; most of Intel's is valid for 30 days."

# What to do about the refusals that an honest operator meets.
_REMEDIES = {
    EVIDENCE_CHECK: "This is no service of Casemate; name the port on which the workload itself listens.",
    Requirement.ENCLAVE_NAMED.title: (
        "Say which enclave is meant: --mrenclave, or --mrsigner with --isvprodid, or a --policy that names "
        "one."
    ),
    Requirement.QUOTE_FORMAT.title: "Is this a quote? Give it whole and as it was made, in binary.",
    Requirement.PCK_CHAIN_ROOT.title: (
        "It comes from another platform than one whose root is trusted here; "
        "a simulated one is accepted only where its own root is named."
    ),
    Requirement.ROOT_CRL_EXPIRY.title: _FETCH_AGAIN,
    Requirement.PCK_CRL_EXPIRY.title: _FETCH_AGAIN,
    Requirement.TCB_INFO_EXPIRY.title: _FETCH_AGAIN,
    Requirement.QE_IDENTITY_EXPIRY.title: _FETCH_AGAIN,
    Requirement.TCB_INFO_AGE.title: _FETCH_AGAIN,
    Requirement.QE_IDENTITY_AGE.title: _FETCH_AGAIN,
    Requirement.FMSPC.title: "The collateral is that of another kind of platform.",
    Requirement.TCB_STATUS.title: "Update the platform, or name the status in the policy.",
    Requirement.ADVISORIES.title: (
        "Update the platform, or name each advisory in the policy, with the reason why it does not concern "
        "this workload."
    ),
    Requirement.DEBUG.title: "The host can read this enclave; build it without debug.",
    Requirement.MRENCLAVE.title: "Another build: compare the bundles, or update the reference values.",
}


def _enclave_claims(report: ReportBody) -> Claims:
    return Claims(
        mrenclave=report.mrenclave,
        mrsigner=report.mrsigner,
        isvprodid=report.isvprodid,
        isvsvn=report.isvsvn,
        attributes=report.attributes,
        misc_select=report.misc_select,
        report_data=report.report_data,
    )


def _td_claims(report: TdReport) -> TdClaims:
    return TdClaims(
        mr_td=report.mr_td,
        rtmrs=(report.rtmr0, report.rtmr1, report.rtmr2, report.rtmr3),
        mr_config_id=report.mr_config_id,
        mr_owner=report.mr_owner,
        mr_owner_config=report.mr_owner_config,
        attributes=report.td_attributes,
        report_data=report.report_data,
    )


def claims_in_json(claims: Claims | TdClaims | None) -> dict[str, Any] | None:
    """Claims in terms of JSON; bytes in hexadecimal."""
    match claims:
        case None:
            return None
        case Claims():
            return {
                "mrenclave": claims.mrenclave.hex(),
                "mrsigner": claims.mrsigner.hex(),
                "isvprodid": claims.isvprodid,
                "isvsvn": claims.isvsvn,
                "attributes": claims.attributes.to_bytes().hex(),
                "misc_select": claims.misc_select.hex(),
                "debug": claims.debug,
                "report_data": claims.report_data.hex(),
            }
        case TdClaims():
            return {
                "mrtd": claims.mr_td.hex(),
                "rtmrs": [value.hex() for value in claims.rtmrs],
                "mrconfigid": claims.mr_config_id.hex(),
                "mrowner": claims.mr_owner.hex(),
                "mrownerconfig": claims.mr_owner_config.hex(),
                "attributes": f"{int(claims.attributes):016x}",
                "debug": claims.debug,
                "report_data": claims.report_data.hex(),
            }
