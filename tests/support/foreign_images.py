"""Images as others make them: layers by the standard library's tarfile, in layouts and Docker archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from casemate.sources.layer import zstd

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"

#: Name of a compression, as a media type ends, and what does it.
COMPRESSIONS: Mapping[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "+gzip": lambda data: gzip.compress(data, mtime=0),
    "+zstd": zstd.compress,
}


@dataclass(frozen=True)
class Entry:
    """An entry of a layer, as tarfile wants it."""

    name: str
    type: bytes = tarfile.REGTYPE
    content: bytes = b""
    target: str = ""
    mode: int = 0o644
    pax: Mapping[str, str] = field(default_factory=dict)


def file(name: str, content: bytes | str = b"content", mode: int = 0o644) -> Entry:
    data = content.encode() if isinstance(content, str) else content
    return Entry(name, content=data, mode=mode)


def folder(name: str, mode: int = 0o755) -> Entry:
    return Entry(name, tarfile.DIRTYPE, mode=mode)


def symlink(name: str, target: str) -> Entry:
    return Entry(name, tarfile.SYMTYPE, target=target)


def hard_link(name: str, target: str) -> Entry:
    return Entry(name, tarfile.LNKTYPE, target=target)


def device(name: str) -> Entry:
    return Entry(name, tarfile.CHRTYPE)


def fifo(name: str) -> Entry:
    return Entry(name, tarfile.FIFOTYPE)


def layer(*entries: Entry, form: int = tarfile.PAX_FORMAT) -> bytes:
    """A layer, uncompressed."""
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w", format=form, encoding="utf-8") as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.type = entry.type
            info.size = len(entry.content)
            info.mode = entry.mode
            info.linkname = entry.target
            info.pax_headers = dict(entry.pax)
            archive.addfile(info, io.BytesIO(entry.content))
    return result.getvalue()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


@dataclass
class Blobs:
    """Documents and layers by their digests, and what points to them."""

    content: dict[str, bytes] = field(default_factory=dict)

    def add(self, media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
        pointer = descriptor(media_type, data, **more)
        self.content[pointer["digest"]] = data
        return pointer

    def add_json(self, media_type: str, value: Any, **more: Any) -> dict[str, Any]:
        return self.add(media_type, json.dumps(value).encode(), **more)

    def image(
        self,
        *layers: bytes,
        compression: str = "+gzip",
        architecture: str = "amd64",
        config: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """An image of uncompressed ``layers``; gives what points to its manifest."""
        pack = COMPRESSIONS[compression]
        written = [self.add(f"{LAYER}{compression}", pack(data)) for data in layers]
        return self.manifest(self.config(layers, architecture, config), written)

    def config(
        self, layers: Iterable[bytes], architecture: str = "amd64", config: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        return self.add_json(CONFIG, image_config(layers, architecture, config))

    def manifest(self, config: dict[str, Any], layers: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
        return self.add_json(MANIFEST, document | more)

    def layout(self, path: Path, *manifests: dict[str, Any]) -> Path:
        """An OCI layout with everything in it."""
        folder = path / "blobs" / "sha256"
        folder.mkdir(parents=True)
        for name, data in self.content.items():
            (folder / name.removeprefix("sha256:")).write_bytes(data)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": list(manifests)}))
        return path


def image_config(
    layers: Iterable[bytes], architecture: str = "amd64", config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "architecture": architecture,
        "os": "linux",
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": [digest(data) for data in layers]},
    }


def write_layout(path: Path, *layers: bytes, compression: str = "+gzip", **more: Any) -> Path:
    """A layout with one image."""
    blobs = Blobs()
    return blobs.layout(path, blobs.image(*layers, compression=compression, **more))


def write_docker_archive(path: Path, *layers: bytes, names: Iterable[str] = ("app:latest",)) -> Path:
    """An archive in the older form of ``docker save``: a folder for each layer, equal ones as links."""
    config = json.dumps(image_config(layers)).encode()
    config_name = f"{digest(config).removeprefix('sha256:')}.json"
    places: dict[bytes, str] = {}
    entries = [file(config_name, config)]
    paths = []
    for number, data in enumerate(layers):
        name = f"{number:064x}"
        paths.append(f"{name}/layer.tar")
        entries.append(folder(name))
        if data in places:
            entries.append(symlink(paths[-1], f"../{places[data]}"))
        else:
            places[data] = paths[-1]
            entries.append(file(paths[-1], data))
    listed = [{"Config": config_name, "RepoTags": list(names), "Layers": paths}]
    entries.append(file("manifest.json", json.dumps(listed)))
    path.write_bytes(layer(*entries))
    return path
