"""Sessions: a challenge that can be answered once, and what its answer proved.

A session is waiting (its nonce is not used), spent (evidence was sent for it, and was not good) or attested.
It ends at one instant, whatever happens in between. Sessions live in this process only.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Generic, NewType, TypeVar

from casemate.broker.problem import Problem, RequestRefusedError
from casemate_attester.messages import Nonce

#: 32 lower-case hexadecimal digits, as Trustee's cookie: 128 random bits.
SessionId = NewType("SessionId", str)
#: Random bytes of a challenge.
NONCE_SIZE = 32
_SESSION_ID_SIZE = 16
#: What a client does whose session cannot be used.
BEGIN_AGAIN = "begin again with POST /kbs/v0/auth"

Proof = TypeVar("Proof")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Bounds on sessions.

    Attributes:
        lifetime: From ``/auth`` until the session and what it proved are forgotten.
        waiting: Sessions not attested that are kept; beyond, the oldest one is forgotten, so that a flood of
            ``/auth`` has to outrun honest exchanges instead of only filling a table.
        attested: Attested sessions that are kept; beyond, attestation is refused.
    """

    lifetime: timedelta = timedelta(minutes=5)
    waiting: int = 10_000
    attested: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A challenge and its life.

    Attributes:
        id: Value of the cookie; whoever knows it speaks for the session.
        nonce: The challenge as sent: standard base64 of 32 random bytes.
        expires: The instant from which the session is refused.
        spent: Evidence was sent for the nonce.
    """

    id: SessionId = field(repr=False)
    nonce: Nonce
    expires: datetime
    spent: bool = False

    @property
    def label(self) -> str:
        """A name for logs that does not give the session away."""
        return hashlib.sha256(self.id.encode()).hexdigest()[:16]


class Sessions(Generic[Proof]):
    """All sessions of one broker; ``Proof`` is what attestation yields.

    Args:
        limits: Bounds; see :class:`SessionLimits`.
        random: Gives that many unpredictable bytes.
    """

    def __init__(self, limits: SessionLimits, random: Callable[[int], bytes]) -> None:
        self._limits = limits
        self._random = random
        # In the order of opening, which is the order of expiry.
        self._waiting: dict[SessionId, Session] = {}
        self._attested: dict[SessionId, tuple[Session, Proof]] = {}

    def open(self, now: datetime) -> Session:
        """A new session with a fresh nonce."""
        for session in list(self._waiting.values()):
            if session.expires > now and len(self._waiting) < self._limits.waiting:
                break
            del self._waiting[session.id]
        session = Session(
            id=SessionId(self._random(_SESSION_ID_SIZE).hex()),
            nonce=Nonce(base64.b64encode(self._random(NONCE_SIZE)).decode("ascii")),
            expires=now + self._limits.lifetime,
        )
        self._waiting[session.id] = session
        return session

    def spend(self, session_id: SessionId, now: datetime) -> Session:
        """Use the nonce of a session; from here on it is used, whether the evidence is good or not.

        Raises:
            RequestRefusedError: The session is unknown or expired, or its nonce is used.
        """
        attested = self._attested.get(session_id)
        session = attested[0] if attested else self._waiting.get(session_id)
        if session is None or session.expires <= now:
            raise RequestRefusedError(
                Problem.EVIDENCE,
                "session",
                expected=f"one opened less than {self._limits.lifetime.total_seconds():g} seconds ago",
                got="an unknown or expired one",
                where="cookie kbs-session-id",
                hint=BEGIN_AGAIN,
            )
        if session.spent:
            raise RequestRefusedError(
                Problem.EVIDENCE,
                "nonce",
                expected="one for which no evidence was sent yet",
                got="one that is used",
                where="cookie kbs-session-id",
                hint=BEGIN_AGAIN,
            )
        spent = replace(session, spent=True)
        self._waiting[session.id] = spent
        return spent

    def attest(self, session: Session, proof: Proof, now: datetime) -> None:
        """Note what the evidence sent for ``session`` proved.

        Raises:
            RequestRefusedError: There are too many attested sessions.
        """
        if len(self._attested) >= self._limits.attested:
            self._attested = {key: kept for key, kept in self._attested.items() if kept[0].expires > now}
        if len(self._attested) >= self._limits.attested:
            raise RequestRefusedError(
                Problem.BUSY,
                "attested sessions",
                expected=f"at most {self._limits.attested}",
                got=f"{self._limits.attested + 1}",
                where="session limit",
                hint="try again when older sessions have expired",
            )
        self._waiting.pop(session.id, None)
        self._attested[session.id] = (session, proof)

    def proof_of(self, session_id: SessionId, now: datetime) -> Proof | None:
        """What a session proved; ``None`` when it is unknown, expired or not attested."""
        session, proof = self._attested.get(session_id, (None, None))
        return proof if session is not None and session.expires > now else None
