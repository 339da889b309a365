"""Offsets as lines and columns."""

from __future__ import annotations

import re
from bisect import bisect_right


class Lines:
    """Where the lines of a text begin; found when a place is asked for, which most texts never are."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts: tuple[int, ...] = ()

    @classmethod
    def of(cls, text: str) -> Lines:
        """The lines of ``text``, each ended by a line feed."""
        return cls(text)

    def place(self, offset: int) -> tuple[int, int]:
        """Line and column of an offset, both from 1."""
        if not self._starts:
            self._starts = (0, *(match.end() for match in re.finditer("\n", self._text)))
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1
