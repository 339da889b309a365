"""The stand-in for Gramine's platform image: a valid ELF file that says what it is."""

from __future__ import annotations

import hashlib
import io

from elftools.elf.elffile import ELFFile

from casemate.simulator.platform_image import platform_image


def test_it_is_the_same_file_every_time() -> None:
    assert platform_image() == platform_image()
    assert (
        hashlib.sha256(platform_image()).hexdigest()
        == "8535af9ebb0382b909a55863cc9934afac323b56a7fde64879e234b6a27fb1b3"
    )


def test_it_says_that_it_is_a_simulation() -> None:
    assert b"simulated platform image" in platform_image()


def test_another_reader_finds_a_shared_object_with_three_segments() -> None:
    elf = ELFFile(io.BytesIO(platform_image()))
    assert (elf.elfclass, elf["e_machine"], elf["e_type"]) == (64, "EM_X86_64", "ET_DYN")
    segments = list(elf.iter_segments("PT_LOAD"))
    assert [segment["p_flags"] for segment in segments] == [4, 5, 6]
    assert all(segment["p_vaddr"] == segment["p_offset"] for segment in segments)
    assert all(segment["p_offset"] + segment["p_filesz"] <= len(platform_image()) for segment in segments)
    code = segments[1]
    assert elf["e_entry"] == code["p_vaddr"]
    assert code.data().startswith(b"\x0f\x0b")
    assert segments[2]["p_memsz"] > segments[2]["p_filesz"]
