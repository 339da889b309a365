"""Arguments and environment: who decides them, and what they give away."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from casemate.builder.lint.form_rules import shown
from casemate.builder.lint.problem import Problem
from casemate.builder.lint.secrets import has_secret, secret_reason
from casemate.builder.lint.settings import Settings
from casemate.builder.lint.tree import UNKNOWN

#: What decides which code runs, which peers are believed, where either is looked for, or what is given away.
_DANGEROUS: Final = re.compile(
    r"LD_.*|PYTHON.*|GLIBC_TUNABLES|MALLOC_.*|GCONV_PATH|LOCPATH|BASH_ENV|SSL_CERT_.*|SSLKEYLOGFILE"
    r"|(?:.*_)?CA_BUNDLE|GRPC_DEFAULT_SSL_ROOTS_FILE_PATH|OPENSSL_.*|(?:.*_)?PROXY|HOSTALIASES|LOCALDOMAIN"
    r"|RES_OPTIONS|RA_TLS_.*|SECRET_PROVISION_.*|PATH|HOME",
    re.IGNORECASE,
)
_INSECURE_RA_TLS: Final = re.compile(r"RA_TLS_ALLOW_[A-Z_]+")
_MEASUREMENTS: Final = ("RA_TLS_MRENCLAVE", "RA_TLS_MRSIGNER", "RA_TLS_ISV_PROD_ID", "RA_TLS_ISV_SVN")


def environment_problems(settings: Settings) -> Iterator[Problem]:
    """What is wrong with arguments and environment."""
    yield from _arguments(settings)
    yield from _environment_source(settings)
    yield from _passthrough(settings)
    yield from _ra_tls(settings)
    yield from _secrets(settings)
    yield from _python(settings)


def _arguments(settings: Settings) -> Iterator[Problem]:
    argv = ("loader", "argv")
    if settings.on("loader", "insecure__use_cmdline_argv"):
        path = ("loader", "insecure__use_cmdline_argv")
        yield Problem(rule="host-arguments", path=path, expected="false", found="true")
        others = [name for name in ("argv", "argv_src_file") if settings.get("loader", name) is not None]
        if others:
            found = f"loader.{others[0]} as well"
            yield Problem(rule="conflict", path=path, expected="one source of arguments", found=found)
    if settings.get(*argv) == []:
        mend = "name the program, its arguments follow; or remove the key"
        yield Problem(rule="wrong-value", path=argv, expected="at least one item", found="none", mend=mend)
    elif settings.get(*argv) is not None and settings.get("loader", "argv_src_file") is not None:
        found = "loader.argv as well"
        yield Problem(
            rule="conflict", path=("loader", "argv_src_file"), expected="one source of arguments", found=found
        )
    yield from _source_file(settings, "argv_src_file")


def _environment_source(settings: Settings) -> Iterator[Problem]:
    if settings.on("loader", "insecure__use_host_env"):
        path = ("loader", "insecure__use_host_env")
        yield Problem(rule="host-environment", path=path, expected="false", found="true")
        if settings.get("loader", "env_src_file") is not None:
            found = "loader.env_src_file as well"
            yield Problem(rule="conflict", path=path, expected="one source of variables", found=found)
    yield from _source_file(settings, "env_src_file")


def _source_file(settings: Settings, key: str) -> Iterator[Problem]:
    """A file with arguments or variables has to be trusted."""
    uri = settings.text("loader", key)
    if uri is None:
        return
    if not uri.startswith("file:"):
        yield Problem(rule="wrong-value", path=("loader", key), expected="file:PATH", found=shown(uri))
        return
    trusted = [entry for _, entry in settings.trusted()]
    open_list = settings.get("sgx", "trusted_files") is not None and any(
        UNKNOWN in entry for entry in trusted
    )
    inside = any(entry == uri or (entry.endswith("/") and uri.startswith(entry)) for entry in trusted)
    if not inside and not open_list:
        expected = "a file of sgx.trusted_files"
        yield Problem(rule="source-not-trusted", path=("loader", key), expected=expected, found=shown(uri))


def _passthrough(settings: Settings) -> Iterator[Problem]:
    for path, name, item in settings.entries("loader", "env"):
        if isinstance(item, Mapping) and item.get("passthrough") is True and "value" not in item:
            rule = "dangerous-passthrough" if _DANGEROUS.fullmatch(name) else "passthrough"
            yield Problem(rule=rule, path=path, expected="a value", found="passthrough = true")


def _ra_tls(settings: Settings) -> Iterator[Problem]:
    for path, name, value in settings.variables():
        if _INSECURE_RA_TLS.fullmatch(name) and value not in ("", "0") and UNKNOWN not in value:
            yield Problem(rule="ra-tls-insecure", path=path, expected="no such variable", found=shown(value))
        elif name in ("RA_TLS_MRENCLAVE", "RA_TLS_MRSIGNER") and value == "any":
            yield Problem(rule="ra-tls-any", path=path, expected="64 hexadecimal digits", found='"any"')
    named = [name for _, name, _ in settings.entries("loader", "env") if name in _MEASUREMENTS]
    if named and len(named) < len(_MEASUREMENTS):
        missing = ", ".join(name for name in _MEASUREMENTS if name not in named)
        path = ("loader", "env", named[0])
        yield Problem(
            rule="ra-tls-incomplete", path=path, expected=f"also {missing}", found="nothing", at_key=True
        )


def _secrets(settings: Settings) -> Iterator[Problem]:
    for path, name, value in settings.variables():
        if UNKNOWN in value:
            continue
        reason = secret_reason(name, value)
        if reason is not None:
            yield Problem(rule="secret-in-env", path=path, expected="no secret", found=reason)
    for path, argument in settings.items("loader", "argv"):
        if isinstance(argument, str) and UNKNOWN not in argument and has_secret(argument):
            yield Problem(rule="secret-in-argv", path=path, expected="no secret", found="what looks like one")


def _python(settings: Settings) -> Iterator[Problem]:
    seed = settings.variable("PYTHONHASHSEED")
    if seed not in (None, "random") and UNKNOWN not in str(seed):
        path = ("loader", "env", "PYTHONHASHSEED")
        yield Problem(rule="hash-seed", path=path, expected='nothing or "random"', found=shown(seed))
    host = settings.maybe("loader", "insecure__use_cmdline_argv") or settings.get("loader", "argv_src_file")
    options = _interpreter_options(settings.arguments()[1:])
    isolated = any("I" in option or "E" in option for option in options)
    written = settings.variable("PYTHONDONTWRITEBYTECODE") is not None and not isolated
    if settings.is_python() and not host and not written and not any("B" in option for option in options):
        expected = '-B in loader.argv, or PYTHONDONTWRITEBYTECODE = "1"'
        yield Problem(
            rule="python-bytecode", path=("libos", "entrypoint"), expected=expected, found="neither"
        )


def _interpreter_options(arguments: tuple[str, ...]) -> list[str]:
    """The options of Python itself, each without its dash: those before ``-c``, ``-m`` or a script."""
    options: list[str] = []
    takes_value = False
    for argument in arguments:
        if takes_value:
            takes_value = False
        elif not argument.startswith("-") or argument.startswith(("-c", "-m", "--")) or argument == "-":
            break
        elif argument in ("-X", "-W"):
            takes_value = True
        elif not argument.startswith(("-X", "-W")):
            options.append(argument[1:])
    return options
