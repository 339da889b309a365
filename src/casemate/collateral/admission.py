"""The door of the store: a document comes in when it was vouched for under the name that it was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from casemate.collateral.names import (
    DocumentName,
    Edition,
    EvaluationNumbersName,
    IdentityName,
    PckCrlName,
    RootCrlName,
    TcbInfoName,
    Update,
)
from casemate.collateral.store import CollateralStore, Entry, Platform
from casemate.collateral.upstream import Answer
from casemate.errors import RefusedError
from casemate.formats.certificates import Certificate
from casemate.formats.pem import parse_certificates
from casemate.formats.sgx.pck import PckExtension
from casemate.verifier.roots import TrustRoots
from casemate.verifier.vouching import (
    Trust,
    Vouched,
    vouch_for_evaluation_numbers,
    vouch_for_identity,
    vouch_for_pck_certificate,
    vouch_for_pck_crl,
    vouch_for_root_crl,
    vouch_for_tcb_info,
)


def trust_of(store: CollateralStore, roots: TrustRoots, at: datetime) -> Trust:
    """By what is judged now: the roots, and the root's CRL where the store has one."""
    crl = store.get(RootCrlName())
    return Trust(roots=roots, at=at, root_crl=None if crl is None else crl.body)


def admit(name: DocumentName, answer: Answer, trust: Trust) -> Entry:
    """The entry of a document that was received now.

    Raises:
        RefusedError: The first reason why it is not kept.
    """
    vouched = _vouch(name, answer, trust)
    return Entry(
        name=name,
        body=answer.body,
        issuer_chain=answer.issuer_chain,
        fetched_at=trust.at,
        begins=vouched.begins,
        ends=vouched.ends,
        evaluation_number=vouched.evaluation_number,
    )


def _vouch(name: DocumentName, answer: Answer, trust: Trust) -> Vouched:
    body, chain = answer.body, answer.issuer_chain
    match name:
        case TcbInfoName():
            return vouch_for_tcb_info(
                body,
                chain,
                trust,
                tee=name.tee.name,
                fmspc=name.fmspc,
                api_version=name.version,
                number=_number(name.edition),
            )
        case IdentityName():
            return vouch_for_identity(body, chain, trust, role=name.role.value, number=_number(name.edition))
        case EvaluationNumbersName():
            return vouch_for_evaluation_numbers(body, chain, trust, tee=name.tee.name)
        case PckCrlName():
            return vouch_for_pck_crl(body, chain, trust, authority=name.authority.value)
        case RootCrlName():
            return vouch_for_root_crl(body, trust)


def _number(edition: Edition) -> int | None:
    return None if isinstance(edition, Update) else edition


@dataclass(frozen=True, slots=True)
class _Seen:
    """What all PCK certificates of one platform have in common."""

    fmspc: str
    pce_id: str
    ppid: bytes
    authority: str

    def __str__(self) -> str:
        # The PPID names a platform: its beginning is enough to tell two apart.
        return f"FMSPC {self.fmspc}, PCEID {self.pce_id}, PPID {self.ppid.hex()[:8]}…, {self.authority} CA"


def admit_platform(platform: Platform, trust: Trust) -> Platform:
    """The platform with the certificates that were vouched for.

    Raises:
        RefusedError: A certificate is not genuine, is of another platform, family or authority than is said,
            or is for another TCB level.
    """
    if not platform.certificates:
        raise RefusedError("PCK certificates", expected="at least one", got="none", where=platform.id.qe_id)
    ppid = b""
    for certificate in platform.certificates:
        vouched = vouch_for_pck_certificate(certificate.pem, platform.issuer_chain, trust)
        extension = vouched.extension
        ppid = ppid or extension.ppid
        tcbm = extension.cpu_svn.hex() + extension.pce_svn.to_bytes(2, "little").hex()
        said = _Seen(platform.fmspc, platform.id.pce_id, ppid, platform.authority.value)
        found = _Seen(extension.fmspc.hex(), extension.pce_id.hex(), extension.ppid, vouched.authority)
        if found != said or tcbm != certificate.tcbm:
            raise RefusedError(
                "PCK certificate",
                expected=f"{said}, TCB {certificate.tcbm}",
                got=f"{found}, TCB {tcbm}",
            )
    return platform


def require_same_platform(before: Platform, after: Platform) -> None:
    """Certificates that somebody has asked for in the name of a platform that is known are that platform's.

    The name of a quoting enclave is in no certificate; the PPID is.

    Raises:
        RefusedError: They are those of another.
    """
    own, found = _ppid(before), _ppid(after)
    if own != found:
        raise RefusedError(
            "PCK certificates",
            expected=f"those of the platform with PPID {own.hex()[:8]}…, which is known by this name",
            got=f"those of PPID {found.hex()[:8]}…",
            where=before.id.qe_id[:32],
            hint="see what encrypted PPID was sent; an administrator may say whose name it is: PUT"
            " platformcollateral",
        )


def _ppid(platform: Platform) -> bytes:
    """Of a platform that was admitted."""
    (certificate,) = parse_certificates(platform.certificates[0].pem, where="PCK certificate")
    return PckExtension.parse(Certificate.parse(certificate).sgx_extension or b"").ppid
