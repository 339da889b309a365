"""Certificate chains and CRLs: roles, issuers, signatures, validity and revocation.

QVL ``VerifyPCKCertificate`` and the first steps of ``VerifyTCBInfo`` and ``VerifyEnclaveIdentity``. A chain
is trusted for the key of its root, never for its root certificate.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from casemate.errors import FormatError
from casemate.formats.certificates import Certificate, RevocationList
from casemate.formats.pem import parse_certificates
from casemate.verifier.checklist import Checklist
from casemate.verifier.requirements import Requirement
from casemate.verifier.roots import TrustRoots, begin_of
from casemate.verifier.signatures import signed_by
from casemate.verifier.validity import Window

#: Common names of Intel's certificates, by their role.
ROOT = frozenset({"Intel SGX Root CA"})
PCK_AUTHORITY = frozenset({"Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"})
TCB_SIGNER = frozenset({"Intel SGX TCB Signing"})
_PCK = frozenset({"Intel SGX PCK Certificate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRule:
    """What a chain must look like, and under which names its checks are recorded.

    Attributes:
        roles: The common names that each certificate may have, leaf first. The number of certificates
            follows.
        leaf_is_authority: Whether the leaf may sign certificates; all others must.
    """

    roles: tuple[frozenset[str], ...]
    leaf_is_authority: bool = False
    format: Requirement
    root: Requirement
    roles_check: Requirement
    signatures: Requirement
    begun: Requirement
    expiry: Requirement


PCK_CHAIN = ChainRule(
    roles=(_PCK, PCK_AUTHORITY, ROOT),
    format=Requirement.PCK_CHAIN_FORMAT,
    root=Requirement.PCK_CHAIN_ROOT,
    roles_check=Requirement.PCK_CHAIN_ROLES,
    signatures=Requirement.PCK_CHAIN_SIGNATURES,
    begun=Requirement.PCK_CHAIN_BEGUN,
    expiry=Requirement.PCK_CHAIN_EXPIRY,
)
CRL_CHAIN = ChainRule(
    roles=(PCK_AUTHORITY, ROOT),
    leaf_is_authority=True,
    format=Requirement.CRL_CHAIN_FORMAT,
    root=Requirement.CRL_CHAIN_ROOT,
    roles_check=Requirement.CRL_CHAIN_ROLES,
    signatures=Requirement.CRL_CHAIN_SIGNATURES,
    begun=Requirement.CRL_CHAIN_BEGUN,
    expiry=Requirement.CRL_CHAIN_EXPIRY,
)
TCB_CHAIN = ChainRule(
    roles=(TCB_SIGNER, ROOT),
    format=Requirement.TCB_CHAIN_FORMAT,
    root=Requirement.TCB_CHAIN_ROOT,
    roles_check=Requirement.TCB_CHAIN_ROLES,
    signatures=Requirement.TCB_CHAIN_SIGNATURES,
    begun=Requirement.TCB_CHAIN_BEGUN,
    expiry=Requirement.TCB_CHAIN_EXPIRY,
)
QE_CHAIN = ChainRule(
    roles=(TCB_SIGNER, ROOT),
    format=Requirement.QE_CHAIN_FORMAT,
    root=Requirement.QE_CHAIN_ROOT,
    roles_check=Requirement.QE_CHAIN_ROLES,
    signatures=Requirement.QE_CHAIN_SIGNATURES,
    begun=Requirement.QE_CHAIN_BEGUN,
    expiry=Requirement.QE_CHAIN_EXPIRY,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlRule:
    """Under which names the checks of a CRL are recorded."""

    format: Requirement
    issuer: Requirement
    signature: Requirement
    begun: Requirement
    expiry: Requirement


ROOT_CRL = CrlRule(
    format=Requirement.ROOT_CRL_FORMAT,
    issuer=Requirement.ROOT_CRL_ISSUER,
    signature=Requirement.ROOT_CRL_SIGNATURE,
    begun=Requirement.ROOT_CRL_BEGUN,
    expiry=Requirement.ROOT_CRL_EXPIRY,
)
PCK_CRL = CrlRule(
    format=Requirement.PCK_CRL_FORMAT,
    issuer=Requirement.PCK_CRL_ISSUER,
    signature=Requirement.PCK_CRL_SIGNATURE,
    begun=Requirement.PCK_CRL_BEGUN,
    expiry=Requirement.PCK_CRL_EXPIRY,
)


Chain = tuple[Certificate, ...]


def read_chain(checks: Checklist, rule: ChainRule, pem: bytes) -> Chain | None:
    """The certificates of a chain, leaf first; a chain of another length has another meaning."""
    try:
        chain = tuple(Certificate.parse(data) for data in parse_certificates(pem, where="certificate chain"))
    except FormatError as error:
        checks.cannot_read(rule.format, error)
        return None
    has_length = checks.require(
        rule.format,
        passed=len(chain) == len(rule.roles),
        expected=f"{len(rule.roles)} certificates, leaf first",
        got=f"{len(chain)} certificates",
    )
    return chain if has_length else None


def judge_chain(checks: Checklist, rule: ChainRule, chain: Chain, roots: TrustRoots) -> bool:
    """Record whether the root is trusted, every role is right and every signature holds."""
    return all(
        (
            _has_trusted_root(checks, rule, chain, roots),
            _has_roles(checks, rule, chain),
            _is_signed_throughout(checks, rule, chain),
        )
    )


def verify_chain(checks: Checklist, rule: ChainRule, pem: bytes, roots: TrustRoots) -> Chain | None:
    """The certificates of a chain, leaf first, once its root is trusted and every signature is right."""
    chain = read_chain(checks, rule, pem)
    return chain if chain is not None and judge_chain(checks, rule, chain, roots) else None


def chain_window(rule: ChainRule, chain: Chain) -> Window:
    """When all certificates of a chain are valid."""
    return Window(
        rule.begun,
        rule.expiry,
        max(certificate.not_before for certificate in chain),
        min(certificate.not_after for certificate in chain),
    )


def verify_crl(checks: Checklist, rule: CrlRule, data: bytes, issuer: Certificate) -> RevocationList | None:
    """A CRL, once it is one of ``issuer``."""
    crl = checks.read(rule.format, RevocationList.parse, data)
    if crl is None:
        return None
    genuine = (
        checks.require(
            rule.issuer,
            passed=crl.issuer == issuer.subject and crl.authority_key_id == issuer.key_id,
            expected=f"{issuer.common_name}, key {issuer.key_id.hex()}",
            got=f"key {crl.authority_key_id.hex()}",
        ),
        checks.require_signature(
            rule.signature,
            right=signed_by(issuer.public_key, crl.signature, crl.signed),
            by=issuer.common_name,
        ),
    )
    return crl if all(genuine) else None


def crl_window(rule: CrlRule, crl: RevocationList) -> Window:
    """When a CRL is valid."""
    return Window(rule.begun, rule.expiry, crl.this_update, crl.next_update)


def check_revocation(
    checks: Checklist,
    requirement: Requirement,
    certificate: Certificate | None,
    crl: RevocationList | None,
) -> None:
    """Record whether ``certificate`` is on its issuer's CRL; without both there is nothing to record."""
    if certificate is not None and crl is not None:
        checks.require(
            requirement,
            passed=certificate.serial not in crl.revoked,
            expected="a serial number that is not on the CRL",
            got=f"{certificate.serial:x}",
        )


def _has_trusted_root(checks: Checklist, rule: ChainRule, chain: Chain, roots: TrustRoots) -> bool:
    point = chain[-1].point
    return checks.require(
        rule.root,
        passed=roots.find(point) is not None,
        expected="the key of " + " or ".join(root.name for root in roots.roots),
        got=begin_of(point),
    )


def _has_roles(checks: Checklist, rule: ChainRule, chain: Chain) -> bool:
    authority = (rule.leaf_is_authority, *(True for _ in chain[1:]))
    fits = all(
        certificate.common_name in names and certificate.is_authority == is_authority
        for certificate, names, is_authority in zip(chain, rule.roles, authority, strict=True)
    )
    return checks.require(
        rule.roles_check,
        passed=fits,
        expected=", ".join(" or ".join(sorted(names)) for names in rule.roles)
        + "; only issuers are authorities",
        got=", ".join(
            certificate.common_name + (" (authority)" if certificate.is_authority else "")
            for certificate in chain
        ),
    )


def _is_signed_throughout(checks: Checklist, rule: ChainRule, chain: Chain) -> bool:
    """Each by the next, the root by itself."""
    broken = [
        certificate.common_name
        for certificate, issuer in pairwise((*chain, chain[-1]))
        if certificate.issuer != issuer.subject
        or not signed_by(issuer.public_key, certificate.signature, certificate.signed)
    ]
    return checks.require(
        rule.signatures,
        passed=not broken,
        expected="each certificate signed by the next, and the root by itself",
        got="not so: " + ", ".join(broken) if broken else "so",
    )
