"""Everything that the appraisal of a quote needs from a service, as one value: what a verifier's owner wants.

Nothing of it is vouched for: the verifier does that, whoever the service is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from casemate.collateral.names import (
    CertificateAuthority,
    DocumentName,
    EnclaveRole,
    IdentityName,
    PckCrlName,
    RootCrlName,
    TcbInfoName,
    Tee,
    Update,
)
from casemate.collateral.selection import levels_of, select
from casemate.collateral.store import PckCertificate, PlatformId, RawTcb
from casemate.collateral.upstream import (
    Answer,
    PckAnswer,
    PckQuery,
    Upstream,
    UpstreamError,
    UpstreamProblem,
)
from casemate.errors import FormatError
from casemate.formats.sgx import quote as quotes
from casemate.formats.sgx.collateral import Collateral, parse_signed
from casemate.formats.sgx.pck_identifier import PckIdentifier, PpidForm
from casemate.formats.sgx.platform_name import PlatformFamily, PlatformName

_TEES: Final = {quotes.Tee.SGX: Tee.SGX, quotes.Tee.TDX: Tee.TDX}
_QUOTING_ENCLAVES: Final = {Tee.SGX: EnclaveRole.QE, Tee.TDX: EnclaveRole.TD_QE}


def gather(upstream: Upstream, platform: PlatformName) -> Collateral:
    """Ask for the endorsements of a platform, and for its PCK certificates where a quote brings none.

    Args:
        upstream: Whom to ask.
        platform: As a quote names it.

    Raises:
        UpstreamError: A document does not come, or is no such document; says which, and what to do.
        FormatError: The certificate in the quote is not one of a platform.
    """
    if platform.pck_chain is not None:
        return gather_for_family(upstream, _TEES[platform.tee], PlatformFamily.of_chain(platform.pck_chain))
    if platform.identifier is None:
        raise FormatError("platform of the quote", expected="a certificate or an identifier", got="neither")
    chain = _pck_chain(upstream, platform.identifier, platform.qe_id)
    try:
        family = PlatformFamily.of_chain(chain)
    except FormatError as error:
        raise _useless(upstream, "the PCK certificate", error) from error
    collateral = gather_for_family(upstream, _TEES[platform.tee], family)
    return replace(collateral, pck_certificate_chain=chain)


def gather_for_family(upstream: Upstream, tee: Tee, family: PlatformFamily) -> Collateral:
    """Ask for the endorsements of a family of platforms.

    Args:
        upstream: Whom to ask.
        tee: About which technology.
        family: The family.

    Raises:
        UpstreamError: As in :func:`gather`.
    """
    authority = (
        CertificateAuthority.PLATFORM if family.of_several_packages else CertificateAuthority.PROCESSOR
    )
    tcb_info = _ask(upstream, TcbInfoName(tee=tee, fmspc=family.fmspc.hex(), edition=Update.STANDARD))
    identity = _ask(upstream, IdentityName(role=_QUOTING_ENCLAVES[tee], edition=Update.STANDARD))
    pck_crl = _ask(upstream, PckCrlName(authority=authority))
    root_crl = _ask(upstream, RootCrlName())
    info, info_signature = _signed(upstream, tcb_info, "tcbInfo", "TCB info")
    described, identity_signature = _signed(upstream, identity, "enclaveIdentity", "enclave identity")
    return Collateral(
        pck_crl_issuer_chain=pck_crl.issuer_chain,
        root_ca_crl=root_crl.body,
        pck_crl=pck_crl.body,
        tcb_info_issuer_chain=tcb_info.issuer_chain,
        tcb_info=info,
        tcb_info_signature=info_signature,
        qe_identity_issuer_chain=identity.issuer_chain,
        qe_identity=described,
        qe_identity_signature=identity_signature,
    )


def _pck_chain(upstream: Upstream, identifier: PckIdentifier, qe_id: bytes) -> bytes:
    """The certificate chain of a platform at its security versions, PEM."""
    raw = RawTcb(cpu_svn=identifier.cpu_svn.hex(), pce_svn=identifier.pce_svn.to_bytes(2, "little").hex())
    encrypted = identifier.form is PpidForm.RSA_3072_OAEP
    query = PckQuery(
        id=PlatformId(qe_id=qe_id.hex(), pce_id=identifier.pce_id.hex()),
        tcb=raw,
        encrypted_ppid=identifier.ppid.hex() if encrypted else "",
        manifest="",
    )
    what = f"the PCK certificate of platform {query.id.qe_id}"
    try:
        answer = upstream.pck_certificates(query)
    except UpstreamError as error:
        hints = {UpstreamProblem.NOT_FOUND: _PCK_HINT}
        if not encrypted:
            hints[UpstreamProblem.REJECTED] = _CLEAR_PPID_HINT
        raise _explained(error, what, hints) from error
    chosen = _chosen(upstream, answer, raw)
    if chosen is None:
        raise UpstreamError(
            UpstreamProblem.NOT_FOUND,
            f"{what} from {upstream.name}",
            expected=f"one for CPUSVN {raw.cpu_svn} and PCESVN {identifier.pce_svn}, or lower",
            got=f"{len(answer.certificates)} certificates, each for more",
            hint="Intel certifies no TCB that low: update the platform's microcode and BIOS",
        )
    return _with_line_end(chosen.pem) + answer.issuer_chain


def _chosen(upstream: Upstream, answer: PckAnswer, raw: RawTcb) -> PckCertificate | None:
    """The certificate that a cache has chosen, or that is to be chosen of all that Intel gives."""
    if answer.chosen:
        return answer.certificates[0]
    info = _ask(upstream, TcbInfoName(tee=Tee.SGX, fmspc=answer.fmspc, edition=Update.STANDARD))
    try:
        return select(answer.certificates, levels_of(info.body), raw)
    except FormatError as error:
        raise _useless(upstream, "TCB info", error) from error


def _with_line_end(pem: bytes) -> bytes:
    return pem if pem.endswith(b"\n") else pem + b"\n"


def _ask(upstream: Upstream, name: DocumentName) -> Answer:
    try:
        return upstream.document(name)
    except UpstreamError as error:
        hints = {UpstreamProblem.NOT_FOUND: _DOCUMENT_HINT}
        raise _explained(error, _called(name), hints) from error


def _called(name: DocumentName) -> str:
    """What a document is called in messages."""
    match name:
        case TcbInfoName():
            return f"{name.tee.name} TCB info of FMSPC {name.fmspc}"
        case IdentityName():
            return f"the identity of the enclave {name.role.value}"
        case PckCrlName():
            return f"the CRL of the {name.authority.value} CA"
        case _:
            return "the CRL of the root"


def _signed(upstream: Upstream, answer: Answer, member: str, what: str) -> tuple[bytes, bytes]:
    try:
        return parse_signed(answer.body, member)
    except FormatError as error:
        raise _useless(upstream, what, error) from error


def _explained(error: UpstreamError, what: str, hints: Mapping[UpstreamProblem, str]) -> UpstreamError:
    """The same, with what was asked for and what to do."""
    known = {UpstreamProblem.UNAVAILABLE: _UNAVAILABLE_HINT, **hints}
    return UpstreamError(
        error.problem,
        f"{what}: {error.subject}",
        expected=error.expected,
        got=error.got,
        where=error.where,
        hint=known.get(error.problem, error.hint),
        retry_after=error.retry_after,
    )


def _useless(upstream: Upstream, what: str, error: FormatError) -> UpstreamError:
    """An answer that is there and is no such document."""
    return UpstreamError(
        UpstreamProblem.UNAVAILABLE,
        f"{what}: answer of {upstream.name}",
        expected=f"{error.subject}: {error.expected}",
        got=error.got,
        where=error.where,
        hint="see that the URL is that of such a service",
    )


_DOCUMENT_HINT: Final = (
    "Intel publishes none, or the service has none and could not ask: a PCCS says 404 to both, and its log"
    " says which; one that is offline, or asks for registered platforms only, has to be given it first"
)
_PCK_HINT: Final = (
    "404 or 461: register the platform with this service, with Intel's PCK Cert ID Retrieval Tool; 462: Intel"
    " has none for this TCB: register the platform with Intel, or bring it up to date; a PCCS says 404 as"
    " well when it could not ask Intel, and its log says so"
)
_CLEAR_PPID_HINT: Final = (
    "ask a PCCS with which the platform is registered: Intel's service finds platforms by a PPID that is"
    " encrypted with RSA-3072"
)
_UNAVAILABLE_HINT: Final = (
    "see that the service is well and can be reached from here; one whose certificate is of a private"
    " authority needs --pccs-ca, one behind a proxy --pccs-proxy"
)
