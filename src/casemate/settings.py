"""The only place of the toolchain that reads the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from casemate.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the environment decides, parsed once.

    Attributes:
        cache: Folder for installed things that can be made again. ``$XDG_CACHE_HOME/casemate``, else
            ``~/.cache/casemate``.
        gramine_key: Where Gramine's tools keep the key that signs when none is named.
            ``$XDG_CONFIG_HOME/gramine/enclave-key.pem``, else below ``~/.config``.
        gramine: Prefix of the Gramine to measure; ``None`` looks in the usual places. ``$CASEMATE_GRAMINE``.
        library_path: Folders in which programs of this machine look for libraries first.
        ``$LD_LIBRARY_PATH``.
        source_date_epoch: Seconds since 1970 that everything in an image carries. ``$SOURCE_DATE_EPOCH``,
        else 0.
        docker: Folder with Docker's configuration, where it is kept who we are to registries of images.
        ``$DOCKER_CONFIG``, else ``~/.docker``.
        https_proxy: URL of the proxy on the way to registries; ``None`` for none. ``$HTTPS_PROXY`` or
        ``$https_proxy``. Not printed: there may be a password in it.
        no_proxy: Hosts that are asked directly, and domains whose hosts are; ``*`` for all. ``$NO_PROXY`` or
        ``$no_proxy``.
    """

    cache: Path
    gramine_key: Path
    gramine: Path | None
    library_path: tuple[str, ...]
    source_date_epoch: int
    docker: Path
    https_proxy: str | None = field(repr=False)
    no_proxy: tuple[str, ...]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings from ``environment``."""
        home = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        configuration = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        gramine = environment.get("CASEMATE_GRAMINE")
        folders = re.split("[:;]", environment.get("LD_LIBRARY_PATH", ""))
        return cls(
            cache=home / "casemate",
            gramine_key=configuration / "gramine" / "enclave-key.pem",
            gramine=Path(gramine) if gramine else None,
            library_path=tuple(folder for folder in folders if folder.startswith("/")),
            source_date_epoch=_epoch(environment.get("SOURCE_DATE_EPOCH") or "0"),
            docker=Path(environment.get("DOCKER_CONFIG") or Path.home() / ".docker"),
            https_proxy=environment.get("HTTPS_PROXY") or environment.get("https_proxy") or None,
            no_proxy=tuple(
                name.strip().removeprefix(".").lower()
                for name in (environment.get("NO_PROXY") or environment.get("no_proxy") or "").split(",")
                if name.strip()
            ),
        )

    def proxy_for(self, host: str) -> str | None:
        """URL of the proxy on the way to ``host``, which has no port; ``None`` for none."""
        for name in self.no_proxy:
            if name in {"*", host} or host.endswith(f".{name}"):
                return None
        return self.https_proxy


def _epoch(text: str) -> int:
    """The number in ``SOURCE_DATE_EPOCH``; ustar has room for eleven octal digits of it."""
    if re.fullmatch("[0-9]{1,10}", text) is None or int(text) >= 1 << 33:
        raise UsageError(
            "SOURCE_DATE_EPOCH",
            expected="seconds since 1970, less than 2^33",
            got=text,
            where="the environment",
        )
    return int(text)


def variables(names: Iterable[str]) -> Mapping[str, str]:
    """Those of the named variables that the environment has: what a user wants to pass on, and no more."""
    return {name: os.environ[name] for name in names if name in os.environ}


def taken_secret(name: str) -> Mapping[str, str]:
    """The named variable, taken out of the environment: what this process starts has no business with it."""
    value = os.environ.pop(name, None)
    return {} if value is None else {name: value}
