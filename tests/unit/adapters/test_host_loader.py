"""What is asked of this machine's loader."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.support.elf_writer import ElfFile, write_elf

from casemate.adapters.host_loader import HostFiles, host_search_rules
from casemate.adapters.host_python import describe_interpreter
from casemate.errors import ToolchainError


def test_the_loader_of_this_machine_describes_itself() -> None:
    interpreter = describe_interpreter(Path(sys.executable)).executable

    rules = host_search_rules(interpreter, ("/opt/lib",))

    assert "/usr/lib" in rules.default_folders or "/usr/lib64" in rules.default_folders
    assert rules.lib.startswith("lib")
    assert rules.library_path == ("/opt/lib",)
    assert all(Path(path).is_absolute() for path in rules.cache.values())


def test_links_lead_to_one_identity(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    files = HostFiles()

    assert files.identity(str(tmp_path / "link")) == files.identity(str(tmp_path / "file"))
    assert files.identity(str(tmp_path)) is None
    assert files.identity(str(tmp_path / "nothing")) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"#!/bin/sh\n", "Python interpreter: got ELF magic: ", id="script"),
        pytest.param(write_elf(ElfFile(static=True)), "Python interpreter: expected a dynamic", id="static"),
        pytest.param(
            write_elf(ElfFile(interpreter="/lib/ld-none.so", needed=("libc.so",))),
            "dynamic loader: expected an answer to --list-diagnostics",
            id="no loader",
        ),
        pytest.param(
            write_elf(ElfFile(interpreter="/bin/echo", needed=("libc.so",))),
            "dynamic loader: expected path.system_dirs and dl_dst_lib among its diagnostics, got others",
            id="another loader",
        ),
    ],
)
def test_a_program_without_glibc_s_loader_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "python").write_bytes(content)

    with pytest.raises(ToolchainError) as refused:
        host_search_rules(tmp_path / "python", ())
    assert str(refused.value).startswith(message)
