"""The bill of materials of a bundle, from the files of its image and from nothing else of the build host."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from casemate.builder.bundles.tcb import Tcb
from casemate.formats.cyclonedx import Distribution, MaterialFile, bill_of_materials

_METADATA: Final = re.compile(r".*/site-packages/[^/]+\.dist-info/METADATA")


def is_metadata(path: str) -> bool:
    """Whether the file at ``path`` describes a distribution."""
    return _METADATA.fullmatch(path) is not None


def make_sbom(name: str, tcb: Tcb, metadata: Mapping[str, bytes], sources: Mapping[str, object]) -> bytes:
    """``sbom.cdx.json``.

    Args:
        name: Name of the workload.
        tcb: Every trusted file.
        metadata: The files of the image for which :func:`is_metadata` holds, by path.
        sources: Those of the reference values, for the release of Python and the version of Casemate.

    Raises:
        FormatError: Metadata of a distribution without a name or a version.
    """
    return bill_of_materials(
        workload=name,
        python=str(sources.get("python", tcb.interpreter)),
        casemate=str(sources.get("casemate", "unknown")),
        distributions=[Distribution.parse(data, path) for path, data in sorted(metadata.items())],
        files=[MaterialFile(path=file.path, sha256=file.sha256) for file in tcb.files],
    )
