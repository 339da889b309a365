"""The name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """The one of ``known`` that is most like ``name``; ``None`` when none is.

    Args:
        name: What was written.
        known: What can be written.
        likeness: From 0 to 1; less is not enough.
    """
    import difflib  # noqa: PLC0415 (only mistakes need it, and every start would wait for it)

    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=likeness)), None)
