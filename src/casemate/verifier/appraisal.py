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

from casemate.errors import FormatError
from casemate.formats.sgx.collateral import Collateral, EnclaveId, TcbInfoId
from casemate.formats.sgx.pck_identifier import PckIdentifier, is_identifier
from casemate.formats.sgx.quote import INTEL_QE_VENDOR_ID, PCK_CHAIN, Quote, Tee
from casemate.formats.sgx.report import ReportBody
from casemate.formats.sgx.td_report import TdReport
from casemate.verifier.checklist import Checklist, Record
from casemate.verifier.endorsements import Endorsements
from casemate.verifier.facts import Facts
from casemate.verifier.grants import Grant
from casemate.verifier.judge import Case, Judgement, judge_of
from casemate.verifier.memory import Memory
from casemate.verifier.platform import Platform
from casemate.verifier.policy import Freshness, Policy
from casemate.verifier.quoting_enclave import QuotingEnclave
from casemate.verifier.requirements import SETTLED, Requirement, Stage, required
from casemate.verifier.result import AttestationResult, Granted, Trail, Verdict
from casemate.verifier.roots import TrustRoots
from casemate.verifier.signatures import raw_signed_by
from casemate.verifier.tcb import Standing, stand

#: How many platforms a verifier remembers, and how many quoting enclaves of each. A platform makes a new
#: attestation key when its quoting enclave or its microcode is updated, and hardly else.
MOST_PLATFORMS: Final = 4096
MOST_QUOTING_ENCLAVES: Final = 16
_MOST_STANDINGS: Final = 64

_QUOTE_CHECKS: Final = len(required(Tee.SGX, Stage.QUOTE))


def appraise(
    evidence: bytes,
    *,
    endorsements: Collateral,
    trust_roots: TrustRoots,
    policy: Policy,
    at: datetime,
    report_data: bytes | None = None,
    pck_chain: bytes | None = None,
) -> AttestationResult:
    """Judge one quote at one instant; whoever has more of them keeps a :class:`Verifier`.

    Args:
        evidence: The quote.
        endorsements: Intel's collateral for the platform.
        trust_roots: The roots that are trusted.
        policy: What is accepted.
        at: The instant, with a time zone.
        report_data: The 64 bytes that the evidence must bind; ``None`` for those of the policy.
        pck_chain: See :meth:`Verifier.appraise`.
    """
    verifier = Verifier(Endorsements.of(endorsements, trust_roots), policy)
    return verifier.appraise(evidence, at, report_data, pck_chain)


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
        policy: Policy,
        *,
        platforms: Memory[_KnownPlatform] | None = None,
    ) -> None:
        self._endorsements = endorsements
        self._platforms = Memory(MOST_PLATFORMS) if platforms is None else platforms
        self._freshness = policy.strictest_freshness
        self._judges = {tee: judge_of(policy, tee) for tee in Tee}
        self._settled = {tee: _settle(policy, tee, endorsements, self._freshness) for tee in (*Tee, None)}
        self._about = {tee: _check_tee(tee, endorsements) for tee in Tee}
        self._suits = {tee: checks.has_made_all(len(SETTLED)) for tee, checks in self._settled.items()}

    def under(self, policy: Policy) -> Verifier:
        """A verifier with another policy, which shares what this one remembers."""
        return Verifier(self._endorsements, policy, platforms=self._platforms)

    def appraise(
        self,
        evidence: bytes,
        at: datetime,
        report_data: bytes | None = None,
        pck_chain: bytes | None = None,
    ) -> AttestationResult:
        """Judge a quote at one instant; a refusal is a value and carries every reason that could be found.

        A step that needs what an earlier step refused is not made, and its checks are missing from the
        result; with any check missing the verdict is not affirming.

        Args:
            evidence: The quote.
            at: The instant, with a time zone.
            report_data: The 64 bytes that the evidence must bind; ``None`` for those of the policy.
            pck_chain: The certificate chain of the PCK, PEM, for a quote that names it and does not bring it
                (certification data types 1 to 3); not used for any other. It is judged as one in a quote
                is. That it is the chain of this platform follows from the signature of its key.
        """
        found = Findings(self._endorsements)
        self._judge(found, evidence, at, report_data, pck_chain)
        return self._conclude(found, at)

    def _judge(
        self,
        found: Findings,
        evidence: bytes,
        at: datetime,
        report_data: bytes | None,
        pck_chain: bytes | None,
    ) -> None:
        """The steps, each of which needs what the one before has let pass."""
        quote = found.quote = _read_quote(found.of_quote, evidence, pck_chain)
        if quote is None:
            return
        tee = found.tee = quote.tee
        speaks = found.of_quote.take(self._about[tee])
        if pck_chain is None or quote.certification_type == PCK_CHAIN:
            pck_chain = quote.certification_data
        known = self._platform(pck_chain)
        found.platform = known.platform
        if known.platform.pck is None:
            return
        enclave = found.quoting_enclave = self._quoting_enclave(known, quote, speaks=speaks)
        if not enclave.binds_key or not _check_signature(found.of_quote, quote, enclave.key):
            return
        report = found.report = quote.report
        if speaks:
            found.standing = self._standing(known, enclave, report)
        found.judgement = self._judges[tee].judge(
            Case(report, found.standing, known.platform.extension, at, report_data)
        )

    def _platform(self, pck_chain: bytes) -> _KnownPlatform:
        """The platform with this chain: the one that is remembered, or a new one."""
        digest = hashlib.sha256(pck_chain).digest()
        known = self._platforms.get(digest)
        if known is None:
            platform = Platform.of(pck_chain, self._endorsements)
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
        freshness = self._freshness
        tee = found.tee
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
            and self._suits[tee]
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
            checks=Trail((endorsements.records, self._settled[tee].records), found, validity, at, freshness),
            grants=Granted(found, validity, at, freshness),
            findings=found,
        )


class Findings:
    """What an appraisal has found so far.

    Attributes:
        endorsements: What the manufacturer says.
        of_quote: The checks of the quote itself.
        judgement: What the policy says of it; ``None`` where there is no report.
        quote: The quote; ``None`` unless it can be read.
        tee: What is quoted.
        platform: Its platform; ``None`` unless the quote brings a certificate chain.
        quoting_enclave: Its quoting enclave; ``None`` unless the platform is trusted.
        report: What it says; ``None`` unless every signature up to it is right.
        standing: How its platform stands; ``None`` unless the endorsements speak of it.
    """

    __slots__ = (
        "endorsements",
        "judgement",
        "of_quote",
        "platform",
        "quote",
        "quoting_enclave",
        "report",
        "standing",
        "tee",
    )

    def __init__(self, endorsements: Endorsements) -> None:
        self.endorsements = endorsements
        self.of_quote = Checklist()
        self.judgement: Judgement | None = None
        self.quote: Quote | None = None
        self.tee: Tee | None = None
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
        return self.judgement is not None and self.judgement.met

    def records(self) -> Iterator[Record]:
        """Every check that was made."""
        yield from self.of_quote.records
        for part in (self.platform, self.quoting_enclave, self.standing):
            if part is not None:
                yield from part.records
        if self.judgement is not None:
            yield from self.judgement.records()

    def grants(self) -> tuple[Grant, ...]:
        """What the policy accepted that is refused otherwise."""
        return () if self.judgement is None else self.judgement.grants()

    def facts(self) -> Facts:
        """What was found out about the platform."""
        return Facts.of(self.endorsements, self.platform, self.quoting_enclave, self.report, self.standing)


def _read_quote(checks: Checklist, evidence: bytes, pck_chain: bytes | None) -> Quote | None:
    """4.1.2.4.2: the quote, once it is one of Intel's quoting enclave and its certificates are at hand."""
    quote = checks.read(Requirement.QUOTE_FORMAT, Quote.parse, evidence)
    if quote is None:
        return None
    vendor = quote.signed[_VENDOR]
    checks.require(
        Requirement.QE_VENDOR,
        passed=vendor == INTEL_QE_VENDOR_ID,
        expected=_INTEL,
        got=vendor,
    )
    if quote.certification_type == PCK_CHAIN:
        checks.require(Requirement.CERTIFICATION_DATA, passed=True, expected=_CHAIN, got=PCK_CHAIN)
    else:
        _require_identifier(checks, quote, pck_chain)
    return quote if checks.passed else None


def _require_identifier(checks: Checklist, quote: Quote, pck_chain: bytes | None) -> None:
    """A quote without a chain names one that is at hand."""
    kind = quote.certification_type
    named = f"{kind} ({_KINDS[kind]})" if kind in _KINDS else str(kind)
    expected = _CHAIN
    fits = is_identifier(kind)
    if fits:
        expected = f"{_CHAIN}, or {_FETCHED}"
        try:
            PckIdentifier.parse(kind, quote.certification_data)
        except FormatError as error:
            fits, named = False, f"{named} of {error.got}"
            expected = f"{_CHAIN}, or {kind} with {error.expected}"
    checks.require(
        Requirement.CERTIFICATION_DATA,
        passed=fits and pck_chain is not None,
        expected=expected,
        got=named,
    )


_VENDOR = slice(12, 28)
_INTEL = f"{INTEL_QE_VENDOR_ID.hex()} (Intel)"
_CHAIN = f"{PCK_CHAIN} (certificate chain of the PCK)"
_FETCHED = "1 to 3 (PPID) and the chain that a collateral service has for it (--pccs)"
_KINDS: Final = {
    1: "PPID in the clear",
    2: "PPID encrypted with RSA-2048",
    3: "PPID encrypted with RSA-3072",
    4: "certificate of the PCK without its chain",
    6: "report of the quoting enclave",
    7: "platform manifest",
}


def _check_tee(tee: Tee, endorsements: Endorsements) -> Checklist:
    """4.1.2.4.9 and .14: TCB info and QE identity speak of the kind of enclave that a quote is about."""
    checks = Checklist()
    info, identity = endorsements.tcb_info, endorsements.qe_identity
    if info is None or identity is None:
        checks.passed = False
        return checks
    subject, quoting_enclave = _NAMES[tee]
    checks.require(Requirement.TCB_INFO_ID, passed=info.id is subject, expected=subject, got=info.id)
    checks.require(
        Requirement.QE_IDENTITY_ID,
        passed=identity.id is quoting_enclave,
        expected=quoting_enclave,
        got=identity.id,
    )
    return checks


#: What TCB info and QE identity call the kinds of enclave.
_NAMES = {Tee.SGX: (TcbInfoId.SGX, EnclaveId.QE), Tee.TDX: (TcbInfoId.TDX, EnclaveId.TD_QE)}


def _check_signature(checks: Checklist, quote: Quote, key: EllipticCurvePublicKey | None) -> bool:
    """4.1.2.4.16: the attestation key has signed the quote."""
    return checks.require_signature(
        Requirement.QUOTE_SIGNATURE,
        right=key is not None and raw_signed_by(key, quote.signature, quote.signed),
        by="the attestation key over header and report",
    )


def _settle(policy: Policy, tee: Tee | None, endorsements: Endorsements, freshness: Freshness) -> Checklist:
    """What depends on the policy and the endorsements alone; ``None``: for evidence that cannot be read."""
    checks = Checklist()
    _check_policy(checks, policy, tee)
    _check_numbers(checks, endorsements, freshness)
    return checks


def _check_policy(checks: Checklist, policy: Policy, tee: Tee | None) -> None:
    """A policy that names no enclave accepts none, and one that names no trust domain accepts none."""
    named = [kind for kind in Tee if policy.names(kind) and not policy.excludes(kind)]
    passed = bool(named) if tee is None else tee in named
    checks.require(
        Requirement.ENCLAVE_NAMED,
        passed=passed,
        expected=_IDENTITIES[tee if named else None],
        got="one of them" if passed else f"only {_IDENTITIES[named[0]]}" if named else "neither",
    )


#: What has to be named of each kind.
_IDENTITIES: Final = {
    Tee.SGX: "MRENCLAVE, or MRSIGNER with ISVPRODID",
    Tee.TDX: "MRTD",
    None: "MRENCLAVE, or MRSIGNER with ISVPRODID, or MRTD",
}


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
