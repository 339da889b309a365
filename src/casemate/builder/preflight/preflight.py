"""Everything that preflight looks at, joined."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final

from casemate.builder.closure import ReachedModule
from casemate.builder.contents import ImageFile
from casemate.builder.enclave.environment import TEMPORARY_FOLDER
from casemate.builder.lint.finding import Severity
from casemate.builder.native.system_files import HELPER_THREADS
from casemate.builder.nearest import nearest
from casemate.builder.preflight.code import OwnModule, check_code
from casemate.builder.preflight.finding import Finding, PreflightError
from casemate.builder.preflight.native import check_libraries_of
from casemate.builder.preflight.places import Surroundings, check_places
from casemate.builder.preflight.rule import all_rules
from casemate.builder.preflight.settings import check_settings
from casemate.builder.preflight.uses import ModuleUses, read_uses
from casemate.builder.preflight.variables import check_variables
from casemate.errors import ClosureError, ProjectError
from casemate.project import PROJECT_FILE, Destination, Project

#: Whose rules hold when a bundle is built without Gramine.
_DEFAULT_GRAMINE: Final = "1.9"
_ALLOWED: Final = (
    "each process is an enclave of its own, as large as this one, and starts as slowly; locks and queues "
    "between them do not work"
)
_ALLOWED_MEND: Final = "count each of them into the memory of the node; threads need none of it"
#: The rule about what ``[enclave] subprocesses`` allows.
_SUBPROCESS: Final = "subprocess"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is judged.

    Attributes:
        project: Its ``casemate.toml``.
        modules: The modules of its closure.
        python: Release of the interpreter: ``"3.11.7"``.
        gramine: Version of Gramine; ``None`` when there is none.
    """

    project: Project
    modules: tuple[ReachedModule, ...]
    python: str
    gramine: str | None


def check_application(subject: Subject, files: Iterable[ImageFile]) -> tuple[Finding, ...]:
    """Findings about the application's code, its settings and the ``files`` of its image, sorted.

    Raises:
        ClosureError: A module of the application cannot be read.
        ProjectError: ``[preflight] accept`` names a rule that there is not.
    """
    accepted = _accepted(subject.project)
    listed = tuple(files)
    found = [*_code(subject, listed), *_settings(subject), *check_native(subject, listed)]
    if subject.project.enclave.subprocesses:
        found = [_where_processes_are_allowed(finding) for finding in found]
    return _sorted(found, accepted)


def check_native(subject: Subject, files: Iterable[ImageFile]) -> tuple[Finding, ...]:
    """Findings about the libraries among ``files`` alone."""
    version = ".".join((subject.gramine or _DEFAULT_GRAMINE).split(".")[:2])
    return _sorted(check_libraries_of(files, version), _accepted(subject.project))


def joined(*parts: Iterable[Finding]) -> tuple[Finding, ...]:
    """Several lists of findings as one, sorted: graver ones first, then by place."""
    return _sorted([finding for part in parts for finding in part], frozenset())


def require_acceptable(findings: Iterable[Finding]) -> None:
    """Refuse to build with findings that say that the application does not run.

    Raises:
        PreflightError: There is one.
    """
    listed = tuple(findings)
    if any(finding.refuses for finding in listed):
        raise PreflightError(listed)


def _accepted(project: Project) -> frozenset[str]:
    known = [rule.id for rule in all_rules()]
    for name in project.preflight.accept:
        if name not in known:
            near = nearest(name, known)
            raise ProjectError(
                f'rule "{name}"',
                expected="a rule of preflight",
                got="no such rule",
                where=f"{PROJECT_FILE}: preflight.accept",
                hint=f'did you mean "{near}"?' if near else f"the rules are {', '.join(sorted(known))}",
            )
    asked_for = [_SUBPROCESS] if project.enclave.subprocesses else []
    return frozenset([*project.preflight.accept, *asked_for])


def _where_processes_are_allowed(finding: Finding) -> Finding:
    """What only the refusal of processes would stop is slow and large then, and runs."""
    forking = {rule.id for rule in all_rules() if rule.forks}
    if finding.rule not in forking or finding.severity is not Severity.ERROR:
        return finding
    return replace(finding, severity=Severity.WARNING, happens=_ALLOWED, mend=_ALLOWED_MEND)


def _sorted(findings: Iterable[Finding], accepted: frozenset[str]) -> tuple[Finding, ...]:
    marked = {
        replace(finding, accepted=finding.accepted or finding.rule in accepted): None for finding in findings
    }
    return tuple(sorted(marked, key=lambda it: (-it.severity.rank, _place(it.where), it.rule, it.subject)))


def _place(where: str) -> tuple[str, int]:
    file, _, line = where.rpartition(":")
    return (file, int(line)) if line.isdecimal() else (where, 0)


def _code(subject: Subject, files: tuple[ImageFile, ...]) -> Iterator[Finding]:
    reached = {module.name for module in subject.modules}
    top_names = frozenset(module.name.partition(".")[0] for module in subject.modules if module.is_own)
    around = Surroundings(
        writable=_writable(subject.project),
        files=frozenset(file.path for file in files),
        threads=subject.project.enclave.threads - HELPER_THREADS,
    )
    major, minor, micro = (int(part) for part in subject.python.split("."))
    read: list[OwnModule] = []
    for module in subject.modules:
        if module.source is None:
            continue
        uses = _read(module, (major, minor, micro), subject.project)
        own = OwnModule(module=module, uses=uses, top_names=top_names)
        read.append(own)
        seen: set[tuple[str, str, str]] = set()
        for finding in (*check_code(own, reached), *check_places(own, around)):
            key = (finding.rule, finding.where, finding.subject)
            if key not in seen:
                seen.add(key)
                yield finding
    yield from check_variables(read, subject.project, around.files)


def _read(module: ReachedModule, version: tuple[int, int, int], project: Project) -> ModuleUses:
    try:
        return read_uses(module.source or b"", version=version, main=_is_main(module, project))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ClosureError(
            "application's code",
            expected="valid Python that is not nested too deeply",
            got=str(error) or "too deep a nesting",
            where=module.file,
        ) from error


def _is_main(module: ReachedModule, project: Project) -> bool:
    """Whether the command runs this module as ``__main__``."""
    command = project.app.command
    if command is None:
        return False
    if command[1] == "-m":
        return module.name in {command[2], f"{command[2]}.__main__"}
    return module.file == str(PurePosixPath(command[1]))


def _settings(subject: Subject) -> Iterator[Finding]:
    reached = {module.name for module in subject.modules}
    return check_settings(subject.project, reached)


def _writable(project: Project) -> tuple[str, ...]:
    secrets = (
        str(PurePosixPath(secret.destination).parent)
        for secret in project.secrets
        if secret.kind is Destination.FILE
    )
    return (TEMPORARY_FOLDER, *(mount.path for mount in project.mounts), *secrets)
