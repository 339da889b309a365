"""What the attester is made of may not grow unseen: its modules, what they import, and how long they are."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import cryptography
import pytest

import casemate_attester

SOURCE = Path(casemate_attester.__file__).parent
LOADED = Path(__file__).parent / "loaded_modules.txt"
#: Lines of the whole wheel. Raising it is a decision about the trusted computing base.
LINE_BUDGET = 2950
LINES_OF_A_MODULE = 500
#: Imported by the module that runs the server, from the image of the workload.
SERVERS = {"wsgi_server": "cheroot", "asgi_server": "uvicorn"}
MODULES = sorted(item.name for item in pkgutil.iter_modules([str(SOURCE)]))

#: Prints the modules that importing the entry point adds to a bare interpreter.
LIST = """
import sys
bare = set(sys.modules)
sys.path += sys.argv[1:]
import casemate_attester.entrypoint
print(*sorted(set(sys.modules) - bare), sep="\\n")
"""


def test_importing_the_entry_point_loads_only_what_is_listed() -> None:
    packages = Path(cryptography.__file__).parent.parent
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", LIST, str(SOURCE.parent), str(packages)],
        capture_output=True,
        text=True,
        check=True,
    )
    # The interpreter's private modules differ between its versions; each belongs to a public one.
    loaded = {
        name
        for name in result.stdout.split()
        if not any(part.startswith("_") for part in name.split(".") if part != "__future__")
    }
    listed = LOADED.read_text().split()
    assert listed == sorted(set(listed)), f"{LOADED.name} is sorted and names each module once"
    assert sorted(loaded - set(listed)) == [], f"these are new; if they are meant, list them in {LOADED.name}"


def test_the_list_holds_nothing_but_the_standard_library_cryptography_and_ourselves() -> None:
    tops = {name.partition(".")[0] for name in LOADED.read_text().split()}
    assert sorted(tops - set(sys.stdlib_module_names)) == ["casemate_attester", "cryptography"]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_the_standard_library_and_cryptography_only(name: str) -> None:
    allowed = {"casemate_attester", "cryptography", SERVERS.get(name), *sys.stdlib_module_names}
    for node in ast.walk(ast.parse((SOURCE / f"{name}.py").read_text())):
        match node:
            case ast.Import(names=aliases):
                tops = {alias.name.partition(".")[0] for alias in aliases}
            case ast.ImportFrom(module=str(module), level=0):
                tops = {module.partition(".")[0]}
            case ast.ImportFrom():
                pytest.fail(f"line {node.lineno}: a relative import")
            case _:
                continue
        assert tops <= allowed, f"line {node.lineno}"


def test_the_wheel_keeps_its_budget_of_lines() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in SOURCE.glob("*.py")}
    assert sum(lines.values()) <= LINE_BUDGET
    assert {name for name, count in lines.items() if count >= LINES_OF_A_MODULE} == set()


@pytest.mark.parametrize("name", sorted({*MODULES} - {"__main__", "errors", *SERVERS}))
def test_public_names_are_sorted_and_there(name: str) -> None:
    module = importlib.import_module(f"casemate_attester.{name}")
    public = module.__all__
    assert list(public) == sorted(public, key=lambda item: (not item.isupper(), item[0].islower(), item))
    assert all(hasattr(module, item) for item in public)


def test_nothing_that_runs_depends_on_assert() -> None:
    for path in SOURCE.glob("*.py"):
        found = [
            node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)
        ]
        assert found == [], path.name
