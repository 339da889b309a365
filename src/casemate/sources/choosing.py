"""From what a name points to, to the image for the platform of enclaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from casemate.errors import FormatError
from casemate.formats.foreign_image import (
    PLATFORM,
    ForeignConfig,
    ForeignIndex,
    ForeignManifest,
    IndexEntry,
    parse_image_document,
)
from casemate.formats.oci import SIZE_LIMIT, Descriptor

#: Indexes within indexes.
_DEEPEST: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundImage:
    """An image whose documents are those that their digests say.

    Attributes:
        digest: Of its manifest.
        manifest: Where its layers are.
        config: How it is run.
    """

    digest: str
    manifest: ForeignManifest
    config: ForeignConfig


def find_image(pointer: Descriptor, read: Callable[[Descriptor], bytes], *, where: str) -> FoundImage:
    """Follow ``pointer`` to an image for linux/amd64.

    Args:
        pointer: To an index or a manifest.
        read: Gives the bytes of a document; they are checked here.
        where: The source, for errors.

    Raises:
        FormatError: A document is not what its digest says or none of an image, or there is no image for
            this platform.
    """
    for _ in range(_DEEPEST):
        place = f"{where}, {pointer.digest}"
        data = _checked(pointer, read, place)
        document = parse_image_document(data, where=place, media_type=pointer.media_type)
        if isinstance(document, ForeignManifest):
            config = ForeignConfig.parse(
                _checked(document.config, read, place), where=f"{where}, {document.config.digest}"
            )
            require_same_count(len(document.layers), config, where=place)
            return FoundImage(digest=pointer.digest, manifest=document, config=config)
        pointer = for_this_platform(document, where=place).descriptor
    raise FormatError("index of images", expected=f"at most {_DEEPEST} within each other", where=where)


def for_this_platform(index: ForeignIndex, *, where: str) -> IndexEntry:
    """The entry for linux/amd64: the one without a variant, else the one that asks least of the processor.

    Raises:
        FormatError: There is none.
    """
    images = [entry for entry in index.entries if not entry.is_attestation]
    usable = sorted(
        (entry for entry in images if entry.platform in {PLATFORM, ""}),
        key=lambda entry: (entry.platform == "", entry.variant),
    )
    if not usable:
        raise FormatError(
            "platforms of the image",
            expected=PLATFORM,
            got=", ".join(_platforms(images)) or "none",
            where=where,
            hint="SGX is a feature of Intel's processors; choose an image that is built for them",
        )
    return usable[0]


def require_same_count(layers: int, config: ForeignConfig, *, where: str) -> None:
    """See that each layer has the digest of its uncompressed form.

    Raises:
        FormatError: There are more of the ones than of the others.
    """
    if layers != len(config.diff_ids):
        raise FormatError(
            "layers of the image",
            expected=f"{len(config.diff_ids)}, as many as diff_ids",
            got=str(layers),
            where=where,
        )


def _checked(pointer: Descriptor, read: Callable[[Descriptor], bytes], where: str) -> bytes:
    if pointer.size > SIZE_LIMIT:
        raise FormatError(
            "document of the image",
            expected=f"at most {SIZE_LIMIT} bytes",
            got=str(pointer.size),
            where=where,
        )
    data = read(pointer)
    found = Descriptor.of(pointer.media_type, data)
    if found != pointer:
        raise FormatError(
            "document of the image",
            expected=f"{pointer.digest} of {pointer.size} bytes",
            got=f"{found.digest} of {found.size} bytes",
            where=where,
        )
    return data


def _platforms(entries: Iterable[IndexEntry]) -> list[str]:
    names = {
        ascii(f"{entry.platform}/{entry.variant}" if entry.variant else entry.platform)[1:-1]
        for entry in entries
    }
    return sorted(names)[:20]
