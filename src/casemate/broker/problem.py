"""What can be wrong with a request, in the words and status codes of Trustee's key broker protocol.

Trustee answers 401 to nearly everything, so that its clients attest again where that cannot help. Here 401
means only "attest (again)"; the guest client of Confidential Containers treats every other status as final.
"""

from __future__ import annotations

from enum import Enum

from casemate.errors import RefusedError
from casemate.formats.one_line import one_line
from casemate_attester.errors import ExplainedError
from casemate_attester.messages import ErrorInformation

#: Start of the ``type`` of an error body; the rest is the name in :class:`Problem`.
ERROR_TYPE_PREFIX = "https://github.com/confidential-containers/kbs/errors/"
#: Characters of a reason, in an answer and in the audit log: room for two report data in hexadecimal. Anybody
#: can be refused, with something of their own in the reason, as often as they like.
MAX_REASON = 350


class Problem(Enum):
    """A kind of refusal: the name in the error's ``type``, and the HTTP status."""

    MALFORMED = ("SerdeError", 400)
    EVIDENCE = ("AttestationError", 401)
    NOT_ATTESTED = ("TokenNotFound", 401)
    BAD_TOKEN = ("TokenVerifierError", 401)
    DENIED = ("PolicyDeny", 403)
    BAD_PATH = ("InvalidRequestPath", 404)
    MISSING = ("PluginInternalError", 404)
    BAD_METHOD = ("HTTPFailed", 405)
    TOO_SLOW = ("HTTPFailed", 408)
    TOO_LARGE = ("HTTPFailed", 413)
    INTERNAL = ("PluginInternalError", 500)
    BUSY = ("HTTPFailed", 503)

    @property
    def type(self) -> str:
        """The ``type`` of the error body."""
        return ERROR_TYPE_PREFIX + self.value[0]

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value[1]


class RequestRefusedError(RefusedError):
    """A request that the broker answers with an error body.

    Args:
        problem: What the client is told with the status.
        subject: See :class:`ExplainedError`, as the rest.
        expected: What would have been right.
        got: What was found instead.
        where: Field, path or limit.
        hint: What the client does next.
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
    ) -> None:
        super().__init__(subject, expected=expected, got=got, where=where, hint=hint)
        self.problem = problem

    @classmethod
    def from_error(cls, problem: Problem, error: ExplainedError) -> RequestRefusedError:
        """The same explanation, as the answer to a request."""
        return cls(
            problem,
            error.subject,
            expected=error.expected,
            got=error.got,
            where=error.where,
            hint=error.hint,
        )

    def to_information(self) -> ErrorInformation:
        """The error body of the protocol; its text is printable and has at most twice ``MAX_REASON``."""
        texts = [str(self)] if self.hint is None else [str(self), self.hint]
        detail = "; ".join(one_line(text, MAX_REASON) for text in texts)
        return ErrorInformation(type=self.problem.type, detail=detail)
