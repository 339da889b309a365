"""The image of a bundle into a registry, byte for byte."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

from casemate.adapters.registry.connection import Broken, Request
from casemate.adapters.registry.session import Answer, Refusal, Registry
from casemate.builder.packing.image import ImageDocuments, ImageLayout
from casemate.errors import FormatError, RegistryError, ToolchainError
from casemate.formats.oci import MANIFEST_TYPE, Descriptor
from casemate.sources.image import Progress, part_of

_AT_ONCE: Final = 1 << 18
_THERE: Final = frozenset({HTTPStatus.OK, HTTPStatus.NOT_FOUND})
_BEGUN: Final = frozenset({HTTPStatus.ACCEPTED, HTTPStatus.CREATED})
_TAKEN: Final = frozenset({HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT})
_DONE: Final = frozenset({HTTPStatus.CREATED})
_NOT_IN_ORDER: Final = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
_STATUS: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.ACCEPTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedImage:
    """What has become of an image.

    Attributes:
        reference: A name for exactly this image: ``HOST/REPOSITORY[:TAG]@sha256:…``.
        digest: Of the manifest, the same as in the bundle.
        sent: Blobs that were sent.
        there: Blobs that were there, or were taken from another repository of the registry.
    """

    reference: str
    digest: str
    sent: int
    there: int


def push(
    registry: Registry,
    layout: ImageLayout,
    documents: ImageDocuments,
    *,
    mount_from: str | None = None,
    progress: Progress | None = None,
) -> PushedImage:
    """Send an image to where the reference of ``registry`` says.

    Blobs that are there are not sent; the manifest comes last, so that nobody finds half an image.

    Args:
        registry: To where.
        layout: Where the blobs are.
        documents: Of the image; what is sent is this, whatever the layout says by now.
        mount_from: Another repository of the registry, whose blobs are taken where they are the same.
        progress: Called with bytes of blobs.

    Raises:
        RegistryError: The registry does not take it.
        FormatError: A blob is not what its digest says; it is not sent then.
        ToolchainError: A blob cannot be read.
    """
    manifest = documents.manifest
    blobs = tuple({blob.digest: blob for blob in (*manifest.layers, manifest.config)}.values())
    total = sum(blob.size for blob in blobs)
    done = sent = 0
    for blob in blobs:
        upload = _Upload(registry, blob, layout.blob(blob), part_of(progress, done, total))
        sent += upload.run(mount_from)
        done += blob.size
    digest = _put_manifest(registry, documents)
    return PushedImage(
        reference=str(registry.reference.pinned(digest)), digest=digest, sent=sent, there=len(blobs) - sent
    )


def _put_manifest(registry: Registry, documents: ImageDocuments) -> str:
    data = documents.manifest.to_bytes()
    digest = Descriptor.of(MANIFEST_TYPE, data).digest
    if digest != documents.digest:
        raise FormatError("image manifest", expected=documents.digest, got=digest, where="the bundle")
    reference = registry.reference
    url = registry.url(f"manifests/{reference.tag or digest}")
    request = Request(
        method="PUT", url=url, headers={"Content-Type": MANIFEST_TYPE}, body=data, length=len(data)
    )
    answer = registry.ask(request, accept=_DONE, subject="image manifest")
    stored = answer.headers.get("docker-content-digest", digest)
    if stored != digest:
        raise RegistryError(
            "digest of the image in the registry", expected=digest, got=stored[:100], where=str(reference)
        )
    return digest


class _Upload:
    """One blob on its way."""

    def __init__(
        self, registry: Registry, blob: Descriptor, path: Path, progress: Callable[[int], None]
    ) -> None:
        self._registry = registry
        self._blob = blob
        self._path = path
        self._progress = progress
        self._subject = f"blob {blob.digest}"

    def run(self, mount_from: str | None) -> bool:
        """See that the registry has it; whether it had to be sent.

        Raises:
            RegistryError: The registry does not take it.
            FormatError: It is not what its digest says.
            ToolchainError: It cannot be read.
        """
        missing = not self._is_there()
        if missing:
            try:
                with self._path.open("rb") as file:
                    self._require_right(file)
                    missing = self._send(file, mount_from)
            except OSError as error:
                raise ToolchainError(
                    "blob of the image cannot be read", got=error.strerror, where=str(self._path)
                ) from error
        self._progress(self._blob.size)
        return missing

    def _is_there(self) -> bool:
        request = Request(method="HEAD", url=self._registry.url(f"blobs/{self._blob.digest}"))
        return self._registry.ask(request, accept=_THERE, subject=self._subject).status == HTTPStatus.OK

    def _require_right(self, file: IO[bytes]) -> None:
        digest, size = hashlib.sha256(), 0
        while part := file.read(_AT_ONCE):
            digest.update(part)
            size += len(part)
        found = Descriptor(media_type=self._blob.media_type, digest=f"sha256:{digest.hexdigest()}", size=size)
        if found != self._blob:
            raise FormatError(
                "blob of the image",
                expected=f"{self._blob.digest} of {self._blob.size} bytes",
                got=f"{found.digest} of {found.size} bytes",
                where=str(self._path),
            )

    def _send(self, file: IO[bytes], mount_from: str | None) -> bool:
        """Send it from the beginning, as often as is worth while; whether bytes went."""
        query = f"?mount={quote(self._blob.digest)}&from={quote(mount_from, safe='')}" if mount_from else ""
        url = self._registry.url(f"blobs/uploads/{query}")
        begin = Request(method="POST", url=url)

        def attempt() -> bool:
            answer = self._registry.once(begin, accept=_BEGUN)
            if answer.status == HTTPStatus.CREATED:
                return False
            place = self._registry.location(answer, url)
            if self._blob.size > self._registry.limits.chunk:
                place = self._send_chunks(file, place)
                self._finish(place, b"", 0)
            else:
                self._finish(place, file, self._blob.size)
            return True

        return self._registry.repeat(attempt, url, self._subject)

    def _finish(self, place: str, body: IO[bytes] | bytes, length: int) -> None:
        separator = "&" if "?" in place else "?"
        request = Request(
            method="PUT",
            url=f"{place}{separator}digest={quote(self._blob.digest)}",
            headers={"Content-Type": "application/octet-stream"},
            body=body,
            length=length,
        )
        self._registry.once(request, accept=_DONE)

    def _send_chunks(self, file: IO[bytes], place: str) -> str:
        """Send all of it in parts; where it is finished.

        A part that did not arrive whole is sent on from where the registry says that it is.
        """
        sent, count = 0, 1
        while sent < self._blob.size:
            file.seek(sent)
            chunk = file.read(self._registry.limits.chunk)
            try:
                place = self._send_chunk(chunk, sent, place)
                sent, count = sent + len(chunk), 1
            except (Broken, Refusal) as trouble:
                if isinstance(trouble, Refusal) and trouble.status == _NOT_IN_ORDER:
                    # It has other bytes than it said; another upload may come to its end.
                    raise Broken(trouble.what, transient=True) from trouble
                self._registry.pause(trouble, count, place, self._subject)
                count += 1
                sent, place = self._status(place)
            self._progress(sent)
        return place

    def _send_chunk(self, chunk: bytes, start: int, place: str) -> str:
        request = Request(
            method="PATCH",
            url=place,
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Range": f"{start}-{start + len(chunk) - 1}",
            },
            body=chunk,
            length=len(chunk),
        )
        answer = self._registry.once(request, accept=_TAKEN)
        return self._registry.location(answer, place)

    def _status(self, place: str) -> tuple[int, str]:
        """How many bytes the registry has of an upload, and where it goes on."""
        try:
            answer = self._registry.once(Request(method="GET", url=place), accept=_STATUS)
        except Refusal as refusal:
            # It is gone with what was in it; another one may come to its end.
            raise Broken(refusal.what, transient=True) from refusal
        again = self._registry.location(answer, place) if "location" in answer.headers else place
        return _received(answer), again


def _received(answer: Answer) -> int:
    """``Range: 0-N``: all bytes up to the N-th; of none some say ``0-0``, which counts as none."""
    said = answer.headers.get("range", "").removeprefix("bytes=").partition("-")[2]
    last = int(said) if said.isdecimal() and len(said) <= 18 else 0
    return last + 1 if last else 0
