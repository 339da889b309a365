"""What a policy accepted that is refused otherwise, and why: so that a reader of a result sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from casemate.formats.one_line import one_line
from casemate.verifier.policy import Exemption

#: The reason of what was accepted by name alone.
UNEXPLAINED = "it was named, no reason given"
#: Characters of a reason that are shown.
MAX_REASON = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One thing that the policy accepted, and that is refused otherwise.

    Attributes:
        what: For example ``TCB status OutOfDate``.
        reason: Why, in the words of the policy: one printable line of at most 500 characters.
        until: The last instant at which it is accepted; ``None``: for good.
    """

    what: str
    reason: str
    until: datetime | None

    @classmethod
    def of(cls, what: str, exemption: Exemption) -> Grant:
        """What was accepted by an exemption."""
        return cls(what=what, reason=one_line(exemption.reason, MAX_REASON), until=exemption.until)
