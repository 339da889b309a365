"""What every command owes the terminal that it prints to."""

from __future__ import annotations


def printable(text: str) -> str:
    """``text`` with what a terminal would obey escaped: messages quote what a stranger may have written."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
