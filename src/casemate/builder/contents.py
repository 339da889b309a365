"""What goes into an image, and why: the values that the steps of a build hand to each other.

Charter of the values: a path is the absolute path that the application sees inside the enclave, normalised,
with forward slashes. Two files never share a path.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Rule(Enum):
    """Why a file is in the image. The value is the word in ``tcb.json``."""

    ENTRY_POINT = "entry-point"  # named by casemate.toml: the application itself
    IMPORT = "import"  # an import statement found by reading the code of ``of``
    HIDDEN_IMPORT = "hidden-import"  # an import that no statement shows, known by a rule
    START_UP = "start-up"  # the interpreter loads it before any application code
    INTERPRETER = "interpreter"  # the interpreter itself, or a file that it needs to find its home
    ATTESTER = "attester"  # PID 1 of the enclave
    SERVER = "server"  # the web server that runs the application
    PACKAGE_DATA = "package-data"  # data beside the modules of a package that is reached
    METADATA = "metadata"  # importlib.metadata of a distribution that is reached
    NEEDED_LIBRARY = "needed-library"  # DT_NEEDED of ``of``
    NAMED_LIBRARY = "named-library"  # opened by name: dlopen, ctypes, NSS
    RECORDED = "recorded"  # opened in a recorded run of the application
    INCLUDED = "included"  # [closure] include in casemate.toml
    SYSTEM_FILE = "system-file"  # /etc and the like, written or chosen by Casemate
    TIME_ZONE = "time-zone"
    LOCALE = "locale"
    CA_BUNDLE = "ca-bundle"
    CONFIGURATION = "configuration"  # the measured configuration of the attester
    GRAMINE = "gramine"  # part of an installed Gramine


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One step of the chain that says why a file is trusted.

    Attributes:
        rule: The kind of reason.
        of: Path of the file because of which this one is here; ``None`` at the start of a chain.
        detail: The reason in words, with a place where there is one: ``"import json (notes/store.py:3)"``.
    """

    rule: Rule
    of: str | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFile:
    """One regular file of the image.

    Attributes:
        path: Where the application sees it.
        content: The bytes, or the file of this machine that holds them.
        executable: Whether the image gives it mode 0755 rather than 0644.
        reason: Why it is there.
    """

    path: str
    content: bytes | Path
    executable: bool = False
    reason: Reason

    def read(self) -> bytes:
        """The bytes of the file."""
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """What a tool that converts everything would trust: interpreter and environment, whole.

    Attributes:
        files: Number of regular files.
        size: Their bytes.
        left_out: Paths (as the enclave would see them) of those files that are not in the image, and of the
            application's own modules that are not, which do not count above.
    """

    files: int
    size: int
    left_out: tuple[str, ...]
