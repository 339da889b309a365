"""One image in every form in which images come: two builds of each give the same bytes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.docker_registry import docker_registry
from tests.support.host_root import host_image

from casemate.cli.main import run
from casemate.rehearsal.sandbox import available

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"no namespaces here: {available()}"),
    pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo to copy the image"),
]

APPLICATION = {"/srv/app/shop.py": "import json\ndef app(environ, start_response):\n    return []\n"}
CONFIG = {"Cmd": ["gunicorn", "-b", "0.0.0.0:8000", "shop:app"], "WorkingDir": "/srv/app"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[str, ...]]]:
    """How each form is named to `build`."""
    folder = tmp_path_factory.mktemp("sources")
    layout = host_image(folder / "image", APPLICATION, **CONFIG)
    (folder / "registry").mkdir()
    with docker_registry(folder / "registry") as registry:
        command = ["skopeo", "--insecure-policy", "copy", f"oci:{layout}"]
        archive = [f"docker-archive:{folder}/shop.tar:shop:1"]
        pushed = [f"docker://{registry.host}/shop:1", "--preserve-digests", "--dest-tls-verify=false"]
        for copy in (archive, pushed):
            subprocess.run([*command, *copy], check=True, capture_output=True)
        digest = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
        yield {
            "oci": (f"oci:{layout}",),
            "docker-archive": (f"docker-archive:{folder}/shop.tar",),
            "docker": (f"docker://{registry.host}/shop@{digest}", "--plain-http"),
        }


def built(source: tuple[str, ...], folder: Path, name: str, *options: str) -> dict[str, bytes]:
    project, bundle = folder / "project", folder / name
    project.mkdir(exist_ok=True)
    assert run(["build", str(project), "--from", *source, "-o", str(bundle), *options]) == 0
    paths = sorted(path for path in bundle.rglob("*") if path.is_file())
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("form", ["oci", "docker-archive", "docker"])
def test_two_builds_of_an_image_give_the_same_bytes(
    sources: dict[str, tuple[str, ...]], form: str, tmp_path: Path
) -> None:
    assert built(sources[form], tmp_path, "first") == built(sources[form], tmp_path, "again", "--no-cache")


def test_the_form_in_which_an_image_comes_changes_nothing_of_what_is_measured(
    sources: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    measured = {built(source, tmp_path, form)["app.manifest.sgx"] for form, source in sources.items()}
    assert len(measured) == 1
