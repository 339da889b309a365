"""Reading the dynamic section of ELF files, on bytes made here."""

from __future__ import annotations

import struct

import pytest
from tests.support.elf_writer import ElfFile, write_elf

from casemate.errors import FormatError
from casemate.formats.elf_dynamic import ElfDynamic, ElfIdentity, VersionNeed


def test_everything_that_the_loader_looks_at_is_read() -> None:
    image = write_elf(
        ElfFile(
            interpreter="/lib64/ld-linux-x86-64.so.2",
            needed=("libb.so", "libc.so.6"),
            soname="liba.so.1",
            rpath="$ORIGIN/../lib",
            runpath="/opt/lib:/usr/lib",
            flags_1=0x800,
            version_needs=(("libc.so.6", ("GLIBC_2.34", "GLIBC_2.4")),),
            version_definitions=("liba.so.1", "A_1"),
        )
    )

    assert ElfDynamic.parse(image) == ElfDynamic(
        machine=62,
        interpreter="/lib64/ld-linux-x86-64.so.2",
        needed=("libb.so", "libc.so.6"),
        soname="liba.so.1",
        rpath="$ORIGIN/../lib",
        runpath="/opt/lib:/usr/lib",
        no_default_libraries=True,
        version_needs=(VersionNeed(library="libc.so.6", versions=("GLIBC_2.34", "GLIBC_2.4")),),
        version_definitions=("liba.so.1", "A_1"),
    )


def test_a_static_executable_needs_nothing() -> None:
    dynamic = ElfDynamic.parse(write_elf(ElfFile(static=True)))

    assert (dynamic.needed, dynamic.interpreter, dynamic.soname) == ((), None, None)


def test_a_weak_version_is_no_need() -> None:
    image = write_elf(ElfFile(version_needs=(("libc.so.6", ("GLIBC_2.4", "weak:GLIBC_2.40")),)))

    assert ElfDynamic.parse(image).version_needs == (
        VersionNeed(library="libc.so.6", versions=("GLIBC_2.4",)),
    )


def test_the_identity_of_other_machines_is_told() -> None:
    assert ElfIdentity.parse(b"\x7fELF\x01\x02\x01" + bytes(9) + b"\x00\x03\x00\x08") == ElfIdentity(
        bits=32, little_endian=False, machine=8, type=3
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "ELF magic: expected 7f454c46, got nothing", id="empty"),
        pytest.param(b"#!/bin/sh", "ELF magic: expected 7f454c46, got 23212f62", id="script"),
        pytest.param(b"\x7fELF\x02\x01", "ELF identity: expected 20 bytes, got 6 bytes", id="short"),
        pytest.param(
            b"\x7fELF\x03\x01" + bytes(20),
            "ELF class: expected 1 (32 bits) or 2 (64 bits), got 3",
            id="class",
        ),
        pytest.param(
            b"\x7fELF\x02\x00" + bytes(20),
            "ELF byte order: expected 1 (little) or 2 (big), got 0",
            id="order",
        ),
        pytest.param(
            b"\x7fELF\x01\x01" + bytes(20),
            "ELF file: expected 64 bits, little endian, got 32 bits, little endian",
            id="32 bits",
        ),
        pytest.param(
            b"\x7fELF\x02\x01" + bytes(20), "ELF header: expected 64 bytes, got 26 bytes", id="header cut"
        ),
    ],
)
def test_what_is_no_64_bit_elf_file_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as refused:
        ElfDynamic.parse(data)
    assert str(refused.value) == message


def test_a_segment_behind_the_end_of_the_file_is_refused() -> None:
    image = write_elf(ElfFile(needed=("libc.so.6",)))

    with pytest.raises(FormatError, match=r"^segment: expected inside the file of \d+ bytes, got "):
        ElfDynamic.parse(image[:-1])


def test_a_dynamic_section_without_end_is_refused() -> None:
    with pytest.raises(FormatError) as refused:
        ElfDynamic.parse(write_elf(ElfFile(needed=("libc.so.6",), terminated=False)))
    assert str(refused.value) == "dynamic section: expected DT_NULL at its end, got none"


def test_two_run_paths_are_refused() -> None:
    image = write_elf(ElfFile(runpath="/a", extra_tags=((29, 1),)))

    with pytest.raises(FormatError) as refused:
        ElfDynamic.parse(image)
    assert str(refused.value) == "dynamic section: expected tag 0x1d once, got 2 times"


def test_a_name_outside_of_the_string_table_is_refused() -> None:
    image = write_elf(ElfFile(needed=("libc.so.6",), extra_tags=((1, 4000),)))

    with pytest.raises(FormatError, match=r"^name in the dynamic string table: expected a zero byte"):
        ElfDynamic.parse(image)


def test_an_interpreter_that_is_not_terminated_is_refused() -> None:
    image = bytearray(write_elf(ElfFile(interpreter="/lib/ld.so", needed=("libc.so.6",))))
    at = image.index(b"/lib/ld.so\0")
    struct.pack_into("<B", image, at + len("/lib/ld.so"), 0x41)

    with pytest.raises(FormatError, match=r"^PT_INTERP: expected a path and one zero byte, got "):
        ElfDynamic.parse(bytes(image))


def _changed(image: bytes, at: int, kind: str, value: int) -> bytes:
    changed = bytearray(image)
    struct.pack_into(kind, changed, at, value)
    return bytes(changed)


_IMAGE = write_elf(ElfFile(needed=("libc.so.6",)))


@pytest.mark.parametrize(
    ("image", "subject"),
    [
        pytest.param(_changed(_IMAGE, 54, "<H", 40), "size of a program header", id="size of headers"),
        pytest.param(_changed(_IMAGE, 32, "<Q", 1 << 40), "program headers", id="headers outside"),
        pytest.param(_changed(_IMAGE, 56, "<H", 0xFFFF), "program headers", id="too many headers"),
    ],
)
def test_impossible_program_headers_are_refused(image: bytes, subject: str) -> None:
    with pytest.raises(FormatError) as refused:
        ElfDynamic.parse(image)
    assert refused.value.subject == subject


def test_two_dynamic_sections_are_refused() -> None:
    image = write_elf(ElfFile(interpreter="/lib/ld.so", needed=("libc.so.6",)))

    with pytest.raises(FormatError) as refused:
        ElfDynamic.parse(_changed(image, 64 + 2 * 56, "<I", 2))
    assert str(refused.value) == "number of PT_DYNAMIC segments: expected at most 1, got 2"


def test_half_a_string_table_is_refused() -> None:
    image = _IMAGE.replace(struct.pack("<q", 10), struct.pack("<q", 99))

    with pytest.raises(FormatError) as refused:
        ElfDynamic.parse(image)
    assert str(refused.value) == "dynamic string table: expected DT_STRTAB and DT_STRSZ, got one of them"


def test_a_list_of_versions_without_its_length_is_refused() -> None:
    image = write_elf(ElfFile(version_needs=(("libc.so.6", ("GLIBC_2.4",)),)))
    image = image.replace(struct.pack("<q", 0x6FFFFFFF), struct.pack("<q", 99))

    with pytest.raises(FormatError) as refused:
        ElfDynamic.parse(image)
    assert str(refused.value) == "needed symbol versions: expected its number of records, got none"


def test_a_list_of_versions_that_ends_early_is_refused() -> None:
    image = write_elf(ElfFile(version_definitions=("a", "b")))
    step = struct.pack("<HHHHIII", 1, 0, 1, 1, 0, 20, 28)

    with pytest.raises(FormatError) as refused:
        ElfDynamic.parse(image.replace(step, step[:-4] + bytes(4)))
    assert str(refused.value) == "defined symbol versions: expected 1 more records, got a step of 0 bytes"


def test_a_name_that_is_no_utf_8_is_refused() -> None:
    image = _IMAGE.replace(b"libc.so.6", b"libc\xff.so6")

    with pytest.raises(FormatError) as refused:
        ElfDynamic.parse(image)
    assert str(refused.value) == ("name in the dynamic string table: expected UTF-8, got 6c696263ff2e736f36")
