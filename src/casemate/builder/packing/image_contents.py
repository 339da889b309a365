"""What an image holds: every file of its layers with size and digest, one layer in memory at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from casemate.builder.packing.image import ImageLayout
from casemate.builder.packing.layers import layer_entries
from casemate.formats.oci import ImageManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFile:
    """A file of an image: bytes, digest in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHoldings:
    """The files of an image, each as its uppermost layer has it.

    Attributes:
        files: By path, absolute in the image.
        kept: The bytes of those that were asked for.
        repeated: Paths that occur more than once, sorted: in two layers, or twice in one.
    """

    files: Mapping[str, HeldFile]
    kept: Mapping[str, bytes]
    repeated: tuple[str, ...]

    def digest_of(self, path: str) -> str | None:
        """The digest of the file at ``path``; ``None`` where there is none."""
        held = self.files.get(path)
        return None if held is None else held.sha256


def image_holdings(
    layout: ImageLayout, manifest: ImageManifest, keep: Callable[[str], bool]
) -> ImageHoldings:
    """Hash every file of an image.

    Args:
        layout: Where the image is.
        manifest: Its manifest.
        keep: Whether the bytes of the file at a path are wanted.

    Raises:
        FormatError: A blob is not what its descriptor says, or a layer is none that Casemate writes.
    """
    files: dict[str, HeldFile] = {}
    kept: dict[str, bytes] = {}
    repeated: set[str] = set()
    for descriptor in manifest.layers:
        for entry in layer_entries(layout.read(descriptor), f"layer {descriptor.digest}"):
            if entry.content is None:
                continue
            if entry.path in files:
                repeated.add(entry.path)
            digest = hashlib.sha256(entry.content).hexdigest()
            files[entry.path] = HeldFile(size=len(entry.content), sha256=digest)
            if keep(entry.path):
                kept[entry.path] = entry.content
    return ImageHoldings(files=files, kept=kept, repeated=tuple(sorted(repeated)))
