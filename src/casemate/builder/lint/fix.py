"""Mending what has one right answer, in the text itself: comments and layout stay as they are."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from casemate.builder.lint.finding import Edit, Finding

#: One mend can make room for another; more rounds than this mean that two undo each other.
_MAX_ROUNDS = 10
#: What no mend may bring about.
_BROKEN = frozenset({"toml-syntax", "duplicate-key", "template-syntax"})


def fixed(data: bytes, lint: Callable[[bytes], tuple[Finding, ...]]) -> bytes:
    """``data`` with every mend that can be made; mending it again changes nothing.

    Args:
        data: A file.
        lint: Judges it.
    """
    findings = lint(data)
    for _ in range(_MAX_ROUNDS):
        edits = _apart(edit for finding in findings for edit in finding.edits)
        if not edits:
            break
        mended = _edited(data.decode("utf-8"), edits).encode("utf-8")
        after = lint(mended)
        if mended == data or _faults(after) > _faults(findings):
            break
        data, findings = mended, after
    return data


def difference(before: bytes, after: bytes, where: str) -> str:
    """What mending has changed, as a unified diff."""
    old, new = (text.decode("utf-8", "replace").splitlines(keepends=True) for text in (before, after))
    lines = difflib.unified_diff(old, new, f"a/{where.lstrip('/')}", f"b/{where.lstrip('/')}")
    return "".join(
        line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines
    )


def _faults(findings: Iterable[Finding]) -> int:
    return sum(finding.rule in _BROKEN for finding in findings)


def _apart(edits: Iterable[Edit]) -> list[Edit]:
    """Those that do not touch each other, in order."""
    kept: list[Edit] = []
    for edit in sorted(set(edits), key=lambda edit: (edit.start, edit.end, edit.text)):
        if not kept or edit.start >= kept[-1].end:
            kept.append(edit)
    return kept


def _edited(text: str, edits: list[Edit]) -> str:
    parts: list[str] = []
    at = 0
    for edit in edits:
        parts += (text[at : edit.start], edit.text)
        at = edit.end
    return "".join((*parts, text[at:]))
