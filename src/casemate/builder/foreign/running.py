"""How programs of an image are asked: the seam between what is asked and how they are confined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class ImagePrograms(Protocol):
    """Runs programs of one image, confined to its files."""

    def __call__(self, argv: Sequence[str], env: Mapping[str, str], request: bytes = b"", /) -> bytes:
        """What a program prints.

        Args:
            argv: Its absolute path in the image, and its arguments.
            env: Its whole environment.
            request: What it can read.

        Raises:
            ToolchainError: It cannot be confined here, it fails, or it takes too much.
        """
        ...
