"""Documents of images that others made: index, manifest, configuration, and the list in a Docker archive.

Specification: OCI Image Format 1.1.0; Docker Image Manifest V2, Schema 2; Docker Image Specification 1.2
(``manifest.json``). Members that are not used here are not looked at; those that are used have to be right.
A document that could be read as two different things is refused (CVE-2021-41190), and so is a name that
occurs twice in an object.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Annotated, Final, TypeVar

import msgspec

from casemate.errors import FormatError
from casemate.formats.documents import Count, Sha256, read_document
from casemate.formats.oci import CONFIG_TYPE, INDEX_TYPE, LAYER_TYPE, MANIFEST_TYPE, SIZE_LIMIT, Descriptor

DOCKER_LIST_TYPE: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST_TYPE: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG_TYPE: Final = "application/vnd.docker.container.image.v1+json"
#: What may be asked of a registry.
DOCUMENT_TYPES: Final = (MANIFEST_TYPE, DOCKER_MANIFEST_TYPE, INDEX_TYPE, DOCKER_LIST_TYPE)
#: Layers that can be read; by which of the three ways they are compressed their first bytes say.
LAYER_TYPES: Final = frozenset(
    {
        LAYER_TYPE,
        f"{LAYER_TYPE}+gzip",
        f"{LAYER_TYPE}+zstd",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
    }
)
#: The platform of every enclave.
PLATFORM: Final = "linux/amd64"
#: Images have a few dozen; Docker itself allows 127.
LAYER_LIMIT: Final = 1000
#: Manifests in an index.
_MOST_MANIFESTS: Final = 10_000
#: BuildKit's mark of a manifest that is no image but says something of one.
_ATTESTATION: Final = "vnd.docker.reference.type"
_REFERENCE: Final = "org.opencontainers.image.ref.name"
_CONTAINERD_NAME: Final = "io.containerd.image.name"
#: What a hub answers to clients that ask for nothing newer.
_SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1"

_Strings = Annotated[tuple[str, ...], msgspec.Meta(max_length=100_000)]


class _Descriptor(msgspec.Struct, frozen=True):
    digest: Sha256
    size: Count
    media_type: str = msgspec.field(name="mediaType")


class _Platform(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""
    variant: str = ""


class _Entry(_Descriptor, frozen=True):
    platform: _Platform | None = None
    annotations: dict[str, str] | None = None


class _Document(msgspec.Struct, frozen=True):
    schema: int = msgspec.field(name="schemaVersion")
    media_type: str = msgspec.field(name="mediaType", default="")
    manifests: Annotated[tuple[_Entry, ...], msgspec.Meta(max_length=_MOST_MANIFESTS)] | None = None
    config: _Descriptor | None = None
    layers: Annotated[tuple[_Descriptor, ...], msgspec.Meta(max_length=LAYER_LIMIT)] | None = None


class _Runtime(msgspec.Struct, frozen=True, rename="pascal"):
    entrypoint: _Strings | None = None
    cmd: _Strings | None = None
    env: _Strings | None = None
    working_dir: str | None = None
    user: str | None = None
    exposed_ports: dict[str, object] | None = None
    labels: dict[str, str] | None = None


class _RootFs(msgspec.Struct, frozen=True):
    type: str
    diff_ids: Annotated[tuple[Sha256, ...], msgspec.Meta(max_length=LAYER_LIMIT)] | None


class _Config(msgspec.Struct, frozen=True):
    rootfs: _RootFs
    architecture: str
    os: str
    config: _Runtime | None = None


class _ArchiveEntry(msgspec.Struct, frozen=True, rename="pascal"):
    config: str
    layers: Annotated[tuple[str, ...], msgspec.Meta(max_length=LAYER_LIMIT)] | None = None
    repo_tags: _Strings | None = None


class _Archive(msgspec.Struct, frozen=True):
    images: Annotated[tuple[_ArchiveEntry, ...], msgspec.Meta(max_length=_MOST_MANIFESTS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexEntry:
    """One manifest of an index.

    Attributes:
        descriptor: Where it is.
        platform: ``"os/architecture"``; empty where the index does not say.
        variant: Of the architecture; empty for the common one.
        names: By which the index calls it, the shortest first.
        is_attestation: Whether it is no image but says something of one.
    """

    descriptor: Descriptor
    platform: str
    variant: str
    names: tuple[str, ...]
    is_attestation: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignIndex:
    """Images for several platforms, or with several names."""

    entries: tuple[IndexEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignManifest:
    """An image: its configuration and its layers, lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignConfig:
    """What an image says of how it is run.

    Attributes:
        entrypoint: The program and its first arguments.
        cmd: The arguments that a user may replace, or the program where there is no entrypoint.
        env: Variables with their values, in order; of a name that occurs twice the last.
        working_dir: Where the program starts, from the root on; ``"/"`` where nothing is said.
        user: ``USER``, ``USER:GROUP`` or empty, by name or number.
        ports: That are exposed, as ``"8080/tcp"``, sorted.
        labels: Pairs, sorted by name.
        diff_ids: Digests of the uncompressed layers, lowest first.
    """

    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    working_dir: str
    user: str
    ports: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    diff_ids: tuple[str, ...]

    @classmethod
    def parse(cls, data: bytes, *, where: str) -> ForeignConfig:
        """Read a configuration.

        Raises:
            FormatError: It is none, or one for another platform.
        """
        read = _read(data, _Config, "image configuration", "an image configuration", where)
        platform = f"{read.os}/{read.architecture}"
        if platform != PLATFORM:
            raise FormatError("platform of the image", expected=PLATFORM, got=platform, where=where)
        if read.rootfs.type != "layers":
            raise FormatError(
                "root file system of the image", expected="layers", got=ascii(read.rootfs.type), where=where
            )
        run = read.config or _Runtime()
        _require_text(run, where)
        return cls(
            entrypoint=run.entrypoint or (),
            cmd=run.cmd or (),
            env=_environment(run.env or (), where),
            working_dir="/" + (run.working_dir or "").lstrip("/"),
            user=run.user or "",
            ports=tuple(sorted(run.exposed_ports or {})),
            labels=tuple(sorted((run.labels or {}).items())),
            diff_ids=read.rootfs.diff_ids or (),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedImage:
    """One image of a Docker archive.

    Attributes:
        config: Path of its configuration in the archive.
        layers: Paths of its layers, lowest first.
        names: ``REPOSITORY:TAG``.
    """

    config: str
    layers: tuple[str, ...]
    names: tuple[str, ...]


def parse_image_document(data: bytes, *, where: str, media_type: str = "") -> ForeignIndex | ForeignManifest:
    """Read an index or a manifest.

    Args:
        data: JSON.
        where: Its name, for errors.
        media_type: What it was said to be; empty where nothing was said.

    Raises:
        FormatError: Neither, both, or not what it was said to be.
    """
    read = _read(data, _Document, "image manifest", "an index or a manifest of an image", where)
    said = read.media_type or media_type
    if media_type and read.media_type and read.media_type != media_type:
        raise FormatError(
            "type of an image manifest", expected=media_type, got=ascii(read.media_type), where=where
        )
    if read.schema != 2 or said.startswith(_SCHEMA_1):
        raise FormatError(
            "version of an image manifest",
            expected="schema 2 or OCI",
            got=f"schema {read.schema}",
            where=where,
            hint="push the image again with a tool of today: registries convert nothing",
        )
    if read.manifests is None and read.config is not None and read.layers is not None:
        _require_type(said, (MANIFEST_TYPE, DOCKER_MANIFEST_TYPE), where)
        return _manifest(read.config, read.layers, where)
    if read.manifests is not None and read.config is None and read.layers is None:
        _require_type(said, (INDEX_TYPE, DOCKER_LIST_TYPE), where)
        return ForeignIndex(entries=tuple(_index_entry(entry) for entry in read.manifests))
    raise FormatError(
        "image manifest",
        expected="either manifests, or config and layers",
        got="neither" if read.manifests is None else "both",
        where=where,
    )


def parse_archive_list(data: bytes, *, where: str) -> tuple[ArchivedImage, ...]:
    """Read the ``manifest.json`` of a Docker archive.

    Raises:
        FormatError: It is none.
    """
    # The reader of documents wants an object.
    wrapped = b'{"images":' + data + b"}"
    read = _read(wrapped, _Archive, "manifest.json", "the list of a Docker archive", where)
    return tuple(
        ArchivedImage(config=image.config, layers=image.layers or (), names=image.repo_tags or ())
        for image in read.images
    )


_Kind = TypeVar("_Kind", bound=msgspec.Struct)


def _read(data: bytes, kind: type[_Kind], name: str, expected: str, where: str) -> _Kind:
    return read_document(data, kind, name=name, limit=SIZE_LIMIT, expected=expected, where=where)


def _require_type(said: str, allowed: tuple[str, str], where: str) -> None:
    if said and said not in allowed:
        raise FormatError(
            "type of an image manifest", expected=" or ".join(allowed), got=ascii(said), where=where
        )


def _manifest(config: _Descriptor, layers: tuple[_Descriptor, ...], where: str) -> ForeignManifest:
    if config.media_type not in {CONFIG_TYPE, DOCKER_CONFIG_TYPE}:
        raise FormatError(
            "configuration of the image",
            expected=f"{CONFIG_TYPE} or {DOCKER_CONFIG_TYPE}",
            got=ascii(config.media_type),
            where=where,
            hint="this is something else that registries keep: a chart, a signature, a bill of materials",
        )
    for layer in layers:
        if layer.media_type not in LAYER_TYPES:
            encrypted = layer.media_type.endswith("+encrypted")
            raise FormatError(
                "type of a layer",
                expected="tar, by itself or compressed with gzip or Zstandard",
                got=ascii(layer.media_type),
                where=f"{where}, layer {layer.digest}",
                hint="decrypt the image first, with skopeo copy --decryption-key" if encrypted else None,
            )
    return ForeignManifest(config=_descriptor(config), layers=tuple(_descriptor(layer) for layer in layers))


def _index_entry(entry: _Entry) -> IndexEntry:
    platform = entry.platform or _Platform()
    annotations = entry.annotations or {}
    names = {annotations[key] for key in (_REFERENCE, _CONTAINERD_NAME) if key in annotations}
    return IndexEntry(
        descriptor=_descriptor(entry),
        platform=f"{platform.os}/{platform.architecture}" if platform.os or platform.architecture else "",
        variant=platform.variant,
        names=tuple(sorted(names, key=lambda name: (len(name), name))),
        is_attestation=_ATTESTATION in annotations or platform.os == "unknown",
    )


def _descriptor(read: _Descriptor) -> Descriptor:
    return Descriptor(media_type=read.media_type, digest=read.digest, size=read.size)


def _require_text(run: _Runtime, where: str) -> None:
    """Refuse halves of characters, which JSON can write and no file can hold."""
    texts = (*(run.entrypoint or ()), *(run.cmd or ()), *(run.env or ()), *(run.exposed_ports or ()))
    for text in (*texts, run.working_dir or "", run.user or "", *chain(*(run.labels or {}).items())):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise FormatError(
                "configuration of the image", expected="Unicode", got=ascii(text)[1:-1][:100], where=where
            )


def _environment(lines: tuple[str, ...], where: str) -> tuple[tuple[str, str], ...]:
    variables: dict[str, str] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not name or not equals or "\0" in line:
            raise FormatError(
                "variable of the image", expected="NAME=VALUE", got=ascii(line)[:100], where=where
            )
        variables[name] = value
    return tuple(variables.items())
