"""What a manifest asks for, with Gramine's defaults, and what is refused because it is not rehearsed."""

from __future__ import annotations

import copy
import errno
from typing import Any

import pytest

from casemate.errors import RehearsalError
from casemate.rehearsal.plan import Mount, Plan, image_path
from casemate.rehearsal.run import _resolver_configuration
from casemate.rehearsal.sandbox import Missing, _missing

SMALLEST: dict[str, Any] = {
    "libos": {"entrypoint": "/bin/program"},
    "fs": {"root": {"type": "chroot", "uri": "file:/enclave"}, "mounts": []},
}


def manifest(**changes: Any) -> dict[str, Any]:
    """The smallest manifest with dotted keys changed; ``__`` stands for the dot."""
    value = copy.deepcopy(SMALLEST)
    for place, content in changes.items():
        *folders, name = place.split("__")
        table = value
        for folder in folders:
            table = table.setdefault(folder, {})
        table[name] = content
    return value


def test_gramines_defaults_hold_where_the_manifest_says_nothing() -> None:
    assert Plan.from_manifest(SMALLEST) == Plan(
        entrypoint="/bin/program",
        argv=("/bin/program",),
        environment=(),
        passthrough=(),
        root="/enclave",
        mounts=(),
        start_dir="/",
        uid=0,
        gid=0,
        trusted={},
        enclave_size=256 << 20,
        memory=(256 << 20) - (8 << 20) - 4 * (92 << 12),
        stack=256 << 10,
        descriptors=900,
        remote_attestation="none",
        sigterm=False,
        subprocesses=True,
        flock=False,
        threads=2,
        domain_names=False,
        loader=None,
    )


def test_what_the_manifest_says_is_taken() -> None:
    plan = Plan.from_manifest(
        manifest(
            loader={
                "argv": ["program", "x"],
                "env": {
                    "A": "1",
                    "B": {"value": "2"},
                    "C": {"passthrough": True},
                    "LD_LIBRARY_PATH": "/x:/lib",
                },
                "uid": 7,
                "gid": 8,
            },
            fs__mounts=[
                {"type": "tmpfs", "path": "/tmp/"},
                {"type": "encrypted", "path": "/data", "uri": "file:/data", "key_name": "k"},
                {"type": "encrypted", "path": "/more", "uri": "file:/more", "key_name": "_sgx_mrenclave"},
                {"type": "encrypted", "path": "/other", "uri": "file:/other"},
            ],
            fs__start_dir="/app",
            sys={"stack": {"size": "4M"}, "fds": {"limit": 5}, "enable_sigterm_injection": True},
            sgx={
                "enclave_size": "1G",
                "remote_attestation": "dcap",
                "trusted_files": [
                    {"uri": "file:/enclave/lib/ld-linux-x86-64.so.2", "sha256": "ab" * 32},
                    {"uri": "file:/enclave/a/../b", "sha256": "cd" * 32},
                ],
            },
        )
    )
    assert plan.argv == ("program", "x")
    assert plan.variables({"C": "3", "D": "4"}) == {
        "A": "1",
        "B": "2",
        "C": "3",
        "LD_LIBRARY_PATH": "/x:/lib",
    }
    assert plan.variables({}) == {"A": "1", "B": "2", "LD_LIBRARY_PATH": "/x:/lib"}
    assert plan.mounts == (
        Mount(path="/tmp", key=None),
        Mount(path="/data", key="k"),
        Mount(path="/more", key="_sgx_mrenclave"),
        Mount(path="/other", key="default"),
    )
    assert plan.key_names == ("default", "k")
    assert plan.loader == "/lib/ld-linux-x86-64.so.2"
    assert set(plan.trusted) == {"/enclave/lib/ld-linux-x86-64.so.2", "/enclave/b"}
    assert (plan.uid, plan.gid, plan.start_dir, plan.stack, plan.descriptors) == (7, 8, "/app", 4 << 20, 5)
    assert (plan.enclave_size, plan.remote_attestation, plan.sigterm) == (1 << 30, "dcap", True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"loader__insecure__use_host_env": True},
            "manifest key loader.insecure__use_host_env: expected nothing, got a value "
            "(loader.insecure__use_host_env)",
            id="host-environment",
        ),
        pytest.param(
            {"sgx__allowed_files": ["file:/x"]},
            "manifest key sgx.allowed_files: expected nothing, got a value (sgx.allowed_files)",
            id="allowed-files",
        ),
        pytest.param(
            {"sgx__file_check_policy": "allow_all_but_log"},
            "file check policy: expected strict, got allow_all_but_log (sgx.file_check_policy)",
            id="file-check-policy",
        ),
        pytest.param(
            {"fs__root": {"type": "encrypted", "uri": "file:/enclave"}},
            'root of the application: expected type = "chroot" and uri = "file:/…", got type = "encrypted" '
            'and uri = "file:/enclave" (fs.root)',
            id="encrypted-root",
        ),
        pytest.param(
            {"fs__mounts": [{"path": "/x", "uri": "file:/x"}]},
            "mount: expected tmpfs or encrypted, got chroot (fs.mounts[0])",
            id="chroot-mount",
        ),
        pytest.param(
            {"fs__mounts": [{"type": "tmpfs", "path": "x"}]},
            "path: expected one that begins with /, got 'x' (fs.mounts[0].path)",
            id="relative-mount",
        ),
        pytest.param(
            {"loader__argv": []},
            "arguments: expected at least one, all strings (loader.argv)",
            id="no-arguments",
        ),
        pytest.param(
            {"loader__argv": ["a\0b"]},
            "arguments: expected at least one, all strings (loader.argv)",
            id="nul-in-an-argument",
        ),
        pytest.param(
            {"loader__env": {"A": {"passthrough": False}}},
            'environment variable: expected "value", { value = "…" } or { passthrough = true }, '
            "got {'passthrough': False} (loader.env.A)",
            id="passthrough-false",
        ),
        pytest.param(
            {"loader__env": {"A": {"passthrough": True, "value": "x"}}},
            'environment variable: expected "value", { value = "…" } or { passthrough = true }, '
            "got {'passthrough': True, 'value': 'x'} (loader.env.A)",
            id="value-and-passthrough",
        ),
        pytest.param(
            {"sgx__trusted_files": ["file:/x"]},
            "trusted file without a digest (sgx.trusted_files: file:/x)",
            id="file-that-is-not-hashed",
        ),
        pytest.param(
            {"loader__uid": "root"},
            "manifest: expected an integer, got a string (loader.uid)",
            id="value-of-another-type",
        ),
        pytest.param(
            {"sys": 5},
            "manifest: expected a table, got an integer (sys)",
            id="table-of-another-type",
        ),
        pytest.param(
            {"sys__stack": 5},
            "manifest: expected a table, got an integer (sys.stack)",
            id="inner-table-of-another-type",
        ),
    ],
)
def test_what_is_not_rehearsed_is_refused(changes: dict[str, Any], message: str) -> None:
    given = copy.deepcopy(SMALLEST)
    for place, content in changes.items():
        table, _, name = place.partition("__")
        if name:
            given.setdefault(table, {})[name] = content
        else:
            given[table] = content
    with pytest.raises(RehearsalError) as caught:
        Plan.from_manifest(given)
    assert str(caught.value) == message


def test_paths_of_the_application_lie_below_the_root() -> None:
    assert image_path("/enclave", "/") == "/enclave"
    assert image_path("/enclave", "/a/b") == "/enclave/a/b"
    assert image_path("/", "/a/b") == "/a/b"


def test_the_resolver_configuration_is_what_gramine_takes_over(tmp_path: Any) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# comment\nsearch old\noptions ndots:5 rotate edns0\nnameserver 10.0.0.1\nsearch a b\n"
        "sortlist 1\nnameserver ::1\n"
    )
    assert _resolver_configuration(path) == (
        b"nameserver 10.0.0.1\nnameserver ::1\nsearch a b\noptions edns0\noptions rotate\n"
    )
    assert _resolver_configuration(tmp_path / "nothing") == b""


def test_a_machine_without_the_device_is_told_how_to_get_it() -> None:
    assert _missing("open-fuse", errno.ENOENT, "/dev/fuse") == Missing(
        what="/dev/fuse",
        got="No such file or directory (/dev/fuse)",
        remedy="load the module (modprobe fuse), or give the container the device (--device /dev/fuse)",
    )
    error = _missing("open-fuse", errno.EACCES, "/dev/fuse").to_error()
    assert str(error) == "/dev/fuse: expected allowed on this machine, got Permission denied (/dev/fuse)"
    assert error.hint == (
        "let this user read and write it (chmod 666 /dev/fuse is what most systems have); "
        "build, sign and verify work without it, but the bundle cannot be run here"
    )


def test_a_machine_without_user_namespaces_is_told_what_forbids_them() -> None:
    missing = _missing("unshare-user", errno.EPERM, "user namespace")
    assert (missing.what, missing.got) == ("user namespaces", "Operation not permitted (user namespace)")
    assert missing.remedy
