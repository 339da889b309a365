"""What a build warns of although it works: choices that lose data, or share it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from casemate.project import EncryptedMount, Project

#: Keys that Gramine derives from the enclave, and what follows from it.
_SEALED: Final[Mapping[str, str]] = {
    "_sgx_mrenclave": (
        "no other build of this application can read what is written there: an upgrade loses it"
    ),
    "_sgx_mrsigner": (
        "every enclave that the same key has signed can read it on the same processor, whatever its product "
        "number and version"
    ),
}
#: Version -> its fault that is known and mended later.
_FAULTS: Final[Mapping[str, str]] = {
    "1.8": (
        "it has faults of its memory management that 1.9 mends and that large applications meet, PyTorch "
        "first (gramine#1261)"
    ),
}


def cautions(project: Project, gramine: str | None) -> tuple[str, ...]:
    """One line for each.

    Args:
        project: What ``casemate.toml`` says.
        gramine: Version of Gramine; ``None`` when there is none.
    """
    return tuple(_cautions(project, gramine))


def _cautions(project: Project, gramine: str | None) -> Iterator[str]:
    for mount in project.mounts:
        if isinstance(mount, EncryptedMount) and mount.key in _SEALED:
            yield f"[mounts] {mount.path}: {_SEALED[mount.key]}; a key from [secrets] does not have this flaw"
    if gramine is not None and gramine in _FAULTS:
        yield f"Gramine {gramine}: {_FAULTS[gramine]}"
