"""The errors of the attester, and the shape that every Casemate error has.

::

    ExplainedError                  what was expected, what was found, where, what to do next
    └── AttesterError               anything that stops a workload inside the enclave
        ├── ConfigurationError      the measured workload configuration cannot be used: rebuild the image
        ├── VariableError           what the host chose for a variable breaks its measured rule
        ├── MessageError            a peer's message is not what the protocol allows
        ├── EvidenceError           /dev/attestation does not give evidence: look at the platform
        ├── BrokerUnavailableError  nobody answers, or not with the pinned certificate: try again later
        ├── BrokerRefusedError      the broker answered and said no: look at its policy
        │   └── _UnauthorizedError  … that the session is not, or no longer, attested (exchange)
        ├── UnwrapError             a wrapped secret does not open with this enclave's key
        ├── PlacementError          a secret cannot be put where the configuration says
        └── ApplicationError        the application cannot be imported or started
"""


class ExplainedError(Exception):
    """An error with fields, whose one-line message is made from them in one place.

    Args:
        subject: What is wrong, in a few words: ``"quote version"``.
        expected: What would have been right.
        got: What was found instead. Never a secret.
        where: File, field, address or command that the reader can go to.
        hint: What to do next, as an instruction; shown on a line of its own.
    """

    def __init__(
        self,
        subject: str,
        *,
        expected: str | None = None,
        got: str | None = None,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.subject = subject
        self.expected = expected
        self.got = got
        self.where = where
        self.hint = hint
        super().__init__(subject, expected, got, where, hint)

    def __str__(self) -> str:
        """``subject: expected X, got Y (where)``; the hint is separate."""
        facts = [
            f"{word} {value}"
            for word, value in (("expected", self.expected), ("got", self.got))
            if value is not None
        ]
        message = self.subject
        if facts:
            message += ": " + ", ".join(facts)
        if self.where is not None:
            message += f" ({self.where})"
        return message


class AttesterError(ExplainedError):
    """Anything that stops a workload inside the enclave; never raised itself."""


class ConfigurationError(AttesterError):
    """The measured workload configuration cannot be used; the image has to be rebuilt."""


class VariableError(AttesterError):
    """The host has chosen a value that breaks the measured rule of the variable, or none."""


class MessageError(AttesterError):
    """A peer's message is not what the protocol allows."""


class EvidenceError(AttesterError):
    """The platform does not give evidence."""


class BrokerUnavailableError(AttesterError):
    """Nobody answers at the broker's address, or not with the pinned certificate."""


class BrokerRefusedError(AttesterError):
    """The broker answered, and said no."""


class UnwrapError(AttesterError):
    """A wrapped secret does not open with this enclave's key."""


class PlacementError(AttesterError):
    """A secret cannot be put where the configuration says."""


class ApplicationError(AttesterError):
    """The application cannot be imported or started."""
