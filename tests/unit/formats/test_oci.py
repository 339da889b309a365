"""OCI documents: canonical bytes, read back strictly."""

from __future__ import annotations

import json

import pytest

from casemate.errors import FormatError
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

_LAYER = Descriptor.of(LAYER_TYPE, b"layer")
_CONFIG = ImageConfig(
    created="1970-01-01T00:00:00Z",
    entrypoint=("/gramine/loader",),
    labels=(("a", "1"), ("b", "2")),
    user="10001:10001",
    port=8443,
    layers=(_LAYER.digest,),
    history=("casemate: all",),
)
_MANIFEST = ImageManifest(config=Descriptor.of(CONFIG_TYPE, _CONFIG.to_bytes()), layers=(_LAYER,))
_INDEX = ImageIndex(manifest=Descriptor.of(MANIFEST_TYPE, _MANIFEST.to_bytes()), name="notes")


def test_the_layout_file_is_as_the_specification_has_it() -> None:
    assert LAYOUT_FILE == b'{"imageLayoutVersion":"1.0.0"}'


def test_documents_are_read_as_written() -> None:
    assert ImageConfig.parse(_CONFIG.to_bytes()) == _CONFIG
    assert ImageManifest.parse(_MANIFEST.to_bytes()) == _MANIFEST
    assert ImageIndex.parse(_INDEX.to_bytes()) == _INDEX


def test_an_image_without_entrypoint_has_no_such_field() -> None:
    document = json.loads(ImageConfig.parse(_CONFIG.to_bytes()).to_bytes())
    assert document["config"]["Entrypoint"] == ["/gramine/loader"]

    bare = ImageConfig(
        created=_CONFIG.created,
        entrypoint=(),
        labels=(),
        user="1:1",
        port=1,
        layers=(),
        history=(),
    )
    assert "Entrypoint" not in json.loads(bare.to_bytes())["config"]
    assert ImageConfig.parse(bare.to_bytes()) == bare


def test_bytes_are_canonical() -> None:
    for data in (_CONFIG.to_bytes(), _MANIFEST.to_bytes(), _INDEX.to_bytes()):
        assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode()


def test_a_layer_that_is_compressed_is_refused() -> None:
    text = _MANIFEST.to_bytes().replace(LAYER_TYPE.encode(), LAYER_TYPE.encode() + b"+gzip")

    with pytest.raises(FormatError) as refused:
        ImageManifest.parse(text)
    assert str(refused.value) == (
        "media type of a blob: expected application/vnd.oci.image.layer.v1.tar,"
        " got application/vnd.oci.image.layer.v1.tar+gzip"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(b'"schemaVersion":2', b'"schemaVersion":1', id="schema"),
        pytest.param(b'"os":"linux"', b'"os":"windows"', id="platform"),
        pytest.param(b'"name":', b'"Name":', id="annotation"),
        pytest.param(b"sha256:", b"sha512:", id="algorithm"),
        pytest.param(b'"size":', b'"size":-', id="size"),
        pytest.param(b'{"manifests"', b'{"extra":1,"manifests"', id="unknown field"),
        pytest.param(b'{"manifests"', b'{"manifests":[],"manifests"', id="duplicate field"),
    ],
)
def test_an_index_that_casemate_does_not_write_is_refused(old: bytes, new: bytes) -> None:
    data = _INDEX.to_bytes().replace(b"org.opencontainers.image.ref.name", b"name")
    changed = data.replace(old, new).replace(b'"name":', b'"org.opencontainers.image.ref.name":')

    with pytest.raises(FormatError) as refused:
        ImageIndex.parse(changed)
    assert refused.value.subject == "index.json"


def test_a_time_that_does_not_exist_is_refused() -> None:
    text = _CONFIG.to_bytes().replace(_CONFIG.created.encode(), b"2026-02-30T00:00:00Z")

    with pytest.raises(FormatError) as refused:
        ImageConfig.parse(text)
    assert str(refused.value) == (
        "image configuration: expected a time that exists, got 2026-02-30T00:00:00Z (created)"
    )


def test_a_second_image_in_the_index_is_refused() -> None:
    document = json.loads(_INDEX.to_bytes())
    document["manifests"] *= 2

    with pytest.raises(FormatError):
        ImageIndex.parse(json.dumps(document).encode())
