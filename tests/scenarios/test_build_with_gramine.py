"""A build for an installed Gramine, which a platform image of the vectors stands in for."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.sample_bundle import ROOT, Conditions, build_sample

from casemate.adapters.host_loader import host_search_rules
from casemate.adapters.host_python import describe_interpreter
from casemate.builder.bundles.bundle import Bundle
from casemate.builder.enclave.measurement import measure
from casemate.builder.lint import lint_manifest
from casemate.builder.native.libraries import GLIBC_FILES
from casemate.builder.packing.image import unpack_image
from casemate.cli.main import run
from casemate.formats.manifest import load_manifest
from casemate.formats.oci import ImageConfig

pytestmark = pytest.mark.slow

_KEY = ROOT / "tests" / "vectors" / "measurement" / "signing-key.pem"
_PAL = ROOT / "tests" / "vectors" / "measurement" / "pal" / "aligned.so"
_CONDITIONS = Conditions(
    folder="notes", umask=0o022, hash_seed="0", locale="C.UTF-8", zone="UTC", seconds_later=0
)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Looks like an installed Gramine."""
    prefix = tmp_path_factory.mktemp("gramine")
    library = prefix / "lib" / "x86_64-linux-gnu" / "gramine"
    (library / "sgx").mkdir(parents=True)
    (library / "runtime" / "glibc").mkdir(parents=True)
    (prefix / "bin").mkdir()
    (prefix / "bin" / "gramine-sgx").write_text('    echo "Gramine 1.9 (0123456)"\n')
    shutil.copy(_PAL, library / "sgx" / "libpal.so")
    shutil.copy("/bin/cat", library / "sgx" / "loader")
    (library / "libsysdb.so").write_bytes(b"libos")
    rules = host_search_rules(describe_interpreter(Path(sys.executable)).executable, ())
    for name in GLIBC_FILES & rules.cache.keys():
        shutil.copy(rules.cache[name], library / "runtime" / "glibc" / name)
    return prefix


@pytest.fixture(scope="module")
def built(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, dict[str, Any]]:
    bundle, document = build_sample(tmp_path_factory.mktemp("built"), _CONDITIONS, "--gramine", str(prefix))
    return Bundle.open(bundle), document


def test_the_real_platform_image_is_measured(built: tuple[Bundle, dict[str, Any]]) -> None:
    bundle, document = built
    record = bundle.measurement

    assert document["simulated"] is record.simulated is False
    assert record.gramine_version == "1.9"
    assert record.platform_image_sha256 == hashlib.sha256(_PAL.read_bytes()).hexdigest()
    assert record.mrenclave == measure(bundle.manifest, _PAL.read_bytes(), "1.9")


def test_the_manifest_names_the_libos_of_this_gramine(built: tuple[Bundle, dict[str, Any]]) -> None:
    assert load_manifest(built[0].manifest)["loader"]["entrypoint"] == {
        "uri": "file:/gramine/libsysdb.so",
        "sha256": hashlib.sha256(b"libos").hexdigest(),
    }


def test_the_image_starts_gramine_s_loader_and_holds_all_that_it_needs(
    built: tuple[Bundle, dict[str, Any]], tmp_path: Path
) -> None:
    image = built[0].image
    config = ImageConfig.parse(image.read(image.manifest.config))

    unpack_image(image, tmp_path)

    assert config.entrypoint == ("/gramine/loader", "/gramine/libpal.so", "init", "/casemate/app")
    for path in ("gramine/loader", "gramine/libpal.so", "gramine/libsysdb.so", "casemate/app.manifest.sgx"):
        assert (tmp_path / path).is_file()
    assert (tmp_path / "lib64/ld-linux-x86-64.so.2").stat().st_mode & 0o111
    assert [path for path in tmp_path.rglob("libc.so.6") if "enclave" not in path.parts]


def test_the_enclave_s_c_library_is_gramine_s(built: tuple[Bundle, dict[str, Any]]) -> None:
    rules = {
        file.path: file.reason.rule.value
        for file in built[0].tcb.files
        if file.path.startswith("/lib/glibc/")
    }

    assert "/lib/glibc/libc.so.6" in rules
    assert set(rules.values()) == {"gramine"}


@pytest.mark.parametrize("release", ["1.6.2", "1.7", "1.8"])
def test_a_build_for_an_older_gramine_has_its_manifest_and_is_signed(
    prefix: Path, tmp_path: Path, release: str, capsys: pytest.CaptureFixture[str]
) -> None:
    older = tmp_path / "gramine"
    shutil.copytree(prefix, older)
    (older / "bin/gramine-sgx").write_text(f'    echo "Gramine {release} (0123456)"\n')
    application, bundle = tmp_path / "application", tmp_path / "bundle"
    application.mkdir()
    (application / "main.py").write_text("print('here')\n")
    (application / "casemate.toml").write_text(
        '[app]\nname = "main"\nrequirements = ""\ncommand = ["python", "main.py"]\n'
    )

    assert run(["build", str(application), "-o", str(bundle), "--gramine", str(older)]) == 0
    version = ".".join(release.split(".")[:2])
    assert Bundle.open(bundle).measurement.gramine_version == version
    assert ("gramine#1261" in capsys.readouterr().err) is (release == "1.8")
    manifest = Bundle.open(bundle).manifest
    assert not lint_manifest(manifest, "app.manifest.sgx", version=version)
    assert ("fds" in load_manifest(manifest)["sys"]) is (release == "1.8")
    assert run(["sign", str(bundle), "--key", f"file:{_KEY}"]) == 0
    assert run(["verify", "bundle", str(bundle)]) == 0
