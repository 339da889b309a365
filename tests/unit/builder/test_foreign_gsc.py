"""Manifests that people wrote for GSC: what becomes of each key, and what is refused."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from casemate.builder.foreign import ImageRoot
from casemate.builder.foreign.gsc import Converted, convert_gsc_manifest, merged
from casemate.errors import ProjectError

EMPTY = ImageRoot(folder=Path("/nonexistent"))


def convert(text: str, root: ImageRoot = EMPTY) -> Converted:
    return convert_gsc_manifest(text.encode(), "shop.manifest", root)


ALLOWED = (
    "the host could change it unseen; read-only data goes into [closure] include, what is written into "
    '[mounts] as "tmpfs" or { encrypted = "KEY", host = "/folder" }'
)


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ('sgx.enclave_size = "4G"', {"enclave": {"size": "4G"}}),
        ('sgx.enclave_size = "512m"', {"enclave": {"size": "512M"}}),
        ("sgx.max_threads = 64", {"enclave": {"threads": 64}}),
        ("sgx.thread_num = 8", {"enclave": {"threads": 8}}),
        ("sgx.isvprodid = 7\nsgx.isvsvn = 2", {"enclave": {"isvprodid": 7, "isvsvn": 2}}),
        ("sgx.edmm_enable = true\nsgx.use_exinfo = true", {"enclave": {"edmm": True, "exinfo": True}}),
        ("sgx.require_exinfo = true", {"enclave": {"exinfo": True}}),
        ("sgx.preheat_enclave = true", {"enclave": {"preheat": True}}),
        ('sgx.cpu_features.avx = "required"', {"enclave": {"cpu": {"avx": "required"}}}),
        ("sgx.require_avx512 = true", {"enclave": {"cpu": {"avx512": "required"}}}),
        ('sys.stack.size = "8M"\nsys.brk.max_size = "1M"', {"enclave": {"stack": "8M", "brk": "1M"}}),
        ("sys.fds.limit = 65536", {"enclave": {"files": 65536}}),
        ('loader.env.A = "1"\nloader.env.B.value = "2"', {"env": {"A": "1", "B": "2"}}),
        (
            'fs.mounts = [{type = "tmpfs", path = "/var/cache"}, {type = "tmpfs", path = "/tmp"}]',
            {"mounts": {"/var/cache": "tmpfs"}},
        ),
        (
            'fs.mounts = [{type = "encrypted", path = "/data", uri = "file:/d", key_name = "_sgx_mrsigner"}]',
            {"mounts": {"/data": {"encrypted": "_sgx_mrsigner", "host": "/d"}}},
        ),
        (
            (
                'sgx.debug = false\nsgx.remote_attestation = "dcap"\nloader.log_level = "error"\n'
                'sgx.file_check_policy = "strict"\nsgx.allowed_files = []\n'
                "loader.insecure__use_host_env = false"
            ),
            {},
        ),
    ],
)
def test_what_has_a_counterpart_is_taken_over(text: str, tables: dict[str, Any]) -> None:
    converted = convert(text)
    assert converted.tables == tables
    assert converted.notes == []


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        (
            "sgx.max_threads = 4",
            "sgx.max_threads",
            "4 are too few beside Gramine's own four: the default is taken",
        ),
        (
            'libos.entrypoint = "/bin/x"',
            "libos.entrypoint",
            "the enclave starts Casemate's attester, and that the application",
        ),
        ('loader.argv = ["a"]', "loader.argv", "what the image starts, or [app], decides"),
        (
            'loader.env.PATH = "/bin"',
            "loader.env.PATH",
            "Casemate sets it from what is in the image, or it means nothing there",
        ),
        (
            "loader.env.TZ = { passthrough = true }",
            "loader.env.TZ",
            'the host would choose any value: [env] TZ = { pass = true, one_of = ["…"] }',
        ),
        (
            "sys.disallow_subprocesses = false",
            "sys.disallow_subprocesses",
            "starting programs has to be asked for: [enclave] subprocesses = true",
        ),
        ("sys.enable_sigterm_injection = true", "sys.enable_sigterm_injection", "always on"),
        ('sgx.seal_key.flags_mask = "0x0"', "sgx.seal_key.flags_mask", "left as Gramine has it"),
        ('sgx.ra_client_spid = "x"', "sgx.ra_client_spid", "EPID has ended; DCAP is used"),
        (
            'sgx.remote_attestation = "none"',
            "sgx.remote_attestation",
            "Casemate's enclaves always attest with DCAP",
        ),
        ('sgx.trusted_files = ["file:/x"]', "sgx.trusted_files file:/x", "the image has no such file"),
        ('sgx.trusted_files = ["file:x"]', "sgx.trusted_files file:x", "not an absolute path of the image"),
        (
            'sgx.trusted_files = ["file:/usr/lib/python3/"]',
            "sgx.trusted_files file:/usr/lib/python3/",
            "what is needed of libraries and programs is found without it",
        ),
        (
            'fs.mounts = [{path = "/mnt/x", uri = "file:/x"}]',
            "fs.mounts /mnt/x",
            "the host's files are not mounted: copy them into the image, or encrypt the mount",
        ),
        (
            'fs.mounts = [{type = "encrypted", path = "/data", uri = "file:/d"}]',
            "fs.mounts /data",
            (
                'its key has to come from a broker: [secrets] "/dev/attestation/keys/default" = '
                '"kbs:///default/NAME/default", and [broker]'
            ),
        ),
        ("sgx.colour = 1", "sgx.colour", "no key of Gramine 1.9's manifest, or none that is known here"),
    ],
)
def test_what_has_no_counterpart_is_named_with_the_reason(text: str, key: str, reason: str) -> None:
    assert convert(text).notes == [(key, reason)]


@pytest.mark.parametrize(
    ("text", "key", "way"),
    [
        ("sgx.debug = true", "sgx.debug", "it opens the enclave to whoever runs it: leave it out"),
        (
            "loader.insecure__use_cmdline_argv = true",
            "loader.insecure__use_cmdline_argv",
            "arguments are measured: write them into [app] command",
        ),
        (
            "loader.insecure__use_host_env = true",
            "loader.insecure__use_host_env",
            'name what the host may choose: [env] NAME = { pass = true, one_of = ["…"] }',
        ),
        (
            'fs.insecure__keys.default = "00"',
            "fs.insecure__keys.default",
            "a key in a manifest is public: let a broker deliver it, by [secrets]",
        ),
        ("sgx.insecure__new = true", "sgx.insecure__new", "leave it out"),
        (
            'sgx.file_check_policy = "allow_all_but_log"',
            "sgx.file_check_policy",
            'the host could add any file: write "strict", and [closure] include',
        ),
        (
            'sgx.allowed_files = ["file:/data/"]',
            "sgx.allowed_files file:/data/",
            ALLOWED,
        ),
        (
            '[sgx.allowed_files]\nold = "file:/data"',
            "sgx.allowed_files file:/data",
            ALLOWED,
        ),
        (
            'sgx.protected_files = ["file:/data"]',
            "sgx.protected_files",
            'gone from Gramine: [mounts] "/folder" = { encrypted = "KEY", host = "/folder" }',
        ),
        (
            'loader.log_level = "debug"',
            "loader.log_level",
            'what it logs gives away the application: write "error"',
        ),
        (
            'fs.mounts = [{type = "untrusted_shm", path = "/shm"}]',
            "fs.mounts /shm",
            "memory that the host shares: leave it out",
        ),
    ],
)
def test_what_is_insecure_is_refused_with_the_way_out(text: str, key: str, way: str) -> None:
    with pytest.raises(ProjectError) as caught:
        convert(text)
    assert str(caught.value) == (
        f"insecure settings of the GSC manifest: expected none of them, got {key} (shop.manifest)"
    )
    assert caught.value.hint == f"{key}: {way}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'sgx.enclave_size = "{{ size',
            (
                "GSC manifest: expected a TOML document, got Unterminated string (at end of document) "
                "(shop.manifest)"
            ),
        ),
        (
            "sgx.enclave_size = 4",
            'sgx.enclave_size: expected a size such as "512M", got a number (shop.manifest)',
        ),
        ('sgx.isvsvn = "1"', 'sgx.isvsvn: expected a number, got "1" (shop.manifest)'),
        ("sgx.edmm_enable = 1", "sgx.edmm_enable: expected true or false, got a number (shop.manifest)"),
        ("fs.mounts = 1", "fs.mounts: expected a list of tables, got a number (shop.manifest)"),
        (
            "sgx.trusted_files = [1]",
            "sgx.trusted_files: expected URIs such as file:/srv/data/, got a number (shop.manifest)",
        ),
    ],
)
def test_what_gramine_would_not_take_is_refused(text: str, message: str) -> None:
    with pytest.raises(ProjectError) as caught:
        convert(text)
    assert str(caught.value) == message


def test_files_of_the_image_are_included_and_those_of_the_application_as_it_sees_them(tmp_path: Path) -> None:
    for path in ("srv/data/a.csv", "srv/app/conf.ini", "app/conf.ini"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    root = ImageRoot(folder=tmp_path)
    converted = convert(
        'sgx.trusted_files = ["file:/srv/data/", "file:/srv/app/conf.ini", {uri = "file:/app/conf.ini"}, '
        '"file:/srv/app/"]',
        root,
    )
    assert merged({"app": {"source": "/srv/app"}}, converted)["closure"] == {
        "include": ["/srv/data/**", "conf.ini", "/srv/app/conf.ini", "/app/conf.ini"]
    }
    assert merged({"app": {"source": "/app"}}, converted)["closure"]["include"][-2:] == [
        "conf.ini",
        "/srv/app/**",
    ]


def test_a_secret_is_not_copied() -> None:
    converted = convert('loader.env.DB_PASSWORD = "hunter2"')
    assert converted.secrets == ["DB_PASSWORD"]
    assert converted.tables == {}


def test_what_the_manifest_says_stands_above_casemate_toml() -> None:
    project = {"app": {"name": "n"}, "enclave": {"size": "1G", "isvsvn": 2}, "env": {"A": "0", "B": "1"}}
    converted = convert('sgx.enclave_size = "4G"\nloader.env.A = "1"')
    assert merged(project, converted) == {
        "app": {"name": "n"},
        "enclave": {"size": "4G", "isvsvn": 2},
        "env": {"A": "1", "B": "1"},
    }


VALUES = st.recursive(
    st.booleans() | st.integers(-5, 70000) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        "enclave_size",
        "max_threads",
        "isvsvn",
        "trusted_files",
        "allowed_files",
        "mounts",
        "env",
        "remote_attestation",
        "cpu_features",
        "avx",
        "debug",
        "file_check_policy",
        "log_level",
        "stack",
        "size",
        "protected_files",
        "profile",
        "insecure__keys",
    ]
)


@given(
    st.dictionaries(
        st.sampled_from(["sgx", "fs", "loader", "sys", "libos"]), st.dictionaries(KEYS, VALUES, max_size=4)
    )
)
def test_any_manifest_is_read_or_refused_in_our_words(document: dict[str, Any]) -> None:
    with suppress(ProjectError):
        convert_gsc_manifest(tomli_w.dumps(document).encode(), "x", EMPTY)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_in_our_words(data: bytes) -> None:
    with suppress(ProjectError):
        convert_gsc_manifest(data, "x", EMPTY)
