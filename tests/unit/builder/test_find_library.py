"""``ctypes.util.find_library``, answered without a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.image_files import image_file

from casemate.builder.contents import ImageFile, Rule
from casemate.builder.native.find_library import with_find_library

LIB = "/opt/python/lib/python3.11"
PATH = f"{LIB}/sitecustomize.py"


def _files(*paths: str) -> tuple[ImageFile, ...]:
    return tuple(image_file(path, b"") for path in paths)


def _text(files: tuple[ImageFile, ...]) -> str:
    (file,) = (file for file in files if file.path == PATH)
    return file.read().decode()


def test_images_without_ctypes_util_stay_as_they_are() -> None:
    files = _files("/lib/native/libz.so.1", f"{LIB}/ctypes/__init__.pyc")
    assert with_find_library(files, "3.11") == files


def test_the_table_has_the_libraries_that_the_loader_finds_by_name() -> None:
    files = _files(
        f"{LIB}/ctypes/util.pyc",
        "/lib/glibc/libc.so.6",
        "/lib/native/libz.so.1",
        "/lib/native/libfoo.so.2",
        "/lib/native/libfoo.so.10",
        "/lib/native/libstdc++.so.6",
        f"{LIB}/site-packages/pkg.libs/libbar.so.1",
    )
    text = _text(with_find_library(files, "3.11"))
    table = {"c": "libc.so.6", "foo": "libfoo.so.10", "stdc++": "libstdc++.so.6", "z": "libz.so.1"}
    for name, soname in table.items():
        assert f'"{name}": "{soname}"' in text
    assert "libbar" not in text
    assert "libfoo.so.2" not in text


def test_what_the_interpreter_needs_there_stays() -> None:
    files = (*_files(f"{LIB}/ctypes/util.pyc"), image_file(PATH, b"import site\n"))
    (file,) = (file for file in with_find_library(files, "3.11") if file.path == PATH)
    assert file.read().startswith(b"import site\n\nimport sys\n")
    assert file.reason.detail.endswith("; and answers ctypes.util.find_library")


def test_the_reason_leads_to_ctypes_util() -> None:
    (file,) = (it for it in with_find_library(_files(f"{LIB}/ctypes/util.pyc"), "3.11") if it.path == PATH)
    assert (file.reason.rule, file.reason.of) == (Rule.INTERPRETER, f"{LIB}/ctypes/util.pyc")


def test_python_takes_the_answers_and_loads_ctypes_util_only_when_it_is_asked_for(tmp_path: Path) -> None:
    text = _text(with_find_library(_files(f"{LIB}/ctypes/util.pyc", "/lib/native/libz.so.1"), "3.11"))
    (tmp_path / "sitecustomize.py").write_text(text)
    code = (
        "import sys; assert 'ctypes' not in sys.modules; import os; os.fork = None\n"
        "from ctypes.util import find_library; import ctypes.util\n"
        "print(find_library('z'), find_library('c'), ctypes.util.find_library is find_library)\n"
        "print([f.__name__ for f in sys.meta_path if 'Casemate' in str(f) or 'FindLibrary' in str(f)])"
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout == "libz.so.1 None True\n[]\n"
