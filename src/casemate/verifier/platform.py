"""The platform: its PCK certificate chain, verified once under the endorsements that speak of it.

QVL ``VerifyPCKCertificate``, and ``VerifyQuote`` sections 4.1.2.4.4, .6, .7 and .10.
"""

from __future__ import annotations

from dataclasses import dataclass

from casemate.formats.certificates import Certificate, RevocationList
from casemate.formats.sgx.collateral import TcbInfo
from casemate.formats.sgx.pck import PckExtension
from casemate.formats.sgx.quote import Tee
from casemate.verifier.chains import (
    PCK_CHAIN,
    Chain,
    chain_window,
    check_revocation,
    judge_chain,
    read_chain,
)
from casemate.verifier.checklist import Checklist, Record
from casemate.verifier.endorsements import Endorsements
from casemate.verifier.requirements import Requirement, Stage, required
from casemate.verifier.roots import TrustRoot, TrustRoots
from casemate.verifier.validity import Validity


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Platform:
    """A platform, by the certificate of its provisioning certification key.

    Attributes:
        endorsements: Under which it was judged.
        pck: Its certificate; ``None`` when the chain is not trusted.
        authority: The name of whoever has issued it, likewise.
        anchor: The root that vouches for it.
        extension: What the certificate says about the platform.
        tcb_info: TCB info, once it speaks of this platform.
        validity: When the chain and the endorsements hold, together.
        records: Every check that was made.
        complete: Whether every check was made and has passed.
    """

    endorsements: Endorsements
    pck: Certificate | None
    authority: str | None
    anchor: TrustRoot | None
    extension: PckExtension | None
    tcb_info: TcbInfo | None
    validity: Validity
    records: tuple[Record, ...]
    complete: bool

    @classmethod
    def of(cls, certification_data: bytes, endorsements: Endorsements) -> Platform:
        """Verify the PCK chain of a quote.

        Args:
            certification_data: PEM, leaf first.
            endorsements: What the manufacturer says.
        """
        checks = Checklist()
        chain = read_chain(checks, PCK_CHAIN, certification_data)
        windows = endorsements.validity.windows
        if chain is not None:
            windows = (*windows, chain_window(PCK_CHAIN, chain))
        trusted = chain is not None and judge_chain(checks, PCK_CHAIN, chain, _roots(endorsements))
        pck = extension = tcb_info = anchor = None
        if chain is not None and trusted:
            pck = chain[0]
            anchor = endorsements.trust_roots.find(chain[-1].point)
            _check_issuer(checks, chain, endorsements)
            check_revocation(checks, Requirement.ROOT_REVOKED, chain[2], endorsements.root_crl)
            check_revocation(checks, Requirement.INTERMEDIATE_REVOKED, chain[1], endorsements.root_crl)
            check_revocation(checks, Requirement.PCK_REVOKED, pck, _own_crl(chain, endorsements))
            extension = checks.read(Requirement.PCK_EXTENSION, PckExtension.parse, pck.sgx_extension or b"")
            tcb_info = _own_tcb_info(checks, extension, endorsements.tcb_info)
        return cls(
            endorsements=endorsements,
            pck=pck,
            authority=chain[1].common_name if chain is not None and trusted else None,
            anchor=anchor,
            extension=extension,
            tcb_info=tcb_info,
            validity=Validity.of(windows),
            records=tuple(checks.records),
            complete=checks.has_made(required(Tee.SGX, Stage.PLATFORM)),
        )


def _roots(endorsements: Endorsements) -> TrustRoots:
    """The root of the endorsements and no other; all, when they stand under none."""
    if endorsements.anchor is None:
        return endorsements.trust_roots
    return TrustRoots(roots=(endorsements.anchor,))


def _check_issuer(checks: Checklist, chain: Chain, endorsements: Endorsements) -> None:
    """The PCK CRL is one of the PCK's own issuer (4.1.2.4.6)."""
    authority = endorsements.crl_authority
    if authority is not None:
        checks.require(
            Requirement.CRL_CHAIN_KEY,
            passed=authority.point == chain[1].point,
            expected=f"the key {chain[1].point.hex()}",
            got=authority.point,
        )


def _own_crl(chain: Chain, endorsements: Endorsements) -> RevocationList | None:
    """The PCK CRL, when it is one of the PCK's own issuer."""
    authority = endorsements.crl_authority
    return endorsements.pck_crl if authority is not None and authority.point == chain[1].point else None


def _own_tcb_info(checks: Checklist, platform: PckExtension | None, info: TcbInfo | None) -> TcbInfo | None:
    """TCB info, once it speaks of this platform (4.1.2.4.10)."""
    if platform is None or info is None:
        return None
    same = (
        checks.require(
            Requirement.FMSPC,
            passed=info.fmspc == platform.fmspc,
            expected=f"{platform.fmspc.hex()} as in the PCK certificate",
            got=info.fmspc,
        ),
        checks.require(
            Requirement.PCE_ID,
            passed=info.pce_id == platform.pce_id,
            expected=f"{platform.pce_id.hex()} as in the PCK certificate",
            got=info.pce_id,
        ),
    )
    return info if all(same) else None
