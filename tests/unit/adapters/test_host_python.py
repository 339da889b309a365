"""The interpreters of this machine, what they compile, and environments installed for them."""

import importlib.util
import marshal
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from casemate.adapters import host_python
from casemate.adapters.host_python import compile_modules, describe_interpreter, install_environment
from casemate.builder.closure import Interpreter, ModuleSource
from casemate.builder.closure.described import interpreter_of
from casemate.errors import ProjectError, ToolchainError
from casemate.project import Interface

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.fixture(scope="module")
def interpreter() -> Any:
    return describe_interpreter(Path(sys.executable))


def test_a_virtual_environment_leads_to_its_base_interpreter(interpreter: Interpreter) -> None:
    assert interpreter.version == VERSION
    assert interpreter.prefix == Path(sys.base_prefix).resolve()
    assert interpreter.executable.is_file()
    assert not interpreter.executable.is_symlink()
    assert (interpreter.stdlib / "os.py").is_file()
    assert ".abi3.so" in interpreter.suffixes
    assert {"sys", "time"} <= interpreter.builtin | interpreter.frozen
    assert {"encodings", "codecs", "site", "encodings.utf_8"} <= set(interpreter.start_up)


def test_what_is_installed_into_the_interpreter_is_not_part_of_its_start(interpreter: Interpreter) -> None:
    for name in interpreter.start_up:
        top = interpreter.stdlib / name.partition(".")[0]
        known = interpreter.builtin | interpreter.frozen
        assert name in known or top.is_dir() or top.with_suffix(".py").is_file() or not top.exists()


def test_a_shim_leads_to_the_interpreter_that_it_starts(interpreter: Interpreter, tmp_path: Path) -> None:
    shim = tmp_path / "python"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    shim.chmod(0o755)
    assert describe_interpreter(shim) == interpreter


@pytest.mark.parametrize(
    ("program", "got"),
    [
        ("#!/bin/sh\necho no\n", "another program"),
        ("#!/bin/sh\necho 'cannot start' >&2; exit 1\n", "cannot start"),
        (None, "FileNotFoundError"),
    ],
    ids=["says something else", "fails", "is not there"],
)
def test_what_is_not_a_python_is_refused(tmp_path: Path, program: Any, got: str) -> None:
    path = tmp_path / "python"
    if program is not None:
        path.write_text(program)
        path.chmod(0o755)
    with pytest.raises(ToolchainError) as caught:
        describe_interpreter(path)
    assert str(caught.value) == (
        f"Python interpreter: expected a program that starts and describes itself, got {got} ({path})"
    )
    assert caught.value.hint == "give a CPython 3.11 or newer"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"implementation": "pypy"}, "expected CPython, got pypy"),
        ({"version": "3.10"}, "expected Python 3.11 or newer, got 3.10"),
        ({"system": "Linux aarch64"}, "expected Linux x86_64, got Linux aarch64"),
        ({"libc": ""}, "expected glibc, got another C library"),
        ({"free_threaded": True}, "expected an interpreter with its lock, got a free-threaded one"),
    ],
    ids=["implementation", "version", "machine", "libc", "free-threaded"],
)
def test_an_interpreter_that_gramine_does_not_run_is_refused(change: Any, message: str) -> None:
    facts = {
        "implementation": "cpython",
        "version": "3.11",
        "system": "Linux x86_64",
        "libc": "glibc 2.36",
        "free_threaded": False,
    }
    with pytest.raises(ToolchainError) as caught:
        interpreter_of(facts | change, where="/usr/bin/python3")
    assert str(caught.value) == f"Python interpreter: {message} (/usr/bin/python3)"
    assert caught.value.hint == "Gramine runs CPython 3.11 or newer for x86-64 Linux with glibc"


def sources(folder: Path) -> list[ModuleSource]:
    texts = {
        "names": "value = 'value'\ndef value_of(value): return {'a', 'b', 'c', value} & {'x', 'y'}\n",
        "sets": "def f(x): return x in {'red', 'green', 'blue', 'value', 1, 2.5}\n",
        "shared": "A = ('value', 'other', 1000000)\nB = ('value', 'other', 1000000)\nvalue = A\n",
        "unicode": "# -*- coding: latin-1 -*-\nx = 'é'\n",
        "nested": "class C:\n    def m(self):\n        return lambda: [self.value for value in ()]\n",
    }
    found = []
    for name, text in texts.items():
        path = folder / f"{name}.py"
        path.write_text(text, "latin-1" if name == "unicode" else "utf-8")
        found.append(ModuleSource(host=path, path=f"/app/{name}.py"))
    return found


def test_bytecode_is_valid_without_looking_at_the_source(interpreter: Interpreter, tmp_path: Path) -> None:
    modules = sources(tmp_path)
    for module, pyc in zip(modules, compile_modules(interpreter, modules), strict=True):
        assert pyc is not None
        assert pyc[:4] == importlib.util.MAGIC_NUMBER
        assert pyc[4:8] == b"\1\0\0\0"  # a hash that is not checked (PEP 552)
        assert pyc[8:16] == importlib.util.source_hash(module.host.read_bytes())
        assert marshal.loads(pyc[16:]).co_filename == module.path  # noqa: S302 - our own bytes


def test_bytecode_does_not_depend_on_order_company_place_or_hash_seed(
    interpreter: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = sources(tmp_path)
    together = compile_modules(interpreter, modules)
    backwards = compile_modules(interpreter, modules[::-1])[::-1]
    alone = tuple(compile_modules(interpreter, [module])[0] for module in modules)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = compile_modules(interpreter, sources(elsewhere))
    monkeypatch.setattr(
        host_python, "_CLEAN", {**host_python._CLEAN, "PYTHONHASHSEED": "4711", "value": "value"}
    )
    seeded = compile_modules(interpreter, modules)
    assert together == backwards == alone == moved == seeded


def test_bytecode_made_in_a_fork_does_not_depend_on_what_was_compiled_before(tmp_path: Path) -> None:
    script = runpy.run_path(str(host_python.COMPILE))
    for module in sources(tmp_path):
        text = module.host.read_bytes()
        program = (
            "import runpy, sys\n"
            f"s = runpy.run_path({str(host_python.COMPILE)!r})\n"
            f"sys.stdout.buffer.write(s['in_fork']({text!r}, {module.path!r}))\n"
        )
        runs = {
            subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, check=True).stdout
            for _ in range(2)
        }
        assert len(runs) == 1
        one, other = runs.pop(), script["compiled"](str(module.host), module.path)
        code = [marshal.loads(pyc[16:]).co_code for pyc in (one, other)]  # noqa: S302 - our own bytes
        assert code[0] == code[1]


@pytest.mark.parametrize("text", ["print 1", "x = (", "\0"], ids=["syntax", "open bracket", "zero byte"])
def test_what_is_not_python_gives_none_and_the_rest_goes_on(
    interpreter: Interpreter, tmp_path: Path, text: str
) -> None:
    bad, good = tmp_path / "bad.py", tmp_path / "good.py"
    bad.write_text(text)
    good.write_text("x = 1")
    one, two = compile_modules(
        interpreter,
        [ModuleSource(host=bad, path="/app/bad.py"), ModuleSource(host=good, path="/app/good.py")],
    )
    assert one is None
    assert two is not None
    assert runpy.run_path(str(host_python.COMPILE))["in_fork"](text.encode(), "/app/bad.py") is None


def test_an_interpreter_that_fails_is_an_error(interpreter: Interpreter, tmp_path: Path) -> None:
    missing = ModuleSource(host=tmp_path / "missing.py", path="/app/missing.py")
    with pytest.raises(ToolchainError) as caught:
        compile_modules(interpreter, [missing])
    assert caught.value.subject == "compiling"
    assert "No such file" in str(caught.value)


def wheel(folder: Path, name: str, version: str = "1.0", requires: tuple[str, ...] = ()) -> Path:
    """A wheel with one module."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "x = 1")
        required = "".join(f"Requires-Dist: {line}\n" for line in requires)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}"
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{name} = {name}:x\n")
        archive.writestr(
            f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    return path


@pytest.fixture
def no_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what Casemate adds, so that no registry is asked."""
    monkeypatch.setattr(host_python, "_runtime_pins", lambda _interface, _present: "")


def install(
    interpreter: Interpreter, project: Path, requirements: Any, into: Path, steps: list[str] | None = None
) -> None:
    install_environment(
        project,
        requirements,
        interpreter,
        into,
        interface=None,
        progress=(steps if steps is not None else []).append,
    )


def test_pinned_requirements_are_installed_into_a_clean_tree(
    interpreter: Interpreter, tmp_path: Path, no_pins: Any
) -> None:
    wheel(tmp_path, "thing")
    (tmp_path / "requirements.txt").write_text(f"# comment\n--find-links {tmp_path}\nthing==1.0  # why\n")
    into = tmp_path / "deep/environment"
    steps = []
    install(interpreter, tmp_path, "requirements.txt", into, steps)
    assert sorted(path.name for path in into.iterdir()) == ["thing-1.0.dist-info", "thing.py"]
    assert steps == ["reading requirements.txt", "installing the application's requirements"]
    assert [path.name for path in into.parent.iterdir()] == ["environment"]


@pytest.mark.parametrize(
    ("requires", "got"),
    [
        (("other",), "thing requires other, but it's not installed"),
        (("part>=2",), "thing requires part>=2, but 1.0 is installed"),
        (
            ("a", "b", "c", "d"),
            (
                "thing requires a, but it's not installed; thing requires b, but it's not installed; "
                "thing requires c, but it's not installed; and 1 more"
            ),
        ),
    ],
    ids=["missing", "too old", "many"],
)
def test_requirements_without_what_they_require_are_refused(
    interpreter: Interpreter, tmp_path: Path, no_pins: Any, requires: tuple[str, ...], got: str
) -> None:
    wheel(tmp_path, "thing", requires=requires)
    wheel(tmp_path, "part")
    (tmp_path / "requirements.txt").write_text(f"--find-links {tmp_path}\nthing==1.0\npart==1.0\n")
    with pytest.raises(ProjectError) as caught:
        install(interpreter, tmp_path, "requirements.txt", tmp_path / "environment")
    assert (str(caught.value), caught.value.hint) == (
        (
            "requirements: expected all that they require in turn, because nothing else is installed, "
            f"got {got} (requirements.txt)"
        ),
        (
            "run `uv pip compile --generate-hashes requirements.txt -o requirements.lock`, and write "
            'requirements = "requirements.lock"; or `uv lock`, and requirements = "uv.lock"'
        ),
    )
    assert not (tmp_path / "environment").exists()


def test_what_this_interpreter_does_not_need_may_be_missing(
    interpreter: Interpreter, tmp_path: Path, no_pins: Any
) -> None:
    requires = ("old; python_version < '3'", "extra; extra == 'more'", "part[extra]>=1")
    wheel(tmp_path, "thing", requires=requires)
    wheel(tmp_path, "part")
    (tmp_path / "requirements.txt").write_text(f"--find-links {tmp_path}\nthing==1.0\npart==1.0\n")
    install(interpreter, tmp_path, "requirements.txt", tmp_path / "environment")
    assert (tmp_path / "environment/thing.py").is_file()


def test_what_is_installed_are_files_however_uv_is_configured(
    interpreter: Interpreter, tmp_path: Path, no_pins: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_LINK_MODE", "symlink")
    wheel(tmp_path, "thing")
    (tmp_path / "requirements.txt").write_text(f"--find-links {tmp_path}\nthing==1.0\n")
    into = tmp_path / "environment"
    install(interpreter, tmp_path, "requirements.txt", into)
    files = [path for path in into.rglob("*") if not path.is_dir()]
    assert files
    assert not any(path.is_symlink() for path in files)


def test_an_environment_replaces_the_one_before(
    interpreter: Interpreter, tmp_path: Path, no_pins: Any
) -> None:
    into = tmp_path / "environment"
    into.mkdir()
    (into / "old.py").touch()
    install(interpreter, tmp_path, None, into)
    assert list(into.iterdir()) == []


def test_hashes_are_enforced(interpreter: Interpreter, tmp_path: Path, no_pins: Any) -> None:
    wheel(tmp_path, "thing")
    text = f"--find-links {tmp_path}\nthing==1.0 --hash=sha256:{'0' * 64}\n"
    (tmp_path / "requirements.txt").write_text(text)
    with pytest.raises(ProjectError) as caught:
        install(interpreter, tmp_path, "requirements.txt", tmp_path / "environment")
    assert caught.value.subject == "requirements do not install"
    assert "Hash mismatch" in str(caught.value)


def test_a_requirement_that_does_not_resolve_is_refused_and_nothing_is_left(
    interpreter: Interpreter, tmp_path: Path, no_pins: Any
) -> None:
    text = f"--index-url file://{tmp_path}/simple\nno-such-thing-at-all==1.0\n"
    (tmp_path / "requirements.txt").write_text(text)
    into = tmp_path / "environment"
    into.mkdir()
    (into / "old.py").touch()
    with pytest.raises(ProjectError) as caught:
        install(interpreter, tmp_path, "requirements.txt", into)
    assert str(caught.value).startswith("requirements do not install: got ")
    assert "no-such-thing-at-all" in str(caught.value)
    assert caught.value.where == "requirements.txt"
    assert caught.value.hint == (
        "mend the requirement and lock again; without a network, uv needs them in its cache"
    )
    assert [path.name for path in into.iterdir()] == ["old.py"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["environment", "requirements.txt"]


@pytest.mark.parametrize(
    "line",
    [
        "flask",
        "flask>=3",
        "flask==3.*",
        "flask @ https://example.org/f.whl",
        "-e .",
        "-r other.txt",
        "./folder",
    ],
)
def test_a_requirement_that_is_not_pinned_is_refused(
    interpreter: Interpreter, tmp_path: Path, line: str
) -> None:
    (tmp_path / "requirements.txt").write_text(f"click==8.1.0\n{line}\n")
    with pytest.raises(ProjectError) as caught:
        install(interpreter, tmp_path, "requirements.txt", tmp_path / "environment")
    assert str(caught.value) == (
        f"requirement: expected one version, written NAME==VERSION, got {line} (requirements.txt)"
    )
    assert caught.value.hint == (
        "run `uv pip compile --generate-hashes requirements.txt -o requirements.lock`, and write "
        'requirements = "requirements.lock"; or `uv lock`, and requirements = "uv.lock"'
    )
    assert not (tmp_path / "environment").exists()


def test_a_project_without_a_lock_is_refused(interpreter: Interpreter, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    with pytest.raises(ProjectError) as caught:
        install(interpreter, tmp_path, "pyproject.toml", tmp_path / "environment")
    assert str(caught.value) == (
        "requirements: expected locked requirements, got pyproject.toml, which says only what would do "
        "(casemate.toml: app.requirements)"
    )
    assert caught.value.hint == 'run `uv lock`, and write requirements = "uv.lock"'
    with pytest.raises(ProjectError) as caught:
        install(interpreter, tmp_path, "uv.lock", tmp_path / "environment")
    assert (
        str(caught.value)
        == "requirements: expected a file uv.lock, got none (casemate.toml: app.requirements)"
    )
    assert caught.value.hint == (
        'lock the requirements with `uv lock`; an application that has none says: requirements = ""'
    )


def test_a_lock_that_uv_does_not_read_is_refused(interpreter: Interpreter, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[project]\nname = 'x'\nversion = '1'\nrequires-python = '>=3.11'\n"
    )
    (tmp_path / "uv.lock").write_text("not a lock")
    with pytest.raises(ProjectError) as caught:
        install(interpreter, tmp_path, "uv.lock", tmp_path / "environment")
    assert caught.value.subject == "lock file"
    assert caught.value.where == "uv.lock"
    assert caught.value.hint == "run `uv lock` in that folder"


@pytest.mark.parametrize(
    ("interface", "present", "names"),
    [
        (None, set(), {"cffi", "cryptography", "pycparser"}),
        (
            Interface.WSGI,
            {"cryptography", "cffi", "pycparser"},
            {"cheroot", "jaraco-functools", "more-itertools"},
        ),
        (Interface.ASGI, {"cryptography", "cffi", "pycparser", "click"}, {"uvicorn", "h11"}),
    ],
    ids=["command", "WSGI", "ASGI"],
)
def test_only_what_is_needed_and_not_there_is_added_and_all_of_it_has_hashes(
    interface: Any, present: Any, names: Any
) -> None:
    lines = host_python._runtime_pins(interface, present).splitlines()
    assert set(host_python._pinned_names("\n".join(lines))) == names
    assert all("--hash=sha256:" in line for line in lines)


def test_the_whole_list_of_what_is_added_is_used() -> None:
    text = (Path(host_python.__file__).parents[1] / "builder/runtime_requirements.txt").read_text()
    known = host_python._ATTESTER_NEEDS.union(*host_python._SERVER_NEEDS.values())
    assert set(host_python._pinned_names("\n".join(host_python._logical_lines(text)))) == known
