"""``casemate render dockerfile`` and ``casemate unpack``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.small_bundle import Small, small_bundle

from casemate.cli.main import run

PROJECT = '[app]\nname = "shop"\nserve = "shop:app"\nport = 9443\n'
WHEELS = ("casemate-1.0-py3-none-any.whl", "casemate_attester-1.0-py3-none-any.whl")
GRAMINE = f"gramineproject/gramine:1.9@sha256:{'cd' * 32}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An application, and wheels beside it."""
    (tmp_path / "wheels").mkdir()
    for name in WHEELS:
        (tmp_path / "wheels" / name).write_bytes(name.encode())
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/casemate.toml").write_text(PROJECT)
    return tmp_path


def render(folder: Path, source: Path, *options: str) -> int:
    shop, wheels = str(folder / "shop"), str(folder / "wheels")
    return run(["render", "dockerfile", str(source), "-o", shop, "--wheels", wheels, *options])


def test_a_dockerfile_is_written_for_an_application(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop = folder / "shop"
    assert render(folder, shop) == 0
    written = capsys.readouterr()
    names = ("Dockerfile", ".dockerignore", ".casemate/requirements.txt", *(f".casemate/{w}" for w in WHEELS))
    assert written.out == "".join(f"{shop / name}\n" for name in names)
    assert written.err == (
        "docker build --build-arg BASE=NAME --build-arg BASE_SHA256=… "
        f"--target bundle --output bundle {shop}\n"
    )
    text = (shop / "Dockerfile").read_text()
    assert "EXPOSE 9443\n" in text
    assert 'org.opencontainers.image.title="shop"' in text
    assert (shop / ".casemate" / WHEELS[0]).read_bytes() == WHEELS[0].encode()


def test_a_dockerfile_of_a_bundle_expects_its_measurement(folder: Path) -> None:
    bundle = small_bundle(folder / "bundle", Small(simulated=True))
    assert render(folder, bundle.path) == 0
    text = (folder / "shop/Dockerfile").read_text()
    assert f'"--expect", "{bundle.measurement.mrenclave.hex()}"]' in text
    assert f'LABEL io.casemate.mrenclave="{bundle.measurement.mrenclave.hex()}" ' in text


def test_a_bundle_with_gramine_needs_an_image_with_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = small_bundle(folder / "bundle", Small(simulated=False))
    assert render(folder, bundle.path) == 2
    error = "error: Gramine of the bundle: expected an image with it, got none (--gramine)\n"
    assert capsys.readouterr().err == error
    assert render(folder, bundle.path, "--gramine", GRAMINE) == 0


def test_a_simulated_bundle_has_no_gramine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = small_bundle(folder / "bundle", Small(simulated=True))
    assert render(folder, bundle.path, "--gramine", GRAMINE) == 2
    assert capsys.readouterr().err == (
        "error: Gramine of the bundle: expected none, because the bundle is simulated, "
        f"got {GRAMINE} (--gramine)\n"
    )


def test_rendering_again_replaces_what_was_rendered(folder: Path) -> None:
    assert render(folder, folder / "shop") == 0
    (folder / "shop/.casemate/casemate-0.9-py3-none-any.whl").write_bytes(b"older")
    before = (folder / "shop/Dockerfile").read_bytes()
    assert render(folder, folder / "shop", "--json") == 0
    assert (folder / "shop/Dockerfile").read_bytes() == before
    assert not (folder / "shop/.casemate/casemate-0.9-py3-none-any.whl").exists()


@pytest.mark.parametrize("name", ["Dockerfile", ".dockerignore"])
def test_what_somebody_else_has_written_stays(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file = folder / "shop" / name
    file.write_text("FROM scratch\n")
    assert render(folder, folder / "shop") == 2
    assert capsys.readouterr().err == (
        f"error: new {name}: expected a name that is free, "
        f"got a file that Casemate has not written ({file})\n"
        "hint: rename it\n"
    )
    assert sorted(path.name for path in (folder / "shop").iterdir()) == sorted(["casemate.toml", name])


def test_the_result_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert render(folder, folder / "shop", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["version"], len(document["files"])) == (1, 5)


def test_an_image_is_unpacked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = small_bundle(tmp_path / "bundle")
    assert run(["unpack", str(bundle.path), "-o", str(tmp_path / "files")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'files'}\n"
    assert (tmp_path / "files/casemate/app.manifest.sgx").read_bytes() == bundle.manifest
    assert run(["unpack", str(bundle.path), "-o", str(tmp_path / "more"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "version": 1,
        "folder": str(tmp_path / "more"),
        "image_digest": bundle.measurement.image_digest,
    }


def test_nothing_is_unpacked_over_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = small_bundle(tmp_path / "bundle")
    (tmp_path / "files").write_text("mine")
    assert run(["unpack", str(bundle.path), "-o", str(tmp_path / "files")]) == 2
    assert capsys.readouterr().err == (
        f"error: new folder: expected a name that is free, got a file ({tmp_path / 'files'})\n"
        "hint: remove it, or name another one\n"
    )
    assert (tmp_path / "files").read_text() == "mine"


def test_an_image_with_a_damaged_layer_leaves_nothing_behind(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle")
    layer = bundle.image.blob(bundle.image.manifest.layers[-1])
    layer.write_bytes(layer.read_bytes()[:-1] + b"x")
    assert run(["unpack", str(bundle.path), "-o", str(tmp_path / "files")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
