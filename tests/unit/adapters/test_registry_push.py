"""The image of a bundle into a registry that is particular."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.faulty_registry import Fault, FaultyRegistry

from casemate.adapters.registry import PushedImage, Registry, RegistryLimits, RegistryMeans, push
from casemate.adapters.registry.credentials import GivenCredentials
from casemate.builder.packing.image import ImageLayout
from casemate.errors import FormatError, RegistryError
from casemate.formats.image_reference import ImageReference
from casemate.formats.oci import CONFIG_TYPE, LAYER_TYPE, ImageConfig, ImageManifest

LIMITS = RegistryLimits(read=2.0, answer=2.0, attempts=3, pause=0.01, chunk=1 << 20)
LARGE = os.urandom(5 << 19)


def _layout(path: Path) -> ImageLayout:
    """An image with a layer that is large, and does not get smaller."""
    (path / "blobs/sha256").mkdir(parents=True)
    layout = ImageLayout(path)
    layers = tuple(layout.add(LAYER_TYPE, data) for data in (LARGE, b"small"))
    config = ImageConfig(
        created="1970-01-01T00:00:00Z",
        entrypoint=(),
        labels=(("a", "b"),),
        user="1:1",
        port=8443,
        layers=tuple(layer.digest for layer in layers),
        history=("large", "small"),
    )
    manifest = ImageManifest(config=layout.add(CONFIG_TYPE, config.to_bytes()), layers=layers)
    layout.point_to(manifest, "notes")
    return layout


class _World:
    def __init__(self, server: FaultyRegistry, folder: Path) -> None:
        self.server = server
        self.limits = LIMITS
        self.layout = _layout(folder / "image")
        self.documents = self.layout.documents()

    @property
    def large(self) -> str:
        return max(self.documents.manifest.layers, key=lambda layer: layer.size).digest

    @property
    def blobs(self) -> set[str]:
        manifest = self.documents.manifest
        return {blob.digest for blob in (manifest.config, *manifest.layers)}

    def push(self, reference: str = "app:1", mount_from: str | None = None) -> PushedImage:
        registry = Registry(
            ImageReference.parse(f"{self.server.host}/{reference}"),
            GivenCredentials(kept={}),
            limits=self.limits,
            means=RegistryMeans(sleep=lambda _: None),
        )
        return push(registry, self.layout, self.documents, mount_from=mount_from)

    def require_there(self) -> None:
        assert self.blobs <= set(self.server.blobs)
        assert self.server.tags["1"] == self.documents.digest


@pytest.fixture
def world(tmp_path: Path) -> Iterator[_World]:
    with FaultyRegistry.running() as server:
        yield _World(server, tmp_path)


def test_an_image_arrives_unchanged(world: _World) -> None:
    pushed = world.push()

    assert pushed.digest == world.documents.digest
    assert pushed.reference == f"{world.server.host}/app:1@{world.documents.digest}"
    assert pushed.sent == len(world.blobs)
    world.require_there()
    assert world.server.asked[-1].method == "PUT"
    assert world.server.asked[-1].path == "/v2/app/manifests/1"


def test_what_is_there_is_not_sent(world: _World) -> None:
    world.push()

    again = world.push()

    assert (again.sent, again.there) == (0, len(world.blobs))
    assert len(world.server.paths("POST")) == len(world.blobs)


def test_an_image_can_be_sent_by_its_digest_alone(world: _World) -> None:
    pushed = world.push(f"app@{world.documents.digest}")

    assert pushed.reference == f"{world.server.host}/app@{world.documents.digest}"
    assert world.server.asked[-1].path == f"/v2/app/manifests/{world.documents.digest}"


def test_large_layers_go_in_parts_and_small_ones_at_once(world: _World) -> None:
    world.push()

    sizes = [int(one.headers["Content-Length"]) for one in world.server.asked if one.method == "PATCH"]
    assert sizes[:-1] == [1 << 20, 1 << 20]
    assert len(sizes) == 3


def test_layers_of_another_repository_are_taken_from_there(world: _World) -> None:
    world.server.mountable = {world.large}

    pushed = world.push(mount_from="team/other")

    assert (pushed.sent, pushed.there) == (len(world.blobs) - 1, 1)
    queries = [one.query for one in world.server.asked if one.method == "POST"]
    assert f"mount={world.large.replace(':', '%3A')}&from=team%2Fother" in queries


@pytest.mark.parametrize("cut", [0, 1, 1 << 19], ids=["nothing", "a byte", "half"])
def test_a_part_that_is_cut_off_is_sent_on_from_where_it_ended(world: _World, cut: int) -> None:
    world.server.faults = [Fault("uploads", method="PATCH", cut=cut)]

    world.push()

    world.require_there()
    starts = [
        one.headers["Content-Range"].partition("-")[0] for one in world.server.asked if one.method == "PATCH"
    ]
    # A registry says the same of no byte and of one.
    assert starts[1] == str(cut if cut > 1 else 0)


@pytest.mark.parametrize("method", ["HEAD", "POST", "PATCH", "PUT"])
def test_what_passes_is_tried_again(world: _World, method: str) -> None:
    world.server.faults = [Fault(".", method=method, status=503, times=2)]

    world.push()

    world.require_there()


def test_an_upload_that_is_lost_is_begun_anew(world: _World) -> None:
    world.server.faults = [
        Fault("uploads", method="PATCH", status=500),
        Fault("uploads", method="GET", status=404),
    ]

    world.push()

    world.require_there()


def test_a_registry_that_is_full_ends_it(world: _World) -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "quota"}]}'
    world.server.faults = [Fault("uploads", method="POST", status=403, body=body, times=9)]

    with pytest.raises(RegistryError) as refused:
        world.push()

    assert "expected an answer, got status 403 (DENIED: quota) (" in str(refused.value)
    assert world.server.tags == {}


@pytest.mark.parametrize(
    "place", ["http://elsewhere.example/upload", "https://{host}/upload", "//[", "ftp://x/"]
)
def test_nothing_is_sent_elsewhere(world: _World, place: str) -> None:
    place = place.format(host=world.server.host)
    world.server.faults = [Fault("uploads", method="POST", times=9, headers={"Location": place})]

    with pytest.raises(RegistryError) as refused:
        world.push()

    assert str(refused.value).startswith(
        f"place for an upload: expected one on http://{world.server.host}, got "
    )
    assert world.server.paths("PUT") == []


def test_a_registry_that_stores_another_image_is_told_of(world: _World) -> None:
    wrong = f"sha256:{'0' * 64}"
    world.server.faults = [Fault("manifests", method="PUT", headers={"docker-content-digest": wrong})]

    with pytest.raises(RegistryError) as refused:
        world.push()

    assert str(refused.value).startswith(
        f"digest of the image in the registry: expected {world.documents.digest}, got "
    )


def test_a_layer_that_has_changed_is_not_sent(world: _World) -> None:
    blob = world.documents.manifest.layers[0]
    path = world.layout.blob(blob)
    path.write_bytes(b"x" * blob.size)

    with pytest.raises(FormatError) as refused:
        world.push()

    assert str(refused.value).startswith(
        f"blob of the image: expected {blob.digest} of {blob.size} bytes, got "
    )
    assert world.server.paths("POST") == []


def test_small_parts_are_possible(world: _World) -> None:
    world.limits = replace(LIMITS, chunk=100_000)

    world.push()

    world.require_there()
