"""OCI images: index, manifest, configuration and descriptors as values, and their canonical bytes.

Specification: OCI Image Format 1.1.0 (image-layout, image-index, manifest, config, descriptor). Only what
Casemate writes is read: one image for one platform, uncompressed layers. Canonical: RFC 8785, so that a
digest follows from the values.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

import msgspec

from casemate.errors import FormatError
from casemate.formats.documents import Count, Document, Sha256, read_document
from casemate_attester.strict_json import canonical_json

INDEX_TYPE: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE: Final = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE: Final = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE: Final = "application/vnd.oci.image.layer.v1.tar"
#: ``image-layout.md``, "oci-layout file".
LAYOUT_FILE: Final = canonical_json({"imageLayoutVersion": "1.0.0"})
#: ``annotations.md``: the name of an image within a layout.
REFERENCE_ANNOTATION: Final = "org.opencontainers.image.ref.name"
#: Bytes of a document; registries accept no larger manifest.
SIZE_LIMIT: Final = 4 * 1024 * 1024

_PLATFORM: Final = {"architecture": "amd64", "os": "linux"}

_Time = Annotated[str, msgspec.Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")]
_User = Annotated[str, msgspec.Meta(pattern=r"\A\d{1,10}:\d{1,10}\Z")]
_Port = Annotated[str, msgspec.Meta(pattern=r"\A\d{1,5}/tcp\Z")]


class _Descriptor(Document, frozen=True):
    digest: Sha256
    size: Count
    media_type: str = msgspec.field(name="mediaType")


class _Platform(Document, frozen=True):
    architecture: Literal["amd64"]
    os: Literal["linux"]


class _Annotations(Document, frozen=True):
    name: str = msgspec.field(name="org.opencontainers.image.ref.name")


class _IndexEntry(_Descriptor, frozen=True):
    platform: _Platform
    annotations: _Annotations


class _Index(Document, frozen=True):
    schema: Literal[2] = msgspec.field(name="schemaVersion")
    media_type: Literal["application/vnd.oci.image.index.v1+json"] = msgspec.field(name="mediaType")
    manifests: Annotated[tuple[_IndexEntry, ...], msgspec.Meta(min_length=1, max_length=1)]


class _Manifest(Document, frozen=True):
    schema: Literal[2] = msgspec.field(name="schemaVersion")
    media_type: Literal["application/vnd.oci.image.manifest.v1+json"] = msgspec.field(name="mediaType")
    config: _Descriptor
    layers: tuple[_Descriptor, ...]


class _Runtime(Document, frozen=True):
    user: _User = msgspec.field(name="User")
    ports: Annotated[dict[_Port, dict[str, str]], msgspec.Meta(min_length=1, max_length=1)] = msgspec.field(
        name="ExposedPorts"
    )
    folder: Literal["/"] = msgspec.field(name="WorkingDir")
    labels: dict[str, str] = msgspec.field(name="Labels")
    stop_signal: Literal["SIGTERM"] = msgspec.field(name="StopSignal")
    entrypoint: tuple[str, ...] = msgspec.field(name="Entrypoint", default=())


class _RootFs(Document, frozen=True):
    type: Literal["layers"]
    diff_ids: tuple[Sha256, ...]


class _History(Document, frozen=True):
    created: _Time
    created_by: str


class _Config(Document, frozen=True):
    created: _Time
    architecture: Literal["amd64"]
    os: Literal["linux"]
    config: _Runtime
    rootfs: _RootFs
    history: tuple[_History, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What points to a blob.

    Attributes:
        media_type: What it holds.
        digest: ``sha256:…``.
        size: Bytes.
    """

    media_type: str
    digest: str
    size: int

    @classmethod
    def of(cls, media_type: str, data: bytes) -> Self:
        """The descriptor of ``data``."""
        return cls(media_type=media_type, digest=f"sha256:{hashlib.sha256(data).hexdigest()}", size=len(data))

    @property
    def hex(self) -> str:
        """The digest without its algorithm: the name of the blob in a layout."""
        return self.digest.removeprefix("sha256:")

    def value(self) -> dict[str, Any]:
        """As a document has it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What a container runtime does with the image.

    Attributes:
        created: RFC 3339, in UTC.
        entrypoint: The program and its arguments; empty when there is none to run.
        labels: Pairs, sorted by name.
        user: Numeric, ``"uid:gid"``.
        port: TCP port that is exposed.
        layers: Digests of the layers, lowest first; uncompressed, so the same as in the manifest.
        history: How each layer came about, one line for each.
    """

    created: str
    entrypoint: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    user: str
    port: int
    layers: tuple[str, ...]
    history: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        config: dict[str, Any] = {
            "User": self.user,
            "ExposedPorts": {f"{self.port}/tcp": {}},
            "WorkingDir": "/",
            "Labels": dict(self.labels),
            "StopSignal": "SIGTERM",
        }
        if self.entrypoint:
            config["Entrypoint"] = list(self.entrypoint)
        return canonical_json(
            {
                "created": self.created,
                **_PLATFORM,
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": list(self.layers)},
                "history": [{"created": self.created, "created_by": line} for line in self.history],
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a configuration that Casemate wrote.

        Raises:
            FormatError: Anything else.
        """
        read = read_document(data, _Config, name="image configuration", limit=SIZE_LIMIT)
        _require_time(read.created)
        return cls(
            created=read.created,
            entrypoint=read.config.entrypoint,
            labels=tuple(sorted(read.config.labels.items())),
            user=read.config.user,
            port=int(next(iter(read.config.ports)).removesuffix("/tcp")),
            layers=read.rootfs.diff_ids,
            history=tuple(line.created_by for line in read.history),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageManifest:
    """An image: its configuration and its layers, lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]

    def to_bytes(self) -> bytes:
        """Canonical JSON; its SHA-256 is the digest of the image."""
        return canonical_json(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST_TYPE,
                "config": self.config.value(),
                "layers": [layer.value() for layer in self.layers],
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a manifest that Casemate wrote.

        Raises:
            FormatError: Anything else.
        """
        read = read_document(data, _Manifest, name="image manifest", limit=SIZE_LIMIT)
        return cls(
            config=_descriptor(read.config, CONFIG_TYPE),
            layers=tuple(_descriptor(layer, LAYER_TYPE) for layer in read.layers),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIndex:
    """``index.json`` of a layout with one image.

    Attributes:
        manifest: Where the image is.
        name: The image's name within the layout.
    """

    manifest: Descriptor
    name: str

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        entry = {
            **self.manifest.value(),
            "platform": _PLATFORM,
            "annotations": {REFERENCE_ANNOTATION: self.name},
        }
        return canonical_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]})

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read an index that Casemate wrote.

        Raises:
            FormatError: Anything else, such as a second image.
        """
        entry = read_document(data, _Index, name="index.json", limit=SIZE_LIMIT).manifests[0]
        return cls(manifest=_descriptor(entry, MANIFEST_TYPE), name=entry.annotations.name)


def _require_time(text: str) -> None:
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise FormatError(
            "image configuration", expected="a time that exists", got=text, where="created"
        ) from error


def _descriptor(read: _Descriptor, media_type: str) -> Descriptor:
    if read.media_type != media_type:
        raise FormatError("media type of a blob", expected=media_type, got=read.media_type)
    return Descriptor(media_type=media_type, digest=read.digest, size=read.size)
