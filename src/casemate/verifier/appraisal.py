"""The appraisal procedure, from bytes to an attestation result.

It follows the driver of Intel's Quote Verification Library and its ``VerifyQuote`` for SGX and TDX quotes of
versions 3 to 5, and is stricter where that library is lax: bytes after the quote or after a certificate
chain, JSON that was changed without changing its meaning, validity that has not begun, and expired
endorsements are refused, and so are enclaves and trust domains that their host can read.

What is verified once serves many quotes. :class:`~casemate.verifier.endorsements.Endorsements` hold what the
manufacturer says; a :class:`Verifier` remembers, by hash, the platforms and quoting enclaves that it found
genuine under them, and forgets them with them. What depends on the quote is judged for each quote anew, and
everything that depends on the time at each instant.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from casemate.formats.sgx.collateral import Collateral, EnclaveId, TcbInfoId, TcbStatus
from casemate.formats.sgx.quote import INTEL_QE_VENDOR_ID, PCK_CHAIN, Quote, Tee
from casemate.formats.sgx.report import ReportBody
from casemate.formats.sgx.td_report import TdReport
from casemate.verifier.checklist import Checklist, Record
from casemate.verifier.enclave import check_report
from casemate.verifier.endorsements import Endorsements
from casemate.verifier.memory import Memory
from casemate.verifier.platform import Platform
from casemate.verifier.policy import AppraisalPolicy, Freshness
from casemate.verifier.quoting_enclave import QuotingEnclave
from casemate.verifier.requirements import Requirement, Stage, required
from casemate.verifier.result import AttestationResult, Trail, Verdict
from casemate.verifier.roots import TrustRoots
from casemate.verifier.signatures import raw_signed_by
from casemate.verifier.tcb import Standing, stand

#: How many platforms a verifier remembers, and how many quoting enclaves of each. A platform makes a new
#: attestation key when its quoting enclave or its microcode is updated, and hardly else.
MOST_PLATFORMS: Final = 4096
MOST_QUOTING_ENCLAVES: Final = 16
_MOST_STANDINGS: Final = 64

_QUOTE_CHECKS: Final = len(required(Tee.SGX, Stage.QUOTE))
# Three checks of the policy do not depend on the evidence and are made once.
_SETTLED_CHECKS: Final = 3
_ENCLAVE_CHECKS: Final = len(required(Tee.SGX, Stage.POLICY)) - _SETTLED_CHECKS
_TD_CHECKS: Final = len(required(Tee.TDX, Stage.POLICY)) - _SETTLED_CHECKS


def appraise(
    evidence: bytes,
    *,
    endorsements: Collateral,
    trust_roots: TrustRoots,
    policy: AppraisalPolicy,
    at: datetime,
) -> AttestationResult:
    """Judge one quote at one instant; whoever has more of them keeps a :class:`Verifier`.

    Args:
        evidence: The quote.
        endorsements: Intel's collateral for the platform.
        trust_roots: The roots that are trusted.
        policy: What is accepted.
        at: The instant, with a time zone.
    """
    return Verifier(Endorsements.of(endorsements, trust_roots), policy).appraise(evidence, at)


@dataclass(frozen=True, slots=True, eq=False)
class _KnownPlatform:
    """A platform, the quoting enclaves that it has certified, and how it stands with them."""

    platform: Platform
    quoting_enclaves: Memory[QuotingEnclave]
    standings: Memory[Standing]


class Verifier:
    """Judges quotes under one set of endorsements and one policy. Safe to use from several threads.

    Args:
        endorsements: What the manufacturer says.
        policy: What is accepted.
        platforms: What a verifier under the same endorsements remembers; see :meth:`under`.
    """

    def __init__(
        self,
        endorsements: Endorsements,
        policy: AppraisalPolicy,
        *,
        platforms: Memory[_KnownPlatform] | None = None,
    ) -> None:
        self._endorsements = endorsements
        self._platforms = Memory(MOST_PLATFORMS) if platforms is None else platforms
        self._policy = policy
        self._accepted = policy.accepted_statuses - {TcbStatus.REVOKED}
        self._settled = Checklist()
        _check_policy(self._settled, policy)
        _check_numbers(self._settled, endorsements, policy.freshness)

    def under(self, policy: AppraisalPolicy) -> Verifier:
        """A verifier with another policy, which shares what this one remembers."""
        return Verifier(self._endorsements, policy, platforms=self._platforms)

    def appraise(self, evidence: bytes, at: datetime, report_data: bytes | None = None) -> AttestationResult:
        """Judge a quote at one instant; a refusal is a value and carries every reason that could be found.

        A step that needs what an earlier step refused is not made, and its checks are missing from the
        result; with any check missing the verdict is not affirming.

        Args:
            evidence: The quote.
            at: The instant, with a time zone.
            report_data: The 64 bytes that the evidence must bind; ``None`` for those of the policy.
        """
        found = Findings()
        self._judge(found, evidence, report_data)
        return self._conclude(found, at)

    def _judge(self, found: Findings, evidence: bytes, report_data: bytes | None) -> None:
        """The steps, each of which needs what the one before has let pass."""
        quote = found.quote = _read_quote(found.of_quote, evidence)
        if quote is None:
            return
        speaks = _check_tee(found.of_quote, quote, self._endorsements)
        known = self._platform(quote)
        found.platform = known.platform
        if known.platform.pck is None:
            return
        enclave = found.quoting_enclave = self._quoting_enclave(known, quote, speaks=speaks)
        if not enclave.binds_key or not _check_signature(found.of_quote, quote, enclave.key):
            return
        report = found.report = quote.report
        if speaks:
            standing = found.standing = self._standing(known, enclave, report)
            if standing is not None and standing.status is not None:
                _check_status(found.of_policy, standing, self._accepted)
        policy = self._policy
        check_report(
            found.of_policy, report, policy, policy.report_data if report_data is None else report_data
        )

    def _platform(self, quote: Quote) -> _KnownPlatform:
        """The platform of a quote: the one that is remembered, or a new one."""
        digest = hashlib.sha256(quote.certification_data).digest()
        known = self._platforms.get(digest)
        if known is None:
            platform = Platform.of(quote.certification_data, self._endorsements)
            known = _KnownPlatform(platform, Memory(MOST_QUOTING_ENCLAVES), Memory(_MOST_STANDINGS))
            if platform.complete:
                self._platforms.keep(digest, known)
        return known

    def _quoting_enclave(self, known: _KnownPlatform, quote: Quote, *, speaks: bool) -> QuotingEnclave:
        """The quoting enclave of a quote: the one that is remembered, or a new one."""
        digest = hashlib.sha256(
            quote.attestation_key + quote.qe_report + quote.qe_report_signature + quote.qe_auth_data
        ).digest()
        enclave = known.quoting_enclaves.get(digest)
        if enclave is None or not speaks:
            identity = self._endorsements.qe_identity if speaks else None
            enclave = QuotingEnclave.of(quote, known.platform, identity)
            if enclave.complete:
                known.quoting_enclaves.keep(digest, enclave)
        return enclave

    def _standing(
        self, known: _KnownPlatform, enclave: QuotingEnclave, report: ReportBody | TdReport
    ) -> Standing | None:
        """How platform, quoting enclave and TDX module stand; ``None`` without what would say it."""
        identity, platform = self._endorsements.qe_identity, known.platform
        if not (platform.extension and platform.tcb_info and identity and enclave.report):
            return None
        domain = report if isinstance(report, TdReport) else None
        isvsvn = enclave.report.isvsvn
        key = isvsvn.to_bytes(2, "little") + (b"" if domain is None else _versions_of(domain))
        standing = known.standings.get(key)
        if standing is None:
            standing = stand(platform.extension, platform.tcb_info, identity, isvsvn, domain)
            known.standings.keep(key, standing)
        return standing

    def _conclude(self, found: Findings, at: datetime) -> AttestationResult:
        """The result: affirming only when every check of the procedure was made and has passed."""
        endorsements, platform, standing = self._endorsements, found.platform, found.standing
        validity = endorsements.validity if platform is None else platform.validity
        freshness = self._policy.freshness
        genuine = (
            endorsements.complete
            and found.evidence_is_genuine
            and validity.holds(at, freshness)
            and standing is not None
            and standing.genuine
        )
        affirming = (
            genuine
            and standing is not None
            and standing.complete
            and self._settled.has_made_all(_SETTLED_CHECKS)
            and found.policy_is_met
        )
        return AttestationResult(
            verdict=Verdict.AFFIRMING if affirming else Verdict.CONTRAINDICATED,
            genuine=genuine,
            tcb_status=standing.status if standing else None,
            advisory_ids=standing.advisory_ids if standing else (),
            report=found.report,
            simulated=platform is not None and platform.anchor is not None and platform.anchor.simulated,
            earliest_expiration=validity.ends if validity.windows else None,
            evidence_digest=None if found.quote is None else hashlib.sha256(found.quote.signed).digest(),
            checks=Trail((endorsements.records, self._settled.records), found, validity, at, freshness),
        )


class Findings:
    """What an appraisal has found so far.

    Attributes:
        of_quote: The checks of the quote itself.
        of_policy: The checks of what it says.
        quote: The quote; ``None`` unless it can be read.
        platform: Its platform; ``None`` unless the quote brings a certificate chain.
        quoting_enclave: Its quoting enclave; ``None`` unless the platform is trusted.
        report: What it says; ``None`` unless every signature up to it is right.
        standing: How its platform stands; ``None`` unless the endorsements speak of it.
    """

    __slots__ = ("of_policy", "of_quote", "platform", "quote", "quoting_enclave", "report", "standing")

    def __init__(self) -> None:
        self.of_quote = Checklist()
        self.of_policy = Checklist()
        self.quote: Quote | None = None
        self.platform: Platform | None = None
        self.quoting_enclave: QuotingEnclave | None = None
        self.report: ReportBody | TdReport | None = None
        self.standing: Standing | None = None

    @property
    def evidence_is_genuine(self) -> bool:
        """Whether every check of quote, platform and quoting enclave was made and has passed."""
        return (
            self.of_quote.has_made_all(_QUOTE_CHECKS)
            and self.platform is not None
            and self.platform.complete
            and self.quoting_enclave is not None
            and self.quoting_enclave.complete
        )

    @property
    def policy_is_met(self) -> bool:
        """Whether every check of what the evidence says was made and has passed."""
        return self.of_policy.has_made_all(
            _TD_CHECKS if isinstance(self.report, TdReport) else _ENCLAVE_CHECKS
        )

    def records(self) -> Iterator[Record]:
        """Every check that was made."""
        yield from self.of_quote.records
        for part in (self.platform, self.quoting_enclave, self.standing):
            if part is not None:
                yield from part.records
        yield from self.of_policy.records


def _read_quote(checks: Checklist, evidence: bytes) -> Quote | None:
    """4.1.2.4.2: the quote, once it is one of Intel's quoting enclave and brings its certificates."""
    quote = checks.read(Requirement.QUOTE_FORMAT, Quote.parse, evidence)
    if quote is None:
        return None
    vendor, kind = quote.signed[_VENDOR], quote.certification_type
    checks.require(
        Requirement.QE_VENDOR,
        passed=vendor == INTEL_QE_VENDOR_ID,
        expected=_INTEL,
        got=vendor,
    )
    checks.require(
        Requirement.CERTIFICATION_DATA,
        passed=kind == PCK_CHAIN,
        expected=_CHAIN,
        got=kind,
    )
    return quote if checks.passed else None


_VENDOR = slice(12, 28)
_INTEL = f"{INTEL_QE_VENDOR_ID.hex()} (Intel)"
_CHAIN = f"{PCK_CHAIN} (certificate chain of the PCK)"


def _check_tee(checks: Checklist, quote: Quote, endorsements: Endorsements) -> bool:
    """4.1.2.4.9 and .14: TCB info and QE identity speak of the kind of enclave that the quote is about."""
    info, identity = endorsements.tcb_info, endorsements.qe_identity
    if info is None or identity is None:
        return False
    tee, quoting_enclave = _NAMES[quote.tee]
    same_tee = checks.require(Requirement.TCB_INFO_ID, passed=info.id is tee, expected=tee, got=info.id)
    same_enclave = checks.require(
        Requirement.QE_IDENTITY_ID,
        passed=identity.id is quoting_enclave,
        expected=quoting_enclave,
        got=identity.id,
    )
    return same_tee and same_enclave


#: What TCB info and QE identity call the kinds of enclave.
_NAMES = {Tee.SGX: (TcbInfoId.SGX, EnclaveId.QE), Tee.TDX: (TcbInfoId.TDX, EnclaveId.TD_QE)}


def _check_signature(checks: Checklist, quote: Quote, key: EllipticCurvePublicKey | None) -> bool:
    """4.1.2.4.16: the attestation key has signed the quote."""
    return checks.require_signature(
        Requirement.QUOTE_SIGNATURE,
        right=key is not None and raw_signed_by(key, quote.signature, quote.signed),
        by="the attestation key over header and report",
    )


def _check_status(checks: Checklist, standing: Standing, accepted: frozenset[TcbStatus]) -> None:
    """Whether the policy accepts the status. Revoked is never accepted."""
    checks.require(
        Requirement.TCB_STATUS,
        passed=standing.status in accepted,
        expected=lambda: " or ".join(sorted(word.value for word in accepted)) or _ACCEPTS_NONE,
        got=lambda: f"{standing.status.value if standing.status else None} ({standing.in_words})",
    )


_ACCEPTS_NONE = "none (the policy accepts none)"


def _check_policy(checks: Checklist, policy: AppraisalPolicy) -> None:
    """A policy that names no enclave accepts none."""
    checks.require(
        Requirement.ENCLAVE_NAMED,
        passed=policy.names_an_enclave,
        expected="MRENCLAVE, or MRSIGNER with ISVPRODID, or MRTD",
        got="one of them" if policy.names_an_enclave else "neither",
    )


def _check_numbers(checks: Checklist, endorsements: Endorsements, freshness: Freshness) -> None:
    """The endorsements know the TCB recovery that the policy asks for."""
    least = freshness.min_evaluation_number
    for requirement, document in (
        (Requirement.TCB_NUMBER, endorsements.tcb_info),
        (Requirement.QE_NUMBER, endorsements.qe_identity),
    ):
        if document is not None:
            number = document.tcb_evaluation_data_number
            checks.require(
                requirement,
                passed=least is None or number >= least,
                expected=None if least is None else f"at least {least}",
                got=number,
            )


def _versions_of(domain: TdReport) -> bytes:
    """What the standing of a trust domain depends on besides its platform."""
    return b"".join(
        (
            domain.tee_tcb_svn,
            domain.mr_signer_seam,
            domain.seam_attributes,
            domain.tee_tcb_svn2 or b"",
        )
    )
