"""The rules, as values: those of ``rules.toml`` and those that are code."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from casemate.builder.lint.finding import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule.

    Attributes:
        id: Its name in outputs and in ``[preflight] accept``.
        severity: How grave its findings are; one step less where the code catches the failure.
        happens: What happens in Gramine.
        mend: What to do.
        source: How that is known.
        forks: Whether it fails because processes are refused, which ``[enclave] subprocesses`` can allow.
    """

    id: str
    severity: Severity
    happens: str
    mend: str
    source: str
    forks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """An argument that makes a call matter.

    Attributes:
        keyword: Its name; empty when it goes by position.
        position: From 0; -1 when it goes by name.
        above: It is a number above this one.
        names: It is one of these; empty: it is neither false, zero nor empty.
    """

    keyword: str
    position: int
    above: int | None
    names: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """How the findings of a rule are seen; ``rules.toml`` says what each one means."""

    uses: frozenset[str]
    when: tuple[Argument, ...]
    methods: frozenset[str]
    beside: frozenset[str]
    imports: tuple[str, ...]
    reached: frozenset[str]
    programs: frozenset[str]
    texts: re.Pattern[str] | None
    variables: frozenset[str]
    mended_by: Mapping[str, str]


@cache
def data_rules() -> tuple[tuple[Rule, Signs], ...]:
    """The rules of ``rules.toml``, in its order."""
    document = tomllib.loads((files(__package__) / "rules.toml").read_text("utf-8"))
    return tuple((_rule(entry), _signs(entry)) for entry in document["rule"])


def _rule(entry: Mapping[str, Any]) -> Rule:
    return Rule(
        id=entry["id"],
        severity=Severity(entry["severity"]),
        happens=entry["happens"],
        mend=entry["mend"],
        source=entry["source"],
        forks=entry.get("forks", False),
    )


def _signs(entry: Mapping[str, Any]) -> Signs:
    texts = entry.get("texts")
    return Signs(
        uses=frozenset(entry.get("uses", ())),
        when=tuple(_argument(item) for item in entry.get("when", ())),
        methods=frozenset(entry.get("methods", ())),
        beside=frozenset(entry.get("beside", ())),
        imports=tuple(entry.get("imports", ())),
        reached=frozenset(entry.get("reached", ())),
        programs=frozenset(entry.get("programs", ())),
        texts=None if texts is None else re.compile(texts),
        variables=frozenset(entry.get("variables", ())),
        mended_by=entry.get("mended_by", {}),
    )


def _argument(item: Mapping[str, Any]) -> Argument:
    return Argument(
        keyword=item.get("keyword", ""),
        position=item.get("position", -1),
        above=item.get("above"),
        names=frozenset(item.get("names", ())),
    )


def _written(
    name: str, severity: Severity, happens: str, mend: str, source: str, *, forks: bool = False
) -> Rule:
    return Rule(id=name, severity=severity, happens=happens, mend=mend, source=source, forks=forks)


GLIBC_VERSION: Final = _written(
    "glibc-version",
    Severity.ERROR,
    "Gramine brings its own C library, and it is older than the one that the file was linked with: the "
    "loader refuses it",
    "build on a system with an older C library (Debian 12, Ubuntu 22.04 or 24.04), or take wheels from PyPI",
    "gramine: subprojects/glibc-*.wrap of each release",
)
GLIBC_PRIVATE: Final = _written(
    "glibc-private",
    Severity.WARNING,
    "the file uses inner parts of one build of the C library, and Gramine brings another: it may crash",
    "use a build of it that keeps to the public interface",
    "glibc: GLIBC_PRIVATE may change at any time",
)
FOREIGN_LIBC: Final = _written(
    "foreign-libc",
    Severity.ERROR,
    "the file is linked with musl, and the interpreter with the GNU C library: it cannot be loaded",
    "install the wheel for manylinux, not the one for musllinux",
    "ELF: DT_NEEDED",
)
LIBGOMP: Final = _written(
    "libgomp",
    Severity.NOTE,
    "libgomp waits by a system call of its own, which leaves the enclave each time: with several threads it "
    "is slow",
    "nothing with one thread, which the manifest sets (OMP_NUM_THREADS=1); else Intel's libiomp5",
    "gramine: -Dlibgomp; gramine#1253",
)
WORKERS_OF_COMMAND: Final = _written(
    "command-processes",
    Severity.ERROR,
    "the command asks for several processes or for a reloader, and sys.disallow_subprocesses refuses both",
    "one process: no --workers above 1, no --reload; celery with --pool=threads or --pool=solo",
    "measured: fork fails with EAGAIN",
    forks=True,
)
READ_ONLY: Final = _written(
    "read-only-place",
    Severity.WARNING,
    "the image is read-only: writing there raises PermissionError",
    'write below /tmp, or below a path of [mounts]: "/var/lib/NAME" = { encrypted = "KEY", host = "…" }',
    "measured: EACCES",
)
TIME_ZONE: Final = _written(
    "time-zone",
    Severity.ERROR,
    "the image does not have this time zone: ZoneInfoNotFoundError",
    "add tzdata to the requirements, or set TZ in [env] to it",
    "measured",
)
MAPPING: Final = _written(
    "shared-mapping",
    Severity.WARNING,
    "a file that is mapped is copied into the memory of the enclave: what others write there need not show, "
    "and what is written here reaches the file at flush and close only",
    "read and write the file, or call flush after each change; to read only: access=mmap.ACCESS_READ",
    "gramine: generic_emulated_mmap; measured",
)
THREADS: Final = _written(
    "more-threads-than-enclave",
    Severity.WARNING,
    "the pool may grow beyond the threads of the enclave; starting one more fails or ends the enclave",
    "raise threads in [enclave], four of which are Gramine's own, or make the pool smaller",
    "gramine: sgx.max_threads",
)
SMALL_STACK: Final = _written(
    "small-stack",
    Severity.WARNING,
    "torch needs more than 2 MiB of stack for each thread; what exceeds it ends the enclave",
    'stack = "8M" in [enclave]',
    "gramine: examples for PyTorch",
)
SECRET: Final = _written(
    "secret-in-env",
    Severity.WARNING,
    "the variable looks like a secret, and everyone who has the image can read its value in the manifest",
    "deliver it by [secrets]",
    "the manifest is part of the image",
)
UNSET: Final = _written(
    "unset-variable",
    Severity.WARNING,
    "the code needs this variable, and neither casemate.toml nor the code sets it; the host's environment "
    "does not reach the enclave: KeyError",
    'NAME = "…" in [env]; or, for a secret, "env:NAME" = "kbs:///default/APP/TAG" in [secrets]',
    "the manifest sets the whole environment: loader.env",
)

#: Rules whose findings are found by code.
CODE_RULES: Final = (
    GLIBC_VERSION,
    GLIBC_PRIVATE,
    FOREIGN_LIBC,
    LIBGOMP,
    WORKERS_OF_COMMAND,
    READ_ONLY,
    TIME_ZONE,
    MAPPING,
    THREADS,
    SMALL_STACK,
    SECRET,
    UNSET,
)


@cache
def all_rules() -> tuple[Rule, ...]:
    """Every rule, in the order of the reference."""
    return (*(rule for rule, _ in data_rules()), *CODE_RULES)
