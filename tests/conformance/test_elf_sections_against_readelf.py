"""Files of this machine without their debugging information, as binutils and the real loader see them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from casemate.adapters.host_python import describe_interpreter
from casemate.formats.elf_sections import without_debugging

_MOST = 60


def _changed(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Files that change, with their slimmed copies."""
    interpreter = describe_interpreter(Path(sys.executable))
    candidates = [interpreter.executable, *sorted(interpreter.dynload.glob("*.so"))]
    candidates += [interpreter.libpython] if interpreter.libpython else []
    candidates += sorted((Path(sys.prefix) / "lib").rglob("*.so"))
    found = 0
    for path in candidates:
        data = path.read_bytes()
        slim = without_debugging(data)
        if slim is not data and found < _MOST:
            found += 1
            copy = tmp_path / path.name
            copy.write_bytes(slim)
            yield path, copy


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf to compare with")
def test_readelf_sees_the_same_segments_and_mapped_sections(tmp_path: Path) -> None:
    for path, copy in _changed(tmp_path):
        seen = [
            subprocess.run(["readelf", *options, file], capture_output=True, text=True, check=True)
            for options in (["-lW"], ["-dW"], ["-SW"])
            for file in (path, copy)
        ]
        assert not any(run.stderr for run in seen)
        segments, slim_segments, dynamic, slim_dynamic, sections, slim_sections = (run.stdout for run in seen)
        assert slim_segments.replace(str(copy), str(path)) == segments
        assert slim_dynamic.replace(str(copy), str(path)) == dynamic
        assert _mapped(slim_sections) == _mapped(sections)


def _mapped(sections: str) -> list[str]:
    """Lines of sections with the flag A."""
    return [line for line in sections.splitlines() if re.search(r"\s\S*A\S*\s+\d+\s+\d+\s+\d+$", line)]


def test_an_interpreter_runs_with_slimmed_extensions(tmp_path: Path) -> None:
    extensions = [(path, copy) for path, copy in _changed(tmp_path) if ".cpython-" in path.name]
    if not extensions:
        pytest.skip("the extensions of this interpreter carry no debugging information")
    names = [path.name.partition(".")[0] for path, _ in extensions if path.parent.name == "lib-dynload"]
    code = (
        "import importlib.machinery as m, importlib.util as u, sys\n"
        "for line in sys.stdin.read().split():\n"
        "    name, path = line.split('=')\n"
        "    loader = m.ExtensionFileLoader(name, path)\n"
        "    u.module_from_spec(u.spec_from_file_location(name, path, loader=loader))\n"
        "    print(name)\n"
    )
    quiet = {"_tkinter", "_testbuffer", "_testcapi", "_testinternalcapi", "_testmultiphase", "nis", "_crypt"}
    wanted = [name for name in names if name not in quiet and not name.startswith(("_xx", "xx", "_test"))]
    lines = " ".join(
        f"{name}={copy}" for name in wanted for path, copy in extensions if copy.name.startswith(f"{name}.")
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        input=lines,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )

    assert done.stdout.split() == wanted, done.stderr
