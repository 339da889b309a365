"""Another OCI tool reads our images."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.support.image_files import append_signature, image_file

from casemate.builder.bundles.tcb import TrustedContent
from casemate.builder.packing.image import ImageContents, write_image
from casemate.builder.packing.layers import LayerFile

pytestmark = pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo to compare with")


@pytest.fixture(params=["unsigned", "signed"])
def image(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, str]:
    layout = write_image(
        tmp_path / "image",
        ImageContents(
            name="notes",
            port=8443,
            trusted=tuple(
                TrustedContent.of(image_file(path, b"content"))
                for path in ("/app/notes.pyc", "/opt/python/bin/python3.11", "/app/" + "long/" * 40 + "name")
            ),
            outside=(LayerFile(path="/gramine/loader", content=b"loader", executable=True),),
            manifest=b"manifest",
            mrenclave="ab" * 32,
            simulated=False,
            epoch=0,
            sources={},
        ),
    )
    if request.param == "signed":
        append_signature(layout, layout.documents(), b"sigstruct")
    return layout.path, layout.digest


def _skopeo(*arguments: str) -> str:
    command = ["skopeo", "--insecure-policy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_skopeo_sees_the_digest_and_the_labels(image: tuple[Path, str]) -> None:
    path, digest = image

    seen = json.loads(_skopeo("inspect", f"oci:{path}:notes"))

    assert seen["Digest"] == digest
    assert (seen["Architecture"], seen["Os"], seen["Created"]) == ("amd64", "linux", "1970-01-01T00:00:00Z")
    assert seen["Labels"]["io.casemate.mrenclave"] == "ab" * 32


def test_skopeo_reads_the_configuration(image: tuple[Path, str]) -> None:
    config = json.loads(_skopeo("inspect", "--config", f"oci:{image[0]}:notes"))["config"]

    assert config["Entrypoint"] == ["/gramine/loader", "/gramine/libpal.so", "init", "/casemate/app"]
    assert config["User"] == "10001:10001"
    assert config["ExposedPorts"] == {"8443/tcp": {}}


def test_skopeo_copies_the_image_to_a_docker_archive(image: tuple[Path, str], tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"

    _skopeo("copy", f"oci:{image[0]}:notes", f"docker-archive:{archive}:notes:test")

    with tarfile.open(archive) as written:
        manifest = json.load(written.extractfile("manifest.json"))  # type: ignore[arg-type]  # it is there
    assert manifest[0]["RepoTags"] == ["docker.io/library/notes:test"]


def test_skopeo_keeps_the_digest_when_it_copies(image: tuple[Path, str], tmp_path: Path) -> None:
    path, digest = image

    _skopeo("copy", "--preserve-digests", f"oci:{path}:notes", f"oci:{tmp_path / 'copy'}:notes")

    assert json.loads(_skopeo("inspect", f"oci:{tmp_path / 'copy'}:notes"))["Digest"] == digest
