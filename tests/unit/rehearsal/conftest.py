"""A small image for rehearsals: this machine's interpreter and the part of its library that starts it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from casemate.formats.manifest import dump_manifest
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.rehearsal.report import Report
from casemate.rehearsal.run import Rehearsal, Stage
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.platform import SimulatedPlatform

#: The modules that test programs may import.
_MODULES = (
    "os, sys, json, socket, signal, time, threading, errno, stat, traceback, resource, linecache, ctypes, "
    "mmap, encodings.idna"
)
#: What most test programs begin with: ``from asking import *``.
_ASKING = """
    import os, json, errno

    def attempt(function, *arguments):
        try:
            function(*arguments)
        except OSError as refusal:
            return errno.errorcode[refusal.errno]
        return "done"

    def ask(path, *arguments):
        return attempt(lambda: open(path, *arguments).close())

    def look(path):
        return attempt(os.stat, path)
"""
_PRELUDE = f"""
import {_MODULES}, sysconfig
files = [m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)]
print(json.dumps([sysconfig.get_path("stdlib"), sys.version_info[:2], files]))
"""


@dataclass(frozen=True)
class Image:
    """An image under construction.

    Attributes:
        rootfs: Its root file system.
        python: The interpreter as the application sees it.
        trusted: Path in the image to digest.
        manifest: The manifest without trusted files.
    """

    rootfs: Path
    python: str
    trusted: dict[str, str]
    manifest: dict[str, Any] = field(default_factory=dict)

    def write(self, path: str, content: str | bytes, *, trust: bool = True) -> Path:
        """Put a file where the application sees ``path``."""
        place = self.rootfs / "enclave" / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        data = textwrap.dedent(content).encode() if isinstance(content, str) else content
        place.write_bytes(data)
        if trust:
            self.trusted[f"/enclave{path}"] = hashlib.sha256(data).hexdigest()
        return place

    def measured(self) -> bytes:
        """The bytes of the manifest."""
        manifest = json.loads(json.dumps(self.manifest))
        manifest.setdefault("sgx", {})["trusted_files"] = [
            {"uri": f"file:{path}", "sha256": digest} for path, digest in sorted(self.trusted.items())
        ]
        return dump_manifest(manifest)


@pytest.fixture(scope="session")
def interpreter_tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A root file system with an interpreter that starts, and the interpreter's path in it."""
    rootfs = tmp_path_factory.mktemp("image")
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", _PRELUDE], check=True, capture_output=True, text=True
    )
    library, version, files = json.loads(done.stdout)
    # Python 3.13 has it in memory from the start, under another name.
    files.append(f"{library}/collections/abc.py")
    name = f"python{version[0]}.{version[1]}"
    home = rootfs / "enclave/opt/python"
    real = Path(sys.executable).resolve()
    _copy(real, home / "bin" / name, 0o755)
    for file in files:
        _copy(Path(file), home / "lib" / name / Path(file).relative_to(library), 0o644)
    (home / "lib" / name / "lib-dynload").mkdir(parents=True, exist_ok=True)
    for file in [str(real), *files]:
        if not file.endswith(".py"):
            _copy_libraries(Path(file), rootfs)
    return rootfs, f"/opt/python/bin/{name}"


def _copy(source: Path, target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _copy_libraries(program: Path, rootfs: Path) -> None:
    done = subprocess.run(["ldd", program], check=True, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        words = line.replace("=>", " ").split()
        found = [word for word in words if word.startswith("/")]
        if found:
            _copy(Path(found[-1]).resolve(), rootfs / "enclave/lib/glibc" / Path(words[0]).name, 0o755)


@pytest.fixture
def image(interpreter_tree: tuple[Path, str], tmp_path: Path) -> Image:
    """An image of its own for each test."""
    source, python = interpreter_tree
    rootfs = tmp_path / "rootfs"
    shutil.copytree(source, rootfs, copy_function=os.link)
    trusted = {}
    for file in sorted(rootfs.rglob("*")):
        if file.is_file():
            trusted[f"/{file.relative_to(rootfs)}"] = hashlib.sha256(file.read_bytes()).hexdigest()
    manifest = {
        "libos": {"entrypoint": python},
        "loader": {
            "argv": [python, "-I", "-S", "-B", "-u", "/app/main.py"],
            "env": {"LD_LIBRARY_PATH": "/lib/glibc", "COLOUR": "blue"},
        },
        "fs": {
            "root": {"type": "chroot", "uri": "file:/enclave"},
            "mounts": [{"type": "tmpfs", "path": "/tmp"}],
            "start_dir": "/app",
        },
        "sys": {"stack": {"size": "2M"}, "enable_sigterm_injection": True},
        "sgx": {"enclave_size": "256M", "max_threads": 16, "remote_attestation": "dcap"},
    }
    made = Image(rootfs=rootfs, python=python, trusted=trusted, manifest=manifest)
    made.write(f"/opt/python/lib/{Path(python).name}/asking.py", _ASKING)
    return made


@pytest.fixture(scope="session")
def platform() -> SimulatedPlatform:
    """One platform for all tests that do not look at it."""
    return SimulatedPlatform.create(datetime.now(UTC))


@pytest.fixture
def enclave(platform: SimulatedPlatform) -> SimulatedEnclave:
    """An enclave that no measurement stands behind: these tests are about what the files show of it."""
    return SimulatedEnclave(
        platform=platform, mrenclave=MrEnclave(bytes([1]) * 32), mrsigner=MrSigner(bytes([2]) * 32)
    )


@dataclass(frozen=True)
class Run:
    """What one rehearsal gave."""

    report: Report
    stdout: str
    stderr: str

    @property
    def result(self) -> Any:
        """What the program printed as JSON."""
        return json.loads(self.stdout)


Runner = Callable[..., Run]


@pytest.fixture
def stage(image: Image, enclave: SimulatedEnclave) -> Callable[..., Stage]:
    """Makes the stage of a rehearsal of the image."""

    def make(**changes: Any) -> Stage:
        return replace(Stage(manifest=image.measured(), rootfs=image.rootfs, enclave=enclave), **changes)

    return make


@pytest.fixture
def run(image: Image, stage: Callable[..., Stage], tmp_path: Path) -> Runner:
    """Runs a program, given as source, to its end."""

    def rehearse(program: str, *, outside: Mapping[str, str] | None = None, **changes: Any) -> Run:
        image.write("/app/main.py", program)
        out, err = tmp_path / "out", tmp_path / "err"
        with (
            out.open("wb") as stdout,
            err.open("wb") as stderr,
            Rehearsal(
                lambda _: stage(**changes),
                outside=outside or {},
                stdout=stdout.fileno(),
                stderr=stderr.fileno(),
            ) as rehearsal,
        ):
            report = rehearsal.wait(60)
        return Run(report, out.read_text(), err.read_text())

    return rehearse
