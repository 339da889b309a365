"""``PUT platformcollateral``: what an administrator carries to a service that may not ask anybody.

The form is that of Intel's administration tool, versions 3 and 4. Everything in it is vouched for before
anything of it is kept.

The tool reads Intel's documents and writes them again with blanks that Intel's signature does not cover. So
a document whose signature does not hold as it stands is tried once more without them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

import msgspec

from casemate.collateral.admission import admit, admit_platform
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
from casemate.collateral.problem import CollateralRefusedError, Problem
from casemate.collateral.store import Entry, PckCertificate, Platform, PlatformId, RawTcb
from casemate.collateral.upstream import Answer
from casemate.errors import RefusedError
from casemate.verifier.vouching import Trust, vouch_for_pck_certificate

_QeId = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,260}\Z")]
_Hex2 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{4}\Z")]
_Hex2OrNone = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-fA-F]{4})?\Z")]
_Hex6 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{12}\Z")]
_Hex16OrNone = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-fA-F]{32})?\Z")]
_Hex18 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{36}\Z")]
_Hex = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-fA-F]{2})*\Z")]
_PpidOrNone = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-fA-F]{768})?\Z")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What was delivered and vouched for; nothing of it is kept yet."""

    entries: tuple[Entry, ...]
    platforms: tuple[Platform, ...]


def read_delivery(body: bytes, trust: Trust, *, version: int) -> Delivery:
    """Read and vouch for everything that a body holds.

    Args:
        body: JSON.
        trust: By what it is judged.
        version: Of the API that it was sent to, 3 or 4.

    Raises:
        CollateralRefusedError: Not of that form, or something in it is not vouched for.
    """
    try:
        read = msgspec.json.decode(body, type=_Body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CollateralRefusedError(
            Problem.INVALID, "collateral", expected="the form of Intel's administration tool", got=str(error)
        ) from error
    try:
        return _admitted(read, trust, version)
    except RefusedError as error:
        raise CollateralRefusedError.from_error(Problem.INTEGRITY, error) from error


class _PlatformForm(msgspec.Struct, frozen=True):
    qe_id: _QeId
    pce_id: _Hex2
    cpu_svn: _Hex16OrNone = ""
    pce_svn: _Hex2OrNone = ""
    enc_ppid: _PpidOrNone = ""
    platform_manifest: _Hex | None = None


class _CertificateForm(msgspec.Struct, frozen=True):
    tcbm: _Hex18
    cert: str


class _CertificatesForm(msgspec.Struct, frozen=True):
    qe_id: _QeId
    pce_id: _Hex2
    certs: Annotated[tuple[_CertificateForm, ...], msgspec.Meta(min_length=1, max_length=1000)]


_NONE = msgspec.Raw(b"null")


class _TcbInfosForm(msgspec.Struct, frozen=True):
    fmspc: _Hex6
    tcbinfo: msgspec.Raw = _NONE
    tcbinfo_early: msgspec.Raw = _NONE
    sgx_tcbinfo: msgspec.Raw = _NONE
    sgx_tcbinfo_early: msgspec.Raw = _NONE
    tdx_tcbinfo: msgspec.Raw = _NONE
    tdx_tcbinfo_early: msgspec.Raw = _NONE


class _CrlsForm(msgspec.Struct, frozen=True):
    processor: _Hex | None = msgspec.field(name="processorCrl", default=None)
    platform: _Hex | None = msgspec.field(name="platformCrl", default=None)


class _PckChainsForm(msgspec.Struct, frozen=True):
    processor: str | None = msgspec.field(name="PROCESSOR", default=None)
    platform: str | None = msgspec.field(name="PLATFORM", default=None)


class _ChainsForm(msgspec.Struct, frozen=True):
    pck: _PckChainsForm = msgspec.field(name="SGX-PCK-Certificate-Issuer-Chain")
    tcb_info_v3: str | None = msgspec.field(name="SGX-TCB-Info-Issuer-Chain", default=None)
    tcb_info_v4: str | None = msgspec.field(name="TCB-Info-Issuer-Chain", default=None)
    identity: str | None = msgspec.field(name="SGX-Enclave-Identity-Issuer-Chain", default=None)


class _CollateralsForm(msgspec.Struct, frozen=True):
    version: int
    pck_certs: tuple[_CertificatesForm, ...]
    tcbinfos: tuple[_TcbInfosForm, ...]
    certificates: _ChainsForm
    pckcacrl: _CrlsForm | None = None
    qeidentity: str | None = None
    qeidentity_early: str | None = None
    tdqeidentity: str | None = None
    tdqeidentity_early: str | None = None
    qveidentity: str | None = None
    qveidentity_early: str | None = None
    rootcacrl: _Hex | None = None


class _Body(msgspec.Struct, frozen=True):
    platforms: tuple[_PlatformForm, ...]
    collaterals: _CollateralsForm


def _admitted(body: _Body, trust: Trust, version: int) -> Delivery:
    """The root's CRL comes first, so that it counts for everything else."""
    form = body.collaterals
    entries: list[Entry] = []
    if form.rootcacrl:
        answer = Answer(body=bytes.fromhex(form.rootcacrl), issuer_chain=b"")
        entries.append(admit(RootCrlName(), answer, trust))
        trust = replace(trust, root_crl=answer.body)
    for name, document, chain in _documents(form, version):
        entries.append(_admit_document(name, document, _chain(chain, name), trust))
    return Delivery(
        entries=tuple(entries),
        platforms=tuple(_platform(one, body, trust) for one in form.pck_certs),
    )


def _documents(form: _CollateralsForm, version: int) -> Iterator[tuple[DocumentName, bytes, str | None]]:
    """Name, bytes and chain of every document but the root's CRL."""
    tcb_chain = form.certificates.tcb_info_v3 if version == 3 else form.certificates.tcb_info_v4
    for infos in form.tcbinfos:
        for tee, update, raw in _tcb_infos(infos, version):
            if bytes(raw) != b"null":
                name = TcbInfoName(tee=tee, fmspc=infos.fmspc.lower(), edition=update, version=version)
                yield name, bytes(raw), tcb_chain
    identities = {
        (EnclaveRole.QE, Update.STANDARD): form.qeidentity,
        (EnclaveRole.QE, Update.EARLY): form.qeidentity_early,
        (EnclaveRole.TD_QE, Update.STANDARD): form.tdqeidentity,
        (EnclaveRole.TD_QE, Update.EARLY): form.tdqeidentity_early,
        (EnclaveRole.QVE, Update.STANDARD): form.qveidentity,
        (EnclaveRole.QVE, Update.EARLY): form.qveidentity_early,
    }
    for (role, update), text in identities.items():
        if text:
            yield (
                IdentityName(role=role, edition=update, version=version),
                text.encode(),
                form.certificates.identity,
            )
    crls = form.pckcacrl or _CrlsForm()
    for authority in CertificateAuthority:
        crl = getattr(crls, authority.value)
        if crl:
            yield (
                PckCrlName(authority=authority),
                bytes.fromhex(crl),
                getattr(form.certificates.pck, authority.value),
            )


def _tcb_infos(infos: _TcbInfosForm, version: int) -> tuple[tuple[Tee, Update, msgspec.Raw], ...]:
    if version == 3:
        return (
            (Tee.SGX, Update.STANDARD, infos.tcbinfo),
            (Tee.SGX, Update.EARLY, infos.tcbinfo_early),
        )
    return (
        (Tee.SGX, Update.STANDARD, infos.sgx_tcbinfo),
        (Tee.SGX, Update.EARLY, infos.sgx_tcbinfo_early),
        (Tee.TDX, Update.STANDARD, infos.tdx_tcbinfo),
        (Tee.TDX, Update.EARLY, infos.tdx_tcbinfo_early),
    )


def _chain(text: str | None, name: DocumentName) -> bytes:
    if text is None:
        raise RefusedError(
            "issuer chain", expected=f"the one of {name.kind.value} among the certificates", got="none"
        )
    return unquote_to_bytes(text)


def _admit_document(name: DocumentName, document: bytes, chain: bytes, trust: Trust) -> Entry:
    try:
        return admit(name, Answer(body=document, issuer_chain=chain), trust)
    except RefusedError:
        compact = _without_blanks(document)
        if compact in (None, document):
            raise
        return admit(name, Answer(body=compact or b"", issuer_chain=chain), trust)


def _without_blanks(document: bytes) -> bytes | None:
    """JSON as Intel's service writes it; ``None`` when it is no JSON."""
    compact: Callable[[Any], str] = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
    try:
        return compact(json.loads(document)).encode()
    except (ValueError, RecursionError):
        return None


def _platform(form: _CertificatesForm, body: _Body, trust: Trust) -> Platform:
    """The platform of a list of certificates; whose family it is, the certificates say."""
    own = [one for one in body.platforms if (one.qe_id, one.pce_id) == (form.qe_id, form.pce_id)]
    certificates = tuple(
        PckCertificate(tcbm=one.tcbm.lower(), pem=unquote_to_bytes(one.cert)) for one in form.certs
    )
    chains = body.collaterals.certificates.pck
    authority, chain = _issuer_of(certificates[0], chains, trust)
    vouched = vouch_for_pck_certificate(certificates[0].pem, chain, trust)
    platform = Platform(
        id=PlatformId(qe_id=form.qe_id.lower(), pce_id=form.pce_id.lower()),
        encrypted_ppid=next((one.enc_ppid.lower() for one in own if one.enc_ppid), ""),
        manifest=next((one.platform_manifest.lower() for one in own if one.platform_manifest), ""),
        fmspc=vouched.extension.fmspc.hex(),
        authority=authority,
        issuer_chain=chain,
        certificates=certificates,
        tcbs=tuple(
            RawTcb(cpu_svn=one.cpu_svn.lower(), pce_svn=one.pce_svn.lower())
            for one in own
            if one.cpu_svn and one.pce_svn
        ),
        fetched_at=trust.at,
    )
    return admit_platform(platform, trust)


def _issuer_of(
    certificate: PckCertificate, chains: _PckChainsForm, trust: Trust
) -> tuple[CertificateAuthority, bytes]:
    """Which of the delivered chains has issued a certificate."""
    reason: RefusedError | None = None
    for authority in CertificateAuthority:
        text: str | None = getattr(chains, authority.value)
        if text:
            chain = unquote_to_bytes(text)
            try:
                vouch_for_pck_certificate(certificate.pem, chain, trust)
            except RefusedError as error:
                reason = error
            else:
                return authority, chain
    raise reason or RefusedError("PCK certificate", expected="its issuer chain", got="none")
