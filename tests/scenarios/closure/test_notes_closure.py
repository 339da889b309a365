"""The sample application: what a run imports is contained in what reading finds, which runs alone."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.sample_bundle import SMALLEST_RATIO

import casemate_attester
from casemate.adapters.host_python import compile_modules, describe_interpreter, install_environment
from casemate.builder.closure import (
    Interpreter,
    ModuleSource,
    PythonClosure,
    Sources,
    find_python_closure,
    interface_of,
)
from casemate.project import Project, parse_project

REPOSITORY = Path(__file__).parents[3]
NOTES = REPOSITORY / "examples/notes"
ATTESTER = Path(casemate_attester.__file__).parent.parent

#: Serves every kind of request of the application in one process, then prints what was loaded.
REQUESTS = (Path(__file__).parent / "notes_requests.py").read_text()
STATES = [200, 200, 201, 303, 303, 200, 200, 200, 404]


@dataclass(frozen=True)
class Notes:
    project: Project
    sources: Sources
    closure: PythonClosure

    @property
    def interpreter(self) -> Interpreter:
        return self.sources.interpreter


def closure_of(project: Project, sources: Sources) -> PythonClosure:
    def compiler(modules: Sequence[ModuleSource]) -> tuple[bytes | None, ...]:
        return compile_modules(sources.interpreter, modules)

    return find_python_closure(project, sources, compiler)


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Notes:
    project = parse_project(b'[app]\nname = "notes"\nserve = "notes:app"\n', "casemate.toml")
    interpreter = describe_interpreter(Path(sys.executable))
    environment = tmp_path_factory.mktemp("notes") / "environment"
    interface = interface_of(project, NOTES)
    install_environment(
        NOTES, "uv.lock", interpreter, environment, interface=interface, progress=lambda _step: None
    )
    sources = Sources(
        application=NOTES, environment=(environment,), attester=ATTESTER, interpreter=interpreter
    )
    return Notes(project=project, sources=sources, closure=closure_of(project, sources))


def serve(
    command: Sequence[str | Path], folder: Path, paths: Sequence[Path], libraries: str = ""
) -> dict[str, str]:
    """Run the requests with ``paths`` on the path; gives the modules that were loaded and their files."""
    key = folder / "key"
    key.write_bytes(os.urandom(32))
    places = [str(path) for path in paths]
    program = f"import sys; sys.path[:0] = {places[:2]!r}; sys.path += {places[2:]!r}\n{REQUESTS}"
    environ = {
        "NOTES_KEY_FILE": str(key),
        "NOTES_DATABASE": str(folder / "notes.db"),
        "LD_LIBRARY_PATH": libraries,
    }
    done = subprocess.run([*command, "-c", program], env=environ, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["states"] == STATES
    return {name: file for name, file in result["modules"].items() if file}


def test_what_a_run_imports_is_contained_in_the_closure(notes: Notes, tmp_path: Path) -> None:
    python = [str(notes.interpreter.executable), "-I", "-S", "-B", "-X", "utf8"]
    loaded = serve(python, tmp_path, [NOTES, ATTESTER, *notes.sources.environment])
    paths = {file.path for file in notes.closure.files}
    for name, file in sorted(loaded.items()):
        inside = next(
            root.inside(Path(file))
            for root in reversed(notes.sources.search_path())
            if Path(file).is_relative_to(root.host)
        )
        assert inside in paths or f"{inside}c" in paths, name


def test_the_closure_alone_serves_the_application(notes: Notes, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for file in notes.closure.files:
        path = root / file.path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.read())
        path.chmod(0o755 if file.executable else 0o644)
    # Libraries of wheels are found by the closure of libraries, which is another part of a build.
    home = root / "opt/python/lib" / f"python{notes.interpreter.version}"
    (environment,) = notes.sources.environment
    for libraries in environment.glob("*.libs"):
        (home / "site-packages" / libraries.name).symlink_to(libraries)
    python = root / "opt/python/bin" / f"python{notes.interpreter.version}"
    library = str(notes.interpreter.libpython.parent) if notes.interpreter.libpython else ""
    loaded = serve([str(python), "-I", "-B", "-X", "utf8"], tmp_path, [root / "app"], library)
    assert all(file.startswith(str(root)) for file in loaded.values())


def test_at_most_a_thousand_files_and_an_eighth_of_all_files(notes: Notes) -> None:
    assert len(notes.closure.files) <= 900  # the rest of the image needs a few dozen
    assert notes.closure.considered.files >= SMALLEST_RATIO * 0.9 * len(notes.closure.files)


def test_nothing_is_asked_and_every_chain_of_reasons_ends_at_a_root(notes: Notes) -> None:
    assert notes.closure.questions == ()
    files = {file.path: file for file in notes.closure.files}
    for start in files:
        path, steps = start, 0
        while (asker := files[path].reason.of) is not None:
            path, steps = asker, steps + 1
            assert steps < 50, start


@pytest.mark.parametrize(
    "module",
    [
        "unittest",
        "doctest",
        "tkinter",
        "numpy/testing",
        "numpy/f2py",
        "werkzeug/debug",
        "multiprocessing",
        "_pydecimal",
    ],
)
def test_what_serves_nobody_is_absent(notes: Notes, module: str) -> None:
    paths = [file.path for file in notes.closure.files]
    assert not [path for path in paths if f"/{module}/" in path or path.endswith(f"/{module}.pyc")]


@pytest.mark.slow
def test_the_closure_is_the_same_in_another_folder_with_another_hash_seed_and_locale(tmp_path: Path) -> None:
    program = Path(__file__).parent / "closure_digest.py"
    digests = {
        subprocess.run(
            [sys.executable, "-B", program, tmp_path / f"folder-{seed}", umask],
            env={**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale},
            capture_output=True,
            check=True,
        ).stdout
        for seed, locale, umask in (("1", "C", "077"), ("2", "C.UTF-8", "002"))
    }
    assert len(digests) == 1
