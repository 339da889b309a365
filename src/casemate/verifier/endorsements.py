"""What the manufacturer says, verified once: CRLs, TCB info and QE identity under one trusted root.

QVL ``VerifyPCKCertificate`` (the CRLs), ``VerifyTCBInfo`` and ``VerifyEnclaveIdentity``. Signatures are
checked over the very bytes that came, and before anything in them is read. Nothing here depends on a quote or
on the time: when the documents hold is kept in :attr:`Endorsements.validity`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from casemate.formats.certificates import Certificate, RevocationList
from casemate.formats.sgx.collateral import Collateral, EnclaveIdentity, TcbInfo
from casemate.formats.sgx.quote import Tee
from casemate.verifier.chains import (
    CRL_CHAIN,
    PCK_CRL,
    QE_CHAIN,
    ROOT_CRL,
    TCB_CHAIN,
    Chain,
    ChainRule,
    chain_window,
    check_revocation,
    crl_window,
    judge_chain,
    read_chain,
    verify_crl,
)
from casemate.verifier.checklist import Checklist, Record
from casemate.verifier.requirements import Requirement, Stage, required
from casemate.verifier.roots import TrustRoot, TrustRoots
from casemate.verifier.signatures import raw_signed_by
from casemate.verifier.validity import Validity, Window


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Endorsements:
    """Verified collateral. What was refused is ``None``, and ``records`` say why.

    Attributes:
        trust_roots: The roots that were trusted.
        anchor: The one under which the collateral stands; ``None`` when it stands under none.
        crl_authority: The certificate of the PCK CRL's issuer.
        root_crl: CRL of the root.
        pck_crl: CRL of the PCK's issuer.
        tcb_info: TCB info.
        qe_identity: Identity of the quoting enclave.
        validity: When all of it holds.
        records: Every check that was made.
        complete: Whether every check was made and has passed.
    """

    trust_roots: TrustRoots
    anchor: TrustRoot | None
    crl_authority: Certificate | None
    root_crl: RevocationList | None
    pck_crl: RevocationList | None
    tcb_info: TcbInfo | None
    qe_identity: EnclaveIdentity | None
    validity: Validity
    records: tuple[Record, ...]
    complete: bool

    @classmethod
    def of(cls, collateral: Collateral, trust_roots: TrustRoots) -> Endorsements:
        """Verify collateral; a refusal is recorded, not raised.

        Args:
            collateral: As Intel's service gave it.
            trust_roots: The roots that are trusted. The documents have to stand under one of them, all under
                the same.
        """
        checks = Checklist()
        windows: list[Window] = []
        chains = _trusted_chains(checks, windows, collateral, trust_roots)
        crl_chain, tcb_chain, qe_chain = (chains.get(rule) for rule in (CRL_CHAIN, TCB_CHAIN, QE_CHAIN))
        root = next((chain[-1] for chain in chains.values()), None)
        authority = crl_chain[0] if crl_chain else None
        root_crl, pck_crl = _verify_crls(checks, windows, collateral, root, authority)
        tcb_info = qe_identity = None
        if tcb_chain:
            check_revocation(checks, Requirement.TCB_SIGNER_REVOKED, tcb_chain[0], root_crl)
            tcb_info = verify_tcb_info(checks, windows, collateral, tcb_chain[0])
        if qe_chain:
            check_revocation(checks, Requirement.QE_SIGNER_REVOKED, qe_chain[0], root_crl)
            qe_identity = verify_qe_identity(checks, windows, collateral, qe_chain[0])
        return cls(
            trust_roots=trust_roots,
            anchor=None if root is None else trust_roots.find(root.point),
            crl_authority=authority,
            root_crl=root_crl,
            pck_crl=pck_crl,
            tcb_info=tcb_info,
            qe_identity=qe_identity,
            validity=Validity.of(windows),
            records=tuple(checks.records),
            complete=checks.has_made(required(Tee.SGX, Stage.ENDORSEMENTS)),
        )


def _trusted_chains(
    checks: Checklist, windows: list[Window], collateral: Collateral, trust_roots: TrustRoots
) -> Mapping[ChainRule, Chain]:
    """The chains that are trusted, all under one root: the one that most of them have.

    A document under another root is refused even where that root is trusted as well: what one root vouches
    for says nothing about the platforms of another.
    """
    pems = {
        CRL_CHAIN: collateral.pck_crl_issuer_chain,
        TCB_CHAIN: collateral.tcb_info_issuer_chain,
        QE_CHAIN: collateral.qe_identity_issuer_chain,
    }
    read = {rule: read_chain(checks, rule, pem) for rule, pem in pems.items()}
    chains = {rule: chain for rule, chain in read.items() if chain is not None}
    points = Counter(chain[-1].point for chain in chains.values() if trust_roots.find(chain[-1].point))
    anchor = trust_roots.find(points.most_common(1)[0][0]) if points else None
    under = trust_roots if anchor is None else TrustRoots(roots=(anchor,))
    windows.extend(chain_window(rule, chain) for rule, chain in chains.items())
    return {rule: chain for rule, chain in chains.items() if judge_chain(checks, rule, chain, under)}


def _verify_crls(
    checks: Checklist,
    windows: list[Window],
    collateral: Collateral,
    root: Certificate | None,
    authority: Certificate | None,
) -> tuple[RevocationList | None, RevocationList | None]:
    """The CRLs of the root and of the PCK's issuer."""
    found: list[RevocationList | None] = []
    for rule, data, issuer in (
        (ROOT_CRL, collateral.root_ca_crl, root),
        (PCK_CRL, collateral.pck_crl, authority),
    ):
        crl = None if issuer is None else verify_crl(checks, rule, data, issuer)
        if crl is not None:
            windows.append(crl_window(rule, crl))
        found.append(crl)
    return found[0], found[1]


def verify_tcb_info(
    checks: Checklist, windows: list[Window], collateral: Collateral, signer: Certificate
) -> TcbInfo | None:
    """TCB info, once it is signed and says what it says in a way that is understood."""
    if not checks.require_signature(
        Requirement.TCB_INFO_SIGNATURE,
        right=raw_signed_by(signer.public_key, collateral.tcb_info_signature, collateral.tcb_info),
        by=signer.common_name,
    ):
        return None
    info = checks.read(Requirement.TCB_INFO_FORMAT, TcbInfo.parse, collateral.tcb_info)
    if info is None:
        return None
    windows.append(
        Window(
            Requirement.TCB_INFO_BEGUN,
            Requirement.TCB_INFO_EXPIRY,
            info.issue_date,
            info.next_update,
            Requirement.TCB_INFO_AGE,
        )
    )
    usable = (
        checks.require(Requirement.TCB_INFO_TYPE, passed=info.tcb_type == 0, expected="0", got=info.tcb_type),
        _each_once(
            checks,
            Requirement.TCB_INFO_DUPLICATES,
            [(level.sgx_components, level.pce_svn, level.tdx_components) for level in info.levels],
        ),
    )
    return info if all(usable) else None


def verify_qe_identity(
    checks: Checklist, windows: list[Window], collateral: Collateral, signer: Certificate
) -> EnclaveIdentity | None:
    """QE identity, once it is signed and says what it says in a way that is understood."""
    if not checks.require_signature(
        Requirement.QE_IDENTITY_SIGNATURE,
        right=raw_signed_by(signer.public_key, collateral.qe_identity_signature, collateral.qe_identity),
        by=signer.common_name,
    ):
        return None
    identity = checks.read(Requirement.QE_IDENTITY_FORMAT, EnclaveIdentity.parse, collateral.qe_identity)
    if identity is None:
        return None
    windows.append(
        Window(
            Requirement.QE_IDENTITY_BEGUN,
            Requirement.QE_IDENTITY_EXPIRY,
            identity.issue_date,
            identity.next_update,
            Requirement.QE_IDENTITY_AGE,
        )
    )
    unique = _each_once(
        checks, Requirement.QE_IDENTITY_DUPLICATES, [level.isvsvn for level in identity.levels]
    )
    return identity if unique else None


def _each_once(checks: Checklist, requirement: Requirement, levels: Sequence[object]) -> bool:
    """A level that stands twice could have two statuses."""
    return checks.require(
        requirement,
        passed=len(set(levels)) == len(levels),
        expected=f"{len(levels)} different levels",
        got=f"{len(set(levels))} different levels",
    )
