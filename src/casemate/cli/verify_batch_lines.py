"""The lines of a batch, from a file or from a pipe that may never end."""

from __future__ import annotations

import os
from typing import Final

#: Bytes that are read at once.
_BLOCK: Final = 1 << 16


class Lines:
    """Cuts what a descriptor gives into lines, holding no more of a line than is needed to refuse it.

    Args:
        descriptor: Of the input.
        longest: Bytes of a line; of longer ones, that many and one more are kept.

    Attributes:
        descriptor: The same.
        ended: Whether everything was read.
    """

    def __init__(self, descriptor: int, longest: int) -> None:
        self.descriptor = descriptor
        self.ended = False
        self._most = longest + 1
        self._begun = b""

    def read(self) -> list[bytes]:
        """The lines that have become complete with what there is now; waits until there is something.

        The end of the input completes the last line, unless it ended with a line feed.
        """
        block = os.read(self.descriptor, _BLOCK)
        if not block:
            self.ended = True
            return [self._begun] if self._begun else []
        first, *others = block.split(b"\n")
        self._begun += first[: self._most - len(self._begun)]
        if not others:
            return []
        complete = [self._begun, *(line[: self._most] for line in others[:-1])]
        self._begun = others[-1][: self._most]
        return complete
