"""The settings of a manifest that give up what an enclave is for, so that nobody signs them unasked.

They are those that Gramine itself reports as insecure when it starts, and its aids for debugging.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

_OFF: Final[tuple[object, ...]] = (False, 0, [], {})
#: Keys that weaken an enclave, each with the values that do not; and so does every ``insecure__…`` that is
#: on.
_HARMLESS: Final[Mapping[str, tuple[object, ...]]] = {
    "loader.log_level": ("none", "error"),  # others tell the host what the application does
    "sgx.allowed_files": _OFF,
    "sgx.debug": _OFF,
    "sgx.enable_stats": _OFF,
    "sgx.file_check_policy": ("strict",),
    "sgx.profile.enable": (*_OFF, "none"),
    "sgx.vtune_profile": _OFF,
    "sys.debug__mock_syscalls": _OFF,
    "sys.experimental__enable_flock": _OFF,
}


def insecure_settings(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    """Each such setting of ``manifest``: its key and ``key = value``, sorted; empty when there is none."""
    return dict(sorted((key, f"{key} = {_shown(value)}") for key, value in _insecure(manifest)))


def _insecure(manifest: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    for key, value in _settings("", manifest):
        harmless = _HARMLESS.get(key)
        if harmless is None and key.rpartition(".")[2].startswith("insecure__"):
            harmless = _OFF
        if harmless is not None and value not in harmless:
            yield key, value


def _settings(prefix: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every key of every table, tables included, with its place."""
    for key, value in table.items():
        place = f"{prefix}{key}"
        yield place, value
        if isinstance(value, Mapping) and not key.startswith("insecure__"):
            yield from _settings(f"{place}.", value)


def _shown(value: object) -> str:
    """A value in one word; never its content where that may be a key."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str | int) else "…"
