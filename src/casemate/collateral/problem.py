"""What can be wrong with a request, in PCCS's status codes and words, each with its reason.

PCCS answers with the sentence alone. Clients look at the status; the sentence comes first, so that whoever
looks for it finds it, and the reason after it says what failed and what to do.
"""

from __future__ import annotations

from enum import Enum

from casemate.errors import RefusedError
from casemate.formats.one_line import one_line
from casemate_attester.errors import ExplainedError

_END_OF_V3 = (
    "The Intel PCS API version 3 reached planned EOL. Accordingly, collateral from this API version cannot "
    "be retrieved any longer."
)
#: Characters of a reason in an answer.
MAX_REASON = 600


class Problem(Enum):
    """A kind of refusal: the HTTP status and PCCS's sentence."""

    INVALID = (400, "Invalid request parameters.")
    UNAUTHORISED = (401, "Authentication failed.")
    NO_DATA = (404, "No cache data for this platform.")
    NO_PATH = (404, "No such path.")
    METHOD = (405, "Method not allowed.")
    TOO_SLOW = (408, "Request timed out.")
    NO_MORE_V3 = (410, _END_OF_V3)
    WITHDRAWN = (410, "Intel has withdrawn this document.")
    TOO_LARGE = (413, "Content too large.")
    INTEGRITY = (460, "The integrity of the data can't be verified.")
    UNKNOWN_PLATFORM = (461, "The platform was not found in the cache.")
    NO_CERTIFICATES = (462, "Certificates are not available for certain TCBs.")
    INTERNAL = (500, "Internal server error occurred.")
    UPSTREAM = (502, "Unable to retrieve the collateral from the Intel SGX PCS.")
    UNSERVICEABLE = (503, "Server is currently unable to process the request.")

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[0]

    @property
    def sentence(self) -> str:
        """What PCCS says."""
        return self.value[1]


class CollateralRefusedError(RefusedError):
    """A request that is answered with an error.

    Args:
        problem: What the client is told by the status.
        subject: See :class:`ExplainedError`, as the rest.
        expected: What would have been right.
        got: What was found instead.
        where: Parameter, field or document.
        hint: What to do next.
        retry_after: Seconds after which the client may ask again, where that is known.
    """

    def __init__(
        self,
        problem: Problem,
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

    @classmethod
    def from_error(
        cls, problem: Problem, error: ExplainedError, *, retry_after: float | None = None
    ) -> CollateralRefusedError:
        """The same explanation, as the answer to a request."""
        return cls(
            problem,
            error.subject,
            expected=error.expected,
            got=error.got,
            where=error.where,
            hint=error.hint,
            retry_after=retry_after,
        )

    def to_text(self) -> str:
        """The body of the answer: PCCS's sentence, the reason, what to do; printable, on one line."""
        reason = str(self) if self.hint is None else f"{self}; {self.hint}"
        return f"{self.problem.sentence} {one_line(reason, MAX_REASON)}"
