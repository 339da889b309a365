"""Files of an image that its application opens by their absolute paths."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Final

from casemate.builder.closure import Question, ReachedModule
from casemate.builder.closure.data import application_files, included, refuse_private_key
from casemate.builder.contents import ImageFile, Reason, Rule
from casemate.builder.foreign.root import ImageRoot
from casemate.builder.layout import APPLICATION_ROOT, GLIBC_ROOT, NATIVE_ROOT, PYTHON_HOME
from casemate.errors import ProjectError
from casemate.project import PROJECT_FILE

#: What the enclave has of its own, or gets from Gramine.
_TAKEN: Final = (
    *(PYTHON_HOME, APPLICATION_ROOT, GLIBC_ROOT, NATIVE_ROOT),
    *("/dev", "/proc", "/sys", "/tmp", "/casemate", "/gramine", "/etc/casemate"),  # noqa: S108 - the enclave's
)
#: Folders that every system has; a program that names one of them alone rarely means its files.
_USUAL: Final = frozenset(
    {
        "/bin", "/boot", "/dev", "/etc", "/etc/ssl", "/etc/ssl/certs", "/home", "/lib", "/lib64", "/media",
        "/mnt", "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/usr", "/usr/bin",
        "/usr/lib", "/usr/local", "/usr/local/bin", "/usr/local/lib", "/usr/share", "/usr/share/zoneinfo",
        "/var", "/var/lib", "/var/log", "/var/run",
    }
)  # fmt: skip
#: What the enclave has under the same path, or programs, which it does not start.
_ELSEWHERE: Final = (
    *("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/dev", "/proc", "/sys", "/run"),
    *("/tmp", "/var/tmp"),  # noqa: S108 - the enclave's
)
_HERE_TOO: Final = frozenset(
    {
        "/etc/group", "/etc/gai.conf", "/etc/host.conf", "/etc/hosts", "/etc/localtime", "/etc/nsswitch.conf",
        "/etc/passwd", "/etc/protocols", "/etc/resolv.conf", "/etc/services", "/etc/hostname",
        "/etc/ssl/certs/ca-certificates.crt",
    }
)  # fmt: skip
_LONGEST: Final = 4096


def included_files(root: ImageRoot, patterns: Iterable[str], taken: Iterable[str]) -> tuple[ImageFile, ...]:
    """The files that absolute patterns of ``[closure] include`` name, under the same paths.

    Args:
        root: The image.
        patterns: Those of ``[closure] include`` that begin with a slash.
        taken: Paths of the enclave that other files have.

    Raises:
        ProjectError: A pattern names nothing, a place where the enclave has its own files, or a private key.
    """
    files: dict[str, ImageFile] = {}
    others = set(taken)
    for pattern in patterns:
        folder = _fixed_part(pattern)
        names = tuple(_below(root, folder)) if folder != pattern else (pattern,) * _is_file(root, pattern)
        for path in _matching(pattern, names):
            _require_free(pattern, path, others)
            file = root.file(path)
            refuse_private_key(file, path)
            reason = Reason(rule=Rule.INCLUDED, of=None, detail=f'include = "{pattern}"')
            files[path] = ImageFile(path=path, content=file, reason=reason)
    return tuple(files[path] for path in sorted(files))


def _matching(pattern: str, names: tuple[str, ...]) -> tuple[str, ...]:
    try:
        matching = included(pattern[1:], tuple(name[1:] for name in names), PROJECT_FILE)
    except ProjectError as error:
        raise ProjectError(
            f'include "{pattern}"',
            expected="a pattern that names a file of the image",
            got="none",
            where=f"{PROJECT_FILE}: closure.include",
            hint="what begins with a slash is a path of the image; ** stands for any number of folders",
        ) from error
    return tuple(f"/{name}" for name in matching)


def _fixed_part(pattern: str) -> str:
    """The folders of a pattern before the first that has a wildcard; the whole, when none has."""
    parts = PurePosixPath(pattern).parts
    return str(PurePosixPath(*parts[: _first_wildcard(parts)]))


def _first_wildcard(parts: Sequence[str]) -> int:
    return next((number for number, part in enumerate(parts) if "*" in part or "?" in part), len(parts))


def _is_file(root: ImageRoot, path: str) -> bool:
    return root.identity(path) is not None


def _below(root: ImageRoot, folder: str) -> Iterator[str]:
    if folder == "/":
        raise ProjectError(
            "include",
            expected="a pattern that begins with a folder",
            got="one for the whole image",
            where=f"{PROJECT_FILE}: closure.include",
            hint='name the folder: "/srv/data/**"',
        )
    return (f"{folder}/{name}" for name in application_files(root.file(folder)))


def _require_free(pattern: str, path: str, taken: set[str]) -> None:
    if path in taken or any(PurePosixPath(path).is_relative_to(place) for place in _TAKEN):
        raise ProjectError(
            f'include "{pattern}"',
            expected="a path that the enclave does not have of its own",
            got=path,
            where=f"{PROJECT_FILE}: closure.include",
            hint="move the file in the image, to a folder such as /srv/data",
        )


def questions_about_paths(
    root: ImageRoot, modules: Iterable[ReachedModule], *, source: str | None, patterns: Sequence[str]
) -> tuple[Question, ...]:
    """Absolute paths of the image that the application's code names, and that no pattern includes.

    Args:
        root: The image.
        modules: Those of the closure.
        source: The folder of the image that becomes ``/app``; ``None`` when it is none of the image.
        patterns: ``[closure] include``.
    """
    found: dict[str, Question] = {}
    for module in modules:
        for path, line in _paths(module.source or b""):
            if path not in found and _is_asked(root, path, source) and not _is_covered(path, patterns):
                is_folder = root.file(path).is_dir()
                found[path] = Question(
                    where=f"{module.file}:{line}",
                    question=f"the image has {path}, which the enclave has not: is it opened?",
                    line=f'include = ["{path}{"/**" if is_folder else ""}"]',
                )
    return tuple(sorted(found.values(), key=lambda question: (question.where, question.line)))


def _paths(source: bytes) -> Iterator[tuple[str, int]]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("/"):
            path = node.value.rstrip("/")
            if len(path) < _LONGEST and path.isprintable() and os.path.normpath(path) == path:
                yield path, node.lineno


def _is_asked(root: ImageRoot, path: str, source: str | None) -> bool:
    if path in _USUAL or path in _HERE_TOO or path.count("/") == 0:
        return False
    place = PurePosixPath(path)
    if any(place.is_relative_to(folder) for folder in _ELSEWHERE):
        return False
    if source == APPLICATION_ROOT and place.is_relative_to(source):
        return False
    try:
        file = root.file(path)
    except ProjectError:  # any text of the code may begin with a slash
        return False
    return file.is_file() or file.is_dir()


def _is_covered(path: str, patterns: Sequence[str]) -> bool:
    place = PurePosixPath(path)
    return any(
        pattern.startswith("/") and (pattern == path or place.is_relative_to(_fixed_part(pattern)))
        for pattern in patterns
    )
