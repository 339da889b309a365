"""The only place of the toolchain that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the environment decides, parsed once.

    Attributes:
        cache: Folder for installed things that can be made again. ``$XDG_CACHE_HOME/casemate``, else
            ``~/.cache/casemate``.
        gramine: Prefix of the Gramine to measure; ``None`` looks in the usual places. ``$CASEMATE_GRAMINE``.
    """

    cache: Path
    gramine: Path | None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings from ``environment``."""
        home = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        gramine = environment.get("CASEMATE_GRAMINE")
        return cls(cache=home / "casemate", gramine=Path(gramine) if gramine else None)
