"""The manifest that a build generates."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from tests.support.image_files import image_file
from tests.support.projects import project

from casemate.builder.bundles.tcb import TrustedContent
from casemate.builder.enclave.environment import environment
from casemate.builder.enclave.hardening import insecure_settings
from casemate.builder.enclave.manifest import LibOs, format_size, make_manifest, passed_variables
from casemate.errors import ProjectError
from casemate.formats.gramine_versions import gramine_version
from casemate.formats.manifest import dump_manifest, load_manifest, missing_for_measurement, with_defaults
from casemate.project import Project

_SECRETS = (
    '[secrets]\n"/run/secrets/a" = "kbs:///default/notes/a"\n"/run/secrets/b" = "kbs:///default/notes/b"\n'
    '"env:TOKEN" = "kbs:///default/notes/t"\n"/dev/attestation/keys/disk" = "kbs:///default/notes/d"\n'
    '[broker]\nurl = "https://broker"\nca = "ca.pem"\n'
)


def _manifest(value: Project) -> dict[str, Any]:
    files = [TrustedContent.of(image_file(path, path.encode())) for path in ("/etc/hosts", "/app/a b.pyc")]
    return make_manifest(value, files, python="3.11", libos=LibOs.of(b"libos"))


def test_the_program_is_the_attester_in_an_isolated_interpreter() -> None:
    manifest = _manifest(project())

    assert manifest["libos"] == {"entrypoint": "/opt/python/bin/python3.11"}
    assert manifest["loader"]["argv"] == [
        "/opt/python/bin/python3.11",
        *("-I", "-B", "-u", "-X", "utf8", "-m", "casemate_attester"),
    ]


def test_every_file_is_trusted_by_its_digest_in_the_order_of_paths() -> None:
    assert _manifest(project())["sgx"]["trusted_files"] == [
        {"uri": "file:/enclave/app/a b.pyc", "sha256": sha256(b"/app/a b.pyc").hexdigest()},
        {"uri": "file:/enclave/etc/hosts", "sha256": sha256(b"/etc/hosts").hexdigest()},
    ]


def test_the_manifest_is_complete_and_has_nothing_insecure() -> None:
    manifest = _manifest(project())

    assert missing_for_measurement(manifest) == ()
    assert not insecure_settings(manifest)
    assert load_manifest(dump_manifest(manifest)) == manifest
    assert with_defaults(manifest)["sgx"]["remote_attestation"] == "dcap"


def test_a_debug_enclave_has_to_be_asked_for_by_name() -> None:
    assert insecure_settings(_manifest(project("[enclave]\ndebug = true\n"))) == {
        "sgx.debug": "sgx.debug = true"
    }


def test_the_enclave_is_as_casemate_toml_says() -> None:
    text = '[enclave]\nsize = "2G"\nthreads = 32\nstack = "4M"\nisvprodid = 7\nisvsvn = 3\nedmm = true\n'

    manifest = _manifest(project(text))

    assert manifest["sys"]["stack"] == {"size": "4M"}
    expected = {"enclave_size": "2G", "max_threads": 32, "isvprodid": 7, "isvsvn": 3, "edmm_enable": True}
    assert expected.items() <= manifest["sgx"].items()


def test_settings_that_are_not_asked_for_are_gramine_s_own() -> None:
    manifest = _manifest(project())

    assert manifest["sys"] == {
        "stack": {"size": "2M"},
        "fds": {"limit": 4096},
        "enable_sigterm_injection": True,
        "disallow_subprocesses": True,
        "enable_extra_runtime_domain_names_conf": True,
    }
    assert not {"preheat_enclave", "cpu_features", "seal_key", "allowed_files"} & manifest["sgx"].keys()
    assert manifest["sgx"]["use_exinfo"] is False
    assert manifest["libos"].keys() == {"entrypoint"}


def test_other_settings_are_as_casemate_toml_says() -> None:
    text = (
        '[enclave]\nfiles = 65536\nbrk = "4M"\nsubprocesses = true\npreheat = true\nexinfo = true\n'
        'cpu = { avx512 = "required", amx = "disabled" }\n'
    )

    manifest = _manifest(project(text))

    assert manifest["sys"]["fds"] == {"limit": 65536}
    assert manifest["sys"]["brk"] == {"max_size": "4M"}
    assert manifest["sys"]["disallow_subprocesses"] is False
    expected = {
        "preheat_enclave": True,
        "use_exinfo": True,
        "cpu_features": {"amx": "disabled", "avx512": "required"},
    }
    assert expected.items() <= manifest["sgx"].items()


def test_memory_on_demand_needs_the_address_of_page_faults() -> None:
    assert _manifest(project("[enclave]\nedmm = true\n"))["sgx"]["use_exinfo"] is True


def test_the_application_is_not_root() -> None:
    loader = _manifest(project())["loader"]

    assert (loader["uid"], loader["gid"]) == (1000, 1000)


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_older_versions_name_the_libos_by_a_uri_and_trust_it(version: str) -> None:
    libos = LibOs.of(b"libos")
    files = [TrustedContent.of(image_file("/etc/hosts", b"x"))]
    manifest = make_manifest(project(), files, python="3.11", libos=libos, gramine=gramine_version(version))

    assert manifest["loader"]["entrypoint"] == "file:/gramine/libsysdb.so"
    assert manifest["sgx"]["trusted_files"][0] == {"uri": libos.uri, "sha256": libos.sha256}
    assert "fds" not in manifest["sys"]
    assert missing_for_measurement(manifest, gramine_version(version)) == ()


def test_recovery_of_encrypted_files_came_with_1_9() -> None:
    mounts = '[mounts]\n"/var/data" = { encrypted = "_sgx_mrsigner", host = "/srv", recovery = true }\n'

    assert _manifest(project(mounts))["fs"]["mounts"][1]["enable_recovery"] is True
    with pytest.raises(ProjectError) as refused:
        make_manifest(
            project(mounts), (), python="3.11", libos=LibOs.absent(), gramine=gramine_version("1.8")
        )
    assert str(refused.value) == (
        "recovery of encrypted files: expected Gramine 1.9, got Gramine 1.8 ([mounts] /var/data)"
    )
    assert refused.value.hint == "leave recovery out, or build for a newer Gramine"


def test_what_the_host_may_choose_passes_and_nothing_else_does() -> None:
    text = (
        '[env]\nLEVEL = { pass = true, one_of = ["a"] }\nOMP_NUM_THREADS = { pass = true, max_length = 2 }\n'
    )

    manifest = _manifest(project(text))

    assert passed_variables(manifest) == ("LEVEL", "OMP_NUM_THREADS")
    assert manifest["loader"]["env"]["OMP_NUM_THREADS"] == {"passthrough": True}


@pytest.mark.parametrize(
    ("package", "name", "folder"),
    [
        ("matplotlib", "MPLCONFIGDIR", "matplotlib"),
        ("numba", "NUMBA_CACHE_DIR", "numba"),
        ("huggingface_hub", "HF_HOME", "huggingface"),
    ],
)
def test_packages_that_write_find_a_folder(package: str, name: str, folder: str) -> None:
    path = f"/opt/python/lib/python3.11/site-packages/{package}/__init__.pyc"

    assert environment(project(), [path])[name] == f"/tmp/.cache/{folder}"
    assert name not in environment(project(), ["/app/matplotlib/__init__.pyc"])


def test_nothing_of_the_host_s_environment_passes_through() -> None:
    variables = _manifest(project('[env]\nHOME = "/var"\nMODE = "fast"\n'))["loader"]["env"]

    assert all(isinstance(value, str) for value in variables.values())
    assert variables["HOME"] == "/var"
    assert variables["MODE"] == "fast"
    assert variables["LD_LIBRARY_PATH"] == "/lib/glibc:/lib/native"
    assert variables["TZ"] == "UTC"
    assert (
        variables["POLARS_MAX_THREADS"]
        == variables["OMP_NUM_THREADS"]
        == variables["MALLOC_ARENA_MAX"]
        == "1"
    )
    assert variables["SSL_CERT_FILE"] == "/etc/ssl/certs/ca-certificates.crt"
    assert list(variables) == sorted(variables)


def test_writable_folders_are_memory_or_encrypted() -> None:
    mounts = '[mounts]\n"/var/data" = { encrypted = "disk", host = "/srv/data" }\n"/var/cache" = "tmpfs"\n'

    assert _manifest(project(_SECRETS + mounts))["fs"] == {
        "root": {"type": "chroot", "uri": "file:/enclave"},
        "start_dir": "/app",
        "mounts": [
            {"type": "tmpfs", "path": "/run/secrets"},
            {"type": "tmpfs", "path": "/tmp"},
            {"type": "tmpfs", "path": "/var/cache"},
            {"type": "encrypted", "path": "/var/data", "uri": "file:/srv/data", "key_name": "disk"},
        ],
    }


def test_a_size_that_is_no_power_of_two_is_refused() -> None:
    value = project()
    value = replace(value, enclave=replace(value.enclave, size=3 << 28))

    with pytest.raises(ProjectError) as refused:
        _manifest(value)
    assert str(refused.value) == ("size of the enclave: expected a power of two, got 768M ([enclave] size)")
    assert refused.value.hint == 'the next one is size = "1G"'


def test_a_simulated_bundle_names_a_libos_that_no_enclave_starts_with() -> None:
    manifest = make_manifest(project(), (), python="3.12", libos=LibOs.absent())

    assert manifest["loader"]["entrypoint"] == {
        "uri": "file:/gramine/simulated-bundle-has-no-libos",
        "sha256": "0" * 64,
    }


@pytest.mark.parametrize(
    ("size", "text"),
    [(1 << 29, "512M"), (1 << 30, "1G"), (1 << 40, "1024G"), (4096, "4K"), (3 << 20, "3M"), (5000, "5000")],
)
def test_sizes_are_written_as_signer_and_runtime_read_them(size: int, text: str) -> None:
    assert format_size(size) == text
