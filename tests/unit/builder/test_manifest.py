"""The manifest that a build generates."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from tests.support.image_files import image_file
from tests.support.projects import project

from casemate.builder.hardening import insecure_settings
from casemate.builder.manifest import LibOs, format_size, make_manifest
from casemate.builder.tcb import TrustedContent
from casemate.errors import ProjectError
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


def test_nothing_of_the_host_s_environment_passes_through() -> None:
    environment = _manifest(project('[env]\nHOME = "/var"\nMODE = "fast"\n'))["loader"]["env"]

    assert all(isinstance(value, str) for value in environment.values())
    assert environment["HOME"] == "/var"
    assert environment["MODE"] == "fast"
    assert environment["LD_LIBRARY_PATH"] == "/lib/glibc:/lib/native"
    assert environment["TZ"] == "UTC"
    assert environment["OMP_NUM_THREADS"] == environment["MALLOC_ARENA_MAX"] == "1"
    assert environment["SSL_CERT_FILE"] == "/etc/ssl/certs/ca-certificates.crt"
    assert list(environment) == sorted(environment)


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
