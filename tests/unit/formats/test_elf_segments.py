"""Shared libraries whose first segment lies last: the real loader maps them, and nothing of them is lost."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.formats.elf_segments import PAGE, first_segment_last

SOURCE = """
#define _GNU_SOURCE
#include <link.h>
#include <string.h>
static const char words[] = "words that are only read";
static int written[3000] = {1, 2, 3};
static int zeros[9000];
static __thread int own = 7;
static int made;
__attribute__((constructor)) static void make(void) { made = 40; }
int answer(void) { return made + written[1] + zeros[8999] + own - 7; }
const char *text(void) { return words; }
static int count(struct dl_phdr_info *info, size_t size, void *found) {
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *one = &info->dlpi_phdr[i];
        char *start = (char *)info->dlpi_addr + one->p_vaddr;
        if (one->p_type == PT_LOAD && (char *)&answer >= start && (char *)&answer < start + one->p_memsz)
            *(int *)found = info->dlpi_phnum;
    }
    return 0;
}
int headers(void) { int found = 0; dl_iterate_phdr(count, &found); return found; }
"""
RUN = (
    "import ctypes, sys\n"
    "library = ctypes.CDLL(sys.argv[1])\n"
    "library.text.restype = ctypes.c_char_p\n"
    "print(library.answer(), library.text().decode(), library.headers())\n"
)


def linked(folder: Path, *options: str) -> Path:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc to make a library")
    (folder / "a.c").write_text(SOURCE)
    library = folder / "liba.so"
    command = ["gcc", "-g", "-shared", "-fPIC", *options, "-o", str(library), str(folder / "a.c")]
    subprocess.run(command, check=True)
    return library


def answers(library: Path) -> str:
    command = [sys.executable, "-c", RUN, str(library)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def loads(data: bytes) -> list[tuple[int, int, int]]:
    """Offset, address and size of every segment that is loaded."""
    (at,), (count,) = struct.unpack_from("<Q", data, 32), struct.unpack_from("<H", data, 56)
    entries = [struct.unpack_from("<IIQQQQQQ", data, at + 56 * index) for index in range(count)]
    return [(entry[2], entry[3], entry[5]) for entry in entries if entry[0] == 1]


SHAPES = {
    "as the linker likes it": (),
    "without a separate segment for code": ("-Wl,-z,noseparate-code",),
    "aligned for large pages": ("-Wl,-z,max-page-size=0x200000",),
    "relocations before it runs": ("-Wl,-z,relro,-z,now",),
    "with both kinds of hashes": ("-Wl,--hash-style=both",),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_real_loader_sees_the_same_in_a_library_whose_first_segment_lies_last(
    shape: str, tmp_path: Path
) -> None:
    library = linked(tmp_path, *SHAPES[shape])
    data = library.read_bytes()
    changed = first_segment_last(data)

    assert len(changed) < len(data)
    before, after = loads(data), loads(changed)
    assert [load[1:] for load in after] == [load[1:] for load in before]
    assert after[0][0] > max(offset for offset, _, _ in after[1:])
    for (old, _, size), (new, address, _) in list(zip(before, after, strict=True))[1:]:
        assert changed[new : new + size] == data[old : old + size]
        assert (new - address) % PAGE == 0
    expected = answers(library)
    library.write_bytes(changed)
    assert answers(library) == expected
    assert expected.startswith("42 words that are only read ")


@pytest.mark.skipif(shutil.which("readelf") is None, reason="needs readelf to compare with")
def test_readelf_has_nothing_to_complain_of_and_sees_the_same_symbols(tmp_path: Path) -> None:
    library = linked(tmp_path)
    command = ["readelf", "-W", "--dynamic", "--dyn-syms", "--relocs", "--notes"]
    before = subprocess.run([*command, library], capture_output=True, text=True, check=True)
    library.write_bytes(first_segment_last(library.read_bytes()))
    after = subprocess.run([*command, library], capture_output=True, text=True, check=True)
    assert after.stderr == ""

    def without_places(text: str) -> list[str]:
        return [line for line in text.splitlines() if "at offset" not in line]

    assert without_places(after.stdout) == without_places(before.stdout)


def test_what_is_laid_out_so_already_stays_as_it_is(tmp_path: Path) -> None:
    changed = first_segment_last(linked(tmp_path).read_bytes())
    assert first_segment_last(changed) is changed


def test_programs_stay_as_they_are() -> None:
    data = Path(sys.executable).resolve().read_bytes()
    assert first_segment_last(data) is data


@given(cut=st.integers(0, 1 << 16), at=st.integers(0, 1023), value=st.integers(0, 255))
def test_no_bytes_are_too_strange(
    cut: int, at: int, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = bytearray(_library(tmp_path_factory))
    data[at % len(data)] = value
    for strange in (bytes(data), bytes(data[: cut % len(data)])):
        changed = first_segment_last(strange)
        assert len(changed) <= len(strange) + 64 * PAGE


_kept: list[bytes] = []


def _library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    if not _kept:
        _kept.append(linked(tmp_path_factory.mktemp("library")).read_bytes())
    return _kept[0]
