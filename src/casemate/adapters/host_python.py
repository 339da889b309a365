"""The Python interpreters of this machine: what they are, how they compile, what is installed for them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import uv

from casemate.builder.cache import key_of
from casemate.builder.closure import Interpreter, ModuleSource
from casemate.builder.closure.described import compiled_modules, interpreter_of
from casemate.errors import ProjectError, ToolchainError
from casemate.project import PROJECT_FILE, Interface

_DESCRIBE: Final = Path(__file__).with_name("host_python_describe.py")
#: The program that compiles, run by the interpreter.
COMPILE: Final = Path(__file__).with_name("host_python_compile.py")
#: The environment of the interpreters that Casemate starts: nothing of the user's changes what they do.
_CLEAN: Final = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"}
_DESCRIBE_SECONDS: Final = 60
_COMPILE_SECONDS: Final = 600


def describe_interpreter(executable: Path) -> Interpreter:
    """Describe the interpreter behind ``executable``, which may be a virtual environment's or a shim.

    Raises:
        ToolchainError: It does not start, or it is not a CPython 3.11 or newer for x86-64 Linux with glibc.
    """
    facts = _facts(executable)
    # A virtual environment's program may be a copy; the base interpreter's is the one that finds its home.
    base = Path(facts["base_executable"] if facts["virtual"] else facts["running"])
    if facts["virtual"] and not base.exists():
        raise ToolchainError(
            "base interpreter of the virtual environment",
            expected=str(base),
            got="no such file",
            where=str(executable),
            hint="make the virtual environment again",
        )
    facts = _facts(base)
    return interpreter_of(facts, where=str(executable))


def _facts(executable: Path) -> dict[str, Any]:
    # -S: what the interpreter's own site-packages do at start is no business of the application's.
    command = [str(executable), "-I", "-S", "-B", "-X", "utf8", str(_DESCRIBE)]
    got = ""
    try:
        # The user's environment stays: a shim needs it to choose a version.
        done = subprocess.run(command, capture_output=True, timeout=_DESCRIBE_SECONDS, check=False)
        got = _last_line(done.stderr.decode(errors="replace"), otherwise="another program")
        facts: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise ToolchainError(
            "Python interpreter",
            expected="a program that starts and describes itself",
            got=got or type(error).__name__,
            where=str(executable),
            hint="give a CPython 3.11 or newer",
        ) from error
    return facts


def compile_modules(interpreter: Interpreter, sources: Sequence[ModuleSource]) -> tuple[bytes | None, ...]:
    """Compile ``sources`` with ``interpreter`` to unchecked-hash pycs; ``None`` for what is not valid Python.

    The bytes depend on source, path and version only.

    Raises:
        ToolchainError: The interpreter failed.
    """
    request = json.dumps([[str(source.host), source.path] for source in sources]).encode()
    # Not -I, which would ignore PYTHONHASHSEED; the environment is ours, so -P and -s isolate as well.
    command = [str(interpreter.executable), "-P", "-s", "-S", "-B", "-X", "utf8", str(COMPILE)]
    try:
        done = subprocess.run(
            command, input=request, capture_output=True, timeout=_COMPILE_SECONDS, check=False, env=_CLEAN
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _compile_error(interpreter, type(error).__name__) from error
    if done.returncode != 0:
        raise _compile_error(interpreter, _last_line(done.stderr.decode(errors="replace")))
    modules = compiled_modules(done.stdout, len(sources))
    if modules is None:
        raise _compile_error(interpreter, "another answer")
    return modules


def _compile_error(interpreter: Interpreter, got: str) -> ToolchainError:
    return ToolchainError(
        "compiling", expected="bytecode of every module", got=got, where=str(interpreter.executable)
    )


def _last_line(text: str, otherwise: str = "no message") -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else otherwise


def install_environment(
    project: Path,
    requirements: str | None,
    interpreter: Interpreter,
    into: Path,
    *,
    interface: Interface | None,
    progress: Callable[[str], None],
) -> None:
    """Install the application's locked requirements, and what Casemate adds, into a new folder.

    Args:
        project: The folder of ``casemate.toml``.
        requirements: The lock, relative to it: a ``uv.lock``, or a requirements file; ``None`` for an
            application that needs nothing.
        interpreter: For which they are chosen and built.
        into: The folder; whatever was there is replaced when, and only when, everything is installed.
        interface: Which server is added.
        progress: Told each step, in words.

    Raises:
        ProjectError: There is no lock, it does not pin every requirement, it lacks what one of them requires,
            or it cannot be installed.
        ToolchainError: uv does not start.
    """
    target = ("--python", str(interpreter.executable))
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".installing-", dir=into.parent) as scratch:
        folder = Path(scratch)
        tree = folder / "environment"
        tree.mkdir()
        if requirements is not None:
            progress(f"reading {requirements}")
            locked = _locked(project, requirements)
            progress("installing the application's requirements")
            _install(locked, target, tree, folder, project, where=requirements)
        present = {
            _normal(path.name.removesuffix(".dist-info").rpartition("-")[0])
            for path in tree.glob("*.dist-info")
        }
        added = _runtime_pins(interface, present)
        if added:
            progress(f"installing {', '.join(sorted(_pinned_names(added)))}")
            _install(added, target, tree, folder, project, where="Casemate's own requirements")
        if requirements is not None and Path(requirements).name != "uv.lock":  # which is always complete
            _require_complete(tree, interpreter, folder / "check", requirements)
        _remove_leftovers(tree)
        _replace_folder(tree, into, folder / "replaced")


def environment_identity(
    project: Path, requirements: str | None, interpreter: Interpreter, *, interface: Interface | None
) -> str | None:
    """A digest of everything that decides what :func:`install_environment` installs.

    Returns:
        Hexadecimal; ``None`` where that is not known, because not every requirement is pinned by its hash.

    Raises:
        ProjectError: There is no lock, or it does not pin every requirement.
        ToolchainError: uv does not start.
    """
    locked = "" if requirements is None else _locked(project, requirements)
    pins = [line for line in locked.splitlines() if not line.startswith("-")]
    if not all(_PIN.match(line) and "--hash" in line for line in pins):
        return None
    own = files("casemate.builder").joinpath("runtime_requirements.txt").read_text("utf-8")
    program = Path(uv.find_uv_bin()).stat()
    facts = (
        interpreter.release,
        interpreter.executable,
        interpreter.prefix,
        os.confstr("CS_GNU_LIBC_VERSION"),
    )
    return key_of(
        *(str(fact) for fact in (*facts, interface, requirements, program.st_size, program.st_mtime_ns)),
        locked,
        own,
        Path(__file__).read_bytes(),
    )


def _replace_folder(new: Path, old: Path, aside: Path) -> None:
    if old.exists():
        old.rename(aside)
    new.rename(old)


#: Distributions that each part of Casemate inside the enclave needs.
_ATTESTER_NEEDS: Final = frozenset({"cryptography", "cffi", "pycparser"})
_SERVER_NEEDS: Final = {
    Interface.WSGI: frozenset({"cheroot", "jaraco-functools", "more-itertools"}),
    Interface.ASGI: frozenset({"uvicorn", "h11", "click"}),
    None: frozenset[str](),
}
#: What uv draws beside the reasons of a failure.
_ORNAMENTS: Final = " \t\N{MULTIPLICATION SIGN}╰─▶│├"
_PIN: Final = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*==\s*[^\s;\\]+")


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _runtime_pins(interface: Interface | None, present: set[str]) -> str:
    """The lines of Casemate's own requirements that the application's do not provide."""
    text = files("casemate.builder").joinpath("runtime_requirements.txt").read_text("utf-8")
    wanted = (_ATTESTER_NEEDS | _SERVER_NEEDS[interface]) - present
    return "".join(
        f"{line}\n"
        for line in _logical_lines(text)
        if (pin := _PIN.match(line)) and _normal(pin[1]) in wanted
    )


def _pinned_names(text: str) -> list[str]:
    return [pin[1] for line in text.splitlines() if (pin := _PIN.match(line))]


def _logical_lines(text: str) -> list[str]:
    """Lines of a requirements file with continuations joined, without comments."""
    joined = re.sub(r"\\\r?\n", " ", text)
    lines = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines())
    return [re.sub(r"\s+", " ", line) for line in lines if line]


def _locked(project: Path, requirements: str) -> str:
    """The requirements as lines that each pin one distribution.

    Raises:
        ProjectError: There is no such file, or it does not pin everything.
    """
    file = project / requirements
    if not file.is_file():
        raise ProjectError(
            "requirements",
            expected=f"a file {requirements}",
            got="none",
            where=f"{PROJECT_FILE}: app.requirements",
            hint='lock the requirements with `uv lock`; an application that has none says: requirements = ""',
        )
    if file.name == "uv.lock":
        return _export(file.parent, requirements)
    if file.suffix == ".toml":
        raise ProjectError(
            "requirements",
            expected="locked requirements",
            got=f"{requirements}, which says only what would do",
            where=f"{PROJECT_FILE}: app.requirements",
            hint='run `uv lock`, and write requirements = "uv.lock"',
        )
    return pinned(file, requirements)


def _export(folder: Path, requirements: str) -> str:
    arguments = ("export", "--frozen", "--no-dev", "--no-emit-project", "--no-editable", "--no-header")
    done = _uv(*arguments, "--no-annotate", "--format", "requirements-txt", folder=folder)
    if done.returncode != 0:
        raise _refused_by_uv("lock file", done.stderr, requirements, "run `uv lock` in that folder")
    return "".join(f"{line}\n" for line in _logical_lines(done.stdout.decode()))


def pinned(file: Path, requirements: str) -> str:
    """The lines of a requirements file, each of which must pin one version.

    Args:
        file: The file.
        requirements: Its name in ``casemate.toml``.

    Raises:
        ProjectError: One does not.
    """
    try:
        lines = _logical_lines(file.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise ProjectError("requirements", expected="UTF-8 text", where=requirements) from error
    for line in lines:
        allowed = line.startswith(
            ("--hash", "--index-url", "--extra-index-url", "--find-links", "--no-binary")
        )
        if (
            not (allowed or _PIN.match(line) or line.startswith("--only-binary"))
            or ".*" in line.split(";")[0]
        ):
            raise ProjectError(
                "requirement",
                expected="one version, written NAME==VERSION",
                got=line if len(line) < 80 else f"{line[:77]}…",
                where=requirements,
                hint=_lock_hint(requirements),
            )
    return "".join(f"{line}\n" for line in lines)


def install_runtime(
    version: str, glibc: tuple[int, int], interface: Interface | None, present: set[str], into: Path
) -> None:
    """Install what Casemate adds for an interpreter that is not run: that of an image.

    Args:
        version: ``"3.11"``.
        glibc: Of the image; only wheels that run with it are taken.
        interface: Which server is added.
        present: Normalised names of the distributions that are there already.
        into: A new folder.

    Raises:
        ProjectError: There is no wheel for that interpreter, or no network.
        ToolchainError: uv does not start.
    """
    added = _runtime_pins(interface, present)
    into.mkdir(parents=True)
    platform = f"x86_64-manylinux_{glibc[0]}_{glibc[1]}"
    wheels = ("--python-version", version, "--python-platform", platform, "--only-binary", ":all:")
    with tempfile.TemporaryDirectory(prefix=".installing-", dir=into.parent) as scratch:
        target = ("--python", sys.executable, *wheels)
        _install(added, target, into, Path(scratch), into, where="Casemate's own requirements")
    _remove_leftovers(into)


def _remove_leftovers(tree: Path) -> None:
    """What uv leaves and no application needs."""
    for leftover in (tree / ".lock", tree / "bin"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)


def runtime_identity(
    version: str, glibc: tuple[int, int], interface: Interface | None, present: set[str]
) -> str:
    """A digest of everything that decides what :func:`install_runtime` installs."""
    program = Path(uv.find_uv_bin()).stat()
    facts = (version, glibc, program.st_size, program.st_mtime_ns)
    return key_of(
        *(str(fact) for fact in facts), _runtime_pins(interface, present), Path(__file__).read_bytes()
    )


def _install(
    lines: str, target: tuple[str, ...], tree: Path, scratch: Path, project: Path, *, where: str
) -> None:
    """Install ``lines`` into ``tree``; ``target`` has uv's options for the interpreter."""
    if not lines.strip():
        return
    file = scratch / "requirements.txt"
    file.write_text(lines, "utf-8")
    pins = [line for line in lines.splitlines() if not line.startswith("-")]
    # As soon as one line has hashes, every line must: this is pip's rule, and uv's.
    hashes = ("--require-hashes",) if any("--hash" in line for line in pins) and _all_hashable(pins) else ()
    done = _uv(
        *("pip", "install", "--target", str(tree), *target, "--no-deps"),
        *("--no-compile-bytecode", "--no-python-downloads", "--no-progress", *hashes, "-r", str(file)),
        # What goes into the image are files, never links into uv's cache, whatever the user has configured.
        *("--link-mode", "hardlink"),
        folder=project,
    )
    if done.returncode != 0:
        hint = "mend the requirement and lock again; without a network, uv needs them in its cache"
        raise _refused_by_uv("requirements do not install", done.stderr, where, hint)


def _require_complete(tree: Path, interpreter: Interpreter, scratch: Path, requirements: str) -> None:
    """Refuse a file of requirements that does not list what those that it lists require in turn.

    uv checks virtual environments, so ``tree`` becomes the site-packages of one for the length of a call.
    """
    packages = scratch / f"lib/python{interpreter.version}/site-packages"
    packages.parent.mkdir(parents=True)
    packages.symlink_to(tree)
    (scratch / "bin").mkdir()
    (scratch / "bin/python").symlink_to(interpreter.executable)
    (scratch / "pyvenv.cfg").write_text(f"home = {interpreter.executable.parent}\n", "utf-8")
    done = _uv("pip", "check", "--python", str(scratch / "bin/python"), folder=scratch)
    if done.returncode == 0:
        return
    unmet = [
        line.removeprefix("The package ").replace("`", "")
        for line in done.stderr.decode(errors="replace").splitlines()
        if line.startswith("The package ")
    ]
    if not unmet:
        raise ToolchainError("uv pip check", got=_last_line(done.stderr.decode(errors="replace")))
    raise ProjectError(
        "requirements",
        expected="all that they require in turn, because nothing else is installed",
        got="; ".join(sorted(unmet)[:3]) + (f"; and {len(unmet) - 3} more" if len(unmet) > 3 else ""),
        where=requirements,
        hint=_lock_hint(requirements),
    )


def _lock_hint(requirements: str) -> str:
    """How everything that a file requires comes to be pinned."""
    lock = "requirements.lock" if requirements != "requirements.lock" else "complete.lock"
    return (
        f"run `uv pip compile --generate-hashes {requirements} -o {lock}`, and write "
        f'requirements = "{lock}"; or `uv lock`, and requirements = "uv.lock"'
    )


def _all_hashable(pins: list[str]) -> bool:
    """Whether every line is a version from a registry; folders and repositories have no hashes."""
    return all(_PIN.match(line) for line in pins)


def _uv(*arguments: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    try:
        command = [uv.find_uv_bin(), "--no-python-downloads", *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, check=False)
    except OSError as error:
        raise ToolchainError(
            "uv",
            expected="the program that comes with the package uv",
            got=str(error),
            hint="run `make setup` again",
        ) from error


def _refused_by_uv(subject: str, message: bytes, where: str, hint: str) -> ProjectError:
    lines = [line.strip(_ORNAMENTS) for line in message.decode(errors="replace").splitlines()]
    told = [
        line for line in lines if line and not line.startswith(("Using ", "warning:", "Resolved ", "hint:"))
    ]
    reason = re.sub(r"\s+", " ", " ".join(told)).removeprefix("error: ")
    return ProjectError(subject, got=reason or "no message", where=where, hint=hint)
