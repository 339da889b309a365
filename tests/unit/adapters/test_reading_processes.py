"""Modules that several processes read: the same as one would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from casemate.adapters.reading_processes import ReadingProcesses
from casemate.builder.cache import NoCache
from casemate.builder.closure.reader import FEW, DirectReader, KeepingReader, ModuleFile, read_module

VERSION = (3, 11, 0)
STDLIB = Path(sysconfig.get_path("stdlib"))


def module(file: Path, tops: tuple[str, ...] | None = None) -> ModuleFile:
    return ModuleFile(
        file=str(file), name=file.stem, is_package=False, version=VERSION, own=True, main=False, tops=tops
    )


@pytest.fixture
def modules(tmp_path: Path) -> list[ModuleFile]:
    """Code, code that is none, a file that is not there, and data with names."""
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "zero.py").write_bytes(b"a = '\0'")
    (tmp_path / "extension.so").write_bytes(b"\0numpy.core\0json\0")
    files = [
        *sorted(STDLIB.glob("[a-f]*.py")),
        tmp_path / "broken.py",
        tmp_path / "zero.py",
        tmp_path / "gone",
    ]
    return [*map(module, files), module(tmp_path / "extension.so", ("numpy", "other"))]


@contextmanager
def processes(number: int) -> Iterator[ReadingProcesses]:
    together = ReadingProcesses(number)
    try:
        yield together
    finally:
        together.end()


def helpers() -> list[int]:
    """Processes that this one has started and that run."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


def warm(together: ReadingProcesses) -> KeepingReader:
    """A reader that has had to read several modules."""
    reader = KeepingReader(NoCache(), together)
    for number in range(FEW):
        reader.attributes(f"a = {number}".encode())
    return reader


@pytest.mark.parametrize("number", [1, 2, 4])
def test_each_module_is_read_once_with_what_this_process_would_find(
    modules: list[ModuleFile], number: int
) -> None:
    before = helpers()
    with processes(number) as together:
        for part in (modules, modules[:FEW], []):
            found = list(together(part))
            assert sorted(one.file for one, _ in found) == sorted(one.file for one in part)
            assert all(read == read_module(one) for one, read in found)
        assert len(helpers()) == len(before) + number - 1
    assert helpers() == before


def test_the_work_of_a_helper_that_ends_is_done_by_the_others(modules: list[ModuleFile]) -> None:
    before = helpers()
    with processes(3) as together:
        found = []
        for number, pair in enumerate(together(modules)):
            found.append(pair)
            if number == 3:
                for pid in set(helpers()) - set(before):
                    os.kill(pid, signal.SIGKILL)
        assert sorted(one.file for one, _ in found) == sorted(one.file for one in modules)
        assert all(read == read_module(one) for one, read in found)
        assert len(list(together(modules))) == len(modules)


def test_a_helper_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from casemate.adapters.reading_processes import ReadingProcesses\n"
        "list(ReadingProcesses(2)([]))\n"
        "print(Path(f'/proc/self/task/{os.getpid()}/children').read_text(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    (helper,) = map(int, done.stdout.split())
    for _ in range(1000):
        try:
            state = Path(f"/proc/{helper}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.01)
    pytest.fail("the helper still runs")


def test_the_graphs_reader_finds_what_was_read_ahead_and_nothing_else(modules: list[ModuleFile]) -> None:
    with processes(2) as together:
        reader = warm(together)
        reader.ahead(modules)
        for one in modules:
            if one.tops is not None:
                data = Path(one.file).read_bytes()
                assert reader.names(data, one.tops) == DirectReader().names(data, one.tops)
            elif Path(one.file).parent == STDLIB:
                source = Path(one.file).read_bytes()
                others = {
                    "name": one.name,
                    "is_package": False,
                    "version": VERSION,
                    "own": True,
                    "main": False,
                }
                direct = DirectReader().scan(source, **others)  # type: ignore[arg-type]  # its own parameters
                assert reader.scan(source, **others) == direct  # type: ignore[arg-type]  # the same
        broken = Path(modules[-4].file).read_bytes()
        with pytest.raises(SyntaxError):
            reader.scan(broken, name="broken", is_package=False, version=VERSION, own=True, main=False)


def test_few_modules_are_read_when_they_are_asked_for(modules: list[ModuleFile]) -> None:
    before = helpers()
    with processes(2) as together:
        warm(together).ahead(modules[: FEW - 1])
        assert helpers() == before


def test_nothing_is_read_ahead_while_all_is_found(modules: list[ModuleFile]) -> None:
    with processes(2) as together:
        asked = iter(modules)
        KeepingReader(NoCache(), together).ahead(asked)
        assert len(list(asked)) == len(modules)
