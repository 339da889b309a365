"""Judges what ``casemate.toml`` asks for: the command, the environment, the enclave."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from casemate.builder.enclave.exposed import exposed_variables
from casemate.builder.lint.finding import Severity
from casemate.builder.preflight.finding import Finding
from casemate.builder.preflight.rule import (
    SECRET,
    SMALL_STACK,
    WORKERS_OF_COMMAND,
    Rule,
    Signs,
    data_rules,
)
from casemate.project import PROJECT_FILE, Project

#: Options of servers that take a number of processes.
_WORKERS: Final = frozenset({"--workers", "-w", "--processes", "--concurrency"})
#: Servers that take them.
_SERVERS: Final = frozenset({"uvicorn", "hypercorn", "hypercorn.__main__", "fastapi", "granian"})
_THREADED_POOLS: Final = frozenset({"solo", "threads", "gevent", "eventlet"})
_TORCH_STACK: Final = 4 << 20


def check_settings(project: Project, reached: Collection[str]) -> Iterator[Finding]:
    """What ``casemate.toml`` asks for and Gramine does not have.

    Args:
        project: The file.
        reached: Names of all modules of the closure.
    """
    command = project.app.command or ()
    program = command[2] if len(command) > 2 and command[1] == "-m" else ""
    own = dict(project.env)
    for rule, signs in data_rules():
        if program.partition(".")[0] in signs.programs:
            yield _finding(rule, "app.command", " ".join(command))
        for name in sorted(signs.variables & own.keys()):
            yield _finding(rule, f"env.{name}", name)
        module = next((name for name in sorted(signs.reached) if name in reached), None)
        if module is not None:
            yield _reached(rule, signs, module, own)
    yield from _command(program, command[3:], command)
    if "torch" in reached and project.enclave.stack < _TORCH_STACK:
        yield _finding(SMALL_STACK, "enclave.stack", "torch")
    for name in exposed_variables(project):
        yield _finding(SECRET, f"env.{name}", name)


def _finding(rule: Rule, key: str, subject: str) -> Finding:
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        where=f"{PROJECT_FILE}: {key}",
        subject=subject,
        happens=rule.happens,
        mend=rule.mend,
    )


def _reached(rule: Rule, signs: Signs, module: str, own: Mapping[str, str]) -> Finding:
    """A module that matters whoever asks for it; a warning when [env] takes away what would mend it."""
    changed = sorted(name for name, value in signs.mended_by.items() if own.get(name, value) != value)
    if not changed:
        return Finding(
            rule=rule.id,
            severity=rule.severity,
            where=module,
            subject=module.partition(".")[0],
            happens=rule.happens,
            mend=rule.mend,
        )
    return Finding(
        rule=rule.id,
        severity=Severity.WARNING,
        where=f"{PROJECT_FILE}: env.{changed[0]}",
        subject=f"{changed[0]}={own[changed[0]]}",
        happens=rule.happens,
        mend=f"leave {changed[0]} out of [env]: the manifest sets it to {signs.mended_by[changed[0]]}",
    )


def _command(program: str, options: tuple[str, ...], command: tuple[str, ...]) -> Iterator[Finding]:
    top = program.partition(".")[0]
    told = " ".join(command)
    if top in _SERVERS and (_number(options) > 1 or "--reload" in options or "--debug" in options):
        yield _finding(WORKERS_OF_COMMAND, "app.command", told)
    if top == "celery" and "worker" in options and _pool(options) not in _THREADED_POOLS:
        yield _finding(WORKERS_OF_COMMAND, "app.command", told)


def _number(options: tuple[str, ...]) -> int:
    """How many workers the options ask for; 1 when they do not say."""
    for option, value in zip(options, (*options[1:], ""), strict=True):
        name, _, given = option.partition("=")
        text = given or value
        if name in _WORKERS and text.isdecimal():
            return int(text)
    return 1


def _pool(options: tuple[str, ...]) -> str:
    for option, value in zip(options, (*options[1:], ""), strict=True):
        name, _, given = option.partition("=")
        if name in {"--pool", "-P"}:
            return given or value
    return "prefork"
