"""What a rule says before its place in the file is known."""

from __future__ import annotations

from dataclasses import dataclass

from casemate.builder.lint.tree import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A finding whose place is still a path in the tree.

    Attributes:
        rule: Id of the rule.
        path: The key or item that it is about; ``()`` for what is missing.
        expected: What should be there.
        found: What is there.
        mend: What to do, where the rule's own mend is too general.
        at_key: Whether the key is at fault and not its value.
        value: The text that should stand in place of the value, when there is only one.
        key: The name that should stand in place of the key's last part, likewise.
        subject: What it is about, where that is not the path.
    """

    rule: str
    path: Path
    expected: str
    found: str
    mend: str | None = None
    at_key: bool = False
    value: str | None = None
    key: str | None = None
    subject: str | None = None


def written(path: Path) -> str:
    """A path as a manifest would write it."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text
