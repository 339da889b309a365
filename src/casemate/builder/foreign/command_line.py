"""What an image starts: from its entry point, through wrappers and shells, to Python code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from posixpath import basename, dirname, join, normpath
from typing import Final

from casemate.builder.foreign.servers import SERVERS, Served, read_server
from casemate.errors import ProjectError

_SHELLS: Final = frozenset({"sh", "bash", "dash", "ash"})
#: Programs that only start another one; their options end with ``--``.
_INITS: Final = frozenset({"tini", "tini-static", "dumb-init", "catatonit", "docker-init"})
#: Tools that start a program of a project's environment.
_RUNNERS: Final = frozenset({"uv", "poetry", "pipenv", "pdm", "hatch", "rye"})
_PYTHON: Final = re.compile(r"(python|pypy)(3(\.\d+)?)?")
_VARIABLE: Final = re.compile(r"\$(?:(\w+)|\{(\w+)(?::?-([^}]*))?\})")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
#: What a shell does beyond starting one program.
_SHELL_WORK: Final = re.compile(r"[;&|<>`()\n]|\$\(")
_ALONE: Final = frozenset({"-u", "-B", "-b", "-E", "-I", "-P", "-s", "-S", "-O", "-OO", "-q", "-v", "-d"})
_WITH_VALUE: Final = frozenset({"-X", "-W"})
_DEEPEST: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What an image starts.

    Attributes:
        program: The program that is Python or has it in its first line, as the image names it.
        served: What a web server serves; ``None`` for a command.
        command: ``("python", "-m", "notes")`` or ``("python", "app.py")``; ``None`` for what is served.
        folder: Where Python looks for the application first, absolute.
        env: Variables that the command line sets.
        dropped: What was left out, in words.
    """

    program: str
    served: Served | None
    command: tuple[str, ...] | None
    folder: str
    env: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A command line while its wrappers are taken off."""

    words: tuple[str, ...]
    folder: str
    env: Mapping[str, str]
    sets: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()


def read_start(
    argv: Sequence[str],
    env: Mapping[str, str],
    folder: str,
    *,
    exists: Callable[[str], bool],
) -> Start:
    """What the image starts.

    Args:
        argv: Its entry point with its command.
        env: Its environment, by which a shell's ``$PORT`` is replaced.
        folder: Its working folder.
        exists: Whether there is a file at an absolute path of the image.

    Raises:
        ProjectError: It cannot be decided; the hint has lines for ``casemate.toml``.
    """
    where = shown(argv)
    line = _Line(words=tuple(argv), folder=folder, env=env)
    for _ in range(_DEEPEST):
        if not line.words:
            raise _no_start(where)
        unwrapped = _unwrap(line, where)
        if unwrapped is None:
            return _start(line, where, exists)
        line = unwrapped
    raise _undecided("wrappers within wrappers", where)


def shown(argv: Sequence[str]) -> str:
    """The command line for errors."""
    text = shlex.join(argv)
    return f"the image starts: {text if len(text) <= 200 else text[:197] + '…'}"


def _unwrap(line: _Line, where: str) -> _Line | None:
    """The command line without its outermost wrapper; ``None`` when there is none."""
    name, rest = basename(line.words[0]), line.words[1:]
    if name in _INITS:
        return replace(line, words=_behind_options(rest, name, where))
    if name in _SHELLS:
        return _of_shell(line, rest, where)
    if name == "exec":
        return replace(line, words=rest)
    if name in _RUNNERS and rest[:1] == ("run",):
        return replace(line, words=_behind_options(rest[1:], name, where))
    if name == "env" or _ASSIGNMENT.fullmatch(line.words[0]):
        return _of_env(line, rest if name == "env" else line.words, where)
    return None


def _behind_options(words: Sequence[str], name: str, where: str) -> tuple[str, ...]:
    if "--" in words:
        return tuple(words[words.index("--") + 1 :])
    if words and words[0].startswith("-"):
        flags = {"tini": {"-g", "-s", "-v", "-w"}, "dumb-init": {"-c", "-v"}}.get(name, set())
        flags |= {"--no-dev", "--frozen", "--locked", "--no-sync", "--offline"}
        if words[0] in flags:
            return _behind_options(words[1:], name, where)
        raise _undecided(f"{name} {words[0]}", where)
    return tuple(words)


def _of_shell(line: _Line, words: Sequence[str], where: str) -> _Line:
    """``sh -c "exec gunicorn -b :$PORT web:app"``; whatever does more is a question."""
    if len(words) < 2 or words[0] not in {"-c", "-ec", "-lc", "-xc"}:
        raise _undecided(f"a shell script, {words[0]}" if words else "a shell", where, _after(words))
    text = words[1]
    cd = re.match(r"cd\s+([\w./-]+)\s*&&\s*", text)
    folder = normpath(join(line.folder, cd[1])) if cd else line.folder
    text = text[cd.end() :] if cd else text
    bare = re.sub(r"'[^']*'", "", text)
    if _SHELL_WORK.search(bare):
        raise _undecided("a shell that does more than start one program", where)

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        found = line.env.get(name) or match[3]
        if found is None:
            raise _undecided(f"${name}, which the image does not set", where)
        return found

    try:
        found = tuple(shlex.split(_VARIABLE.sub(value, text)))
    except ValueError as error:
        raise _undecided(f"a shell command that does not parse ({error})", where) from error
    return replace(line, words=found, folder=folder)


def _of_env(line: _Line, words: Sequence[str], where: str) -> _Line:
    sets = list(line.sets)
    for number, word in enumerate(words):
        if _ASSIGNMENT.fullmatch(word) is None:
            if word.startswith("-"):
                raise _undecided(f"env {word}", where)
            return replace(line, words=tuple(words[number:]), sets=tuple(sets))
        name, _, content = word.partition("=")
        sets.append((name, content))
    return replace(line, words=())


def _start(line: _Line, where: str, exists: Callable[[str], bool]) -> Start:
    program, rest = line.words[0], line.words[1:]
    name = basename(program)
    if name in SERVERS:
        return _of_server(line, name, rest, where)
    if _PYTHON.fullmatch(name):
        return _of_python(line, rest, where, exists)
    if name.endswith(".sh") or "entrypoint" in name:
        raise _undecided(f"a script, {program}", where, _after(rest))
    if name.endswith(".py"):
        return _of_script(line, program, rest, where, exists)
    raise _undecided(f"a program, {program}", where)


def _of_server(line: _Line, name: str, arguments: Sequence[str], where: str) -> Start:
    served = read_server(name, arguments, where=where)
    folder = normpath(join(line.folder, served.folder))
    return Start(
        program=line.words[0],
        served=served,
        command=None,
        folder=folder,
        env=(*line.sets, *served.env),
        dropped=line.dropped,
    )


def _of_python(line: _Line, words: Sequence[str], where: str, exists: Callable[[str], bool]) -> Start:
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] not in {"-m", "-c", "-"}:
        option = rest.pop(0)
        if option in _WITH_VALUE and rest:
            rest.pop(0)
        elif option not in _ALONE and option[:2] not in _WITH_VALUE:
            raise _undecided(f"an option of Python, {option}", where)
    if not rest or rest[0] in {"-c", "-"}:
        raise _undecided("Python without a module or a file", where)
    if rest[0] != "-m":
        return _of_script(line, rest[0], rest[1:], where, exists)
    if len(rest) < 2:
        raise _undecided("python -m without a module", where)
    module, arguments = rest[1], rest[2:]
    if module in SERVERS:
        return _of_server(line, module, arguments, where)
    command = ("python", "-m", module, *arguments)
    return Start(program=line.words[0], served=None, command=command, folder=line.folder, env=line.sets)


def _of_script(
    line: _Line, script: str, arguments: Sequence[str], where: str, exists: Callable[[str], bool]
) -> Start:
    name = basename(script)
    if name in SERVERS:
        return _of_server(line, name, arguments, where)
    path = normpath(join(line.folder, script))
    if not name.endswith(".py"):
        raise _undecided(f"a script, {script}", where)
    if not exists(path):
        raise _undecided(f"{path}, which the image does not have", where)
    if name == "manage.py" and list(arguments[:1]) == ["runserver"]:
        raise ProjectError(
            "start of the image",
            expected="a server that is meant for more than development",
            got="manage.py runserver",
            where=where,
            hint=f'write casemate.toml with [app] source = "{dirname(path)}" and '
            'serve = "PROJECT.wsgi:application"',
        )
    return Start(
        program=line.words[0],
        served=None,
        command=("python", name, *arguments),
        folder=dirname(path),
        env=line.sets,
    )


def _after(words: Sequence[str]) -> str:
    """What a script may start in the end, when the command line goes on with a server."""
    for number, word in enumerate(words):
        name = basename(word)
        if name in SERVERS:
            try:
                served = read_server(name, words[number + 1 :], where="")
            except ProjectError:
                return ""
            return f'serve = "{served.module}:{served.name}"' if served.module and served.name else ""
    return ""


def _no_start(where: str) -> ProjectError:
    return ProjectError(
        "start of the image",
        expected="an entry point or a command",
        got="none",
        where=where,
        hint='write casemate.toml with [app] source = "/FOLDER/OF/THE/IMAGE" and serve = "module:object"',
    )


def _undecided(got: str, where: str, line: str = "") -> ProjectError:
    line = line or 'serve = "module:object" or command = ["python", "-m", "module"]'
    return ProjectError(
        "start of the image",
        expected="a Python program or a web server that is known here",
        got=got,
        where=where,
        hint=f'write casemate.toml with [app] source = "/FOLDER/OF/THE/IMAGE" and {line}',
    )
