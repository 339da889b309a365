"""Which image is meant, and that its documents are those that their digests say."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.foreign_images import (
    INDEX,
    Blobs,
    device,
    digest,
    file,
    image_config,
    layer,
    write_docker_archive,
    write_layout,
)

from casemate.errors import CasemateError, FormatError, ToolchainError, UsageError
from casemate.sources import (
    DockerArchive,
    OciLayout,
    SourceImage,
    UnpackLimits,
    local_source,
    open_local,
    unpack,
)

A, B = layer(file("a", "a")), layer(file("b", "b"))


def _layout(path: Path, name: str | None = None) -> SourceImage:
    return open_local(OciLayout(path=path, name=name), work=path.parent)


def _archive(path: Path, name: str | None = None, **more: Any) -> SourceImage:
    return open_local(DockerArchive(path=path, name=name), work=path.parent, **more)


def _names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def _platform(architecture: str, variant: str | None = None, system: str = "linux") -> dict[str, Any]:
    said = {"architecture": architecture, "os": system}
    return {"platform": said | ({"variant": variant} if variant else {})}


class TestLayouts:
    def test_the_only_image_needs_no_name(self, tmp_path: Path) -> None:
        blobs = Blobs()
        pointer = blobs.image(A)

        image = _layout(blobs.layout(tmp_path / "l", pointer))

        assert image.digest == pointer["digest"]
        assert image.reference == f"oci:{tmp_path / 'l'}"
        assert image.layers[0].diff_id == digest(A)

    def test_one_of_several_is_named(self, tmp_path: Path) -> None:
        blobs = Blobs()
        named = [
            blobs.image(data) | {"annotations": {"org.opencontainers.image.ref.name": name}}
            for data, name in ((A, "one"), (B, "two"))
        ]
        path = blobs.layout(tmp_path / "l", *named)

        assert _layout(path, "two").digest == named[1]["digest"]
        with pytest.raises(UsageError) as refused:
            _layout(path)
        assert str(refused.value) == f"image: expected one image, got 2 ({path})"
        assert refused.value.hint == "name one of these behind a colon: one, two"
        with pytest.raises(UsageError) as refused:
            _layout(path, "three")
        assert str(refused.value) == f"image: expected one image of the name three, got 0 ({path})"

    def test_of_several_platforms_that_of_enclaves_is_taken(self, tmp_path: Path) -> None:
        blobs = Blobs()
        arm = blobs.image(A, architecture="arm64") | _platform("arm64")
        third = blobs.image(B) | _platform("amd64", "v3")
        plain = blobs.image(A, B) | _platform("amd64")
        attestation = blobs.image(A) | _platform("unknown", system="unknown")
        index = blobs.add_json(
            INDEX,
            {"schemaVersion": 2, "mediaType": INDEX, "manifests": [attestation, arm, third, plain]},
        )

        assert _layout(blobs.layout(tmp_path / "l", index)).digest == plain["digest"]

    def test_without_a_common_variant_the_least_demanding_is_taken(self, tmp_path: Path) -> None:
        blobs = Blobs()
        entries = [blobs.image(data) | _platform("amd64", name) for data, name in ((A, "v3"), (B, "v2"))]
        index = blobs.add_json(INDEX, {"schemaVersion": 2, "manifests": entries})

        assert _layout(blobs.layout(tmp_path / "l", index)).digest == entries[1]["digest"]

    def test_what_there_is_for_other_platforms_is_said(self, tmp_path: Path) -> None:
        blobs = Blobs()
        arm = blobs.image(A, architecture="arm64") | _platform("arm64", "v8")
        windows = blobs.image(B) | _platform("amd64", system="windows")
        attestation = {**blobs.image(A), "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
        index = blobs.add_json(INDEX, {"schemaVersion": 2, "manifests": [arm, windows, attestation]})
        path = blobs.layout(tmp_path / "l", index)

        with pytest.raises(FormatError) as refused:
            _layout(path)

        assert str(refused.value) == (
            "platforms of the image: expected linux/amd64, got linux/arm64/v8, windows/amd64 "
            f"({path}, {index['digest']})"
        )

    def test_an_image_that_turns_out_to_be_for_another_platform_is_refused(self, tmp_path: Path) -> None:
        path = write_layout(tmp_path / "l", A, architecture="riscv64")

        with pytest.raises(
            FormatError, match="platform of the image: expected linux/amd64, got linux/riscv64"
        ):
            _layout(path)

    def test_indexes_that_never_end_are_refused(self, tmp_path: Path) -> None:
        blobs = Blobs()
        pointer = blobs.image(A)
        for _ in range(4):
            pointer = blobs.add_json(INDEX, {"schemaVersion": 2, "manifests": [pointer]})

        with pytest.raises(FormatError, match="index of images: expected at most 4 within each other"):
            _layout(blobs.layout(tmp_path / "l", pointer))

    @pytest.mark.parametrize("which", ["manifest", "config"])
    def test_a_document_that_is_another_than_its_digest_says_is_refused(
        self, tmp_path: Path, which: str
    ) -> None:
        blobs = Blobs()
        pointer = blobs.image(A)
        wanted = pointer if which == "manifest" else json.loads(blobs.content[pointer["digest"]])["config"]
        other = blobs.content[wanted["digest"]].replace(b"linux", b"Linux").replace(b"2,", b"3,")
        blobs.content[wanted["digest"]] = other
        path = blobs.layout(tmp_path / "l", pointer)

        with pytest.raises(FormatError) as refused:
            _layout(path)

        assert str(refused.value) == (
            f"document of the image: expected {wanted['digest']} of {wanted['size']} bytes, "
            f"got {digest(other)} of {len(other)} bytes ({path}, {pointer['digest']})"
        )

    def test_a_layer_of_another_size_is_refused(self, tmp_path: Path) -> None:
        path = write_layout(tmp_path / "l", A)
        blob = _layout(path).layers[0].path
        with blob.open("ab") as file:
            file.write(b"\0")

        with pytest.raises(FormatError, match="layer of the image: expected sha256:"):
            _layout(path)

    def test_a_layer_that_is_missing_is_said(self, tmp_path: Path) -> None:
        path = write_layout(tmp_path / "l", A)
        layer = _layout(path).layers[0]
        layer.path.unlink()

        with pytest.raises(ToolchainError) as refused:
            _layout(path)

        assert str(refused.value) == (
            f"layer {layer.digest} cannot be read: got No such file or directory ({layer.path})"
        )

    def test_a_pipe_in_the_place_of_a_layer_keeps_nobody_waiting(self, tmp_path: Path) -> None:
        path = write_layout(tmp_path / "l", A)
        blob = _layout(path).layers[0].path
        blob.unlink()
        os.mkfifo(blob)

        with pytest.raises(FormatError, match="expected a regular file, got another kind of file"):
            _layout(path)

    def test_as_many_layers_as_diff_ids(self, tmp_path: Path) -> None:
        blobs = Blobs()
        pointer = blobs.manifest(
            blobs.config([A, B]), [blobs.add("application/vnd.oci.image.layer.v1.tar", A)]
        )

        with pytest.raises(FormatError, match="layers of the image: expected 2, as many as diff_ids, got 1"):
            _layout(blobs.layout(tmp_path / "l", pointer))

    def test_a_folder_that_is_no_layout_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(FormatError) as refused:
            _layout(tmp_path)

        assert str(refused.value) == f"image layout: expected index.json, got none ({tmp_path})"


class TestArchives:
    @pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "compressed"])
    def test_the_older_form_is_read(self, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
        path = write_docker_archive(tmp_path / "a.tar", A, B, A)
        path.write_bytes(pack(path.read_bytes()))

        image = _archive(path)

        assert [part.diff_id for part in image.layers] == [digest(A), digest(B), digest(A)]
        assert image.digest == digest(json.dumps(image_config([A, B, A])).encode())
        assert _names(unpack(image, tmp_path / "root").root) == ["a", "b"]

    def test_an_archive_that_is_a_layout_is_read_as_one(self, tmp_path: Path) -> None:
        layout = write_layout(tmp_path / "l", A)
        entries = [
            file(str(path.relative_to(layout)), path.read_bytes())
            for path in layout.rglob("*")
            if path.is_file()
        ]
        path = tmp_path / "a.tar"
        path.write_bytes(layer(*entries, file("manifest.json", "not looked at")))

        image = _archive(path)

        assert image.digest == _layout(layout).digest
        assert _names(unpack(image, tmp_path / "root").root) == ["a"]

    @pytest.mark.parametrize(
        "name", ["app", "app:latest", "docker.io/library/app:latest", "library/app", "docker.io/library/app"]
    )
    def test_an_image_has_the_names_that_docker_has_for_it(self, tmp_path: Path, name: str) -> None:
        path = write_docker_archive(tmp_path / "a.tar", A, names=["other:1", "app:latest"])

        assert _archive(path, name).layers[0].diff_id == digest(A)

    def test_a_name_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        path = write_docker_archive(tmp_path / "a.tar", A, names=["one:1", "two:2"])

        with pytest.raises(UsageError) as refused:
            _archive(path, "three")

        assert str(refused.value) == f"image: expected one image of the name three, got 0 ({path})"
        assert refused.value.hint == "name one of these behind a colon: one:1, two:2"

    def test_a_configuration_that_is_another_than_its_name_says_is_refused(self, tmp_path: Path) -> None:
        config = json.dumps(image_config([A])).encode()
        listed = [{"Config": f"{'0' * 64}.json", "RepoTags": None, "Layers": ["a.tar"]}]
        path = tmp_path / "a.tar"
        path.write_bytes(
            layer(
                file(f"{'0' * 64}.json", config), file("a.tar", A), file("manifest.json", json.dumps(listed))
            )
        )

        with pytest.raises(FormatError) as refused:
            _archive(path)

        assert str(refused.value) == (
            f"image configuration: expected sha256:{'0' * 64}, got {digest(config)} ({path})"
        )

    def test_a_layer_with_another_diff_id_is_refused_before_it_is_used(self, tmp_path: Path) -> None:
        path = write_docker_archive(tmp_path / "a.tar", A)
        data = path.read_bytes()
        path.write_bytes(data[: (at := data.index(A))] + B + data[at + len(A) :])

        with pytest.raises(FormatError, match=f"layer of the image: expected {digest(A)} of "):
            unpack(_archive(path), tmp_path / "root")
        assert not (tmp_path / "root").exists()

    @pytest.mark.parametrize(
        ("entries", "message"),
        [
            ([], "Docker archive: expected manifest.json or index.json, got neither"),
            ([file("manifest.json", "[")], "manifest.json: expected the list of a Docker archive"),
            ([file("manifest.json", "[]")], "image: expected one image, got 0"),
            ([device("manifest.json")], "manifest.json: expected a file of the archive, got none"),
            (
                [file("manifest.json", b" " * (5 << 20))],
                "manifest.json: expected at most 4194304 bytes, got 5242880",
            ),
            (
                [file("manifest.json", '[{"Config": "c", "Layers": []}]')],
                "image configuration: expected a file of the archive, got none",
            ),
        ],
        ids=["empty", "no JSON", "no image", "a device", "a large list", "no configuration"],
    )
    def test_other_archives_are_refused(self, tmp_path: Path, entries: list[Any], message: str) -> None:
        path = tmp_path / "a.tar"
        path.write_bytes(layer(*entries))

        with pytest.raises(CasemateError) as refused:
            _archive(path)

        assert str(refused.value).startswith(message)

    def test_a_compressed_archive_of_zeros_is_an_error(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tar.gz"
        path.write_bytes(gzip.compress(layer(file("zeros", bytes(1 << 20)))))

        with pytest.raises(FormatError, match="at most 200 times its compressed size"):
            _archive(path, limits=UnpackLimits(ratio_floor=1 << 16))


class TestNames:
    def test_the_path_is_the_longest_part_that_is_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "a.tar").touch()
        (tmp_path / "odd:name").mkdir()

        assert local_source("docker-archive:a.tar") == DockerArchive(path=Path("a.tar"))
        assert local_source("docker-archive:a.tar:localhost:5000/app:1") == DockerArchive(
            path=Path("a.tar"), name="localhost:5000/app:1"
        )
        assert local_source("oci:odd:name:tag") == OciLayout(path=Path("odd:name"), name="tag")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("oci:nothing:tag", "a folder with an OCI layout"),
            ("oci:", "a folder with an OCI layout"),
            ("docker-archive:no\0thing", "a file that docker save has written"),
        ],
        ids=["nothing there", "no path", "a NUL"],
    )
    def test_what_is_not_there_is_said(self, text: str, expected: str) -> None:
        with pytest.raises(UsageError) as refused:
            local_source(text)
        assert str(refused.value) == f"image: expected {expected}, got nothing there ({text})"

    @pytest.mark.parametrize("text", ["docker://app", "host", "", "OCI:x"])
    def test_other_sources_are_none_of_this_machine(self, text: str) -> None:
        assert local_source(text) is None
