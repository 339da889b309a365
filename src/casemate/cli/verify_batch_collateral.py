"""The collateral that the lines of a batch name, with its chains, verified once for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from casemate.errors import FormatError
from casemate.formats.sgx.collateral import Collateral
from casemate.formats.sgx.collateral_files import ENCLAVE_IDENTITY, TCB_INFO, SignedDocument, crl_in
from casemate.verifier.appraisal import Verifier
from casemate.verifier.endorsements import Endorsements
from casemate.verifier.issuers import IssuerChain, Issuers, at_instant
from casemate.verifier.memory import Memory
from casemate.verifier.policy import AppraisalPolicy, Policy
from casemate.verifier.requirements import Requirement
from casemate.verifier.roots import TrustRoots

#: Platforms that are remembered under one set, with one choice of chains.
_MOST_PLATFORMS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Collateral whose chains depend on the instant.

    Attributes:
        collateral: All of it, with no chains where there are candidates.
        chains: Candidates, by the field of the collateral.
    """

    collateral: Collateral
    chains: Mapping[str, tuple[IssuerChain, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifiers:
    """What judges quotes under one set of collateral.

    Attributes:
        collateral: With its chains.
        plain: With no policy: what it says is genuine holds whatever is accepted.
        policed: With the policy of the batch; ``None`` where it has none.
    """

    collateral: Collateral
    plain: Verifier
    policed: Verifier | None


class CollateralSet:
    """One set of collateral, verified with the chains that fit the instant.

    Args:
        proposal: The collateral.
        roots: The roots that are trusted.
        policy: That of the batch.
    """

    __slots__ = ("_memories", "_policy", "_proposal", "_roots", "_verifiers")

    def __init__(self, proposal: Proposal, roots: TrustRoots, policy: Policy | None) -> None:
        self._proposal = proposal
        self._roots = roots
        self._policy = policy
        self._verifiers: dict[tuple[bytes, ...], Verifiers] = {}
        self._memories: list[Sized] = []

    @property
    def platforms(self) -> int:
        """How many platforms are remembered."""
        return sum(len(platforms) for platforms in self._memories)

    def verifiers(self, at: datetime) -> Verifiers:
        """The verifiers under this collateral; there are as many as there are ways to choose chains."""
        fields = self._proposal.chains
        chosen = tuple([at_instant(chains, at) for chains in fields.values()])
        known = self._verifiers.get(chosen)
        if known is None:
            collateral = replace(self._proposal.collateral, **dict(zip(fields, chosen, strict=True)))
            platforms: Memory[Any] = Memory(_MOST_PLATFORMS)
            plain = Verifier(Endorsements.of(collateral, self._roots), AppraisalPolicy(), platforms=platforms)
            policed = None if self._policy is None else plain.under(self._policy)
            known = Verifiers(collateral=collateral, plain=plain, policed=policed)
            self._verifiers[chosen] = known
            self._memories.append(platforms)
        return known


def propose(contents: Sequence[bytes], issuers: Issuers) -> Proposal:
    """Collateral, and the chains under which it may stand.

    Args:
        contents: Of one file with all of it, or of four: TCB info, QE identity, CRLs of the root and of the
            PCK's issuer.
        issuers: From which chains are built; a file with all of it brings its own.

    Raises:
        FormatError: A document is not what Intel's service answers.
    """
    if len(contents) == 1:
        return Proposal(collateral=Collateral.parse_json(contents[0]), chains={})
    tcb_info = _document(contents[0], TCB_INFO, Requirement.TCB_INFO_FORMAT)
    identity = _document(contents[1], ENCLAVE_IDENTITY, Requirement.QE_IDENTITY_FORMAT)
    pck_crl = crl_in(contents[3])
    issuers = issuers.and_also((*tcb_info.certificates, *identity.certificates))
    return Proposal(
        collateral=Collateral(
            pck_crl_issuer_chain=b"",
            root_ca_crl=crl_in(contents[2]),
            pck_crl=pck_crl,
            tcb_info_issuer_chain=b"",
            tcb_info=tcb_info.document,
            tcb_info_signature=tcb_info.signature,
            qe_identity_issuer_chain=b"",
            qe_identity=identity.document,
            qe_identity_signature=identity.signature,
        ),
        chains={
            "pck_crl_issuer_chain": issuers.of_crl(pck_crl),
            "tcb_info_issuer_chain": issuers.of_document(tcb_info.document, tcb_info.signature),
            "qe_identity_issuer_chain": issuers.of_document(identity.document, identity.signature),
        },
    )


def _document(data: bytes, member: str, step: Requirement) -> SignedDocument:
    try:
        return SignedDocument.parse(data, member)
    except FormatError as error:
        raise FormatError(step.title, expected="what its format allows", got=str(error)) from error
