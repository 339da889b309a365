"""A real registry and other OCI tools on the other side: Debian's docker-registry, skopeo and podman."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from tests.support.docker_registry import PASSWORD, USER, DockerRegistry, docker_registry
from tests.support.foreign_images import file, folder, hard_link, layer, symlink, write_layout
from tests.support.small_bundle import sign_small, small_bundle

from casemate.cli.image_source import RegistryOptions, open_image
from casemate.cli.main import run
from casemate.errors import RegistryError, UsageError
from casemate.settings import Settings
from casemate.sources import SourceImage, unpack

needs_skopeo = pytest.mark.skipif(shutil.which("skopeo") is None, reason="needs skopeo to compare with")
needs_podman = pytest.mark.skipif(shutil.which("podman") is None, reason="needs podman to compare with")

LAYERS = (
    layer(
        folder("usr/lib"), symlink("lib", "usr/lib"), file("usr/lib/a", b"a" * 70_000), file("etc/old", "")
    ),
    layer(file("lib/b", "b", 0o755), hard_link("c", "usr/lib/a"), file("etc/.wh.old", "")),
)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "docker").mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Settings.from_environment()


def _log_in(settings: Settings, host: str) -> None:
    """As ``docker login`` does."""
    kept = {"auths": {host: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}}}
    (settings.docker / "config.json").write_text(json.dumps(kept))


def _skopeo(*arguments: str) -> str:
    command = ["skopeo", "--insecure-policy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _open(text: str, tmp_path: Path, settings: Settings, **more: RegistryOptions) -> SourceImage:
    return open_image(text, work=tmp_path, settings=settings, **more)


def _require_right(image: SourceImage, root: Path) -> None:
    unpack(image, root)
    found = {
        str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir() or path.is_symlink()
    }
    assert found == {"usr/lib/a", "usr/lib/b", "lib", "c"}
    assert (root / "c").samefile(root / "usr/lib/a")


@needs_skopeo
@pytest.mark.parametrize(
    ("form", "compression"),
    [("oci", "+gzip"), ("oci", "+zstd"), ("v2s2", "+gzip")],
    ids=["OCI with gzip", "OCI with Zstandard", "Docker's form"],
)
def test_what_skopeo_pushes_is_pulled(
    registry: DockerRegistry, settings: Settings, tmp_path: Path, form: str, compression: str
) -> None:
    name = f"{registry.host}/pulled/{form}{compression.replace('+', '-')}"
    layout = write_layout(tmp_path / "layout", *LAYERS, compression=compression)
    _skopeo("copy", "--dest-tls-verify=false", "--format", form, f"oci:{layout}", f"docker://{name}:1")
    digest = json.loads(_skopeo("inspect", "--tls-verify=false", f"docker://{name}:1"))["Digest"]

    with pytest.raises(UsageError) as refused:
        _open(f"docker://{name}:1", tmp_path, settings)
    image = _open(f"docker://{name}@{digest}", tmp_path, settings)

    assert refused.value.hint == f"name what it is now: docker://{name}:1@{digest}"
    assert image.digest == digest
    _require_right(image, tmp_path / "root")


@needs_skopeo
@pytest.mark.parametrize("form", ["oci", "docker-archive", "oci-archive"])
def test_what_skopeo_writes_is_read(settings: Settings, tmp_path: Path, form: str) -> None:
    layout = write_layout(tmp_path / "layout", *LAYERS)
    target = f"{form}:{tmp_path / 'copy'}:localhost/app:1"
    _skopeo("copy", f"oci:{layout}", target)

    image = _open(target.replace("oci-archive", "docker-archive"), tmp_path, settings)

    _require_right(image, tmp_path / "root")


def _push(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = run(["push", *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_a_bundle_is_pushed_and_pulled_unchanged(
    registry: DockerRegistry, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = sign_small(small_bundle(tmp_path / "bundle"))
    name = f"{registry.host}/pushed/notes:1"

    code, out, err = _push(str(bundle.path), name, capsys=capsys)
    again = _push(str(bundle.path), name, "--json", capsys=capsys)

    assert (code, err) == (0, "")
    assert out == f"{name}@{bundle.image.digest}\n"
    result = json.loads(again[1])
    assert (result["blobs_sent"], result["digest"]) == (0, bundle.image.digest)
    image = _open(f"docker://{out.strip()}", tmp_path, settings)
    assert image.digest == bundle.measurement.image_digest
    assert (unpack(image, tmp_path / "root").root / "casemate/app.sig").read_bytes() == bundle.signature


@needs_skopeo
def test_skopeo_sees_what_was_pushed(
    registry: DockerRegistry, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = sign_small(small_bundle(tmp_path / "bundle"))
    _push(str(bundle.path), f"{registry.host}/seen/notes:1", capsys=capsys)

    seen = json.loads(_skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/seen/notes:1"))

    assert seen["Digest"] == bundle.image.digest
    assert seen["Labels"]["io.casemate.mrenclave"] == bundle.measurement.mrenclave.hex()


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for podman, which counts the letters of its path."""
    with tempfile.TemporaryDirectory(prefix="podman-") as path:
        yield Path(path)


@needs_skopeo
@needs_podman
def test_podman_loads_the_image(tmp_path: Path, short: Path) -> None:
    bundle = sign_small(small_bundle(tmp_path / "bundle"))
    _skopeo("copy", f"oci:{bundle.image.path}:notes", f"oci-archive:{tmp_path / 'image.tar'}:notes:1")

    storage = ["--root", str(tmp_path / "root"), "--runroot", str(short), "--storage-driver", "vfs"]
    loaded = subprocess.run(
        ["podman", *storage, "load", "-i", tmp_path / "image.tar"], capture_output=True, text=True, check=True
    )

    assert "Loaded image" in loaded.stdout


def test_layers_are_taken_from_another_repository(
    registry: DockerRegistry, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = sign_small(small_bundle(tmp_path / "bundle"))
    _push(str(bundle.path), f"{registry.host}/mount/from:1", capsys=capsys)

    _, out, _ = _push(
        str(bundle.path), f"{registry.host}/mount/to:1", "--mount-from", "mount/from", "--json", capsys=capsys
    )

    result = json.loads(out)
    assert (result["blobs_sent"], result["digest"]) == (0, bundle.image.digest)


def test_a_registry_with_a_password_wants_it_both_ways(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = sign_small(small_bundle(tmp_path / "bundle"))
    (tmp_path / "registry").mkdir()
    with docker_registry(tmp_path / "registry", password=True) as registry:
        name = f"{registry.host}/notes:1"
        code, _, err = _push(str(bundle.path), name, capsys=capsys)
        assert code == 1
        assert "got status 401 (" in err
        assert f"hint: log in with: docker login {registry.host}" in err
        with pytest.raises(RegistryError):
            _open(f"docker://{name}@{bundle.image.digest}", tmp_path, settings)
        _log_in(settings, registry.host)

        assert _push(str(bundle.path), name, capsys=capsys)[0] == 0

        assert _open(f"docker://{name}@{bundle.image.digest}", tmp_path, settings).layers
        assert PASSWORD not in registry.log


def test_a_registry_with_tls_is_asked_so(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = sign_small(small_bundle(tmp_path / "bundle"))
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(tmp_path / "cert.pem"), append=True)
    (tmp_path / "registry").mkdir()
    with docker_registry(
        tmp_path / "registry", tls=(tmp_path / "cert.pem", tmp_path / "key.pem")
    ) as registry:
        name = f"{registry.host}/notes:1"
        code, _, err = _push(str(bundle.path), name, capsys=capsys)
        assert (code, "got a certificate that is refused" in err) == (1, True)

        assert _push(str(bundle.path), name, "--ca", str(tmp_path / "ca.pem"), capsys=capsys)[0] == 0

        options = RegistryOptions(ca=tmp_path / "ca.pem")
        other = replace(settings, cache=tmp_path / "other")
        image = _open(f"docker://{name}@{bundle.image.digest}", tmp_path, other, options=options)
        assert image.digest == bundle.image.digest
