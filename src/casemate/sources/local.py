"""Images on this machine: OCI layouts, and archives as ``docker save``, podman and skopeo write them.

Specification: OCI Image Format 1.1.0, image-layout.md; Docker Image Specification 1.2, "Combined Image JSON +
Filesystem Changeset Format". An archive that is a layout as well, as today's Docker writes it, is read as a
layout: that has digests for everything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casemate.errors import FormatError, UsageError
from casemate.formats.foreign_image import (
    PLATFORM,
    ArchivedImage,
    ForeignConfig,
    ForeignIndex,
    IndexEntry,
    parse_archive_list,
    parse_image_document,
)
from casemate.formats.oci import CONFIG_TYPE, SIZE_LIMIT, Descriptor
from casemate.sources.archive import Archive, Stored
from casemate.sources.choosing import FoundImage, find_image, require_same_count
from casemate.sources.files import opened, read_small
from casemate.sources.image import SourceImage, SourceLayer
from casemate.sources.limits import UnpackLimits

#: What Docker leaves away and other tools write.
_HUB: Final = ("docker.io/library/", "docker.io/", "library/")
_HEX_NAME: Final = re.compile(r"(?:.*/)?([0-9a-f]{64})(?:\.json)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class OciLayout:
    """A folder with an OCI image layout.

    Attributes:
        path: The folder.
        name: The image's name in it; ``None`` for the only one.
    """

    path: Path
    name: str | None = None

    def __str__(self) -> str:
        return f"oci:{self.path}" + (f":{self.name}" if self.name else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerArchive:
    """A file as ``docker save`` writes it, compressed with gzip or not.

    Attributes:
        path: The file.
        name: The image's name in it, ``REPOSITORY:TAG``; ``None`` for the only one.
    """

    path: Path
    name: str | None = None

    def __str__(self) -> str:
        return f"docker-archive:{self.path}" + (f":{self.name}" if self.name else "")


def local_source(text: str) -> OciLayout | DockerArchive | None:
    """The source that a user has named; ``None`` for one that is not on this machine.

    The path is the longest part before a colon that is there; what stands behind it is the image's name.

    Raises:
        UsageError: There is no such file or folder.
    """
    scheme, _, rest = text.partition(":")
    if scheme not in {"oci", "docker-archive"}:
        return None
    parts = rest.split(":")
    for count in range(len(parts), 0, -1):
        path = Path(":".join(parts[:count]))
        if parts[0] and "\0" not in rest and path.exists():
            name = ":".join(parts[count:]) or None
            is_layout = scheme == "oci"
            return OciLayout(path=path, name=name) if is_layout else DockerArchive(path=path, name=name)
    raise UsageError(
        "image",
        expected="a folder with an OCI layout" if scheme == "oci" else "a file that docker save has written",
        got="nothing there",
        where=text,
    )


def open_local(
    source: OciLayout | DockerArchive, *, work: Path, limits: UnpackLimits | None = None
) -> SourceImage:
    """Find an image on this machine, and check its documents.

    Args:
        source: Where it is.
        work: A folder for what has to be decompressed, which stays as long as the image is used.
        limits: What it may cost; the defaults where nothing is said.

    Raises:
        UsageError: There are several images and none was named, or none has the name.
        FormatError: No image, or not for this platform, or a document is not what its digest says.
        ToolchainError: A file cannot be read.
    """
    match source:
        case OciLayout(path=path, name=name):
            return _open_layout(_Folder(path), name, str(source))
        case DockerArchive(path=path, name=name):
            archive = Archive.open(path, work, limits or UnpackLimits())
            if archive.has("index.json"):
                return _open_layout(archive, name, str(source))
            return _open_saved(archive, name, str(source))


@dataclass(frozen=True, slots=True)
class _Folder:
    """A layout as a folder, seen as an archive is."""

    path: Path

    @property
    def where(self) -> str:
        return str(self.path)

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def read(self, name: str, subject: str) -> bytes:
        return read_small(self.path / name, subject, limit=SIZE_LIMIT)

    def find(self, name: str, subject: str) -> Stored:
        path = self.path / name
        with opened(path, subject) as file:
            size = file.seek(0, 2)
        return Stored(path=path, offset=0, size=size)


def _open_layout(folder: _Folder | Archive, name: str | None, reference: str) -> SourceImage:
    if not folder.has("index.json"):
        raise FormatError(
            "image layout",
            expected="index.json",
            got="none",
            where=folder.where,
            hint="name the folder of an OCI layout, as skopeo copy writes it to oci:DIR",
        )
    data = folder.read("index.json", "index.json")
    index = parse_image_document(data, where=f"{folder.where}, index.json")
    if not isinstance(index, ForeignIndex):
        raise FormatError("index.json", expected="an index", got="a manifest", where=folder.where)
    entry = _named_entry(index, name, folder.where)

    def read(pointer: Descriptor) -> bytes:
        return folder.read(_blob(pointer), "document of the image")

    found = find_image(entry.descriptor, read, where=folder.where)
    return SourceImage(
        reference=reference,
        digest=found.digest,
        config=found.config,
        layers=_layers(found, lambda layer: folder.find(_blob(layer), f"layer {layer.digest}")),
    )


def _layers(found: FoundImage, find: Callable[[Descriptor], Stored]) -> tuple[SourceLayer, ...]:
    layers = []
    for descriptor, diff_id in zip(found.manifest.layers, found.config.diff_ids, strict=True):
        stored = find(descriptor)
        if stored.size != descriptor.size:
            raise FormatError(
                "layer of the image",
                expected=f"{descriptor.digest} of {descriptor.size} bytes",
                got=f"{stored.size} bytes",
                where=str(stored.path),
            )
        layers.append(
            SourceLayer(
                diff_id=diff_id,
                digest=descriptor.digest,
                path=stored.path,
                offset=stored.offset,
                size=stored.size,
            )
        )
    return tuple(layers)


def _blob(pointer: Descriptor) -> str:
    return f"blobs/sha256/{pointer.hex}"


def _named_entry(index: ForeignIndex, name: str | None, where: str) -> IndexEntry:
    """The entry that is meant: by name, else the only image for this platform."""
    images = [entry for entry in index.entries if not entry.is_attestation]
    chosen = [entry for entry in images if name is None or _is_called(name, entry.names)]
    here = [entry for entry in chosen if entry.platform in {PLATFORM, ""}] or chosen
    if len({entry.descriptor.digest for entry in here}) != 1:
        names = (called for entry in images for called in entry.names)
        raise _unclear(name, names, len(here), where)
    return here[0]


def _open_saved(archive: Archive, name: str | None, reference: str) -> SourceImage:
    """The older form, whose layers have the digests of their uncompressed form and no others."""
    if not archive.has("manifest.json"):
        raise FormatError(
            "Docker archive",
            expected="manifest.json or index.json",
            got="neither",
            where=archive.where,
            hint="name a file that docker save, podman save or skopeo copy has written",
        )
    where = f"{archive.where}, manifest.json"
    images = parse_archive_list(archive.read("manifest.json", "manifest.json"), where=where)
    chosen = _named_image(images, name, archive.where)
    data = archive.read(chosen.config, "image configuration")
    pointer = Descriptor.of(CONFIG_TYPE, data)
    said = _HEX_NAME.fullmatch(chosen.config)
    if said is not None and said[1] != pointer.hex:
        raise FormatError(
            "image configuration", expected=f"sha256:{said[1]}", got=pointer.digest, where=archive.where
        )
    config = ForeignConfig.parse(data, where=f"{archive.where}, {chosen.config}")
    require_same_count(len(chosen.layers), config, where=where)
    layers = []
    for diff_id, path in zip(config.diff_ids, chosen.layers, strict=True):
        stored = archive.find(path, f"layer {diff_id}")
        layers.append(
            SourceLayer(
                diff_id=diff_id, digest=None, path=stored.path, offset=stored.offset, size=stored.size
            )
        )
    return SourceImage(reference=reference, digest=pointer.digest, config=config, layers=tuple(layers))


def _named_image(images: tuple[ArchivedImage, ...], name: str | None, where: str) -> ArchivedImage:
    chosen = [image for image in images if name is None or _is_called(name, image.names)]
    if len({image.config for image in chosen}) != 1:
        raise _unclear(name, (called for image in images for called in image.names), len(chosen), where)
    return chosen[0]


def _unclear(name: str | None, names: Iterable[str], count: int, where: str) -> UsageError:
    known = ", ".join(sorted({ascii(name)[1:-1] for name in names})[:20])
    return UsageError(
        "image",
        expected="one image" if name is None else f"one image of the name {name}",
        got=str(count),
        where=where,
        hint=f"name one of these behind a colon: {known}" if known else None,
    )


def _is_called(name: str, names: Iterable[str]) -> bool:
    return _short(name) in {_short(known) for known in names}


def _short(name: str) -> str:
    for prefix in _HUB:
        name = name.removeprefix(prefix)
    return name.removesuffix(":latest")
