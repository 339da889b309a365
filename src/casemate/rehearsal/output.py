"""Passes on what the application prints, and keeps the end of it."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Final

#: Bytes of the end of the output that are kept.
KEPT: Final = 64 * 1024


class Tee:
    """A pipe whose content goes on to another descriptor.

    Args:
        target: Where it goes.

    Attributes:
        descriptor: The end to write to; close it with :meth:`detach` once the writer has it.
    """

    def __init__(self, target: int) -> None:
        self._reading, self.descriptor = os.pipe()
        # A copy: what the caller does with its own descriptor does not matter any more.
        self._target = os.dup(target)
        self._kept = b""
        self._detached = False
        self._thread = threading.Thread(target=self._copy, name="casemate-output", daemon=True)
        self._thread.start()

    def detach(self) -> None:
        """Close this process's writing end, so that the writer's death ends the copy."""
        if not self._detached:
            self._detached = True
            os.close(self.descriptor)

    def finish(self, timeout: float) -> str:
        """Wait, at most ``timeout`` seconds, until all is passed on; gives the end of it."""
        self.detach()
        self._thread.join(timeout)
        return self._kept.decode("utf-8", errors="replace")

    def _copy(self) -> None:
        try:
            while data := os.read(self._reading, 65536):
                self._kept = (self._kept + data)[-KEPT:]
                # Whoever read the output may have gone; the application is not to be held up by that.
                with contextlib.suppress(OSError):
                    while data:
                        data = data[os.write(self._target, data) :]
        finally:
            os.close(self._reading)
            os.close(self._target)
