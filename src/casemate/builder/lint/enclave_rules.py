"""Settings of the enclave and of the LibOS that give up what an enclave is for, or that do not work."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from casemate.builder.lint.form_rules import shown
from casemate.builder.lint.problem import Problem
from casemate.builder.lint.schema import REMOVED
from casemate.builder.lint.settings import Settings
from casemate.builder.lint.tree import UNKNOWN, UNKNOWN_VALUE, Path
from casemate.errors import FormatError
from casemate.formats.manifest import parse_size

#: Threads that Gramine starts for itself: IPC, asynchronous events, TLS handshakes; and one for the program.
_LEAST_THREADS: Final = 4
_NUMERICAL_STACK: Final = 2 << 20
_NUMERICAL: Final = re.compile(r"/(?:numpy|scipy|torch|pandas|sklearn|tensorflow)/")
#: Insecure settings that have a rule of their own.
_OWN_RULE: Final = frozenset({"insecure__use_cmdline_argv", "insecure__use_host_env", "insecure__keys"})
_OFF: Final = (False, 0, None, UNKNOWN_VALUE)


def enclave_problems(settings: Settings) -> Iterator[Problem]:
    """What is wrong with them."""
    yield from _debugging(settings)
    yield from _insecure(settings.tree, ())
    yield from _policies(settings)
    yield from _threads_and_memory(settings)
    yield from _identity(settings)
    yield from _system(settings)


def _debugging(settings: Settings) -> Iterator[Problem]:
    if settings.on("sgx", "debug"):
        yield Problem(rule="debug-enclave", path=("sgx", "debug"), expected="false", found="true")
    for key in ("enable_stats", "vtune_profile"):
        if settings.on("sgx", key):
            yield Problem(rule="profiling", path=("sgx", key), expected="false", found="true")
    profile = settings.text("sgx", "profile", "enable")
    if profile not in (None, "none"):
        path = ("sgx", "profile", "enable")
        yield Problem(rule="profiling", path=path, expected='"none"', found=shown(profile))
    mocked = settings.get("sys", "debug__mock_syscalls")
    if isinstance(mocked, list) and mocked:
        names = [shown(item.get("name")) for item in mocked[:5] if isinstance(item, Mapping)]
        found = ", ".join(names) or "some"
        yield Problem(
            rule="mock-syscalls", path=("sys", "debug__mock_syscalls"), expected="none", found=found
        )


def _insecure(tree: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    """Keys of the tables of the first and second level that say so by their name."""
    for name, value in tree.items():
        inner = (*path, name)
        if name.startswith("insecure__") and not _has_own_rule(inner) and value not in _OFF:
            yield Problem(rule="insecure-key", path=inner, expected="false or 0", found=_switch(value))
        elif isinstance(value, Mapping) and len(path) < 1 and UNKNOWN not in name:
            yield from _insecure(value, inner)


def _has_own_rule(path: Path) -> bool:
    return path[-1] in _OWN_RULE or ".".join(str(step) for step in path) in REMOVED


def _switch(value: object) -> str:
    return shown(value) if isinstance(value, bool | int) else "something else"


def _policies(settings: Settings) -> Iterator[Problem]:
    policy = settings.text("sgx", "file_check_policy")
    if policy not in (None, "strict"):
        path: Path = ("sgx", "file_check_policy")
        yield Problem(rule="file-check-policy", path=path, expected='"strict"', found=shown(policy))
    level = settings.text("loader", "log_level")
    if level in ("warning", "debug", "trace", "all"):
        path = ("loader", "log_level")
        yield Problem(rule="log-level", path=path, expected='"error" or "none"', found=shown(level))
    if settings.get("loader", "log_file") is not None:
        found = shown(settings.get("loader", "log_file"))
        yield Problem(
            rule="log-file", path=("loader", "log_file"), expected="no file of the host", found=found
        )
    for path, _name, _ in settings.entries("fs", "insecure__keys"):
        yield Problem(rule="key-in-manifest", path=path, expected="no key", found="one", at_key=True)
    attestation = settings.get("sgx", "remote_attestation")
    if attestation in (None, "none", False):
        path = ("sgx", "remote_attestation") if attestation is not None else ()
        found = "nothing" if attestation is None else shown(attestation)
        subject = "sgx.remote_attestation"
        yield Problem(rule="no-attestation", path=path, expected='"dcap"', found=found, subject=subject)


def _threads_and_memory(settings: Settings) -> Iterator[Problem]:
    threads = settings.get("sgx", "max_threads")
    edmm = settings.maybe("sgx", "edmm_enable")
    if isinstance(threads, int) and 0 < threads < _LEAST_THREADS and not edmm:
        path: Path = ("sgx", "max_threads")
        yield Problem(
            rule="few-threads", path=path, expected=f"at least {_LEAST_THREADS}", found=shown(threads)
        )
    if settings.on("sgx", "edmm_enable") and settings.on("sgx", "preheat_enclave"):
        path = ("sgx", "preheat_enclave")
        yield Problem(rule="conflict", path=path, expected="false with sgx.edmm_enable", found="true")
    features = ("sgx", "cpu_features")
    if settings.get(*features, "avx") == "required" and settings.get(*features, "avx512") == "disabled":
        path = (*features, "avx512")
        yield Problem(rule="avx-lost", path=path, expected='"unspecified" or "required"', found='"disabled"')
    yield from _stack(settings)


def _stack(settings: Settings) -> Iterator[Problem]:
    if "small-stack" in settings.ignored:
        return
    numerical = next((name[0] for _, uri in settings.trusted() if (name := _NUMERICAL.search(uri))), None)
    if numerical is None:
        return
    written = settings.get("sys", "stack", "size")
    try:
        size = (
            256 << 10 if written is None else parse_size(str(settings.text("sys", "stack", "size")), where="")
        )
    except FormatError:
        return
    if size < _NUMERICAL_STACK:
        path = ("sys", "stack", "size") if written is not None else ()
        found = "256K, the default," if written is None else shown(written)
        expected = f'at least "2M" with {numerical.strip("/")}'
        subject = "sys.stack.size"
        yield Problem(rule="small-stack", path=path, expected=expected, found=found, subject=subject)


def _identity(settings: Settings) -> Iterator[Problem]:
    for key in ("isvprodid", "isvsvn"):
        number = settings.get("sgx", key)
        if number is None or (number == 0 and not isinstance(number, bool)):
            path = ("sgx", key) if number is not None else ()
            found = "nothing, which is 0" if number is None else "0"
            yield Problem(
                rule="isv-numbers", path=path, expected="1 or more", found=found, subject=f"sgx.{key}"
            )
    roots = [key for key in ("uid", "gid") if settings.get("loader", key) in (None, 0)]
    if roots:
        written = [key for key in roots if settings.get("loader", key) is not None]
        path = ("loader", written[0]) if written else ()
        subject = " and ".join(f"loader.{key}" for key in roots)
        yield Problem(rule="root-identity", path=path, expected="1 or more", found="0", subject=subject)


def _system(settings: Settings) -> Iterator[Problem]:
    if settings.on("sys", "experimental__enable_flock"):
        path: Path = ("sys", "experimental__enable_flock")
        yield Problem(rule="flock", path=path, expected="false", found="true")
    if settings.get("sys", "allowed_ioctls") not in (None, []):
        path = ("sys", "allowed_ioctls")
        yield Problem(rule="device-access", path=path, expected="none", found="some")
    names = ("sys", "enable_extra_runtime_domain_names_conf")
    if settings.on(*names) and not settings.variable("SSL_CERT_FILE"):
        expected = "a certificate authority of its own, SSL_CERT_FILE"
        yield Problem(rule="untrusted-names", path=names, expected=expected, found="none")
    signal = ("sys", "enable_sigterm_injection")
    if settings.on(*signal) and not settings.runs_attester():
        yield Problem(
            rule="sigterm-handler", path=signal, expected="a handler that was reviewed", found="true"
        )
