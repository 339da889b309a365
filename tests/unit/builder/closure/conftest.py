"""A small world: an interpreter with a handful of modules, an attester, an environment and an application."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from casemate.builder.closure import Interpreter, ModuleSource, PythonClosure, Sources, find_python_closure
from casemate.builder.contents import ImageFile
from casemate.formats.trace import Trace
from casemate.project import parse_project

STDLIB = {
    "os.py": "import posixpath",
    "posixpath.py": "",
    "site.py": "import os",
    "runpy.py": "",
    "sysconfig.py": "",
    "_sysconfigdata.py": "",
    "json/__init__.py": "from .decoder import JSONDecoder",
    "json/decoder.py": "JSONDecoder = 1",
    "json/tool.py": "",
    "doctest.py": "",
    "decimal.py": "try:\n    from _decimal import *\nexcept ImportError:\n    from _pydecimal import *",
    "_pydecimal.py": "",
    "encodings/__init__.py": "",
    "encodings/cp1252.py": "",
    "test/__init__.py": "",
    "importlib/__init__.py": "",
    "importlib/metadata/__init__.py": "",
    "inspect.py": "",
    "pathlib.py": "",
    "pkgutil.py": "",
}
ATTESTER = {
    "__init__.py": "",
    "__main__.py": (
        "def main():\n from casemate_attester import wsgi_server\n from casemate_attester import asgi_server"
    ),
    "wsgi_server.py": "import cheroot",
    "asgi_server.py": "import uvicorn",
}
SITE = "/opt/python/lib/python3.11/site-packages"
LIB = "/opt/python/lib/python3.11"


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


class World:
    """Folders to be filled, and the closure of what is in them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.compiled: list[ModuleSource] = []
        for name in ("app", "env", "stdlib", "stdlib/lib-dynload", "attester"):
            (root / name).mkdir()
        write(root / "stdlib", STDLIB)
        write(root / "stdlib/lib-dynload", {"_decimal.so": b"\x7fELF"})
        write(root / "attester/casemate_attester", ATTESTER)
        write(root, {"bin/python3.11": b"\x7fELF"})
        self.distribution("cheroot-1.0", {"cheroot/__init__.py": ""})
        self.interpreter = Interpreter(
            version="3.11",
            release="3.11.7",
            executable=root / "bin/python3.11",
            prefix=root,
            stdlib=root / "stdlib",
            dynload=root / "stdlib/lib-dynload",
            suffixes=(".cpython-311-x86_64-linux-gnu.so", ".abi3.so", ".so"),
            libpython=None,
            builtin=frozenset({"sys", "time"}),
            frozen=frozenset({"os", "site"}),
            start_up=("encodings", "os", "site", "sys"),
            build_time_module="_sysconfigdata",
            finds_site_packages=True,
        )

    def app(self, files: Mapping[str, str | bytes]) -> None:
        write(self.root / "app", files)

    def distribution(self, name: str, files: Mapping[str, str | bytes], entry_points: str = "") -> None:
        """An installed distribution, with its record."""
        metadata = {f"{name}.dist-info/METADATA": "Name: x"}
        if entry_points:
            metadata[f"{name}.dist-info/entry_points.txt"] = entry_points
        record = "".join(f"{file},,\n" for file in [*files, *metadata])
        write(self.root / "env", {**files, **metadata, f"{name}.dist-info/RECORD": record})

    def compile(self, sources: Sequence[ModuleSource]) -> tuple[bytes | None, ...]:
        self.compiled.extend(sources)
        return tuple(_compiled(source) for source in sources)

    @property
    def sources(self) -> Sources:
        return Sources(
            application=self.root / "app",
            environment=(self.root / "env",),
            attester=self.root / "attester",
            interpreter=self.interpreter,
        )

    def closure(
        self,
        more: str = "",
        *,
        app: str = 'serve = "web:app"\ninterface = "wsgi"',
        environment: tuple[Path, ...] | None = None,
        trace: Trace | None = None,
    ) -> PythonClosure:
        """The closure of a casemate.toml whose ``[app]`` says ``app``, followed by ``more``."""
        text = f'[app]\nname = "web"\n{app}\n{more}'
        sources = replace(self.sources, environment=environment or self.sources.environment, trace=trace)
        return find_python_closure(parse_project(text.encode(), "casemate.toml"), sources, self.compile)

    def files(self, more: str = "", **options: Any) -> dict[str, ImageFile]:
        return {file.path: file for file in self.closure(more, **options).files}


def _compiled(source: ModuleSource) -> bytes | None:
    text = source.host.read_bytes()
    try:
        compile(text, source.path, "exec")
    except (SyntaxError, ValueError):
        return None
    return b"bytecode of " + text


@pytest.fixture
def world(tmp_path: Path) -> World:
    root = tmp_path / "one"
    root.mkdir()
    return World(root)


@pytest.fixture
def second_world(tmp_path: Path) -> World:
    root = tmp_path / "another-folder"
    root.mkdir()
    return World(root)
