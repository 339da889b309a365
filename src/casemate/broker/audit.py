"""The record of every decision: who asked for what, what was decided and why. Never a secret.

Each record is one line of canonical JSON that carries the SHA-256 of the line before it, so that a removed,
changed or reordered record shows. What is not prevented: someone who can write the log can make it anew from
any record on; who needs more keeps the newest hash elsewhere.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from casemate.broker.problem import MAX_REASON
from casemate.errors import ServiceError
from casemate.formats.one_line import one_line

#: Stands for the line before the first.
START_OF_CHAIN = "0" * 64


class Decision(Enum):
    """What was decided; the value is the word in the record."""

    ATTESTED = "attested"
    RELEASED = "released"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One decision.

    Attributes:
        time: When, in UTC.
        session: Hash of the session's identifier (or of the token), to follow one exchange.
        workload: The name in the reference values that the enclave matched, if it matched any.
        simulated: Whether a simulated platform vouched for the enclave: then it proves nothing about it.
            ``None`` when nobody has.
        mrenclave: Measurement of the enclave in hexadecimal, if evidence got that far.
        resource: What was asked for; ``None`` for an attestation.
        decision: What was decided.
        reason: Why, in words; kept as one printable line of at most ``MAX_REASON`` characters.
    """

    time: datetime
    session: str
    workload: str | None
    simulated: bool | None
    mrenclave: str | None
    resource: str | None
    decision: Decision
    reason: str

    def to_line(self, number: int, previous: str) -> str:
        """The line that follows the one with the hash ``previous`` as record ``number``."""
        fields = asdict(self) | {
            "time": self.time.isoformat(),
            "decision": self.decision.value,
            "reason": one_line(self.reason, MAX_REASON),
        }
        chained = {"version": 1, "number": number, "previous": previous} | fields
        return json.dumps(chained, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


class AuditLog(Protocol):
    """Where decisions are kept."""

    def append(self, entry: AuditEntry) -> None:
        """Keep ``entry`` durably as the newest record.

        Raises:
            ServiceError: It cannot be kept; what it records must not happen then.
        """


def line_hash(line: str) -> str:
    """The hash by which the next line names this one."""
    return hashlib.sha256(line.encode("ascii")).hexdigest()


def check_chain(lines: Iterable[str]) -> int:
    """Check that each line names the one before it.

    Returns:
        The number of lines.

    Raises:
        ServiceError: A line was removed, changed or moved.
    """
    previous, number = START_OF_CHAIN, 0
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            found = (record["number"], record["previous"])
        except (ValueError, KeyError, TypeError) as error:
            raise ServiceError("audit record", expected="a line of JSON", where=f"record {number}") from error
        if found != (number, previous):
            raise ServiceError(
                "audit record",
                expected=f"number {number} after {previous}",
                got=f"number {found[0]} after {found[1]}",
                where=f"record {number}",
                hint="the log was changed: keep it as it is and find out by whom",
            )
        previous = line_hash(line)
    return number
