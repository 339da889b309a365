"""What ``casemate.toml`` and a manifest may name: folders, keys, variables; rules on their text alone."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

#: Folders of the enclave that hold measured files, or that Gramine provides.
MEASURED: Final = (
    *("/opt/python", "/app", "/lib", "/etc", "/usr"),
    *("/dev", "/proc", "/sys", "/gramine", "/casemate"),
)
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Variables that the manifest sets itself; another value would break the enclave or its isolation.
OWN_VARIABLES: Final = frozenset({"LD_LIBRARY_PATH", "LD_PRELOAD"})
KEY_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
#: Keys that Gramine derives from the enclave's identity, and that nobody has to deliver.
SEALING_KEYS: Final = frozenset({"_sgx_mrenclave", "_sgx_mrsigner"})


def is_variable(name: str) -> bool:
    """Whether ``name`` is that of a variable which is left to the application."""
    return VARIABLE.fullmatch(name) is not None and name not in OWN_VARIABLES


def is_key_name(name: str) -> bool:
    """Whether an encrypted folder can have the key ``name``."""
    return name in SEALING_KEYS or KEY_NAME.fullmatch(name) is not None


def is_plain(path: str) -> bool:
    """Whether ``path`` is absolute, in its shortest form, printable, and not the root itself."""
    first, *parts = path.split("/")
    return not first and bool(parts) and path.isprintable() and set(parts).isdisjoint(("", ".", ".."))


def is_includable_file(path: str) -> bool:
    """Whether a file or folder of the build host can be taken over at its own path.

    Below ``/etc`` and ``/usr``, where nothing but measured files can be, and not among Casemate's own.
    """
    place = PurePosixPath(path)
    inside = any(PurePosixPath(folder) in place.parents for folder in ("/etc", "/usr"))
    return is_plain(path) and inside and not place.is_relative_to("/etc/casemate")


def hides_measured(path: str) -> bool:
    """Whether a folder mounted at the plain path ``path`` lies within measured files, or lies over them."""
    place = PurePosixPath(path)
    return any(
        place.is_relative_to(folder) or PurePosixPath(folder).is_relative_to(place) for folder in MEASURED
    )
