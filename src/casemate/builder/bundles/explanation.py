"""Why a file is trusted, or why it is not: answers from ``tcb.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from casemate.builder.bundles.tcb import Tcb, TcbFile
from casemate.builder.layout import APPLICATION_ROOT, ENCLAVE_ROOT
from casemate.errors import UsageError

#: As many as a reader looks through.
_MOST_NAMED: Final = 20
_CODE: Final = (".py", ".pyc", ".so")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """A file of the image, and the files because of which it is there, itself first."""

    chain: tuple[TcbFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file of the interpreter or the environment, or a module of the application, that nothing reached.

    Attributes:
        path: Where it would lie.
        line: The line of ``casemate.toml``, below ``[closure]``, that would take it in.
    """

    path: str
    line: str


def explain(tcb: Tcb, name: str) -> Trusted | LeftOut:
    """What is known about the file that ``name`` means.

    Args:
        tcb: Of the bundle.
        name: A path in the enclave or the end of one, or the name of a module.

    Raises:
        UsageError: No file is meant, or several are.
    """
    files = {file.path: file for file in tcb.files}
    path = _one(name, tuple(files))
    if path is not None:
        return Trusted(chain=reason_chain(files, path))
    path = _one(name, tcb.considered.left_out)
    if path is not None:
        return LeftOut(path=path, line=_line(path))
    raise UsageError(
        "file to explain",
        expected="a file of the bundle, or one that was left out",
        got=name,
        hint="give a path in the enclave, the end of one, or a module: notes/store.py, json.decoder",
    )


def _one(name: str, paths: tuple[str, ...]) -> str | None:
    """The path that ``name`` means among ``paths``, if any."""
    for meaning in (_whole, _module, _ending):
        found = sorted(path for path in paths if meaning(name, path))
        if len(found) == 1:
            return found[0]
        if found:
            more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
            raise UsageError(
                "file to explain",
                expected="a name that means one file",
                got=f"{name}, which means {', '.join(found[:_MOST_NAMED])}{more}",
                hint="give more of the path",
            )
    return None


def _whole(name: str, path: str) -> bool:
    return path in (name, name.removeprefix(ENCLAVE_ROOT), _source_to_bytecode(name))


def _source_to_bytecode(name: str) -> str:
    return f"{name}c" if name.endswith(".py") else name


def _module(name: str, path: str) -> bool:
    """Whether ``path`` is the file of the module ``name``, or of the package of this name."""
    if "/" in name or not path.endswith(_CODE):
        return False
    stem = PurePosixPath(path)
    parts = [*stem.parent.parts, stem.name.partition(".")[0]]
    if parts[-1] == "__init__":
        parts.pop()
    wanted = name.split(".")
    return parts[-len(wanted) :] == wanted and _is_top(parts[: -len(wanted)])


def _is_top(folder: list[str]) -> bool:
    """Whether modules without a package lie in ``folder``."""
    return (
        str(PurePosixPath(*folder)) == APPLICATION_ROOT
        or folder[-1:]
        in (
            ["site-packages"],
            ["lib-dynload"],
        )
        or folder[-2:-1] == ["lib"]
    )


def _ending(name: str, path: str) -> bool:
    return any(path.endswith(f"/{form.lstrip('/')}") for form in {name, _source_to_bytecode(name)})


def reason_chain(files: Mapping[str, TcbFile], path: str) -> tuple[TcbFile, ...]:
    """The file at ``path`` and those because of which it is there, itself first.

    Args:
        files: Of one bundle, by path.
        path: One of them; another has no chain.
    """
    chain: list[TcbFile] = []
    following: str | None = path
    while following is not None and following in files and files[following] not in chain:
        chain.append(files[following])
        following = files[following].reason.of
    return tuple(chain)


def _line(path: str) -> str:
    """How ``[closure] include`` names the file."""
    parts = PurePosixPath(path).parts
    if path.endswith(_CODE):
        start = next((parts.index(top) + 1 for top in ("site-packages", "lib-dynload") if top in parts), 5)
        if path.startswith(f"{APPLICATION_ROOT}/"):
            start = len(PurePosixPath(APPLICATION_ROOT).parts)
        names = [*parts[start:-1], parts[-1].partition(".")[0]]
        if names[-1] == "__init__":
            names.pop()
        return f'include = ["module:{".".join(names)}"]'
    package = parts[parts.index("site-packages") + 1] if "site-packages" in parts else parts[-2]
    return f'include = ["module:{package}"]'
