"""What ``casemate build`` takes from this machine, wherever the application comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from casemate.adapters.gramine_installation import GramineInstallation
    from casemate.builder.build import Platform
    from casemate.builder.native.libraries import LibrarySources
    from casemate.cli.build_keeping import Keeping
    from casemate.settings import Settings

#: Where distributions keep the authorities that TLS clients accept: Debian and its like, Fedora and its like.
CA_BUNDLES: Final = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
ZONES: Final = "/usr/share/zoneinfo"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What every source of an application needs of a build.

    Attributes:
        settings: What the environment decides.
        gramine: The Gramine of this machine; ``None``: the measurement is simulated.
        progress: Is told what happens next.
        kept: What former builds have kept.
    """

    settings: Settings
    gramine: GramineInstallation | None
    progress: Callable[[str], None]
    kept: Keeping


def host_ca_bundle() -> Path:
    """The authorities of this machine; the first usual place when it has none."""
    places = [Path(place) for place in CA_BUNDLES]
    return next((path for path in places if path.is_file()), places[0])


def host_libraries(program: Path, work: Work) -> LibrarySources:
    """Libraries as the loader of ``program`` finds them on this machine."""
    from casemate.adapters.host_loader import HostFiles, host_search_rules
    from casemate.builder.native.libraries import LibrarySources

    return LibrarySources(
        files=HostFiles(),
        rules=host_search_rules(program, work.settings.library_path),
        glibc=work.gramine.glibc if work.gramine is not None else None,
    )


def platform_of(gramine: GramineInstallation | None, sources: Callable[[Path], LibrarySources]) -> Platform:
    """The Gramine of this machine, or its simulation.

    Args:
        gramine: The Gramine; ``None``: its simulation.
        sources: Where a program of this machine finds its libraries; asked for Gramine's loader only.
    """
    from casemate.builder.build import Platform
    from casemate.builder.enclave.manifest import LibOs
    from casemate.builder.layout import GRAMINE_ROOT
    from casemate.builder.native.libraries import libraries_outside
    from casemate.builder.packing.layers import LayerFile

    if gramine is None:
        from casemate.simulator.platform_image import platform_image

        return Platform(image=platform_image(), version=None, libos=LibOs.absent(), outside=())
    outside = (
        LayerFile(path=f"{GRAMINE_ROOT}/loader", content=gramine.loader, executable=True),
        LayerFile(path=f"{GRAMINE_ROOT}/libpal.so", content=gramine.platform_image, executable=True),
        LayerFile(path=f"{GRAMINE_ROOT}/libsysdb.so", content=gramine.libos),
        *libraries_outside(gramine.loader, sources(gramine.loader)),
    )
    return Platform(
        image=gramine.platform_image.read_bytes(),
        version=gramine.version,
        libos=LibOs.of(gramine.libos.read_bytes()),
        outside=outside,
    )
