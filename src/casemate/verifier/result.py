"""The result of an appraisal: RFC 9334's attestation result, with every reason."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from casemate.errors import RefusedError
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.report import DEBUG, Attributes, MrEnclave, MrSigner
from casemate.verifier.requirements import Requirement


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
class AttestationResult:
    """What the verifier found.

    Attributes:
        verdict: Affirming only when every check of the procedure was made and has passed.
        tcb_status: Status of platform and quoting enclave together; ``None`` when it could not be determined.
        advisory_ids: Intel's advisories for their levels.
        claims: ``None`` unless the signatures from the root down to the enclave's report are right.
        simulated: The evidence is rooted in a simulated platform: it protects nothing.
        earliest_expiration: When the first of certificates, CRLs and documents expires; ``None`` when a check
            before them ended the appraisal.
        evidence_digest: SHA-256 of the signed part of the quote, 32 bytes: one value for one statement of the
            quoting enclave, whatever is done to its signatures. Hashes of the whole quote are not: ECDSA
            signatures can be changed into another valid one. ``None`` when the evidence is not a quote.
        checks: Every check that was made, in the order of the procedure.
    """

    verdict: Verdict
    tcb_status: TcbStatus | None
    advisory_ids: tuple[str, ...]
    claims: Claims | None
    simulated: bool
    earliest_expiration: datetime | None
    evidence_digest: bytes | None
    checks: tuple[Check, ...]

    @property
    def refusals(self) -> tuple[Check, ...]:
        """The checks that did not pass: the reasons of a refusal."""
        return tuple(check for check in self.checks if not check.passed)

    def to_dict(self) -> dict[str, Any]:
        """The result in terms of JSON, with its version; bytes in hexadecimal."""
        return {
            "version": 1,
            "verdict": self.verdict.value,
            "tcb_status": self.tcb_status.value if self.tcb_status else None,
            "advisory_ids": list(self.advisory_ids),
            "claims": _claims(self.claims) if self.claims else None,
            "simulated": self.simulated,
            "earliest_expiration": self.earliest_expiration.isoformat() if self.earliest_expiration else None,
            "evidence_digest": self.evidence_digest.hex() if self.evidence_digest else None,
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
_FETCH_AGAIN = "Fetch the collateral again; Intel's is valid for 30 days."

# What to do about the refusals that an honest operator meets.
_REMEDIES = {
    EVIDENCE_CHECK: "This is no service of Casemate; name the port on which the workload itself listens.",
    Requirement.POLICY.title: "Say which enclave is meant.",
    Requirement.QUOTE_FORMAT.title: "Give the quote whole and as it was made, in binary.",
    Requirement.PCK_CHAIN_ROOT.title: (
        "It comes from another platform than one whose root is trusted here; "
        "a simulated one is accepted only where its own root is named."
    ),
    Requirement.PCK_CRL_EXPIRY.title: _FETCH_AGAIN,
    Requirement.TCB_INFO_EXPIRY.title: _FETCH_AGAIN,
    Requirement.QE_IDENTITY_EXPIRY.title: _FETCH_AGAIN,
    Requirement.FMSPC.title: "The collateral is that of another kind of platform.",
    Requirement.TCB_STATUS.title: "Update the platform, or name the status in the policy.",
    Requirement.DEBUG.title: "The host can read this enclave; build it without debug.",
    Requirement.MRENCLAVE.title: "Another build: compare the bundles, or update the reference values.",
}


def _claims(claims: Claims) -> dict[str, Any]:
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
