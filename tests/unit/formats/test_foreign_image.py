"""Documents of images that others made."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.support.foreign_images import CONFIG, INDEX, LAYER, MANIFEST, descriptor, digest, image_config

from casemate.errors import FormatError
from casemate.formats.foreign_image import (
    DOCKER_CONFIG_TYPE,
    DOCKER_LIST_TYPE,
    ForeignConfig,
    ForeignIndex,
    ForeignManifest,
    parse_archive_list,
    parse_image_document,
)

POINTER = descriptor(CONFIG, b"{}")
MEANT = {"schemaVersion": 2, "mediaType": MANIFEST, "config": POINTER, "layers": [descriptor(LAYER, b"")]}
EITHER = "image manifest: expected either manifests, or config and layers"
DOCUMENT = "image manifest: expected an index or a manifest of an image"
CHART = "application/vnd.cncf.helm.config.v1+json"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
LIST = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(MANIFEST, b"{}")]}


def _parse(value: Any, media_type: str = "") -> ForeignIndex | ForeignManifest:
    return parse_image_document(json.dumps(value).encode(), where="here", media_type=media_type)


def test_members_that_are_not_used_are_not_looked_at() -> None:
    more = {"annotations": {"a": "b"}, "subject": 1, "artifactType": None}

    assert _parse(MEANT | more) == _parse(MEANT)
    assert _parse(LIST | more) == _parse(LIST)


def test_docker_has_its_own_types_for_the_same() -> None:
    pointer = POINTER | {"mediaType": "application/vnd.docker.container.image.v1+json"}
    layer = descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", b"")
    document = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": pointer,
        "layers": [layer],
    }

    read = _parse(document)

    assert isinstance(read, ForeignManifest)
    assert read.layers[0].media_type == layer["mediaType"]


def test_an_oci_document_may_not_say_its_type() -> None:
    without = {name: value for name, value in MEANT.items() if name != "mediaType"}

    assert isinstance(_parse(without), ForeignManifest)


@pytest.mark.parametrize(
    ("value", "media_type", "message"),
    [
        (MEANT | LIST | {"mediaType": MANIFEST}, "", f"{EITHER}, got both (here)"),
        ({"schemaVersion": 2}, "", f"{EITHER}, got neither (here)"),
        (
            LIST | {"mediaType": MANIFEST},
            "",
            f"type of an image manifest: expected {INDEX} or {DOCKER_LIST_TYPE}, got '{MANIFEST}' (here)",
        ),
        (MEANT, INDEX, f"type of an image manifest: expected {INDEX}, got '{MANIFEST}' (here)"),
        (
            {"schemaVersion": 1, "fsLayers": []},
            "",
            "version of an image manifest: expected schema 2 or OCI, got schema 1 (here)",
        ),
        (
            MEANT | {"config": POINTER | {"mediaType": CHART}},
            "",
            f"configuration of the image: expected {CONFIG} or {DOCKER_CONFIG_TYPE}, got '{CHART}' (here)",
        ),
        (
            MEANT | {"layers": [descriptor(FOREIGN, b"")]},
            "",
            (
                "type of a layer: expected tar, by itself or compressed with gzip or Zstandard, "
                f"got '{FOREIGN}' (here, layer {digest(b'')})"
            ),
        ),
        ([], "", f"{DOCUMENT}, got Expected `object`, got `array` (here)"),
        (
            MEANT | {"config": POINTER | {"digest": "sha512:" + "0" * 128}},
            "",
            (
                f"{DOCUMENT}, got Expected `str` matching regex '\\\\Asha256:[0-9a-f]{{64}}\\\\Z' - at "
                "`$.config.digest` (here)"
            ),
        ),
    ],
    ids=[
        "both",
        "neither",
        "an index that says manifest",
        "not what was said",
        "schema 1",
        "a chart",
        "a foreign layer",
        "a list",
        "another algorithm",
    ],
)
def test_other_documents_are_refused(value: Any, media_type: str, message: str) -> None:
    with pytest.raises(FormatError) as refused:
        _parse(value, media_type)
    assert str(refused.value) == message


def test_an_encrypted_layer_has_its_own_hint() -> None:
    with pytest.raises(FormatError) as refused:
        _parse(MEANT | {"layers": [descriptor(f"{LAYER}+gzip+encrypted", b"")]})
    assert refused.value.hint == "decrypt the image first, with skopeo copy --decryption-key"


def test_a_name_that_occurs_twice_is_refused() -> None:
    data = json.dumps(MEANT).encode()[:-1] + b', "layers": []}'

    with pytest.raises(FormatError, match="an object with a duplicate key"):
        parse_image_document(data, where="here")


def test_more_bytes_than_registries_take_are_refused() -> None:
    with pytest.raises(FormatError, match="image manifest: expected at most 4194304 bytes, got 4194305"):
        parse_image_document(b" " * ((4 << 20) + 1), where="here")


def test_a_configuration_without_anything_to_run_is_one() -> None:
    document = image_config([]) | {"config": None}

    read = ForeignConfig.parse(json.dumps(document).encode(), where="here")

    assert (read.entrypoint, read.cmd, read.env, read.working_dir, read.user) == ((), (), (), "/", "")


@pytest.mark.parametrize("said", ["srv", "/srv", "//srv"])
def test_a_working_folder_begins_at_the_root(said: str) -> None:
    document = image_config([]) | {"config": {"WorkingDir": said}}

    assert ForeignConfig.parse(json.dumps(document).encode(), where="here").working_dir == "/srv"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"os": "windows"}, "platform of the image: expected linux/amd64, got windows/amd64 (here)"),
        (
            {"rootfs": {"type": "tree", "diff_ids": []}},
            "root file system of the image: expected layers, got 'tree' (here)",
        ),
        ({"config": {"Env": ["A"]}}, "variable of the image: expected NAME=VALUE, got 'A' (here)"),
        (
            {"config": {"Cmd": ["\ud800"]}},
            "configuration of the image: expected Unicode, got \\ud800 (here)",
        ),
        ({"config": {"Env": ["=A"]}}, "variable of the image: expected NAME=VALUE, got '=A' (here)"),
        ({"config": {"Env": ["A=\0"]}}, "variable of the image: expected NAME=VALUE, got 'A=\\x00' (here)"),
        (
            {"config": {"Entrypoint": "sh"}},
            (
                "image configuration: expected an image configuration, "
                "got Expected `array | null`, got `str` - at `$.config.Entrypoint` (here)"
            ),
        ),
    ],
    ids=["Windows", "a tree", "no value", "half a character", "no name", "a NUL", "a string to run"],
)
def test_other_configurations_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError) as refused:
        ForeignConfig.parse(json.dumps(image_config([]) | change).encode(), where="here")
    assert str(refused.value) == message


def test_the_list_of_an_archive_is_read() -> None:
    listed = [{"Config": "c.json", "RepoTags": None, "Layers": ["a/layer.tar"], "LayerSources": {}}]

    (image,) = parse_archive_list(json.dumps(listed).encode(), where="here")

    assert (image.config, image.layers, image.names) == ("c.json", ("a/layer.tar",), ())
