"""What a rule has to say about a place in a file, and how grave it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """How grave a finding is; the value is its word in every output."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """Larger is graver."""
        return ("note", "warning", "error").index(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A piece of text that takes the place of another.

    Attributes:
        start: Offset of the first character that goes, in code points from the start of the file.
        end: Offset after the last one.
        text: What stands there instead.
    """

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a rule found.

    Attributes:
        rule: Its id in the catalogue.
        severity: How grave it is.
        file: As it was named.
        line: From 1; ``None`` for what is missing and so has no place.
        column: From 1, in code points; ``None`` likewise.
        subject: What it is about: a key, a variable, an instruction. Never a secret.
        expected: What should be there.
        found: What is there. Never a secret.
        mend: What to do.
        edits: The mend as changes of the text, when there is only one right answer.
    """

    rule: str
    severity: Severity
    file: str
    line: int | None
    column: int | None
    subject: str
    expected: str
    found: str
    mend: str
    edits: tuple[Edit, ...] = ()

    @property
    def message(self) -> str:
        """The finding in one line, without its place and its mend."""
        return f"{self.subject}: expected {self.expected}, got {self.found}"

    @property
    def fixable(self) -> bool:
        """Whether ``--fix`` mends it."""
        return bool(self.edits)
