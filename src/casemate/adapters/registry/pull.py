"""An image from a registry into a folder of blobs, each checked against its digest before it has its name."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Final

from casemate.adapters.registry.connection import Broken, Reply, Request
from casemate.adapters.registry.session import Refusal, Registry
from casemate.errors import FormatError, RegistryError, ToolchainError
from casemate.formats.foreign_image import DOCUMENT_TYPES
from casemate.formats.oci import Descriptor
from casemate.sources.choosing import find_image
from casemate.sources.image import Progress, SourceImage, SourceLayer, part_of

_AT_ONCE: Final = 1 << 18
_OK: Final = frozenset({HTTPStatus.OK})
#: All of a blob, the rest of it, or that there is no rest.
_BLOB: Final = frozenset(
    {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}
)
_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/(?:[0-9]{1,18}|\*)")
#: Bytes by which an attempt has to get on for the count of attempts to begin anew.
_GETTING_ON: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobCache:
    """A folder of blobs that were fetched once, by digest; it can be deleted at any time.

    Attributes:
        folder: The folder, made when something is put there.
    """

    folder: Path

    def path(self, digest: str) -> Path:
        """Where the blob lies, if it is there."""
        return self.folder / "sha256" / digest.removeprefix("sha256:")

    def find(self, digest: str, size: int) -> Path | None:
        """The blob, if it is there and right; a wrong one is deleted.

        Raises:
            ToolchainError: It cannot be read.
        """
        path = self.path(digest)
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_size == size and _digest_of(file) == digest:
                    return path
            path.unlink(missing_ok=True)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self.folder, error) from error
        return None

    @contextmanager
    def draft(self, digest: str) -> Iterator[IO[bytes]]:
        """A file for the blob while it is fetched, with what an earlier attempt has left in it.

        Who comes second waits, and finds the blob there.

        Raises:
            ToolchainError: It cannot be written.
        """
        path = self.path(digest)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(Path(f"{path}.part")) as file:
                yield file
        except OSError as error:
            raise _unusable(self.folder, error) from error

    def keep(self, digest: str, file: IO[bytes]) -> Path:
        """Give a whole, checked draft its name.

        Raises:
            OSError: From the file system.
        """
        path = self.path(digest)
        # Not synchronised with the disk: what is there is hashed before each use.
        file.flush()
        Path(f"{path}.part").replace(path)
        return path


def resolve(registry: Registry) -> str:
    """The digest of what the reference of ``registry`` names now.

    Raises:
        RegistryError: The registry does not say.
    """
    data = _document(registry, f"manifests/{registry.reference.where}", "image in the registry")
    return Descriptor.of("", data).digest


def pull(registry: Registry, cache: BlobCache, *, progress: Progress | None = None) -> SourceImage:
    """Fetch the image that the reference of ``registry`` names by its digest.

    Nothing is asked of the registry for what ``cache`` has.

    Args:
        registry: From where; its reference has a digest.
        cache: Where the blobs go, and stay as long as the image is used.
        progress: Called with bytes of layers.

    Raises:
        RegistryError: The registry does not give what it is asked for.
        FormatError: What it gives is not what the digest says, or no image for this platform.
        ToolchainError: ``cache`` cannot be written.
    """
    reference = registry.reference
    if reference.digest is None:
        raise RegistryError("image in the registry", expected="a digest", got="a tag", where=str(reference))
    pointer = _pointer(registry, cache, reference.digest)
    found = find_image(
        pointer, lambda wanted: _cached_document(registry, cache, wanted), where=f"docker://{reference}"
    )
    total = sum(layer.size for layer in found.manifest.layers)
    if total > registry.limits.image_size:
        raise FormatError(
            "size of all layers",
            expected=f"at most {registry.limits.image_size} bytes",
            got=str(total),
            where=f"docker://{reference}",
        )
    layers: list[SourceLayer] = []
    done = 0
    for descriptor, diff_id in zip(found.manifest.layers, found.config.diff_ids, strict=True):
        path = _fetch(registry, cache, descriptor, part_of(progress, done, total))
        done += descriptor.size
        layers.append(
            SourceLayer(diff_id=diff_id, digest=descriptor.digest, path=path, offset=0, size=descriptor.size)
        )
    return SourceImage(
        reference=f"docker://{reference}", digest=found.digest, config=found.config, layers=tuple(layers)
    )


def _pointer(registry: Registry, cache: BlobCache, digest: str) -> Descriptor:
    """What points to the first document, whose size only the document itself says."""
    path = cache.path(digest)
    try:
        data = path.read_bytes() if 0 < path.stat().st_size <= registry.limits.document else b""
    except OSError:
        data = b""
    if Descriptor.of("", data).digest != digest:
        data = _document(registry, f"manifests/{digest}", "image in the registry")
        _require(digest, data, registry)
        _keep(cache, digest, data)
    return Descriptor.of("", data)


def _cached_document(registry: Registry, cache: BlobCache, wanted: Descriptor) -> bytes:
    """A document, from the cache if it is there; who asked for it checks it."""
    path = cache.find(wanted.digest, wanted.size)
    if path is not None:
        return path.read_bytes()
    kind = "manifests" if wanted.media_type in DOCUMENT_TYPES else "blobs"
    data = _document(registry, f"{kind}/{wanted.digest}", "document of the image")
    _require(wanted.digest, data, registry)
    _keep(cache, wanted.digest, data)
    return data


def _document(registry: Registry, path: str, subject: str) -> bytes:
    request = Request(method="GET", url=registry.url(path), headers={"Accept": ", ".join(DOCUMENT_TYPES)})
    return registry.ask(request, accept=_OK, subject=subject).body


def _require(digest: str, data: bytes, registry: Registry) -> None:
    found = Descriptor.of("", data)
    if found.digest != digest:
        raise FormatError(
            "document of the image",
            expected=digest,
            got=f"{found.digest} of {found.size} bytes",
            where=f"docker://{registry.reference}",
        )


@contextmanager
def _locked(path: Path) -> Iterator[IO[bytes]]:
    """The file at ``path``, made if need be, for nobody else."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Who had it before may have given it another name meanwhile.
            if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                yield file
                return


def _keep(cache: BlobCache, digest: str, data: bytes) -> None:
    with cache.draft(digest) as file:
        file.truncate(0)
        file.write(data)
        cache.keep(digest, file)


def _fetch(registry: Registry, cache: BlobCache, wanted: Descriptor, progress: Callable[[int], None]) -> Path:
    """A layer, from the cache if it is there."""
    if wanted.size > registry.limits.blob_size:
        raise FormatError(
            "size of a layer",
            expected=f"at most {registry.limits.blob_size} bytes",
            got=str(wanted.size),
            where=f"docker://{registry.reference}, layer {wanted.digest}",
        )
    path = cache.find(wanted.digest, wanted.size)
    if path is None:
        with cache.draft(wanted.digest) as file:
            # Somebody else may have fetched it while we waited for the draft.
            path = cache.find(wanted.digest, wanted.size)
            if path is None:
                _Download(registry, wanted, file, progress).run()
                path = cache.keep(wanted.digest, file)
    progress(wanted.size)
    return path


class _Download:
    """One layer on its way, in as many attempts as it takes."""

    def __init__(
        self, registry: Registry, wanted: Descriptor, file: IO[bytes], progress: Callable[[int], None]
    ) -> None:
        self._registry = registry
        self._wanted = wanted
        self._file = file
        self._progress = progress
        self._sha256 = hashlib.sha256()
        self._size = 0

    def run(self) -> None:
        """Fill the file.

        Raises:
            RegistryError: The layer does not come.
            FormatError: It is not what its digest says.
        """
        resumed = self._resume()
        self._attempts()
        if resumed and not self._is_right():
            # What an earlier run has left was not the beginning of it.
            self._begin_anew()
            self._attempts()
        if not self._is_right():
            got = f"sha256:{self._sha256.hexdigest()} of {self._size} bytes"
            self._begin_anew()
            raise FormatError(
                "layer of the image",
                expected=f"{self._wanted.digest} of {self._wanted.size} bytes",
                got=got,
                where=f"docker://{self._registry.reference}",
            )

    def _is_right(self) -> bool:
        return self._size == self._wanted.size and f"sha256:{self._sha256.hexdigest()}" == self._wanted.digest

    def _resume(self) -> bool:
        """Take what is there already into account."""
        self._file.seek(0)
        while part := self._file.read(_AT_ONCE):
            self._take(part)
        if self._size > self._wanted.size:
            self._begin_anew()
        return self._size > 0

    def _begin_anew(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._sha256 = hashlib.sha256()
        self._size = 0

    def _attempts(self) -> None:
        url = self._registry.url(f"blobs/{self._wanted.digest}")
        count = 1
        while self._size < self._wanted.size:
            before = self._size
            try:
                self._attempt(url)
            except (Broken, Refusal) as trouble:
                count = 1 if self._size - before >= _GETTING_ON else count
                self._registry.pause(trouble, count, url, f"layer {self._wanted.digest}")
                count += 1

    def _attempt(self, url: str) -> None:
        headers = {"Range": f"bytes={self._size}-"} if self._size else {}
        request = Request(method="GET", url=url, headers=headers)
        with self._registry.open(request, accept=_BLOB) as reply:
            if not self._continues(reply):
                self._begin_anew()
            if reply.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise Broken("no further bytes", transient=True)
            rest = self._wanted.size - self._size
            reply.require_length(rest)
            for part in reply.parts(rest, self._registry.limits.blob):
                self._file.write(part)
                self._take(part)
                self._progress(self._size)
        if self._size < self._wanted.size:
            raise Broken(f"{self._size} bytes of {self._wanted.size}", transient=True)

    def _continues(self, reply: Reply) -> bool:
        """Whether what comes is what follows on what is there."""
        if not self._size:
            return reply.status == HTTPStatus.OK
        said = _RANGE.fullmatch((reply.header("Content-Range") or "").strip())
        return reply.status == HTTPStatus.PARTIAL_CONTENT and said is not None and int(said[1]) == self._size

    def _take(self, part: bytes) -> None:
        self._sha256.update(part)
        self._size += len(part)


def _digest_of(file: IO[bytes]) -> str:
    return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"  # type: ignore[arg-type]  # it is one


def _unusable(folder: Path, error: OSError) -> ToolchainError:
    return ToolchainError("cache of images cannot be used", got=error.strerror, where=str(folder))
