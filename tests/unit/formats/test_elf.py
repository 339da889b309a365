"""ELF images: what is read of them, and each thing that is refused."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from casemate.errors import FormatError
from casemate.formats.elf import MAX_SEGMENT_SIZE, ElfImage, ImageType, Segment

TESTS = Path(__file__).parents[2]
IMAGES = runpy.run_path(str(TESTS / "elf_images.py"))
elf_image, Load = IMAGES["elf_image"], IMAGES["Load"]
HEADER = "ELF header: expected a 64-bit little-endian ELF image, got "


def test_the_loaded_segments_are_read_in_their_order() -> None:
    image = ElfImage.parse(elf_image(Load(0x10, 100, 100, 5), Load(0x2010, 50, 5000, 6), entry=0x20))
    assert (image.type, image.entry) == (ImageType.SHARED_OBJECT, 0x20)
    assert [(s.address, s.file_size, s.memory_size) for s in image.segments] == [
        (0x10, 100, 100),
        (0x2010, 50, 5000),
    ]
    assert [(s.readable, s.writable, s.executable) for s in image.segments] == [
        (True, False, True),
        (True, True, False),
    ]


def test_the_bytes_of_a_segment_lie_at_its_offset() -> None:
    data = elf_image(Load(0x123, 10, 10))
    (segment,) = ElfImage.parse(data).segments
    assert data[segment.offset : segment.offset + segment.file_size] == bytes(range(1, 11))
    assert segment.end == 0x12D


def test_the_platform_images_of_the_vectors_are_read() -> None:
    for path in sorted((TESTS / "vectors/measurement/pal").iterdir()):
        assert ElfImage.parse(path.read_bytes()).segments


def test_a_segment_may_be_as_large_as_the_limit() -> None:
    image = ElfImage.parse(elf_image(Load(0, 0, MAX_SEGMENT_SIZE)))
    assert image.segments[0] == Segment(
        offset=image.segments[0].offset,
        address=0,
        file_size=0,
        memory_size=MAX_SEGMENT_SIZE,
        readable=True,
        writable=False,
        executable=True,
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(
            b"",
            HEADER + "0 bytes that begin with nothing (offset 0)",
            id="nothing",
        ),
        pytest.param(
            b"#!/bin/sh\n",
            HEADER + "10 bytes that begin with 23212f62696e2f (offset 0)",
            id="a script",
        ),
        pytest.param(
            elf_image(ident=b"\x7fELF\x01\x01\x01"),
            HEADER + "120 bytes that begin with 7f454c46010101 (offset 0)",
            id="32 bits",
        ),
        pytest.param(
            elf_image(machine=183),
            "ELF machine: expected 62 (x86-64), got 183 (offset 18)",
            id="another machine",
        ),
        pytest.param(
            elf_image(kind=1),
            "ELF type: expected 2 (executable) or 3 (shared object), got 1 (offset 16)",
            id="an object file",
        ),
        pytest.param(
            elf_image(Load(0, 0, 0))[:100],
            "ELF program headers: expected a table within 100 bytes, got 2 entries at 0x40 (offset 32)",
            id="cut in the table",
        ),
        pytest.param(
            elf_image(Load(0, 4096, 4096, 5, offset=4096)),
            "ELF segment: expected bytes within the file of 176, got 4096 bytes at offset 0x1000 "
            "(program header 1)",
            id="outside of the file",
        ),
        pytest.param(
            elf_image(Load(0, 100, 50)),
            "ELF segment: expected at least its 100 file bytes in memory, got 50 (program header 1)",
            id="more in the file than in memory",
        ),
        pytest.param(
            elf_image(Load(0, 0, MAX_SEGMENT_SIZE + 1)),
            "ELF segment: expected at most 8589934592 bytes in memory, below 0x800000000000, "
            "got 8589934593 bytes at 0x0 (program header 1)",
            id="enormous",
        ),
        pytest.param(
            elf_image(Load(2**64 - 4096, 0, 1)),
            "ELF segment: expected at most 8589934592 bytes in memory, below 0x800000000000, "
            "got 1 bytes at 0xfffffffffffff000 (program header 1)",
            id="beyond all addresses",
        ),
        pytest.param(
            elf_image(Load(0x10, 0, 1, 5, offset=0)),
            "ELF segment: expected file offset and address alike within a page, got offset 0x0, address 0x10 "
            "(program header 1)",
            id="cannot be mapped",
        ),
        pytest.param(
            elf_image(Load(0, 100, 100), Load(99, 1, 1)),
            "ELF segments: expected ascending and apart from each other, got 0x63 after 0x0 to 0x64",
            id="overlapping",
        ),
        pytest.param(
            elf_image(Load(0x2000, 1, 1), Load(0x1000, 1, 1)),
            "ELF segments: expected ascending and apart from each other, got 0x1000 after 0x2000 to 0x2001",
            id="descending",
        ),
    ],
)
def test_other_images_are_refused_with_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as refused:
        ElfImage.parse(data)
    assert str(refused.value) == message


def test_program_headers_of_another_size_are_refused() -> None:
    data = bytearray(elf_image(Load(0, 1, 1)))
    data[54] = 32
    with pytest.raises(FormatError) as refused:
        ElfImage.parse(bytes(data))
    assert str(refused.value) == "ELF program header size: expected 56, got 32 (offset 54)"
