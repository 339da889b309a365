from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from casemate.builder.bundles.measurement_record import MeasurementRecord
from casemate.cli.main import run
from casemate.formats.deployment import Deployment, Endpoint, Platform
from casemate.formats.manifest import dump_manifest
from casemate.formats.sgx.report import Attributes, MrEnclave, MrSigner

DIGEST = "sha256:" + "ab" * 32
MANIFEST: dict[str, Any] = {
    "libos": {"entrypoint": "/opt/python/bin/python3.11"},
    "fs": {"mounts": [{"type": "tmpfs", "path": "/tmp"}]},
    "sgx": {"enclave_size": "512M", "max_threads": 16, "isvprodid": 1, "isvsvn": 7},
}
DEPLOYMENT = Deployment(
    name="notes",
    port=8443,
    replicas=1,
    platform=Platform.INTEL,
    broker=Endpoint(host="broker.internal", port=8080),
)
FILES = [
    "10-namespace.yaml",
    "20-networkpolicy.yaml",
    "40-deployment.yaml",
    "50-poddisruptionbudget.yaml",
    "60-service.yaml",
]


def record(manifest: bytes) -> MeasurementRecord:
    return MeasurementRecord(
        simulated=False,
        mrenclave=MrEnclave(bytes.fromhex("1e" * 32)),
        mrsigner=MrSigner(bytes.fromhex("2f" * 32)),
        isvprodid=1,
        isvsvn=7,
        attributes=Attributes.parse(bytes(16)),
        attributes_mask=Attributes.parse(bytes(16)),
        misc_select=bytes(4),
        gramine_version="1.9",
        platform_image_sha256="cd" * 32,
        manifest_sha256=hashlib.sha256(manifest).hexdigest(),
        image_digest=DIGEST,
    )


def put_bundle(path: Path, manifest: dict[str, Any] = MANIFEST, **changes: Any) -> Path:
    """A signed bundle as far as ``render`` reads it; ``changes`` are to its measurement."""
    data = dump_manifest(manifest)
    path.mkdir()
    (path / "app.manifest.sgx").write_bytes(data)
    (path / "measurement.json").write_bytes(replace(record(data), **changes).to_bytes())
    (path / "deployment.json").write_bytes(DEPLOYMENT.to_bytes())
    return path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return put_bundle(tmp_path / "bundle")


def test_a_signed_bundle_becomes_a_file_for_each_object(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deploy/k8s"
    assert (
        run(["render", "kubernetes", str(bundle), "-o", str(out), "--image", "registry.example/notes"]) == 0
    )
    assert sorted(path.name for path in out.iterdir()) == FILES
    deployment = yaml.safe_load((out / "40-deployment.yaml").read_bytes())
    template = deployment["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["image"] == f"registry.example/notes@{DIGEST}"
    assert container["resources"]["limits"]["sgx.intel.com/epc"] == "514Mi"
    assert template["metadata"]["annotations"]["casemate.dev/mrenclave"] == "1e" * 32
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(out / name) for name in FILES]
    assert said.err == f"kubectl apply -f {out}\n"


def test_rendering_twice_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    for name in ("once", "twice"):
        assert run(["render", "kubernetes", str(bundle), "-o", str(tmp_path / name)]) == 0
    for name in FILES:
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes()


def test_the_document_names_what_was_written(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "k8s"
    assert run(["render", "kubernetes", str(bundle), "-o", str(out), "--namespace", "prod", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    files = document.pop("files")
    assert document == {
        "version": 1,
        "namespace": "prod",
        "image": f"localhost/notes@{DIGEST}",
        "mrenclave": "1e" * 32,
        "simulated": False,
    }
    assert files[0] == {"path": str(out / FILES[0]), "kind": "Namespace", "name": "prod"}
    assert [Path(file["path"]).name for file in files] == FILES


def test_without_an_image_it_says_where_the_image_has_to_be(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["render", "kubernetes", str(bundle), "-o", str(tmp_path / "k8s")]) == 0
    assert "The image is called localhost/notes: load it into the nodes." in capsys.readouterr().err


def test_an_unsigned_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = put_bundle(tmp_path / "bundle", mrsigner=None)
    assert run(["render", "kubernetes", str(bundle), "-o", str(tmp_path / "k8s")]) == 1
    assert capsys.readouterr().err == (
        f"error: bundle without a signature ({bundle})\nhint: sign it: casemate sign {bundle} --key URI\n"
    )
    assert not (tmp_path / "k8s").exists()


def test_a_manifest_that_is_not_the_measured_one_is_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = bundle / "app.manifest.sgx"
    measured = hashlib.sha256(manifest.read_bytes()).hexdigest()
    manifest.write_bytes(manifest.read_bytes().replace(b"512M", b"128M"))
    found = hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert run(["render", "kubernetes", str(bundle), "-o", str(tmp_path / "k8s")]) == 1
    assert capsys.readouterr().err == (
        f"error: digest of the manifest: expected {measured}, got {found} ({manifest})\n"
        "hint: the manifest was changed after it was measured; build the bundle again\n"
    )


def test_a_simulated_bundle_is_refused_unless_named_and_then_labelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = put_bundle(tmp_path / "bundle", simulated=True, gramine_version=None)
    out = tmp_path / "k8s"
    assert run(["render", "kubernetes", str(bundle), "-o", str(out)]) == 1
    assert "error: simulated bundle" in capsys.readouterr().err
    assert not out.exists()
    assert run(["render", "kubernetes", str(bundle), "-o", str(out), "--allow-simulated"]) == 0
    for name in FILES:
        labels = yaml.safe_load((out / name).read_bytes())["metadata"]["labels"]
        assert labels["casemate.dev/simulated"] == "true"
    assert "The bundle is simulated: no cluster can run it." in capsys.readouterr().err


def test_an_encrypted_folder_needs_the_size_of_its_volume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mount = {"type": "encrypted", "path": "/data", "uri": "file:/var/lib/notes", "key_name": "db"}
    bundle = put_bundle(tmp_path / "bundle", manifest=MANIFEST | {"fs": {"mounts": [mount]}})
    out = tmp_path / "k8s"
    assert run(["render", "kubernetes", str(bundle), "-o", str(out)]) == 2
    assert (
        "error: size of the volume: expected --storage for /var/lib/notes, got none"
        in capsys.readouterr().err
    )
    assert run(["render", "kubernetes", str(bundle), "-o", str(out), "--storage", "1Gi"]) == 0
    assert len(list(out.glob("30-notes-folder-*.yaml"))) == 1


def test_options_reach_the_objects(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "k8s"
    options = ["--device-group", "107", "--device-group", "108", "--health-path", "/healthz"]
    assert run(["render", "kubernetes", str(bundle), "-o", str(out), *options]) == 0
    pod = yaml.safe_load((out / "40-deployment.yaml").read_bytes())["spec"]["template"]["spec"]
    assert pod["securityContext"]["supplementalGroups"] == [107, 108]
    assert pod["containers"][0]["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_what_lies_in_the_folder_already_is_replaced_or_left_and_named(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "k8s"
    out.mkdir()
    (out / "60-service.yaml").write_text("old")
    (out / "ingress.yaml").write_text("mine")
    assert run(["render", "kubernetes", str(bundle), "-o", str(out)]) == 0
    assert yaml.safe_load((out / "60-service.yaml").read_bytes())["kind"] == "Service"
    assert (out / "ingress.yaml").read_text() == "mine"
    warning = f"warning: {out / 'ingress.yaml'} is not of this bundle and was left as it is"
    assert warning in capsys.readouterr().err


def test_a_folder_that_is_no_bundle_is_an_error_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert run(["render", "kubernetes", str(tmp_path / "empty"), "-o", str(tmp_path / "k8s")]) == 2
    assert capsys.readouterr().err == (
        "error: bundle: expected a folder that casemate build made, "
        f"got another folder ({tmp_path / 'empty'})\n"
        "hint: make one with: casemate build DIR -o BUNDLE\n"
    )
    assert not (tmp_path / "k8s").exists()


def test_a_place_that_cannot_be_a_folder_is_an_error_without_a_traceback(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file/k8s"
    assert run(["render", "kubernetes", str(bundle), "-o", str(out)]) == 1
    assert capsys.readouterr().err == f"error: folder cannot be made: got Not a directory ({out})\n"
