"""Finding the certificates under which collateral stands, where it comes without them.

Intel's service gives a document and, beside it, the chain of its signer; whoever keeps the document often
keeps the chain elsewhere. Chains are built from certificates that lie around, by name of the issuer and by
signature. What is found here is a proposal: :class:`~casemate.verifier.endorsements.Endorsements` judge every
chain, so a certificate too many cannot do harm. Where nothing fits, something is proposed whose refusal says
why: a document that was changed stands under no certificate, and its signature is what has to be refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from casemate.errors import FormatError
from casemate.formats.certificates import Certificate, RevocationList
from casemate.formats.pem import encode_certificates
from casemate.verifier.chains import PCK_AUTHORITY, ROOT, TCB_SIGNER
from casemate.verifier.signatures import raw_signed_by, signed_by

#: Certificates of a chain without its root: a signer, or an authority. Intel's chains have no more.
_LONGEST = 3
#: Chains that are proposed. Intel's signers have one for each of the two certificates of the root; those
#: that were made to certify each other have as many as the cube of their number.
MOST_CHAINS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerChain:
    """A chain that was found.

    Attributes:
        pem: Its certificates, leaf first.
        begins: From when all of them are valid.
        ends: Until when, inclusive.
    """

    pem: bytes
    begins: datetime
    ends: datetime


def at_instant(chains: Iterable[IssuerChain], at: datetime) -> bytes:
    """PEM of the first of ``chains`` that is valid at the instant; of the first, when none is."""
    found = tuple(chains)
    fitting = (chain.pem for chain in found if chain.begins <= at <= chain.ends)
    return next(fitting, found[0].pem if found else b"")


@dataclass(frozen=True, slots=True)
class _Known:
    """A certificate and its encoding."""

    der: bytes
    certificate: Certificate


class Issuers:
    """Certificates that lie around.

    Args:
        certificates: DER. Those that are none, or none of Intel's profile, are left out.
    """

    __slots__ = ("_known",)

    def __init__(self, certificates: Iterable[bytes]) -> None:
        # The longest valid first, so that of two that fit alike the renewed one is taken.
        known = [found for der in dict.fromkeys(certificates) for found in _read(der)]
        self._known = sorted(known, key=lambda one: (one.certificate.not_after, one.der), reverse=True)

    def __len__(self) -> int:
        return len(self._known)

    def and_also(self, certificates: Iterable[bytes]) -> Issuers:
        """These and further certificates."""
        further = tuple(certificates)
        return Issuers((*(one.der for one in self._known), *further)) if further else self

    def of_document(self, document: bytes, signature: bytes) -> tuple[IssuerChain, ...]:
        """Chains of the certificates whose key has signed a document; else of Intel's signers.

        Args:
            document: The signed bytes.
            signature: r and s, 64 bytes.
        """
        return self._chains(
            lambda one: raw_signed_by(one.public_key, signature, document),
            lambda one: one.common_name in TCB_SIGNER,
        )

    def of_crl(self, data: bytes) -> tuple[IssuerChain, ...]:
        """Chains of the authority that has issued a PCK CRL; else of the authorities of PCK certificates.

        Args:
            data: The CRL, DER.
        """
        try:
            crl = RevocationList.parse(data)
        except FormatError:
            crl = None
        return self._chains(
            lambda one: (
                crl is not None
                and one.subject == crl.issuer
                and one.key_id == crl.authority_key_id
                and one.common_name not in ROOT
            ),
            lambda one: one.common_name in PCK_AUTHORITY,
        )

    def _chains(
        self, fits: Callable[[Certificate], bool], may_be: Callable[[Certificate], bool]
    ) -> tuple[IssuerChain, ...]:
        leaves = [one for one in self._known if fits(one.certificate)]
        leaves = leaves or [one for one in self._known if may_be(one.certificate)]
        paths = (path for leaf in leaves for path in self._paths((leaf,)))
        return tuple(_chain(path) for path in islice(paths, MOST_CHAINS))

    def _paths(self, path: tuple[_Known, ...]) -> Iterable[tuple[_Known, ...]]:
        """Every way from a leaf to a root; the way as far as it goes, where none leads to one."""
        last = path[-1].certificate
        if last.issuer == last.subject or len(path) == _LONGEST:
            return (path,)
        issuers = [one for one in self._known if one not in path and _issued(one.certificate, last)]
        if not issuers:
            return (path,)
        return (whole for issuer in issuers for whole in self._paths((*path, issuer)))


def _read(der: bytes) -> Iterable[_Known]:
    try:
        return (_Known(der, Certificate.parse(der)),)
    except FormatError:
        return ()


def _issued(issuer: Certificate, certificate: Certificate) -> bool:
    return issuer.subject == certificate.issuer and signed_by(
        issuer.public_key, certificate.signature, certificate.signed
    )


def _chain(path: tuple[_Known, ...]) -> IssuerChain:
    return IssuerChain(
        pem=encode_certificates(tuple(one.der for one in path)),
        begins=max(one.certificate.not_before for one in path),
        ends=min(one.certificate.not_after for one in path),
    )
