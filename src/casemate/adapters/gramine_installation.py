"""An installed Gramine: found by its prefix or in the usual places, and read, never run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from casemate.builder.enclave.gramine import OLDEST_SECURE
from casemate.errors import ToolchainError

#: Prefixes below which distributions, meson's default and people install Gramine.
USUAL_PREFIXES: Final = (
    Path("/usr"),
    Path("/usr/local"),
    Path("/opt/gramine"),
    Path("/gramine/meson_build_output"),
)
_LIBRARY_FOLDERS: Final = ("lib/x86_64-linux-gnu/gramine", "lib64/gramine", "lib/gramine")
#: ``bin/gramine-sgx`` is a script that prints this for ``--version``.
_VERSION: Final = re.compile(rb'echo "Gramine (\d+)\.(\d+)(?:\.(\d+))?[^"]*"')


@dataclass(frozen=True, slots=True, kw_only=True)
class GramineInstallation:
    """The files of an installed Gramine that an image needs.

    Attributes:
        prefix: Where it is installed.
        version: Major and minor number: ``"1.9"``.
        loader: The host program that builds the enclave.
        platform_image: ``libpal.so`` for SGX: what is measured.
        libos: ``libsysdb.so``.
        glibc: Name -> file of the C library that runs on it.
    """

    prefix: Path
    version: str
    loader: Path
    platform_image: Path
    libos: Path
    glibc: dict[str, Path]

    @classmethod
    def at(cls, prefix: Path) -> Self:
        """The Gramine below ``prefix``.

        Raises:
            ToolchainError: There is none, it lacks SGX support or its C library, or it is too old to be
                secure.
        """
        folder = _library_folder(prefix)
        if folder is None:
            raise ToolchainError(
                "Gramine",
                expected=f"{_LIBRARY_FOLDERS[0]}/sgx/libpal.so below the prefix",
                got="none",
                where=str(prefix),
                hint="install the package gramine, or name the prefix that was given to meson",
            )
        runtime = folder / "runtime" / "glibc"
        for part in (folder / "sgx" / "loader", folder / "libsysdb.so", runtime / "libc.so.6"):
            if not part.is_file():
                raise ToolchainError(
                    "Gramine",
                    expected=f"{part.relative_to(prefix)}",
                    got="no such file",
                    where=str(prefix),
                    hint="install a Gramine that is built with -Dsgx=enabled and -Dlibc=glibc",
                )
        return cls(
            prefix=prefix,
            version=_version(prefix),
            loader=folder / "sgx" / "loader",
            platform_image=folder / "sgx" / "libpal.so",
            libos=folder / "libsysdb.so",
            glibc={file.name: file for file in sorted(runtime.iterdir()) if file.is_file()},
        )

    @property
    def direct_loader(self) -> Path:
        """``libpal.so`` that runs without SGX.

        Raises:
            ToolchainError: Gramine was built without it.
        """
        loader = self.libos.parent / "direct" / "libpal.so"
        if not loader.is_file():
            raise ToolchainError(
                "Gramine",
                expected=f"{loader.relative_to(self.prefix)}",
                got="no such file",
                where=str(self.prefix),
                hint="install a Gramine that is built with -Ddirect=enabled",
            )
        return loader


def find_gramine(prefix: Path | None, usual: tuple[Path, ...] = USUAL_PREFIXES) -> GramineInstallation | None:
    """The Gramine below ``prefix``; without a prefix, the first below one of ``usual``, if any.

    Raises:
        ToolchainError: There is none below ``prefix``, or what is there cannot be used.
    """
    if prefix is not None:
        return GramineInstallation.at(prefix)
    for place in usual:
        if _library_folder(place) is not None:
            return GramineInstallation.at(place)
    return None


def _library_folder(prefix: Path) -> Path | None:
    for name in _LIBRARY_FOLDERS:
        if (prefix / name / "sgx" / "libpal.so").is_file():
            return prefix / name
    return None


def _version(prefix: Path) -> str:
    script = prefix / "bin" / "gramine-sgx"
    try:
        found = _VERSION.search(script.read_bytes())
    except OSError as error:
        raise ToolchainError(
            "version of Gramine", expected="its start script", got=error.strerror, where=str(script)
        ) from error
    if found is None:
        raise ToolchainError(
            "version of Gramine", expected='a line echo "Gramine …"', got="none", where=str(script)
        )
    major, minor, micro = (int(number or b"0") for number in found.groups())
    if (major, minor, micro) < OLDEST_SECURE:
        raise ToolchainError(
            "release of Gramine",
            expected=f"{_dotted(OLDEST_SECURE)} or later",
            got=f"{major}.{minor}.{micro}",
            where=str(script),
            hint="before that a child process opens trusted files without checking them; install a later one",
        )
    return f"{major}.{minor}"


def _dotted(release: tuple[int, ...]) -> str:
    return ".".join(map(str, release))
