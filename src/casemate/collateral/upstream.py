"""Whom the service asks for what it does not have: Intel's service, or another cache.

Nothing that comes back is trusted: the adapter only sees to it that an answer is complete, of a bearable size
and from the host that was asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from casemate.collateral.names import CertificateAuthority, DocumentName
from casemate.collateral.store import PckCertificate, PlatformId, RawTcb
from casemate.errors import ServiceError


class UpstreamProblem(Enum):
    """Why an upstream service did not give a document; the value is the word in metrics.

    Each is something else to do: ``NOT_FOUND`` (404) and ``WITHDRAWN`` (410, an evaluation data number that
    Intel no longer gives) stay so, ``REJECTED`` (400) is about the request, ``UNAUTHORISED`` (401, 403) about
    the subscription key, ``RATE_LIMITED`` (429) passes, and ``UNAVAILABLE`` is everything about the service
    and the way to it: 5xx, a deadline, TLS, a truncated, redirected, too large or malformed answer.
    """

    NOT_FOUND = "not-found"
    WITHDRAWN = "withdrawn"
    REJECTED = "rejected"
    UNAUTHORISED = "unauthorised"
    RATE_LIMITED = "rate-limited"
    UNAVAILABLE = "unavailable"


class UpstreamError(ServiceError):
    """An upstream service did not give what it was asked for.

    Args:
        problem: Of which kind.
        subject: See :class:`ExplainedError`, as the rest.
        expected: What would have been right.
        got: What came instead, with Intel's ``Error-Code`` and ``Error-Message`` where there are any.
        where: URL, without its query.
        hint: What to do next.
        retry_after: Seconds after which the service wants to be asked again, where it says so.
    """

    def __init__(
        self,
        problem: UpstreamProblem,
        subject: str,
        *,
        expected: str | None = None,
        got: str | None = None,
        where: str | None = None,
        hint: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(subject, expected=expected, got=got, where=where, hint=hint)
        self.problem = problem
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A document as it came, not vouched for.

    Attributes:
        body: Its bytes, content coding undone; CRLs are DER, whichever encoding the service has.
        issuer_chain: The PEM in the issuer chain's header, decoded from URL encoding; empty where a document
            has none.
    """

    body: bytes
    issuer_chain: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PckQuery:
    """What is known of a platform whose certificates are wanted.

    Attributes:
        id: Which platform.
        tcb: At which security versions it runs; both empty when it is not told.
        encrypted_ppid: Hexadecimal, 768 digits; empty when it is not known.
        manifest: Platform manifest, hexadecimal; empty for platforms of one package.
    """

    id: PlatformId
    tcb: RawTcb
    encrypted_ppid: str
    manifest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PckAnswer:
    """The PCK certificates of a platform, not vouched for.

    Attributes:
        certificates: For each TCB level one; from a cache only that which it has chosen.
        missing: TCB levels for which Intel says ``Not available``, as their ``tcbm``.
        chosen: The ``tcbm`` that a cache has chosen for the platform's TCB; empty from Intel's service, where
            the choice is the asker's.
        fmspc: What the header says of the platform's family, 12 hexadecimal digits, lower case.
        authority: What the header says of who certifies it.
        issuer_chain: The PEM in the header, decoded.
    """

    certificates: tuple[PckCertificate, ...]
    missing: tuple[str, ...]
    chosen: str
    fmspc: str
    authority: CertificateAuthority
    issuer_chain: bytes


class Upstream(Protocol):
    """A service that has documents. Thread-safe; every call has a deadline.

    All raise :class:`UpstreamError` and nothing else.
    """

    @property
    def name(self) -> str:
        """What to call it in messages: its host."""
        ...

    def document(self, name: DocumentName) -> Answer:
        """One document."""
        ...

    def pck_certificates(self, query: PckQuery) -> PckAnswer:
        """The PCK certificates of a platform.

        From Intel's service all of them, by the manifest where there is one (``POST pckcerts``), else by the
        encrypted PPID (``GET pckcerts``); from a cache the one that it has chosen (``GET pckcert``).
        """
        ...
