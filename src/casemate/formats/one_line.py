"""Text that a stranger had a hand in, made fit for a log line, a table or an answer."""

from __future__ import annotations

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_CUT = "…"


def one_line(text: str, limit: int) -> str:
    """At most ``limit`` characters of ``text``, none of which moves a cursor, ends a line or hides.

    What Unicode does not count as printable (control and format characters, line separators, surrogates) is
    replaced one for one; a text that is cut ends in an ellipsis.

    Args:
        text: Any text.
        limit: Characters of the result, at least 1.
    """
    kept = text if len(text) <= limit else text[: limit - 1] + _CUT
    if kept.isprintable():
        return kept
    return "".join(letter if letter.isprintable() else _REPLACEMENT for letter in kept)
