"""Every public form of a manifest's settings, current, removed and dangerous, and what the linter says."""

from __future__ import annotations

import pytest

from casemate.builder.lint import lint_manifest

#: What every form is added to; a line of the same key goes. No rule finds anything in it.
_BASE = """\
libos.entrypoint = "/usr/bin/app"
fs.mounts = []
loader.uid = 1000
loader.gid = 1000
sgx.remote_attestation = "dcap"
sgx.isvprodid = 1
sgx.isvsvn = 1
sgx.enclave_size = "512M"
sgx.max_threads = 8
"""

#: A form of Gramine's "Manifest syntax", of its older versions or of its libraries; then the rules that find
#: something, in the order of their places.
_FORMS = r"""
libos.entrypoint = "file:/usr/bin/app"  ->  removed-key
libos.check_invalid_pointers = false  ->
loader.entrypoint = "file:/libsysdb.so"  ->  removed-key
loader.entrypoint.uri = "file:/libsysdb.so"  ->
loader.argv = ["app", "x"]  ->
loader.argv = []  ->  wrong-value
loader.argv_src_file = "file:args"  ->  source-not-trusted
loader.insecure__use_cmdline_argv = true  ->  host-arguments
loader.insecure__use_host_env = true  ->  host-environment
loader.env.X = "v"  ->
loader.env.X = { value = "v" }  ->
loader.env.X = { passthrough = true }  ->  passthrough
loader.env.X = { passthrough = false }  ->  wrong-value
loader.env.X = { value = "v", passthrough = true }  ->  conflict
loader.env_src_file = "file:env"  ->  source-not-trusted
loader.insecure__disable_aslr = true  ->  insecure-key
loader.log_level = "debug"  ->  log-level
loader.log_file = "log"  ->  log-file
fs.root = { type = "chroot", uri = "file:/" }  ->
fs.mounts = [{ path = "/a", uri = "file:/a" }]  ->
fs.mounts = [{ type = "tmpfs", path = "/tmp" }]  ->
fs.mounts = [{ type = "untrusted_shm", path = "/dev/shm", uri = "dev:/dev/shm" }]  ->  untrusted-mount
fs.insecure__keys.default = "00112233445566778899aabbccddeeff"  ->  key-in-manifest
sys.stack.size = "2M"  ->
sys.stack.size = "0x1000"  ->  size-syntax
sys.stack.size = "2m"  ->  size-syntax
sys.brk.max_size = "1M"  ->
sys.fds.limit = 900  ->
sys.enable_sigterm_injection = true  ->  sigterm-handler
sys.disallow_subprocesses = true  ->
sys.enable_extra_runtime_domain_names_conf = true  ->  untrusted-names
sys.insecure__allow_eventfd = true  ->  insecure-key
sys.experimental__enable_flock = true  ->  flock
sys.debug__mock_syscalls = [{ name = "sched_yield" }]  ->  mock-syscalls
sys.allowed_ioctls = [{ request_code = 1, struct = "x" }]  ->  device-access
sgx.debug = true  ->  debug-enclave
sgx.enclave_size = "768M"  ->  enclave-size
sgx.max_threads = 3  ->  few-threads
sgx.edmm_enable = true  ->
sgx.edmm_enable = true\nsgx.preheat_enclave = true  ->  conflict
sgx.use_exinfo = true  ->
sgx.insecure__allow_memfaults_without_exinfo = true  ->  insecure-key
sgx.insecure__rpc_thread_num = 4  ->  insecure-key
sgx.remote_attestation = "none"  ->  no-attestation
sgx.remote_attestation = "epid"  ->  removed-key
sgx.remote_attestation = true  ->  removed-key
sgx.isvsvn = 0  ->  isv-numbers
sgx.isvprodid = 70000  ->  wrong-value
sgx.cpu_features = { avx = "required", avx512 = "disabled" }  ->  avx-lost
sgx.cpu_features.mpx = "unspecified"  ->  wrong-value
sgx.seal_key.flags_mask = "ffff"  ->  wrong-value
sgx.trusted_files = ["file:/a", { uri = "file:/b", sha256 = "00" }]  ->  wrong-value
sgx.trusted_files = ["file:/etc/hosts"]  ->  live-file-trusted
sgx.trusted_files.a = "file:/a"  ->  removed-key
sgx.allowed_files = ["file:/data"]  ->  allowed-files
sgx.allowed_files = []  ->
sgx.allowed_files = ["file:/etc/"]  ->  allowed-files allowed-code
sgx.allowed_files = ["file:app.py"]  ->  allowed-files allowed-code
sgx.file_check_policy = "allow_all_but_log"  ->  file-check-policy
sgx.enable_stats = true  ->  profiling
sgx.profile.enable = "main"  ->  profiling
sgx.vtune_profile = true  ->  profiling
loader.preload = "file:x"  ->  removed-key
loader.exec = "file:x"  ->  removed-key
loader.argv0_override = "x"  ->  removed-key
loader.pal_internal_mem_size = "64M"  ->  removed-key
loader.debug_type = "none"  ->  removed-key
fs.mount.lib.path = "/lib"  ->  removed-key
fs.experimental__enable_sysfs_topology = true  ->  removed-key
sgx.thread_num = 4  ->  removed-key
sgx.rpc_thread_num = 4  ->  removed-key
sgx.nonpie_binary = true  ->  removed-key
sgx.protected_files.a = "file:a"  ->  removed-key
sgx.protected_mrenclave_files.a = "file:a"  ->  removed-key
sgx.protected_mrsigner_files.a = "file:a"  ->  removed-key
sgx.insecure__protected_files_key = "00"  ->  removed-key
sgx.require_avx = true  ->  removed-key
sgx.require_exinfo = true  ->  removed-key
sgx.ra_client_spid = ""  ->  removed-key
sgx.sigfile = "x"  ->  removed-key
sgx.debug = 1  ->  wrong-type
loader.env.SECRET_PROVISION_SET_PF_KEY = "1"  ->  removed-variable
loader.env.RA_TLS_ALLOW_DEBUG_ENCLAVE_INSECURE = "1"  ->  ra-tls-insecure
loader.env.RA_TLS_MRENCLAVE = "any"  ->  ra-tls-incomplete ra-tls-any
loader.env.RA_TLS_MRSIGNER = "any"  ->  ra-tls-incomplete ra-tls-any
loader.env.LD_PRELOAD = { passthrough = true }  ->  dangerous-passthrough
loader.env.PYTHONPATH = { passthrough = true }  ->  dangerous-passthrough
loader.env.GLIBC_TUNABLES = { passthrough = true }  ->  dangerous-passthrough
loader.env.MALLOC_ARENA_MAX = { passthrough = true }  ->  dangerous-passthrough
loader.env.SSL_CERT_FILE = { passthrough = true }  ->  dangerous-passthrough
loader.env.REQUESTS_CA_BUNDLE = { passthrough = true }  ->  dangerous-passthrough
loader.env.OPENSSL_CONF = { passthrough = true }  ->  dangerous-passthrough
loader.env.https_proxy = { passthrough = true }  ->  dangerous-passthrough
loader.env.RA_TLS_MRSIGNER = { passthrough = true }  ->  ra-tls-incomplete dangerous-passthrough
loader.env.SECRET_PROVISION_SERVERS = { passthrough = true }  ->  dangerous-passthrough
loader.env.PATH = { passthrough = true }  ->  dangerous-passthrough
loader.env.HOME = { passthrough = true }  ->  dangerous-passthrough
loader.env.SSLKEYLOGFILE = { passthrough = true }  ->  dangerous-passthrough
loader.env.DB_PASSWORD = "hunter2"  ->  secret-in-env
loader.env.PYTHONHASHSEED = "0"  ->  hash-seed
libos.entrypoint = "/usr/bin/python3"  ->  python-bytecode
sgx.trusted_files = ["file:/usr/lib/python3/dist-packages/numpy/a.so"]  ->  small-stack
libos.sync.enable = true  ->  unknown-key
fs.start_dir = "/app"  ->
sys.ioctl_structs.x = [{ size = 4 }]  ->
sgx.unknown = 1  ->  unknown-key
sgx.enclave_size = "1T"  ->  size-syntax
loader.env.GCONV_PATH = { passthrough = true }  ->  dangerous-passthrough
loader.env.AWS_CA_BUNDLE = { passthrough = true }  ->  dangerous-passthrough
loader.env.RA_TLS_ALLOW_OUTDATED_TCB_INSECURE = "1"  ->  ra-tls-insecure
sgx.require_avx512 = true  ->  removed-key
sgx.require_amx = true  ->  removed-key
sgx.require_mpx = true  ->  removed-key
sgx.require_pkru = false  ->  removed-key
sgx.ra_client_linkable = true  ->  removed-key
sgx.allowed_files = ["file:/"]  ->  allowed-files allowed-code
sgx.allowed_files = ["file:/lib/"]  ->  allowed-files allowed-code
sgx.allowed_files = ["file:/usr/"]  ->  allowed-files allowed-code
sgx.allowed_files = ["file:lib.so"]  ->  allowed-files allowed-code
loader.log_level = "trace"  ->  log-level
loader.log_level = "all"  ->  log-level
loader.log_level = "warning"  ->  log-level
loader.log_level = "none"  ->
fs.root = { type = "encrypted", uri = "file:/a", enable_recovery = true }  ->  encrypted-rollback
fs.root={type="encrypted",uri="file:a",key_name="_sgx_mrenclave"}  ->  encrypted-rollback sealed-to-mrenclave
fs.root = {type="encrypted",uri="file:a",key_name="_sgx_mrsigner" }  ->  encrypted-rollback sealed-to-mrsigner
sgx.cpu_features = { avx512 = "required", mpx = "disabled", pkru = "required" }  ->
sgx.seal_key = { flags_mask = "0xffffffffffffffff", misc_mask = "0xffffffff" }  ->
sgx.seal_key.xfrm_mask = "0xfffffffffff9ff1b"  ->
"""


def _cases() -> list[tuple[str, list[str]]]:
    lines = (line.partition("  ->") for line in _FORMS.strip().splitlines())
    return [(form.replace("\\n", "\n"), rules.split()) for form, _, rules in lines]


@pytest.mark.parametrize(("form", "rules"), _cases())
def test_a_form_has_the_findings_that_are_listed(form: str, rules: list[str]) -> None:
    key = form.partition(" = ")[0]
    base = "".join(line for line in _BASE.splitlines(keepends=True) if not line.startswith(f"{key} "))

    findings = lint_manifest(f"{base}{form}\n".encode(), "x.manifest")

    assert [finding.rule for finding in findings] == rules


def test_the_base_has_no_findings() -> None:
    assert lint_manifest(_BASE.encode(), "x.manifest") == ()
