"""Fields of which only some bits count."""

from __future__ import annotations

from collections.abc import Callable


def masked(value: bytes, mask: bytes) -> bytes:
    """The bits of ``value`` that ``mask`` selects; both have the same length."""
    return (int.from_bytes(value, "big") & int.from_bytes(mask, "big")).to_bytes(len(value), "big")


def under_mask(expected: bytes, mask: bytes) -> Callable[[], str]:
    """What to call a value that is expected under a mask."""
    return lambda: f"{expected.hex()} under the mask {mask.hex()}"
