"""Manifests that a build writes: whatever casemate.toml says, for each Gramine, and nothing else."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.image_files import image_file

from casemate.builder.bundles.tcb import TrustedContent
from casemate.builder.enclave.manifest import LibOs, foreign_settings, make_manifest
from casemate.builder.lint import Severity, lint_manifest
from casemate.errors import CasemateError, ProjectError
from casemate.formats.gramine_versions import VERSIONS, gramine_version
from casemate.formats.manifest import dump_manifest, load_measured_manifest, missing_for_measurement
from casemate.project import parse_project

_FILES = [TrustedContent.of(image_file(path, path.encode())) for path in ("/app/a.pyc", "/etc/hosts")]
_TRUSTED = {entry.file.path: entry.sha256 for entry in _FILES}
_LIBOS = LibOs.of(b"libos")
_SIZES = st.sampled_from(["4K", "64K", "1M", "2M", "64M"])
_FEATURES = st.sampled_from(
    [
        {},
        {"avx": "required"},
        {"avx512": "required", "amx": "disabled"},
        {"avx": "disabled", "avx512": "disabled"},
    ]
)
_ENCLAVE = st.fixed_dictionaries(
    {},
    optional={
        "size": st.sampled_from(["64M", "1G", "512G"]),
        "threads": st.integers(5, 4096),
        "stack": _SIZES,
        "brk": _SIZES,
        "files": st.integers(64, 1 << 20),
        "isvprodid": st.integers(1, 0xFFFF),
        "isvsvn": st.integers(1, 0xFFFF),
        "edmm": st.booleans(),
        "exinfo": st.booleans(),
        "subprocesses": st.booleans(),
        "cpu": _FEATURES,
    },
)
_RULES = st.sampled_from(
    [
        "text",
        "",
        {"pass": True, "one_of": ["a", "b"]},
        {"pass": True, "pattern": "[a-z]{1,3}", "default": "x"},
        {"pass": True, "max_length": 9, "required": False},
    ]
)
_MOUNTS = st.sampled_from(
    [
        "tmpfs",
        {"encrypted": "_sgx_mrsigner", "host": "/srv"},
        {"encrypted": "_sgx_mrenclave", "host": "/srv/x"},
    ]
)
_PROJECTS = st.fixed_dictionaries(
    {
        "app": st.just({"name": "notes", "serve": "notes:app"}),
        "enclave": _ENCLAVE,
        "env": st.dictionaries(st.sampled_from(["A", "LEVEL", "OMP_NUM_THREADS", "_x"]), _RULES, max_size=3),
        "mounts": st.dictionaries(st.sampled_from(["/var/a", "/var/a/b", "/data"]), _MOUNTS, max_size=2),
    }
)
_VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-3, 5), st.sampled_from(["", "1M", "file:/x", "true"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["a", "uri"]), inner)
    ),
    max_leaves=3,
)


def _manifest(document: Any, version: str) -> dict[str, Any]:
    project = parse_project(tomli_w.dumps(document).encode(), "casemate.toml")
    return make_manifest(project, _FILES, python="3.11", libos=_LIBOS, gramine=gramine_version(version))


def _foreign(manifest: dict[str, Any], version: str) -> tuple[str, ...]:
    return foreign_settings(manifest, _TRUSTED, python="3.11", libos=_LIBOS, gramine=gramine_version(version))


@settings(deadline=None)
@given(_PROJECTS, st.sampled_from(VERSIONS))
def test_what_a_project_says_is_complete_and_not_foreign(document: Any, version: str) -> None:
    manifest = _manifest(document, version)
    data = dump_manifest(manifest)

    assert load_measured_manifest(data) == manifest
    assert missing_for_measurement(manifest, gramine_version(version)) == ()
    assert _foreign(manifest, version) == ()
    assert not lint_manifest(data, "app.manifest.sgx", version=version, least=Severity.ERROR)


@settings(deadline=None)
@given(_PROJECTS, st.sampled_from(VERSIONS), st.data())
def test_what_is_changed_is_foreign_or_what_another_project_says(
    document: Any, version: str, data: Any
) -> None:
    manifest = copy.deepcopy(_manifest(document, version))
    table = manifest[data.draw(st.sampled_from(["libos", "loader", "fs", "sys", "sgx"]))]
    key = data.draw(st.sampled_from([*table, "more"]))
    table[key] = data.draw(_VALUES)

    with contextlib.suppress(CasemateError):
        read = load_measured_manifest(dump_manifest(manifest))
        if _foreign(read, version) == ():
            assert missing_for_measurement(read, gramine_version(version)) == ()
            assert key != "more"


_TABLES = st.dictionaries(
    st.sampled_from(["pass", "one_of", "pattern", "max_length", "default", "required", "x"]),
    st.one_of(
        st.booleans(), st.integers(-1, 5000), st.text(max_size=5), st.lists(st.text(max_size=3), max_size=2)
    ),
    max_size=5,
)


@given(_TABLES)
def test_any_rule_of_a_variable_is_one_or_refused(rule: Any) -> None:
    document = {"app": {"name": "n", "serve": "a:b"}, "env": {"A": rule}}
    with contextlib.suppress(ProjectError):
        assert parse_project(tomli_w.dumps(document).encode(), "x").variables[0].name == "A"
