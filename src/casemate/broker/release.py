"""The three steps of the protocol: open a session, appraise evidence for it, release resources to it.

Everything is refused unless a step says otherwise, and every decision about evidence or a resource is in the
audit log before it is answered. A client without attestation learns nothing about resources: the name's form
is looked at first, then the attestation, then the policy, and only then the store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from casemate.broker.audit import AuditEntry, AuditLog, Decision
from casemate.broker.policy import Appraiser, Recognition, WorkloadPolicy
from casemate.broker.problem import Problem, RequestRefusedError
from casemate.broker.resource import ResourceName, Secret
from casemate.broker.session import BEGIN_AGAIN, Session, SessionId, SessionLimits, Sessions
from casemate.broker.store import ResourceStore
from casemate.broker.token import AttestedWorkload, TokenIssuer
from casemate.broker.wrapping import wrap
from casemate.errors import FormatError, RefusedError, ServiceError
from casemate.formats.sgx.report import ReportBody
from casemate.verifier.result import AttestationResult, require_affirming
from casemate_attester.binding import report_data
from casemate_attester.errors import MessageError
from casemate_attester.messages import (
    PROTOCOL_VERSION,
    Attestation,
    AttestResponse,
    Challenge,
    HashAlgorithm,
    Request,
    Token,
    WrappedSecret,
)

#: Protocol versions that are served; each release of Trustee takes exactly one.
VERSIONS = frozenset({PROTOCOL_VERSION})
#: The one kind of trusted execution environment whose evidence the verifier knows.
TEE = "sgx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a request brings to prove its session; either is secret.

    Attributes:
        session_id: The cookie, if it has the form of one of ours.
        token: The bearer token.
    """

    session_id: SessionId | None = field(default=None, repr=False)
    token: Token | None = field(default=None, repr=False)


class Broker:
    """A key broker: RCAR 0.4.0 without HTTP.

    Args:
        appraiser: Judges evidence.
        policy: Which enclave is which workload, and what it may read.
        store: Holds the secrets.
        audit: Takes every decision.
        tokens: Issues and reads bearer tokens.
        limits: Bounds on sessions.
        random: Gives that many unpredictable bytes.
    """

    def __init__(
        self,
        *,
        appraiser: Appraiser,
        policy: WorkloadPolicy,
        store: ResourceStore,
        audit: AuditLog,
        tokens: TokenIssuer,
        limits: SessionLimits,
        random: Callable[[int], bytes],
    ) -> None:
        self._appraiser = appraiser
        self._policy = policy
        self._store = store
        self._audit = audit
        self._tokens = tokens
        self._sessions: Sessions[AttestedWorkload] = Sessions(limits, random)
        self._random = random

    def authenticate(self, body: bytes, now: datetime) -> tuple[Session, Challenge]:
        """``POST /auth``: open a session.

        Raises:
            RequestRefusedError: The request is malformed, or of a protocol version or TEE that is not served.
        """
        try:
            request = Request.parse(body)
        except MessageError as error:
            raise RequestRefusedError.from_error(Problem.MALFORMED, error) from error
        if request.version not in VERSIONS:
            raise RequestRefusedError(
                Problem.EVIDENCE,
                "protocol version",
                expected=" or ".join(sorted(VERSIONS)),
                got=request.version,
                where="Request",
                hint="use the attester of this release, or a client of Confidential Containers from v0.14 on",
            )
        if request.tee != TEE:
            raise RequestRefusedError(Problem.EVIDENCE, "tee", expected=TEE, got=request.tee, where="Request")
        algorithms = request.supported_hash_algorithms
        if algorithms and HashAlgorithm.SHA384.value not in algorithms:
            raise RequestRefusedError(
                Problem.EVIDENCE,
                "supported-hash-algorithms",
                expected=f"{HashAlgorithm.SHA384.value} among them",
                got=f"{len(algorithms)} others",
                where="Request",
            )
        session = self._sessions.open(now)
        return session, Challenge(nonce=session.nonce)

    def attest(self, credentials: Credentials, body: bytes, now: datetime) -> tuple[Session, AttestResponse]:
        """``POST /attest``: appraise the evidence for a session's nonce, which is used from here on.

        Raises:
            RequestRefusedError: The session cannot be used, or the evidence is not good for it.
            ServiceError: The decision cannot be recorded.
        """
        if credentials.session_id is None:
            raise RequestRefusedError(
                Problem.NOT_ATTESTED,
                "session",
                expected="the cookie kbs-session-id",
                got="none",
                hint=BEGIN_AGAIN,
            )
        session = self._sessions.spend(credentials.session_id, now)
        result: AttestationResult | None = None
        try:
            attestation = _attestation(body, session)
            recognition = self._appraiser.recognise(
                attestation.quote, report_data=report_data(attestation.tee_public_key, session.nonce), at=now
            )
            result = recognition.result
            workload = _workload(recognition, attestation, session)
        except RequestRefusedError as refusal:
            self._record_refusal(session, result, refusal, now)
            raise
        token = self._tokens.issue(workload, session, result, now)
        self._record(workload, None, Decision.ATTESTED, "evidence affirmed", now)
        self._sessions.attest(session, workload, now)
        return session, AttestResponse(token=token)

    def release(self, name: str, credentials: Credentials, now: datetime) -> WrappedSecret:
        """``GET /resource/…``: wrap a resource for the attested key.

        Args:
            name: ``repository/type/tag``, as the client wrote it.
            credentials: A session or a token; a session that is attested counts first.
            now: Time of the request.

        Raises:
            RequestRefusedError: The name is none, nothing is attested, the policy denies it, or there is no
                such resource.
            ServiceError: The store cannot be read, or the decision cannot be recorded.
        """
        try:
            resource = ResourceName.parse(name)
        except FormatError as error:
            raise RequestRefusedError.from_error(Problem.BAD_PATH, error) from error
        workload = self._attested(credentials, now)
        try:
            secret = self._secret(workload, resource)
        except (RequestRefusedError, ServiceError) as refusal:
            self._record(workload, resource, Decision.REFUSED, str(refusal), now)
            raise
        wrapped = wrap(secret, workload.tee_public_key, self._random)
        self._record(workload, resource, Decision.RELEASED, "own resource of the workload", now)
        return wrapped

    def _attested(self, credentials: Credentials, now: datetime) -> AttestedWorkload:
        """Who asks; the cookie counts first, as with Trustee."""
        if credentials.session_id is not None:
            proved = self._sessions.proof_of(credentials.session_id, now)
            if proved is not None:
                return proved
        if credentials.token is None:
            raise RequestRefusedError(
                Problem.NOT_ATTESTED,
                "attestation",
                expected="an attested session, or a bearer token of this broker",
                got="neither",
                hint=BEGIN_AGAIN,
            )
        return self._tokens.read(credentials.token, now)

    def _secret(self, workload: AttestedWorkload, resource: ResourceName) -> Secret:
        try:
            self._policy.require_release(workload.name, resource)
        except RefusedError as error:
            raise RequestRefusedError.from_error(Problem.DENIED, error) from error
        secret = self._store.get(resource)
        if secret is None:
            raise RequestRefusedError(
                Problem.MISSING,
                "resource",
                expected="one that the broker holds",
                got=str(resource),
                hint="have the broker keep or generate it: casemate serve broker --resource or --generate",
            )
        return secret

    def _record_refusal(
        self, session: Session, result: AttestationResult | None, refusal: RequestRefusedError, now: datetime
    ) -> None:
        """Record that evidence was refused; what it claims is known only where it is genuine."""
        genuine = result if result is not None and result.report is not None else None
        report = None if genuine is None else genuine.report
        self._audit.append(
            AuditEntry(
                time=now,
                session=session.label,
                workload=None,
                simulated=genuine.simulated if genuine else None,
                mrenclave=report.mrenclave.hex() if isinstance(report, ReportBody) else None,
                resource=None,
                decision=Decision.REFUSED,
                reason=str(refusal),
            )
        )

    def _record(
        self,
        workload: AttestedWorkload,
        resource: ResourceName | None,
        decision: Decision,
        reason: str,
        now: datetime,
    ) -> None:
        """Record a decision about a workload that is known."""
        self._audit.append(
            AuditEntry(
                time=now,
                session=workload.session,
                workload=workload.name,
                simulated=workload.simulated,
                mrenclave=workload.mrenclave.hex(),
                resource=None if resource is None else str(resource),
                decision=decision,
                reason=reason,
            )
        )


def _attestation(body: bytes, session: Session) -> Attestation:
    """The message, which has to be for this session."""
    try:
        attestation = Attestation.parse(body)
    except MessageError as error:
        raise RequestRefusedError.from_error(Problem.MALFORMED, error) from error
    if attestation.nonce != session.nonce:
        raise RequestRefusedError(
            Problem.EVIDENCE,
            "nonce",
            expected="the one of this session",
            got="another one",
            where="Attestation runtime-data.nonce",
            hint=BEGIN_AGAIN,
        )
    return attestation


def _workload(recognition: Recognition, attestation: Attestation, session: Session) -> AttestedWorkload:
    """What good evidence proves."""
    result = recognition.result
    try:
        require_affirming(result)
    except RefusedError as error:
        raise RequestRefusedError.from_error(Problem.EVIDENCE, error) from error
    if recognition.workload is None or not isinstance(result.report, ReportBody):
        raise RequestRefusedError(
            Problem.EVIDENCE, "evidence", expected="a workload that is known", got="none"
        )
    return AttestedWorkload(
        name=recognition.workload,
        simulated=result.simulated,
        mrenclave=result.report.mrenclave,
        tee_public_key=attestation.tee_public_key,
        session=session.label,
    )
