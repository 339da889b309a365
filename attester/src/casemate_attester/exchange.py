"""The dialogue with the key broker, as a generator without I/O (protocol RCAR 0.4.0).

It yields what it needs, a call to the broker or a quote, and is sent the answer::

    dialogue = exchange(key, resources)
    step = next(dialogue)
    while True:
        step = dialogue.send(...)      # StopIteration.value: the wrapped secrets

A ``401`` to evidence or to a request for a secret opens a new session with new evidence, once in a dialogue:
sessions expire, and Trustee's broker says 401 for everything. A ``404`` ends it: the resource is not there.
So does every other status. Whether a broker that is down is called again is not decided here.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import Enum

from casemate_attester.binding import ReportData, report_data
from casemate_attester.configuration import Resource
from casemate_attester.errors import BrokerRefusedError, MessageError
from casemate_attester.messages import (
    MAX_MESSAGE_BYTES,
    MAX_WRAPPED_SECRET_BYTES,
    Attestation,
    AttestResponse,
    Challenge,
    ErrorInformation,
    HashAlgorithm,
    Request,
    TeePublicKey,
    WrappedSecret,
)

__all__ = ["Answer", "Call", "EvidenceWanted", "Method", "Quote", "exchange"]

_PREFIX = "/kbs/v0"
_OK = 200
_UNAUTHORIZED = 401
_NOT_FOUND = 404
_SESSIONS = 2
_MAX_DETAIL = 300


class Method(Enum):
    """HTTP methods of the protocol."""

    GET = "GET"
    POST = "POST"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A step: call the broker.

    Attributes:
        method: HTTP method.
        path: Absolute path.
        body: JSON to send with it.
        limit: Largest answer that is worth reading, in bytes.
    """

    method: Method
    path: str
    body: bytes = b""
    limit: int = MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the broker answered to a call."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceWanted:
    """A step: get a quote that carries this report data."""

    report_data: ReportData


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What the platform answered to a wish for evidence."""

    value: bytes


Step = Call | EvidenceWanted
Reply = Answer | Quote


class _UnauthorizedError(BrokerRefusedError):
    """The broker knows of no good session; a new one may help."""


def exchange(
    key: TeePublicKey, resources: Sequence[Resource]
) -> Generator[Step, Reply, tuple[WrappedSecret, ...]]:
    """Attests and asks for every resource.

    Args:
        key: The key to which the broker shall wrap the secrets; bound into the evidence.
        resources: What to ask for. With none, the broker is still convinced first.

    Returns:
        The wrapped secrets, in the order of ``resources``.

    Raises:
        BrokerRefusedError: The broker said no.
        MessageError: The broker said what the protocol does not allow.
    """
    wrapped: list[WrappedSecret] = []
    for sessions_left in reversed(range(_SESSIONS)):
        try:
            yield from _attest(key)
            while len(wrapped) < len(resources):
                wrapped.append((yield from _fetch(resources[len(wrapped)])))
        except _UnauthorizedError:
            if not sessions_left:
                raise
        else:
            break
    return tuple(wrapped)


def _attest(key: TeePublicKey) -> Generator[Step, Reply, None]:
    """A new session, and evidence in it."""
    answer = yield from _call(Call(method=Method.POST, path=f"{_PREFIX}/auth", body=Request().to_bytes()))
    if answer.status != _OK:
        raise _refusal(
            BrokerRefusedError,
            answer,
            subject="session",
            expected="a challenge",
            hint="see that [broker] url names a key broker of protocol 0.4.0 (Trustee from v0.14 on)",
        )
    challenge = Challenge.parse(answer.body)
    algorithm = challenge.selected_hash_algorithm or HashAlgorithm.SHA384
    quote = yield EvidenceWanted(report_data=report_data(key, challenge.nonce, algorithm))
    if not isinstance(quote, Quote):
        raise TypeError("a wish for evidence is answered with a quote")
    attestation = Attestation(nonce=challenge.nonce, tee_public_key=key, quote=quote.value)
    answer = yield from _call(Call(method=Method.POST, path=f"{_PREFIX}/attest", body=attestation.to_bytes()))
    if answer.status != _OK:
        raise _refusal(
            _UnauthorizedError if answer.status == _UNAUTHORIZED else BrokerRefusedError,
            answer,
            subject="evidence",
            expected="a token",
            hint="compare the measurement of this image with the reference values that the broker holds",
        )
    # The token stays unused: it would only repeat what the session's cookie says to the same broker.
    AttestResponse.parse(answer.body)


def _fetch(resource: Resource) -> Generator[Step, Reply, WrappedSecret]:
    """One secret, in an attested session."""
    answer = yield from _call(
        Call(
            method=Method.GET,
            path=f"{_PREFIX}/resource/{resource.path}",
            limit=MAX_WRAPPED_SECRET_BYTES,
        )
    )
    if answer.status == _OK:
        return WrappedSecret.parse(answer.body)
    hint = "see that the broker's policy releases it to this measurement"
    if answer.status == _NOT_FOUND:
        hint = "store it with the broker under this name, or mend [secrets] in casemate.toml"
    raise _refusal(
        _UnauthorizedError if answer.status == _UNAUTHORIZED else BrokerRefusedError,
        answer,
        subject=f"resource {resource}",
        expected="a wrapped secret",
        hint=hint,
    )


def _call(call: Call) -> Generator[Step, Reply, Answer]:
    """One call and its answer."""
    answer = yield call
    if not isinstance(answer, Answer):
        raise TypeError("a call is answered with an answer")
    return answer


def _refusal(
    kind: type[BrokerRefusedError], answer: Answer, *, subject: str, expected: str, hint: str
) -> BrokerRefusedError:
    """The error for an answer that is not what was asked for."""
    try:
        information = ErrorInformation.parse(answer.body)
    except MessageError:
        reason = "without an explanation"
    else:
        reason = f"{information.type.rpartition('/')[2]}: {information.detail}"
    # What a peer says goes to the log on one line of bounded length.
    reason = "".join(letter if letter.isprintable() else "?" for letter in reason)[:_MAX_DETAIL]
    return kind(subject, expected=expected, got=f"status {answer.status}, {reason}", hint=hint)
