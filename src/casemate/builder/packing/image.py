"""The image of a bundle: an OCI layout that is written, read, extended by a signature, and unpacked.

Four layers, those that most images share and that change least at the bottom: the interpreter with the
libraries that it needs itself, and Gramine, which all applications of a machine have in common; what the
application needs of the standard library, other libraries, system files; the installed distributions; the
application with its configuration and the measured manifest. Signing adds a fifth with the SIGSTRUCT.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import Any, Final

from casemate.builder.bundles.tcb import TrustedContent
from casemate.builder.contents import Rule
from casemate.builder.layout import (
    APPLICATION_ROOT,
    ENCLAVE_ROOT,
    GRAMINE_ROOT,
    MANIFEST_PREFIX,
    PYTHON_HOME,
)
from casemate.builder.packing.layers import LayerEntry, LayerFile, layer_chunks, layer_entries
from casemate.builder.reading import read_regular
from casemate.builder.writing import write_files
from casemate.errors import FormatError, ToolchainError
from casemate.formats.oci import (
    CONFIG_TYPE,
    LAYER_TYPE,
    LAYOUT_FILE,
    MANIFEST_TYPE,
    Descriptor,
    ImageConfig,
    ImageIndex,
    ImageManifest,
)
from casemate_attester.strict_json import canonical_json

#: Nobody in particular, and not root: what the container runtime sees. Inside the enclave the user is 0.
USER: Final = "10001:10001"
LABEL_SIMULATED: Final = "io.casemate.simulated"
LABEL_MRENCLAVE: Final = "io.casemate.mrenclave"
#: Digest of what the reference values say of the sources: two images with the same are of the same sources.
LABEL_SOURCES: Final = "io.casemate.sources"
#: What the layers hold, in order, for the history of the image.
_INTERPRETER, _SYSTEM, _DEPENDENCIES, _APPLICATION = (
    "casemate: interpreter, Gramine",
    "casemate: standard library, libraries, system files",
    "casemate: installed distributions",
    "casemate: application, configuration, manifest",
)
#: Gramine's loader, its platform image, and what they start: no shell, and nothing that reads arguments.
ENTRYPOINT: Final = (f"{GRAMINE_ROOT}/loader", f"{GRAMINE_ROOT}/libpal.so", "init", MANIFEST_PREFIX)
_SIGNATURE: Final = "casemate: signature"
#: Bytes of a blob beyond its size that are still read, to say which digest it has in place of its own.
_LONGER: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageContents:
    """What an image is made of.

    Attributes:
        name: Name of the workload.
        port: TCP port on which it listens.
        trusted: The files of the enclave.
        outside: Gramine and what its loader needs, by their paths in the image; not trusted. Empty for a
            simulated bundle, which has no entrypoint either.
        manifest: The measured manifest.
        mrenclave: Hexadecimal.
        simulated: Whether the measurement stands for a software platform.
        epoch: Seconds since 1970 that every entry carries.
        sources: Digests of what it was made from.
    """

    name: str
    port: int
    trusted: tuple[TrustedContent, ...]
    outside: tuple[LayerFile, ...]
    manifest: bytes
    mrenclave: str
    simulated: bool
    epoch: int
    sources: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDocuments:
    """What an image says of itself, all of it read at one time.

    Attributes:
        index: ``index.json``.
        manifest: The image manifest.
        config: Its configuration.
    """

    index: ImageIndex
    manifest: ImageManifest
    config: ImageConfig

    @property
    def digest(self) -> str:
        """``sha256:…`` of the image manifest."""
        return self.index.manifest.digest


class ImageLayout:
    """An OCI image layout with one image.

    Args:
        path: Its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def index(self) -> ImageIndex:
        """``index.json``.

        Raises:
            FormatError: There is none, or Casemate did not write it.
        """
        try:
            return ImageIndex.parse(read_regular(self.path / "index.json"))
        except OSError as error:
            raise FormatError(
                "image of the bundle",
                expected="an OCI layout",
                got=error.strerror,
                where=str(self.path / "index.json"),
            ) from error

    @property
    def digest(self) -> str:
        """``sha256:…`` of the image manifest."""
        return self.index.manifest.digest

    @property
    def manifest(self) -> ImageManifest:
        """The image manifest."""
        return ImageManifest.parse(self.read(self.index.manifest))

    def documents(self) -> ImageDocuments:
        """Index, manifest and configuration; the later two are those to which the former points.

        Raises:
            FormatError: One of them is not there, or Casemate did not write it.
        """
        index = self.index
        manifest = ImageManifest.parse(self.read(index.manifest))
        config = ImageConfig.parse(self.read(manifest.config))
        return ImageDocuments(index=index, manifest=manifest, config=config)

    def read(self, descriptor: Descriptor) -> bytes:
        """The blob to which ``descriptor`` points.

        Raises:
            FormatError: It is not there, or is not what the descriptor says.
        """
        path = self.blob(descriptor)
        try:
            data = read_regular(path, descriptor.size + _LONGER)
        except OSError as error:
            raise FormatError(
                "blob of the image", expected="a file", got=error.strerror, where=str(path)
            ) from error
        found = Descriptor.of(descriptor.media_type, data)
        if found != descriptor:
            raise FormatError(
                "blob of the image",
                expected=f"{descriptor.digest} of {descriptor.size} bytes",
                got=f"{found.digest} of {found.size} bytes",
                where=str(path),
            )
        return data

    def blob(self, descriptor: Descriptor) -> Path:
        """Where the blob lies."""
        return self.path / "blobs" / "sha256" / descriptor.hex

    def add(self, media_type: str, data: bytes) -> Descriptor:
        """Write a blob."""
        descriptor = Descriptor.of(media_type, data)
        write_files({self.blob(descriptor): data})
        return descriptor

    def add_layer(self, chunks: Iterable[bytes]) -> Descriptor:
        """Write a layer while hashing it; the whole of it is never in memory."""
        folder = self.path / "blobs" / "sha256"
        digest, size = hashlib.sha256(), 0
        with NamedTemporaryFile(dir=folder, delete=False) as draft:
            for chunk in chunks:
                draft.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        descriptor = Descriptor(media_type=LAYER_TYPE, digest=f"sha256:{digest.hexdigest()}", size=size)
        Path(draft.name).chmod(0o644)
        Path(draft.name).replace(self.blob(descriptor))
        return descriptor

    def point_to(self, manifest: ImageManifest, name: str) -> str:
        """Make ``manifest`` the image of the layout; returns its digest."""
        pointer = self.add(MANIFEST_TYPE, manifest.to_bytes())
        write_files({self.path / "index.json": ImageIndex(manifest=pointer, name=name).to_bytes()})
        return pointer.digest


def write_image(path: Path, contents: ImageContents) -> ImageLayout:
    """Write an image layout into the new folder ``path``.

    Raises:
        ToolchainError: A file cannot be read or written, or has changed since it was hashed.
    """
    layout = ImageLayout(path)
    layers = _layers(contents)
    try:
        (path / "blobs" / "sha256").mkdir(parents=True)
        written = tuple(layout.add_layer(layer_chunks(files, contents.epoch)) for _, files in layers)
    except OSError as error:
        raise ToolchainError("image cannot be written", got=str(error), where=str(path)) from error
    config = ImageConfig(
        created=_time(contents.epoch),
        entrypoint=_entrypoint(contents),
        labels=image_labels(
            name=contents.name,
            mrenclave=contents.mrenclave,
            simulated=contents.simulated,
            created=_time(contents.epoch),
            sources=contents.sources,
        ),
        user=USER,
        port=contents.port,
        layers=tuple(layer.digest for layer in written),
        history=tuple(line for line, _ in layers),
    )
    pointer = layout.add(CONFIG_TYPE, config.to_bytes())
    write_files({path / "oci-layout": LAYOUT_FILE})
    layout.point_to(ImageManifest(config=pointer, layers=written), contents.name)
    return layout


def image_labels(
    *, name: str, mrenclave: str, simulated: bool, created: str, sources: Mapping[str, Any]
) -> tuple[tuple[str, str], ...]:
    """The labels of an image, sorted.

    Args:
        name: Name of the workload.
        mrenclave: Hexadecimal. MRSIGNER is not known when labels are written; the SIGSTRUCT holds it.
        simulated: Whether the measurement stands for a software platform.
        created: RFC 3339.
        sources: What the image was made from, as the reference values say it.
    """
    labels = {
        LABEL_SIMULATED: str(simulated).lower(),
        LABEL_MRENCLAVE: mrenclave,
        LABEL_SOURCES: f"sha256:{hashlib.sha256(canonical_json(sources)).hexdigest()}",
        "org.opencontainers.image.created": created,
        "org.opencontainers.image.title": name,
    }
    if isinstance(sources.get("image"), str):
        labels["org.opencontainers.image.base.digest"] = sources["image"]
    return tuple(sorted(labels.items()))


def _entrypoint(contents: ImageContents) -> tuple[str, ...]:
    return () if contents.simulated else ENTRYPOINT


def _time(epoch: int) -> str:
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _layers(contents: ImageContents) -> tuple[tuple[str, list[LayerFile]], ...]:
    interpreter = list(contents.outside)
    own = _of_interpreter(contents.trusted)
    system: list[LayerFile] = []
    dependencies: list[LayerFile] = []
    application: list[LayerFile] = []
    for entry in contents.trusted:
        path = PurePosixPath(entry.file.path)
        if path.is_relative_to(APPLICATION_ROOT) or path.is_relative_to("/etc/casemate"):
            layer = application
        elif path.is_relative_to(PYTHON_HOME) and "site-packages" in path.parts:
            layer = dependencies
        elif entry.file.path in own:
            layer = interpreter
        else:
            layer = system
        layer.append(
            LayerFile(
                path=f"{ENCLAVE_ROOT}{path}",
                content=entry.file.content,
                executable=entry.file.executable,
                sha256=entry.sha256,
            )
        )
    application.append(LayerFile(path=f"{MANIFEST_PREFIX}.manifest.sgx", content=contents.manifest))
    layers = (interpreter, system, dependencies, application)
    return tuple(zip((_INTERPRETER, _SYSTEM, _DEPENDENCIES, _APPLICATION), layers, strict=True))


def _of_interpreter(trusted: Iterable[TrustedContent]) -> set[str]:
    """Paths of the interpreter and of the libraries that it needs itself, whatever the application is."""
    programs = PurePosixPath(PYTHON_HOME, "bin")
    found = {entry.file.path for entry in trusted if programs in PurePosixPath(entry.file.path).parents}
    needed = [entry.file for entry in trusted if entry.file.reason.rule is Rule.NEEDED_LIBRARY]
    before = 0
    while len(found) != before:
        before = len(found)
        found |= {file.path for file in needed if file.reason.of in found}
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedImage:
    """What signing makes of an image.

    Attributes:
        layer: The bytes of the layer with the SIGSTRUCT.
        config: The new configuration.
        manifest: The new manifest.
    """

    layer: bytes
    config: ImageConfig
    manifest: ImageManifest

    @property
    def digest(self) -> str:
        """``sha256:…`` of the manifest."""
        return Descriptor.of(MANIFEST_TYPE, self.manifest.to_bytes()).digest


def unsigned(config: ImageConfig) -> ImageConfig:
    """The configuration that an image had before it was signed; the same where it is not."""
    if config.history[-1:] != (_SIGNATURE,):
        return config
    return replace(config, layers=config.layers[: len(config.history) - 1], history=config.history[:-1])


def unsigned_digest(image: ImageDocuments) -> str:
    """``sha256:…`` of the manifest that an image had before it was signed; its own where it is not."""
    config = unsigned(image.config)
    if config == image.config:
        return image.digest
    manifest = ImageManifest(
        config=Descriptor.of(CONFIG_TYPE, config.to_bytes()),
        layers=image.manifest.layers[: len(config.layers)],
    )
    return Descriptor.of(MANIFEST_TYPE, manifest.to_bytes()).digest


def signed_image(former: ImageDocuments, sigstruct: bytes) -> SignedImage:
    """An image with the SIGSTRUCT as a layer of its own, in place of one that is there already.

    Args:
        former: The image that is signed.
        sigstruct: The signature.
    """
    config = unsigned(former.config)
    kept = former.manifest.layers[: len(config.layers)]
    epoch = int(datetime.fromisoformat(config.created).timestamp())
    file = LayerFile(path=f"{MANIFEST_PREFIX}.sig", content=sigstruct)
    layer = b"".join(layer_chunks((file,), epoch))
    pointer = Descriptor.of(LAYER_TYPE, layer)
    config = replace(
        config,
        layers=(*config.layers, pointer.digest),
        history=(*config.history, _SIGNATURE),
    )
    return SignedImage(
        layer=layer,
        config=config,
        manifest=ImageManifest(config=Descriptor.of(CONFIG_TYPE, config.to_bytes()), layers=(*kept, pointer)),
    )


def write_signed_image(
    layout: ImageLayout, former: ImageDocuments, signed: SignedImage, documents: Mapping[Path, bytes]
) -> None:
    """Put a signed image in place of the one from which it was made, and ``documents`` beside it.

    All of it is written before anything is replaced; the index comes after what it points to.

    Args:
        layout: Where the image is.
        former: The image that was signed: what was judged, whatever the layout holds by now.
        signed: What has become of it.
        documents: What follows from the new image.

    Raises:
        ToolchainError: A file cannot be written; the image and the documents are the former ones then.
    """
    config, manifest = signed.config.to_bytes(), signed.manifest.to_bytes()
    pointer = Descriptor.of(MANIFEST_TYPE, manifest)
    blobs = (
        (signed.manifest.layers[-1], signed.layer),
        (signed.manifest.config, config),
        (pointer, manifest),
    )
    index = ImageIndex(manifest=pointer, name=former.index.name)
    write_files(
        {layout.blob(descriptor): data for descriptor, data in blobs}
        | {layout.path / "index.json": index.to_bytes()}
        | dict(documents)
    )
    _remove(layout, (former.index.manifest, former.manifest.config, *former.manifest.layers))


def _remove(layout: ImageLayout, former: Iterable[Descriptor]) -> None:
    """Remove the blobs of a former image that the present one does not use."""
    manifest = layout.manifest
    used = {one.digest for one in (layout.index.manifest, manifest.config, *manifest.layers)}
    for descriptor in former:
        if descriptor.digest not in used:
            layout.blob(descriptor).unlink(missing_ok=True)


def unpack_image(layout: ImageLayout, into: Path) -> None:
    """Write the files of all layers below ``into``, an existing folder.

    Only what Casemate writes is unpacked: folders and regular files. Files are made anew and no link is
    followed, so nothing is written outside of ``into``.

    Raises:
        FormatError: A blob is not what its descriptor says; an entry is a link or a device, names a path
            outside, or one that is another kind of file already.
        ToolchainError: A file cannot be written.
    """
    for descriptor in layout.manifest.layers:
        where = _place(descriptor)
        try:
            for entry in layer_entries(layout.read(descriptor), where):
                _unpack_entry(entry, into, where)
        except OSError as error:
            raise ToolchainError("image cannot be unpacked", got=str(error), where=str(into)) from error


def _place(layer: Descriptor) -> str:
    return f"layer {layer.digest}"


def _unpack_entry(entry: LayerEntry, into: Path, where: str) -> None:
    parts, content = entry.parts, entry.content
    for folder in _folders(into, parts if content is None else parts[:-1]):
        if folder.is_symlink() or not folder.is_dir():
            try:
                folder.mkdir(mode=0o755)
            except FileExistsError as error:
                raise FormatError(
                    "folder in a layer", expected="no file of this name", got=ascii(entry.path), where=where
                ) from error
    if content is not None:
        _write(into.joinpath(*parts), content, 0o755 if entry.executable else 0o644)


def _folders(into: Path, parts: Sequence[str]) -> Iterator[Path]:
    for depth in range(1, len(parts) + 1):
        yield into.joinpath(*parts[:depth])


def _write(path: Path, content: bytes, mode: int) -> None:
    """A new file in place of one that a lower layer may have put there."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(path, "wb", opener=lambda name, _: os.open(name, flags, mode)) as file:
        file.write(content)
    path.chmod(mode)
