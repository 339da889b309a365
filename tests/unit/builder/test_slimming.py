"""What goes into the image without its debugging information, and says so."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.image_files import image_file

from casemate.builder.contents import Rule
from casemate.builder.packing.slimming import slim
from casemate.formats.elf_segments import first_segment_last


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A library with debugging information."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc to make a library")
    code = "const char text[60000] = {1}; int answer(void) { return 42; }\n"
    (tmp_path / "a.c").write_text(code)
    command = ["gcc", "-g", "-shared", "-fPIC", "-o", str(tmp_path / "a.so"), str(tmp_path / "a.c")]
    subprocess.run(command, check=True)
    return tmp_path / "a.so"


def test_a_library_loses_what_no_loader_looks_at_and_says_so(library: Path) -> None:
    file = image_file("/lib/native/a.so", library)

    slimmed = slim(file)

    assert slimmed.read() == first_segment_last(library.read_bytes())
    assert slimmed.reason.detail == f"{file.reason.detail}; as its segments alone, the first one last"
    assert slim(slimmed) is slimmed


@pytest.mark.parametrize("path", ["/lib/glibc/a.so", "/opt/python/bin/python3.11"])
def test_programs_and_the_c_library_keep_their_layout(library: Path, path: str) -> None:
    file = image_file(path, library)

    slimmed = slim(file)

    assert (
        slimmed.reason.detail == f"{file.reason.detail}; without its symbol table and debugging information"
    )
    assert slim(slimmed) is slimmed


def test_gramine_s_own_files_stay_as_they_are(library: Path) -> None:
    file = image_file("/lib/glibc/libc.so.6", library, Rule.GRAMINE)

    assert slim(file) is file


def test_other_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    file = image_file("/app/text", tmp_path / "text")

    assert slim(file) is file
    assert slim(replace(file, content=b"bytes")).content == b"bytes"
