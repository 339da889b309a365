"""The two kinds of upstream: Intel's service, and a cache that speaks PCCS's API.

Intel SGX and TDX Provisioning Certification Service API, version 4; PCCS's API, versions 3 and 4. The root's
CRL is DER at an address of its own with Intel, and hexadecimal text beside everything else with a cache.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import msgspec

from casemate.adapters.intel_pcs import answers
from casemate.adapters.intel_pcs.address import ProxyAddress, UpstreamAddress
from casemate.adapters.intel_pcs.connection import Request, Response
from casemate.adapters.intel_pcs.exchange import Host, Limits, Means
from casemate.collateral.names import (
    DocumentName,
    Edition,
    EnclaveRole,
    EvaluationNumbersName,
    IdentityName,
    PckCrlName,
    RootCrlName,
    TcbInfoName,
    Update,
)
from casemate.collateral.store import PckCertificate
from casemate.collateral.upstream import Answer, PckAnswer, PckQuery, UpstreamError, UpstreamProblem
from casemate.errors import FormatError, UsageError

#: Where Intel's service is, and where Intel publishes certificates and the root's CRL.
SERVICE: Final = "https://api.trustedservices.intel.com"
CERTIFICATES: Final = "https://certificates.trustedservices.intel.com"

_ROOT_CRL: Final = "/IntelSGXRootCA.der"
_OLDEST_LIVING_VERSION: Final = 4
_IDENTITIES: Final = {
    EnclaveRole.QE: "sgx/certification/v{}/qe/identity",
    EnclaveRole.TD_QE: "tdx/certification/v{}/qe/identity",
    EnclaveRole.QVE: "sgx/certification/v{}/qve/identity",
    EnclaveRole.QAE: "sgx/certification/v{}/qae/identity",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """How to ask for a document, and which header of the answer has its issuers; empty for none."""

    path: str
    query: tuple[tuple[str, str], ...] = ()
    chain: str = ""

    def request(self) -> Request:
        return Request(target=f"/{self.path}" + (f"?{urlencode(self.query)}" if self.query else ""))


class IntelUpstream:
    """A :class:`~casemate.collateral.upstream.Upstream` that is Intel's service.

    Args:
        service: Where it is, for all but the root's CRL.
        certificates: Where the root's CRL is.
        subscription_key: What Intel asks for when it gives PCK certificates; empty for none. It is sent with
            those requests alone, and is never in a message.
        ca: File with the authorities that certify both hosts, PEM, in the place of the system's.
        proxy: Through whom; ``None`` for directly, whatever the environment says.
        limits: What an answer may cost.
        means: What asking takes of the world.

    Raises:
        UsageError: The key cannot be sent, or the file with authorities cannot be used.
    """

    def __init__(
        self,
        service: UpstreamAddress | None = None,
        certificates: UpstreamAddress | None = None,
        *,
        subscription_key: str = "",
        ca: Path | None = None,
        proxy: ProxyAddress | None = None,
        limits: Limits | None = None,
        means: Means | None = None,
    ) -> None:
        _require_sendable(subscription_key)
        context = _context(ca)

        def host(address: UpstreamAddress, secret: str) -> Host:
            return Host(
                address=address,
                context=context,
                proxy=proxy,
                limits=limits or Limits(),
                means=means or Means(),
                secret=secret,
            )

        self._service = host(service or UpstreamAddress.parse(SERVICE), subscription_key)
        self._certificates = host(certificates or UpstreamAddress.parse(CERTIFICATES), "")
        self._key = (("Ocp-Apim-Subscription-Key", subscription_key),) if subscription_key else ()

    @property
    def name(self) -> str:
        """The host of the service."""
        return self._service.address.host

    def document(self, name: DocumentName) -> Answer:
        """One document.

        Raises:
            UpstreamError: It does not come.
        """
        if isinstance(name, RootCrlName):
            return _document(self._certificates, Request(target=_ROOT_CRL), _crl_of(""))
        if isinstance(name, (TcbInfoName, IdentityName)) and name.version < _OLDEST_LIVING_VERSION:
            raise UpstreamError(
                UpstreamProblem.WITHDRAWN,
                f"collateral from {self.name}",
                expected=f"version {_OLDEST_LIVING_VERSION} of the API",
                got=f"version {name.version}, which Intel has ended",
                hint="ask for the same document below /v4/",
            )
        question = _question(name)
        read = _crl_of(question.chain) if isinstance(name, PckCrlName) else _as_it_came(question.chain)
        return _document(self._service, question.request(), read)

    def pck_certificates(self, query: PckQuery) -> PckAnswer:
        """All PCK certificates of a platform.

        Raises:
            UpstreamError: They do not come, or it is not told who the platform is.
        """
        request = self._pck_request(query)
        response = self._service.ask(request)
        with _malformed(self._service, request):
            certificates, missing = answers.pck_certificates(response.body)
            return _pck_answer(response, certificates, missing, "")

    def _pck_request(self, query: PckQuery) -> Request:
        path = f"/sgx/certification/v{_OLDEST_LIVING_VERSION}/pckcerts"
        if query.manifest:
            body = msgspec.json.encode({"platformManifest": query.manifest, "pceid": query.id.pce_id})
            return Request(target=path, headers=self._key, body=body)
        if not query.encrypted_ppid:
            raise _unanswerable(self.name, "an encrypted PPID or a platform manifest")
        parameters = {"encrypted_ppid": query.encrypted_ppid, "pceid": query.id.pce_id}
        return Request(target=f"{path}?{urlencode(parameters)}", headers=self._key)


class CacheUpstream:
    """A :class:`~casemate.collateral.upstream.Upstream` that is another cache with PCCS's API.

    Args:
        address: Where it is.
        ca: File with the authorities that certify the host, PEM, in the place of the system's.
        proxy: As in :class:`IntelUpstream`.
        limits: As in :class:`IntelUpstream`.
        means: As in :class:`IntelUpstream`.

    Raises:
        UsageError: The file with authorities cannot be used.
    """

    def __init__(
        self,
        address: UpstreamAddress,
        *,
        ca: Path | None = None,
        proxy: ProxyAddress | None = None,
        limits: Limits | None = None,
        means: Means | None = None,
    ) -> None:
        self._host = Host(
            address=address,
            context=_context(ca),
            proxy=proxy,
            limits=limits or Limits(),
            means=means or Means(),
        )

    @property
    def name(self) -> str:
        """The host of the cache."""
        return self._host.address.host

    def document(self, name: DocumentName) -> Answer:
        """One document.

        A cache may not know the question for a TCB evaluation data number, and answer with the current
        document; whoever vouches for the answer will see.

        Raises:
            UpstreamError: It does not come.
        """
        question = _question(name)
        is_crl = isinstance(name, (PckCrlName, RootCrlName))
        read = _crl_of(question.chain) if is_crl else _as_it_came(question.chain)
        return _document(self._host, question.request(), read)

    def pck_certificates(self, query: PckQuery) -> PckAnswer:
        """The PCK certificate that the cache has chosen for a platform at its security versions.

        Raises:
            UpstreamError: It does not come, or the security versions are not told.
        """
        if not query.tcb.cpu_svn or not query.tcb.pce_svn:
            raise _unanswerable(self.name, "the CPUSVN and PCESVN of the platform")
        parameters = {
            "qeid": query.id.qe_id,
            "cpusvn": query.tcb.cpu_svn,
            "pcesvn": query.tcb.pce_svn,
            "pceid": query.id.pce_id,
        }
        if query.encrypted_ppid:
            parameters["encrypted_ppid"] = query.encrypted_ppid
        request = Request(
            target=f"/sgx/certification/v{_OLDEST_LIVING_VERSION}/pckcert?{urlencode(parameters)}"
        )
        response = self._host.ask(request)
        with _malformed(self._host, request):
            chosen = answers.tcbm(response.headers)
            certificate = PckCertificate(tcbm=chosen, pem=response.body)
            return _pck_answer(response, (certificate,), (), chosen)


def _question(name: DocumentName) -> _Question:
    match name:
        case TcbInfoName():
            return _Question(
                path=f"{name.tee.value}/certification/v{name.version}/tcb",
                query=(("fmspc", name.fmspc.upper()), *_edition(name.edition)),
                chain="TCB-Info-Issuer-Chain" if name.version > 3 else "SGX-TCB-Info-Issuer-Chain",
            )
        case IdentityName():
            return _Question(
                path=_IDENTITIES[name.role].format(name.version),
                query=_edition(name.edition),
                chain="SGX-Enclave-Identity-Issuer-Chain",
            )
        case EvaluationNumbersName():
            return _Question(
                path=f"{name.tee.value}/certification/v{_OLDEST_LIVING_VERSION}/tcbevaluationdatanumbers",
                chain="TCB-Evaluation-Data-Numbers-Issuer-Chain",
            )
        case PckCrlName():
            return _Question(
                path=f"sgx/certification/v{_OLDEST_LIVING_VERSION}/pckcrl",
                query=(("ca", name.authority.value), ("encoding", "der")),
                chain="SGX-PCK-CRL-Issuer-Chain",
            )
        case RootCrlName():
            return _Question(path=f"sgx/certification/v{_OLDEST_LIVING_VERSION}/rootcacrl")


def _edition(edition: Edition) -> tuple[tuple[str, str], ...]:
    match edition:
        case Update():
            return (("update", edition.value),)
        case int():
            return (("tcbEvaluationDataNumber", str(edition)),)


def _document(host: Host, request: Request, read: Callable[[Response], Answer]) -> Answer:
    response = host.ask(request)
    with _malformed(host, request):
        return read(response)


def _as_it_came(chain: str) -> Callable[[Response], Answer]:
    return lambda response: Answer(body=response.body, issuer_chain=answers.chain(response.headers, chain))


def _crl_of(chain: str) -> Callable[[Response], Answer]:
    return lambda response: Answer(
        body=answers.crl(response.body),
        issuer_chain=answers.chain(response.headers, chain) if chain else b"",
    )


def _pck_answer(
    response: Response, certificates: tuple[PckCertificate, ...], missing: tuple[str, ...], chosen: str
) -> PckAnswer:
    return PckAnswer(
        certificates=certificates,
        missing=missing,
        chosen=chosen,
        fmspc=answers.fmspc(response.headers),
        authority=answers.authority(response.headers),
        issuer_chain=answers.chain(response.headers, answers.PCK_CHAIN),
    )


@contextmanager
def _malformed(host: Host, request: Request) -> Iterator[None]:
    try:
        yield
    except FormatError as error:
        raise host.malformed(
            request,
            expected=f"{error.subject}: {error.expected}",
            got=error.got or "something else",
        ) from error


def _unanswerable(name: str, expected: str) -> UpstreamError:
    return UpstreamError(
        UpstreamProblem.REJECTED,
        f"PCK certificates from {name}",
        expected=expected,
        got="none",
        hint="register the platform with all that Intel's PCK Cert ID Retrieval Tool says of it",
    )


def _require_sendable(key: str) -> None:
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(
            "subscription key",
            expected="visible ASCII characters without spaces",
            got="others among them",
            hint="copy the key again from Intel's portal, without a line end",
        )


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            "authorities of the upstream service",
            expected="a PEM file of certificates",
            # OpenSSL's own reason names its functions; a file that cannot be opened has the system's words.
            got="no certificate" if isinstance(error, ssl.SSLError) else error.strerror,
            where=str(ca),
            hint="name a file with the certificates of those who certify the service's",
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
