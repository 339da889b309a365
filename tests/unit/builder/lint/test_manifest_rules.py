"""Every rule for manifests: a manifest that breaks it, with the place, and one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.small_bundle import Small, small_manifest

from casemate.builder.lint import BY_ID, Finding, Severity, lint_manifest
from casemate.builder.lint.dockerfile_catalogue import DOCKERFILE_RULES
from casemate.builder.lint.manifest_catalogue import MANIFEST_RULES
from casemate.errors import FormatError, UsageError
from casemate.formats.gramine_versions import VERSIONS
from casemate.formats.manifest import dump_manifest

#: A manifest in which no rule finds anything.
GOOD = """\
libos.entrypoint = "/usr/bin/python3"
loader.argv = ["python3", "-B", "-m", "service"]
loader.uid = 1000
loader.gid = 1000
loader.log_level = "error"
loader.env.TZ = "UTC"
fs.root.uri = "file:/enclave"
fs.mounts = [{ type = "tmpfs", path = "/tmp" }]
sys.stack.size = "2M"
sgx.enclave_size = "1G"
sgx.max_threads = 8
sgx.remote_attestation = "dcap"
sgx.isvprodid = 1
sgx.isvsvn = 1
sgx.trusted_files = ["file:/enclave/usr/bin/python3", "file:/enclave/numpy/numpy/core.so"]
"""
LAST = GOOD.count("\n") + 1


def found(text: str, *, where: str = "x.manifest", **options: object) -> list[Finding]:
    return list(lint_manifest(text.encode(), where, **options))  # type: ignore[arg-type]


def without(key: str) -> str:
    """The good manifest without the line that begins with ``key``."""
    lines = [line for line in GOOD.splitlines(keepends=True) if not line.startswith(key)]
    assert len(lines) < GOOD.count("\n")
    return "".join(lines)


def test_a_good_manifest_has_no_findings() -> None:
    assert found(GOOD) == []
    assert found(GOOD, template=True) == []


#: Rule, line that is added (or key, "=" and what stands in its place), column, message.
CASES = [
    ("toml-syntax", "a = ", 5, "manifest: expected a value, got the end of the line"),
    ("toml-syntax", 'a = "\x07"', 6, "manifest: expected no control characters but tabs, got U+0007"),
    (
        "duplicate-key",
        "sgx.isvsvn = 2",
        1,
        "sgx.isvsvn: expected each key once, got one more than in line 14",
    ),
    ("duplicate-key", "[sgx]", 2, "sgx: expected each key once, got one more than in line 10"),
    (
        "gramine-toml",
        'loader.env.A = """x"""',
        16,
        'manifest: expected strings in one pair of quotation marks, got three: """',
    ),
    (
        "gramine-toml",
        'loader.env.A = "a\\u0000b"',
        16,
        "loader.env.A: expected no control characters but tabs and line breaks, got U+0000",
    ),
    (
        "unknown-key",
        "sgx.max_thread = 8",
        5,
        "sgx.max_thread: expected a key that Gramine knows, got one that it does not",
    ),
    (
        "unknown-key",
        "loader.env.A = { valu = 'x' }",
        18,
        "loader.env.A.valu: expected value or passthrough, got another key",
    ),
    (
        "removed-key",
        "sgx.thread_num = 8",
        5,
        "sgx.thread_num: expected a key that Gramine knows, got one of versions before Gramine 1.6",
    ),
    (
        "removed-key",
        "sgx.require_avx = true",
        5,
        "sgx.require_avx: expected a key that Gramine knows, got one of Gramine 1.7",
    ),
    (
        "removed-key",
        'sgx.protected_files.a = "file:x"',
        5,
        "sgx.protected_files: expected a key that Gramine knows, got one of versions before Gramine 1.6",
    ),
    (
        "removed-key",
        'loader.entrypoint = "file:libsysdb.so"',
        21,
        "loader.entrypoint: expected a table, got a string",
    ),
    (
        "removed-key",
        "sgx.remote_attestation == true",
        26,
        'sgx.remote_attestation: expected "dcap", got true',
    ),
    (
        "removed-key",
        'sgx.remote_attestation == "epid"',
        26,
        'sgx.remote_attestation: expected "dcap", got "epid"',
    ),
    ("removed-key", 'sgx.allowed_files.a = "file:x"', 5, "sgx.allowed_files: expected an array, got a table"),
    (
        "removed-key",
        'libos.entrypoint == "file:/usr/bin/x"',
        20,
        "libos.entrypoint: expected a path, got a URI",
    ),
    (
        "removed-variable",
        'loader.env.SECRET_PROVISION_SET_PF_KEY = "k"',
        12,
        (
            "loader.env.SECRET_PROVISION_SET_PF_KEY: expected SECRET_PROVISION_SET_KEY, "
            "got SECRET_PROVISION_SET_PF_KEY"
        ),
    ),
    ("missing-key", "libos.entrypoint ==", None, "manifest: expected libos.entrypoint, got nothing"),
    ("missing-key", "fs.mounts ==", None, "manifest: expected fs.mounts, got nothing"),
    ("missing-key", 'fs.mounts == [{ path = "/a" }]', 14, "fs.mounts[0]: expected uri, got no such key"),
    (
        "missing-key",
        "sys.allowed_ioctls = [{}]",
        23,
        "sys.allowed_ioctls[0]: expected request_code, got no such key",
    ),
    ("wrong-type", "sgx.use_exinfo = 1", 18, "sgx.use_exinfo: expected true or false, got 1"),
    ("wrong-type", 'sgx.isvsvn == "1"', 14, "sgx.isvsvn: expected an integer, got a string"),
    (
        "wrong-type",
        "sgx.isvsvn == 1.5",
        14,
        "sgx.isvsvn: expected an integer, got a fraction, a date or a time",
    ),
    (
        "wrong-type",
        "sgx.enclave_size == 1024",
        20,
        'sgx.enclave_size: expected a string such as "512M", got 1024',
    ),
    (
        "wrong-type",
        "sgx.trusted_files == [1]",
        22,
        'sgx.trusted_files[0]: expected "file:…" or { uri = "file:…", sha256 = "…" }, got 1',
    ),
    ("wrong-type", "loader.argv == [1]", 16, "loader.argv[0]: expected a string, got 1"),
    (
        "wrong-value",
        'loader.log_level == "warn"',
        20,
        (
            'loader.log_level: expected "none" or "error" or "warning" '
            'or "debug" or "trace" or "all", got "warn"'
        ),
    ),
    ("wrong-value", "sgx.isvsvn == 65536", 14, "sgx.isvsvn: expected 0 to 65535, got 65536"),
    ("wrong-value", "sgx.max_threads == 4097", 19, "sgx.max_threads: expected 1 to 4096, got 4097"),
    (
        "wrong-value",
        "loader.env.A = { passthrough = false }",
        16,
        "loader.env.A: expected passthrough = true, got false",
    ),
    (
        "wrong-value",
        'sgx.seal_key.misc_mask = "ff"',
        26,
        'sgx.seal_key.misc_mask: expected 0x and 8 hexadecimal digits, got "ff"',
    ),
    (
        "wrong-value",
        'sgx.trusted_files == [{ uri = "file:x", sha256 = "ab" }]',
        49,
        'sgx.trusted_files[0].sha256: expected 64 hexadecimal digits, got "ab"',
    ),
    ("wrong-value", "loader.argv == []", 15, "loader.argv: expected at least one item, got none"),
    ("wrong-value", 'fs.start_dir = "app"', 16, 'fs.start_dir: expected an absolute path, got "app"'),
    (
        "size-syntax",
        'sys.brk.max_size = "512m"',
        20,
        'sys.brk.max_size: expected decimal digits and K, M, G or nothing, got "512m"',
    ),
    (
        "size-syntax",
        'sys.stack.size == "0x200000"',
        18,
        'sys.stack.size: expected decimal digits and K, M, G or nothing, got "0x200000"',
    ),
    (
        "size-syntax",
        'sys.stack.size == "2T"',
        18,
        'sys.stack.size: expected decimal digits and K, M, G or nothing, got "2T"',
    ),
    (
        "enclave-size",
        'sgx.enclave_size == "768M"',
        20,
        'sgx.enclave_size: expected a power of two, got "768M"',
    ),
    (
        "enclave-size",
        'sgx.enclave_size == "2048G"',
        20,
        'sgx.enclave_size: expected at most "1024G", got "2048G"',
    ),
    (
        "conflict",
        'loader.argv_src_file = "file:/enclave/usr/bin/python3"',
        24,
        "loader.argv_src_file: expected one source of arguments, got loader.argv as well",
    ),
    (
        "conflict",
        'loader.env.A = { value = "x", passthrough = true }',
        16,
        "loader.env.A: expected value or passthrough, got both",
    ),
    (
        "conflict",
        "sgx.edmm_enable = true\nsgx.preheat_enclave = true",
        (1, 23),
        "sgx.preheat_enclave: expected false with sgx.edmm_enable, got true",
    ),
    (
        "conflict",
        'fs.mounts == [{ path = "/a", uri = "file:/enclave", key_name = "k" }]',
        52,
        'fs.mounts[0].key_name: expected type = "encrypted", got a mount of type chroot',
    ),
    (
        "mount-path",
        'fs.mounts == [{ path = "a", uri = "file:/enclave" }]',
        23,
        'fs.mounts[0].path: expected an absolute path, got "a"',
    ),
    (
        "mount-path",
        'fs.mounts == [{ path = "/", uri = "file:/enclave" }]',
        23,
        'fs.mounts[0].path: expected a path below the root, got "/"',
    ),
    (
        "mount-uri",
        'fs.mounts == [{ path = "/app", uri = "/opt/app" }]',
        37,
        'fs.mounts[0].uri: expected "file:…" or "dev:…", got "/opt/app"',
    ),
    (
        "mount-uri",
        'fs.mounts == [{ type = "encrypted", path = "/app", uri = "dev:/dev/x" }]',
        57,
        'fs.mounts[0].uri: expected "file:…", got "dev:/dev/x"',
    ),
    (
        "mount-uri",
        'fs.mounts == [{ type = "untrusted_shm", path = "/app", uri = "file:/dev/shm" }]',
        61,
        'fs.mounts[0].uri: expected "dev:…", got "file:/dev/shm"',
    ),
    (
        "trusted-uri",
        'sgx.trusted_files == ["/lib/x"]',
        22,
        'sgx.trusted_files[0]: expected file:PATH, got "/lib/x"',
    ),
    (
        "source-not-trusted",
        'loader.env_src_file = "file:env"',
        23,
        'loader.env_src_file: expected a file of sgx.trusted_files, got "file:env"',
    ),
    (
        "trusted-twice",
        'sgx.trusted_files == ["file:a", "file:a"]',
        32,
        'sgx.trusted_files[1]: expected each file once; this one is entry 0 as well, got "file:a"',
    ),
    (
        "private-key-trusted",
        'sgx.trusted_files == ["file:tls/server.key"]',
        22,
        'sgx.trusted_files[0]: expected no private key, got "file:tls/server.key"',
    ),
    ("debug-enclave", "sgx.debug = true", 13, "sgx.debug: expected false, got true"),
    (
        "insecure-key",
        "sgx.insecure__rpc_thread_num = 2",
        32,
        "sgx.insecure__rpc_thread_num: expected false or 0, got 2",
    ),
    (
        "insecure-key",
        "loader.insecure__disable_aslr = true",
        33,
        "loader.insecure__disable_aslr: expected false or 0, got true",
    ),
    (
        "host-arguments",
        "loader.insecure__use_cmdline_argv = true",
        37,
        "loader.insecure__use_cmdline_argv: expected false, got true",
    ),
    (
        "host-environment",
        "loader.insecure__use_host_env = true",
        33,
        "loader.insecure__use_host_env: expected false, got true",
    ),
    (
        "key-in-manifest",
        'fs.insecure__keys.default = "ffeeddccbbaa99887766554433221100"',
        19,
        "fs.insecure__keys.default: expected no key, got one",
    ),
    (
        "file-check-policy",
        'sgx.file_check_policy = "allow_all_but_log"',
        25,
        'sgx.file_check_policy: expected "strict", got "allow_all_but_log"',
    ),
    (
        "log-level",
        'loader.log_level == "debug"',
        20,
        'loader.log_level: expected "error" or "none", got "debug"',
    ),
    ("log-file", 'loader.log_file = "log"', 19, 'loader.log_file: expected no file of the host, got "log"'),
    (
        "allowed-code",
        'sgx.allowed_files = ["file:/etc/ssl/certs/"]',
        22,
        'sgx.allowed_files[0]: expected nothing that is code or configuration, got "file:/etc/ssl/certs/"',
    ),
    (
        "allowed-code",
        'sgx.allowed_files = ["file:plugins/x.py"]',
        22,
        'sgx.allowed_files[0]: expected nothing that is code or configuration, got "file:plugins/x.py"',
    ),
    (
        "allowed-over-trusted",
        'sgx.allowed_files = ["file:/enclave/"]',
        22,
        'sgx.allowed_files[0]: expected no trusted file in it, got "file:/enclave/"',
    ),
    ("allowed-files", 'sgx.allowed_files = ["file:data/"]', 5, "sgx.allowed_files: expected none, got 1"),
    (
        "untrusted-mount",
        'fs.mounts == [{ path = "/p", uri = "file:/proc" }]',
        14,
        'fs.mounts[0]: expected no files of the host\'s kernel, got "file:/proc"',
    ),
    (
        "untrusted-mount",
        'fs.mounts == [{ type = "untrusted_shm", path = "/s", uri = "dev:/dev/shm" }]',
        14,
        "fs.mounts[0]: expected no such mount, got memory that the host shares",
    ),
    (
        "device-access",
        "sys.allowed_ioctls = [{ request_code = 1 }]",
        22,
        "sys.allowed_ioctls: expected none, got some",
    ),
    (
        "mock-syscalls",
        'sys.debug__mock_syscalls = [{ name = "fork" }]',
        28,
        'sys.debug__mock_syscalls: expected none, got "fork"',
    ),
    ("profiling", 'sgx.profile.enable = "all"', 22, 'sgx.profile.enable: expected "none", got "all"'),
    ("profiling", "sgx.enable_stats = true", 20, "sgx.enable_stats: expected false, got true"),
    (
        "dangerous-passthrough",
        "loader.env.HTTPS_PROXY = { passthrough = true }",
        26,
        "loader.env.HTTPS_PROXY: expected a value, got passthrough = true",
    ),
    (
        "passthrough",
        "loader.env.A = { passthrough = true }",
        16,
        "loader.env.A: expected a value, got passthrough = true",
    ),
    (
        "ra-tls-insecure",
        'loader.env.RA_TLS_ALLOW_OUTDATED_TCB_INSECURE = "1"',
        49,
        'loader.env.RA_TLS_ALLOW_OUTDATED_TCB_INSECURE: expected no such variable, got "1"',
    ),
    (
        "ra-tls-any",
        'loader.env.RA_TLS_MRSIGNER = "any"',
        30,
        'loader.env.RA_TLS_MRSIGNER: expected 64 hexadecimal digits, got "any"',
    ),
    (
        "ra-tls-incomplete",
        'loader.env.RA_TLS_MRSIGNER = "any"',
        12,
        (
            "loader.env.RA_TLS_MRSIGNER: expected also RA_TLS_MRENCLAVE, "
            "RA_TLS_ISV_PROD_ID, RA_TLS_ISV_SVN, got nothing"
        ),
    ),
    (
        "secret-in-env",
        'loader.env.DB_PASSWORD = "tiger"',
        26,
        "loader.env.DB_PASSWORD: expected no secret, got a name that says so, with a value",
    ),
    (
        "secret-in-env",
        'loader.env.DSN = { value = "postgresql://u:tiger@h/d" }',
        28,
        "loader.env.DSN.value: expected no secret, got a value that looks like one",
    ),
    (
        "secret-in-argv",
        'loader.argv == ["python3", "-B", "x.py", "--token=tiger"]',
        41,
        "loader.argv[3]: expected no secret, got what looks like one",
    ),
    ("few-threads", "sgx.max_threads == 3", 19, "sgx.max_threads: expected at least 4, got 3"),
    ("isv-numbers", "sgx.isvsvn == 0", 14, "sgx.isvsvn: expected 1 or more, got 0"),
    ("isv-numbers", "sgx.isvsvn ==", None, "sgx.isvsvn: expected 1 or more, got nothing, which is 0"),
    (
        "no-attestation",
        'sgx.remote_attestation == "none"',
        26,
        'sgx.remote_attestation: expected "dcap", got "none"',
    ),
    (
        "flock",
        "sys.experimental__enable_flock = true",
        34,
        "sys.experimental__enable_flock: expected false, got true",
    ),
    (
        "untrusted-names",
        "sys.enable_extra_runtime_domain_names_conf = true",
        46,
        (
            "sys.enable_extra_runtime_domain_names_conf: expected a certificate "
            "authority of its own, SSL_CERT_FILE, got none"
        ),
    ),
    (
        "sealed-to-mrenclave",
        'fs.mounts == [{ type = "encrypted", path = "/e", uri = "file:e", key_name = "_sgx_mrenclave" }]',
        76,
        'fs.mounts[0].key_name: expected a key of a key broker, got "_sgx_mrenclave"',
    ),
    (
        "sealed-to-mrsigner",
        'fs.mounts == [{ type = "encrypted", path = "/e", uri = "file:e", key_name = "_sgx_mrsigner" }]',
        76,
        'fs.mounts[0].key_name: expected a key of a key broker, got "_sgx_mrsigner"',
    ),
    (
        "encrypted-overlap",
        (
            'fs.mounts == [{ type = "encrypted", path = "/e", uri = "file:e" '
            '}, { type = "encrypted", path = "/f", uri = "file:e/f" }]'
        ),
        67,
        'fs.mounts[1]: expected folders of its own, got "file:e/f" inside another one',
    ),
    (
        "encrypted-rollback",
        'fs.mounts == [{ type = "encrypted", path = "/e", uri = "file:e" }]',
        14,
        'fs.mounts[0]: expected freshness from elsewhere, got "/e"',
    ),
    (
        "avx-lost",
        'sgx.cpu_features = { avx = "required", avx512 = "disabled" }',
        49,
        'sgx.cpu_features.avx512: expected "unspecified" or "required", got "disabled"',
    ),
    (
        "small-stack",
        'sys.stack.size == "256K"',
        18,
        'sys.stack.size: expected at least "2M" with numpy, got "256K"',
    ),
    (
        "small-stack",
        "sys.stack.size ==",
        None,
        'sys.stack.size: expected at least "2M" with numpy, got 256K, the default,',
    ),
    (
        "python-bytecode",
        'loader.argv == ["python3", "x.py", "-B"]',
        (-1, 20),
        'libos.entrypoint: expected -B in loader.argv, or PYTHONDONTWRITEBYTECODE = "1", got neither',
    ),
    (
        "hash-seed",
        'loader.env.PYTHONHASHSEED = "0"',
        29,
        'loader.env.PYTHONHASHSEED: expected nothing or "random", got "0"',
    ),
    ("root-identity", "loader.uid == 0", 14, "loader.uid: expected 1 or more, got 0"),
    (
        "sigterm-handler",
        "sys.enable_sigterm_injection = true",
        32,
        "sys.enable_sigterm_injection: expected a handler that was reviewed, got true",
    ),
    (
        "live-file-trusted",
        'sgx.trusted_files == ["file:/etc/hosts"]',
        22,
        'sgx.trusted_files[0]: expected a file of the image only, got "file:/etc/hosts"',
    ),
    (
        "mount-without-trusted",
        'fs.mounts == [{ path = "/d", uri = "file:/data" }]',
        14,
        'fs.mounts[0]: expected a trusted file below it, got "file:/data"',
    ),
]


def broken(change: str) -> tuple[str, int]:
    """The good manifest with ``change``, and the line that it is in."""
    key, replaces, value = change.partition(" ==")
    if not replaces:
        return GOOD + change + "\n", LAST
    lines = GOOD.splitlines(keepends=True)
    number = next(number for number, line in enumerate(lines) if line.startswith(key))
    lines[number] = f"{key} ={value}\n" if value else ""
    return "".join(lines), number + 1


@pytest.mark.parametrize(
    ("rule", "change", "column", "message"), CASES, ids=[f"{case[0]}: {case[1][:40]}" for case in CASES]
)
def test_a_manifest_that_breaks_a_rule_is_told_so_at_its_place(
    rule: str, change: str, column: object, message: str
) -> None:
    text, line = broken(change)
    for template in (False, True):
        if template and rule == "gramine-toml":
            continue  # what is rendered is written anew by Gramine's tools
        (finding,) = [
            one for one in found(text, template=template) if (one.rule, one.message) == (rule, message)
        ]
        if column is None:
            assert (finding.line, finding.column) == (None, None)
        elif isinstance(column, tuple):
            down, across = column
            assert (finding.line, finding.column) == (1 if down < 0 else line + down, across)
        else:
            assert (finding.line, finding.column) == (line, column)
        assert finding.severity is BY_ID[rule].severity
        assert "tiger" not in f"{finding}"


def test_every_rule_for_manifests_has_a_case() -> None:
    elsewhere = {
        "template-syntax",
        "template-in-comment",
        "template-not-checked",
        "newer-key",
        "not-measured",
    }
    assert {case[0] for case in CASES} | elsewhere == {rule.id for rule in MANIFEST_RULES}
    assert not {rule.id for rule in MANIFEST_RULES} & {rule.id for rule in DOCKERFILE_RULES}


def test_rules_depend_on_the_version_of_gramine() -> None:
    text = GOOD + "sgx.require_exinfo = true\nsys.fds.limit = 100\n"
    assert [one.message for one in found(text, version="1.7")] == [
        "manifest: expected loader.entrypoint, got nothing",
        "sys.fds.limit: expected a key of Gramine 1.7, got one that came with 1.8",
    ]
    assert [one.rule for one in found(text, version="1.8")] == ["removed-key"]
    with pytest.raises(UsageError) as refused:
        found(text, version="1.5")
    assert str(refused.value) == "version of Gramine: expected 1.6 or 1.7 or 1.8 or 1.9, got '1.5'"


def test_the_libos_is_named_in_the_form_of_the_version() -> None:
    old = GOOD + 'loader.entrypoint = "file:/libsysdb.so"\n'
    new = GOOD + 'loader.entrypoint = { uri = "file:/libsysdb.so" }\n'

    assert not found(old, version="1.7")
    assert not found(new, version="1.8")
    assert [one.message for one in found(old, version="1.8")] == [
        "loader.entrypoint: expected a table, got a string"
    ]
    assert [(one.rule, one.message) for one in found(new, version="1.6")] == [
        (
            "newer-key",
            "loader.entrypoint: expected a string, as Gramine 1.6 has it, got a table, which came with 1.8",
        )
    ]


def test_a_measured_manifest_has_to_be_complete() -> None:
    (finding,) = [one for one in found(GOOD, where="a.manifest.sgx") if one.rule == "not-measured"]
    assert finding.message == "manifest: expected loader.entrypoint.uri and 3 more, got nothing"


def test_what_gsc_fills_in_may_be_missing() -> None:
    text = without("libos.entrypoint").replace("fs.mounts", "#")
    assert [one.rule for one in found(text)] == ["missing-key", "missing-key"]
    assert found(text, gsc=True) == []


def test_less_grave_findings_can_be_left_out() -> None:
    text = GOOD + "sgx.debug = true\nsys.experimental__enable_flock = true\n"
    assert [one.rule for one in found(text, least=Severity.ERROR)] == ["debug-enclave"]


def test_what_was_read_already_is_not_read_again() -> None:
    assert [one.rule for one in found("not = TOML", manifest={"libos": {"entrypoint": "/a"}}, gsc=True)] != []


def test_other_bytes_than_utf_8_are_told_with_their_place() -> None:
    (finding,) = lint_manifest(b'a = 1\nb = "\xff"', "x.manifest")
    assert (finding.rule, finding.line, finding.column, finding.found) == ("toml-syntax", 2, 6, "other bytes")


def test_a_byte_order_mark_does_not_hide_the_rest() -> None:
    rules = [one.rule for one in found("\ufeff" + GOOD + "sgx.debug = true\n")]
    assert rules == ["gramine-toml", "debug-enclave"]


def test_too_large_a_manifest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casemate.builder.lint.manifest.MAX_SIZE", 10)
    with pytest.raises(FormatError) as refused:
        found("a = 1234567")
    assert str(refused.value) == "manifest: expected at most 10 bytes, got 11 bytes (x.manifest)"


def test_many_findings_of_one_rule_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casemate.builder.lint.manifest.MAX_OF_A_RULE", 2)
    text = GOOD + "".join(f"sgx.x{number} = 1\n" for number in range(5))
    messages = [one.message for one in found(text)]
    assert len(messages) == 3
    assert "manifest: expected none, got 3 more of these" in messages


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "false"),
        ("NOTES_KEY_FILE", "/run/secrets/key"),
        ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
        ("MAX_TOKENS", "4096"),
        ("DATABASE_URL", "postgresql://service@db.internal/notes"),
        ("IMAGE_DIGEST", "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
        ("SECRET_PROVISION_SERVERS", "broker.internal:4433"),
        ("RA_TLS_ISV_SVN", "any"),
        ("LD_LIBRARY_PATH", "/lib:/usr/lib/x86_64-linux-gnu"),
        ("TOKEN_TTL_SECONDS", "300"),
        ("PATH_OF_THE_MODEL", "/models/sentence-transformers-v2.1"),
        ("PASSWORD", ""),
    ],
)
def test_what_is_no_secret_is_not_called_one(name: str, value: str) -> None:
    rules = {one.rule for one in found(f'{GOOD}loader.env.{name} = "{value}"\n')}
    assert rules <= {"ra-tls-incomplete"}


@pytest.mark.parametrize(
    "value",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln",
        "-----BEGIN RSA PRIVATE KEY-----",
        "q8Zr3Lk0Vw7TnB1xYc5Hj9Df2Gs6Pm4",
        "redis://:tiger@cache/0",
        "DefaultEndpointsProtocol=https;AccountKey=abcd1234==",
    ],
)
def test_values_with_the_shape_of_a_secret_are_never_shown(value: str) -> None:
    (finding,) = found(f'{GOOD}loader.env.X = "{value}"\n')
    assert finding.rule == "secret-in-env"
    assert value not in f"{finding}"


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_that_a_build_writes_have_no_findings(version: str) -> None:
    for settings in ("", "edmm = true\nsubprocesses = true\n", 'cpu = { avx512 = "required" }\nbrk = "1M"\n'):
        data = dump_manifest(small_manifest(Small(settings=settings, version=version)))
        assert not lint_manifest(data, "app.manifest.sgx", version=version)


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_that_a_build_writes_have_the_findings_of_what_was_asked_for(version: str) -> None:
    asked = """
debug = true
[env]
LEVEL = { pass = true, one_of = ["info"] }
[mounts]
"/var/a" = { encrypted = "_sgx_mrenclave", host = "/srv/a" }
"/var/b" = { encrypted = "_sgx_mrsigner", host = "/srv/b" }
"""
    data = dump_manifest(small_manifest(Small(settings=asked, version=version)))
    findings = lint_manifest(data, "app.manifest.sgx", version=version)
    assert sorted(one.rule for one in findings) == [
        *("debug-enclave", "encrypted-rollback", "encrypted-rollback"),
        *("passthrough", "sealed-to-mrenclave", "sealed-to-mrsigner"),
    ]


@pytest.mark.parametrize(
    "path", sorted(Path("tests/vectors/measurement").glob("*/app.manifest.sgx")), ids=str
)
def test_manifests_of_gramines_own_signer_have_the_form_that_gramine_reads(path: Path) -> None:
    form = {rule.id for rule in MANIFEST_RULES if rule.severity is Severity.ERROR} - {
        "debug-enclave",
        "allowed-code",
    }
    assert not [one for one in lint_manifest(path.read_bytes(), path.name) if one.rule in form]


@pytest.mark.parametrize(
    ("line", "mend"),
    [
        ('loader.log_level == "Debugg"', 'Did you mean "debug"?'),
        ('sgx.remote_attestation == "dcapp"', 'Did you mean "dcap"?'),
        ('sgx.remote_attestation == "x"', 'Write "none" or "dcap".'),
        ('sgx.max_threads == "16"', "Write 16."),
        ('sgx.max_threads == "many"', "Write an integer."),
        ("sgx.isvsvn == 65536", "Write a number: 0 to 65535."),
        ('loader.argv == "python3"', 'Write ["python3"].'),
        ('loader.argv == "--token=b7nq0d3kb7nq0d3kb7nq0d3k"', "Write an array of strings."),
        ("loader.argv == [1]", "Write a string."),
        ('sgx.enclave_size == "8MB"', 'Write "8M".'),
        ('sgx.enclave_size == "1 GiB"', 'Write "1G".'),
        ('sgx.enclave_size == "1g"', 'Write "1G".'),
        ('sgx.enclave_size == "much"', 'Write "512M" or "4G".'),
        ("sgx.thread_num = 8", "remove it; sgx.max_threads is there already"),
        ('sgx.trusted_files == ["/usr/bin/python3"]', 'Write "file:/usr/bin/python3".'),
        ('sgx.trusted_files == ["https://host/x"]', 'Write "file:PATH".'),
        ("sgx.trusted_files == [1]", 'Write "file:…" or { uri = "file:…", sha256 = "…" }.'),
        ('fs.mounts == [{ path = "/app", uri = "/opt/app" }]', 'Write "file:/opt/app".'),
        (
            'fs.mounts == [{ path = "/app", uri = "pipe:1" }]',
            'Write "file:PATH", or "dev:PATH" for a device.',
        ),
        ('fs.start_dir = "app"', "Begin the path with a slash."),
    ],
)
def test_a_mend_is_what_to_write(line: str, mend: str) -> None:
    key = line.partition(" ")[0]
    text = without(key) + line.replace("==", "=") + "\n" if "==" in line else GOOD + line + "\n"
    assert mend in [finding.mend for finding in found(text)]


@pytest.mark.parametrize("kind", ["chroot", "encrypted", "tmpfs", "untrusted_shm"])
def test_a_mount_may_show_what_gramine_takes(kind: str) -> None:
    uri = "dev:/dev/x" if kind == "untrusted_shm" else "file:/enclave/usr/"
    mount = f'fs.mounts = [{{ type = "{kind}", path = "/x", uri = "{uri}" }}]\n'
    assert "mount-uri" not in {finding.rule for finding in found(without("fs.mounts") + mount)}
