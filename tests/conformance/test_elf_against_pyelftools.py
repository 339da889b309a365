"""The dynamic section of many files of this machine, read by us and by pyelftools."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from casemate.formats.elf_dynamic import MAGIC, ElfDynamic, ElfIdentity
from casemate.formats.loader_cache import LoaderCache

_ENOUGH = 400


def _elf_files() -> Iterator[Path]:
    """Executables and libraries of this machine: those of Python first, then those of the system."""
    prefix = Path(sys.base_prefix)
    folders = [prefix / "bin", prefix / "lib", Path(sys.prefix) / "lib", Path("/usr/bin"), Path("/usr/lib")]
    for folder in folders:
        for parent, names, files in os.walk(folder):
            names.sort()
            if "debug" in names:
                names.remove("debug")  # split debug information: its dynamic section has no bytes
            for name in sorted(files):
                path = Path(parent, name)
                if path.is_symlink() or not path.is_file() or path.stat().st_size > 30_000_000:
                    continue
                with path.open("rb") as file:
                    start = file.read(20)
                if start[:4] == MAGIC and len(start) == 20 and _is_ours(start):
                    yield path


def _is_ours(start: bytes) -> bool:
    identity = ElfIdentity.parse(start)
    return identity.bits == 64 and identity.little_endian and identity.type in (2, 3)


def _by_pyelftools(path: Path) -> tuple[object, ...]:
    with path.open("rb") as file:
        elf = ELFFile(file)
        interpreter = next(
            (part.get_interp_name() for part in elf.iter_segments() if isinstance(part, InterpSegment)), None
        )
        needed, names, flags = [], {}, 0
        for segment in elf.iter_segments():
            if isinstance(segment, DynamicSegment):
                for tag in segment.iter_tags():
                    match tag.entry.d_tag:
                        case "DT_NEEDED":
                            needed.append(tag.needed)
                        case "DT_SONAME" | "DT_RPATH" | "DT_RUNPATH" as kind:
                            names[kind] = getattr(tag, kind[3:].lower())
                        case "DT_FLAGS_1":
                            flags = tag.entry.d_val
        version_needs = _version_needs(elf)
        definitions = _version_definitions(elf)
    return (
        elf.header.e_machine,
        interpreter,
        tuple(needed),
        names.get("DT_SONAME"),
        names.get("DT_RPATH"),
        names.get("DT_RUNPATH"),
        bool(flags & 0x800),
        version_needs,
        definitions,
    )


def _version_needs(elf: ELFFile) -> tuple[object, ...]:
    section = elf.get_section_by_name(".gnu.version_r")
    if section is None:
        return ()
    return tuple(
        (need.name, tuple(entry.name for entry in entries if not entry["vna_flags"] & 2))
        for need, entries in section.iter_versions()
    )


def _version_definitions(elf: ELFFile) -> tuple[str, ...]:
    section = elf.get_section_by_name(".gnu.version_d")
    if section is None:
        return ()
    return tuple(next(iter(names)).name for _, names in section.iter_versions())


def test_pyelftools_reads_the_same_from_the_files_of_this_machine() -> None:
    compared = 0
    for path in _elf_files():
        ours = ElfDynamic.parse(path.read_bytes())
        machine = "EM_X86_64" if ours.machine == 62 else ours.machine
        values = (
            machine,
            ours.interpreter,
            ours.needed,
            ours.soname,
            ours.rpath,
            ours.runpath,
            ours.no_default_libraries,
            tuple((need.library, need.versions) for need in ours.version_needs),
            ours.version_definitions,
        )
        assert values == _by_pyelftools(path), path
        compared += 1
        if compared == _ENOUGH:
            break
    assert compared >= 20


def test_ldconfig_prints_the_cache_that_we_read() -> None:
    cache, ldconfig = Path("/etc/ld.so.cache"), shutil.which("ldconfig", path="/sbin:/usr/sbin")
    if ldconfig is None or not cache.exists():
        pytest.skip("this machine has no ldconfig with a cache")
    printed = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, check=True).stdout
    lines = [line.strip() for line in printed.splitlines() if " => " in line]

    ours = LoaderCache.parse(cache.read_bytes()).entries

    assert [(e.name, e.path) for e in ours] == [
        (line.split(" (")[0], line.split(" => ")[1]) for line in lines
    ]
