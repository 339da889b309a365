"""Any bytes give a value or our error; what is written is what is read."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.elf_writer import ElfFile, write_elf

from casemate.errors import FormatError
from casemate.formats.elf_dynamic import ElfDynamic, ElfIdentity
from casemate.formats.elf_sections import without_debugging
from casemate.formats.loader_cache import CacheEntry, LoaderCache

_names = st.text(
    st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), min_size=1, max_size=20
)
_plain = st.text("abcdefghijklmnopqrstuvwxyz./$0123456789", min_size=1, max_size=20)
_files = st.builds(
    ElfFile,
    interpreter=st.none() | _names,
    needed=st.lists(_names, max_size=4).map(tuple),
    soname=st.none() | _names,
    rpath=st.none() | _names,
    runpath=st.none() | _names,
    flags_1=st.none() | st.sampled_from([0, 0x800, 1]),
    version_needs=st.lists(
        st.tuples(_plain, st.lists(_plain, min_size=1, max_size=3).map(tuple)), max_size=3
    ).map(tuple),
    version_definitions=st.lists(_plain, max_size=3).map(tuple),
)


@given(_files)
def test_what_is_written_is_read(file: ElfFile) -> None:
    dynamic = ElfDynamic.parse(write_elf(file))

    assert dynamic.interpreter == file.interpreter
    assert dynamic.needed == file.needed
    assert (dynamic.soname, dynamic.rpath, dynamic.runpath) == (file.soname, file.rpath, file.runpath)
    assert dynamic.no_default_libraries == bool((file.flags_1 or 0) & 0x800)
    assert tuple((need.library, need.versions) for need in dynamic.version_needs) == file.version_needs
    assert dynamic.version_definitions == file.version_definitions


@given(_files, st.data())
def test_a_damaged_file_gives_a_value_or_our_error(file: ElfFile, data: st.DataObject) -> None:
    image = bytearray(write_elf(file))
    for _ in range(data.draw(st.integers(1, 8))):
        image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(image)))
    for attempt in (bytes(image), bytes(image[:cut])):
        try:
            ElfDynamic.parse(attempt)
        except FormatError:
            continue


@given(st.binary(max_size=200))
def test_any_bytes_give_an_elf_value_or_our_error(data: bytes) -> None:
    for attempt in (data, b"\x7fELF" + data, b"\x7fELF\x02\x01" + data):
        for parse in (ElfIdentity.parse, ElfDynamic.parse):
            try:
                parse(attempt)
            except FormatError:
                continue


def _cache(entries: list[CacheEntry], old_entries: int) -> bytes:
    """A cache as ldconfig writes it, behind an old one when ``old_entries`` is not negative."""
    header, line = 48, 24
    text, lines = b"", b""
    for entry in entries:
        name = header + line * len(entries) + len(text)
        text += entry.name.encode() + b"\0"
        path = header + line * len(entries) + len(text)
        text += entry.path.encode() + b"\0"
        lines += struct.pack("<iIIIQ", entry.flags, name, path, 0, entry.hwcap)
    new = struct.pack("<20sIIB3xI12x", b"glibc-ld.so.cache1.1", len(entries), len(text), 2, 0) + lines + text
    if old_entries < 0:
        return new
    old = struct.pack("<12sI", b"ld.so-1.7.0\0", old_entries) + bytes(12 * old_entries)
    return old.ljust((len(old) + 7) // 8 * 8, b"\0") + new


_entries = st.lists(
    st.builds(
        CacheEntry,
        name=_names,
        path=_names,
        flags=st.sampled_from([0x0303, 3, 0x0803]),
        hwcap=st.sampled_from([0, 1 << 62]),
    ),
    max_size=5,
)


@given(_entries, st.integers(-1, 5))
def test_a_loader_cache_is_read_as_written(entries: list[CacheEntry], old_entries: int) -> None:
    assert LoaderCache.parse(_cache(entries, old_entries)).entries == tuple(entries)


@given(_entries, st.data())
def test_a_damaged_loader_cache_gives_a_value_or_our_error(
    entries: list[CacheEntry], data: st.DataObject
) -> None:
    cache = bytearray(_cache(entries, data.draw(st.integers(-1, 2))))
    cache[data.draw(st.integers(0, len(cache) - 1))] ^= data.draw(st.integers(1, 255))
    for attempt in (bytes(cache), bytes(cache[: data.draw(st.integers(0, len(cache)))])):
        try:
            LoaderCache.parse(attempt)
        except FormatError:
            continue


_numbers = st.integers(0, 600) | st.sampled_from([1 << 16, (1 << 32) - 1, 1 << 63, (1 << 64) - 1])
_headers = st.lists(
    st.tuples(st.sampled_from([1, 1, 2, 3, 6]), _numbers, _numbers, _numbers).map(
        lambda it: struct.pack("<IIQQQQQQ", it[0], 5, it[1], it[2], it[2], it[3], it[3], 8)
    ),
    max_size=8,
)
_tags = st.sampled_from(
    [0, 1, 1, 1, 5, 10, 14, 15, 29, 0x6FFFFFFB, 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF]
)
_entries_of_dynamic = st.lists(
    st.tuples(_tags, _numbers).map(lambda it: struct.pack("<qQ", *it)), min_size=1, max_size=12
)


@given(_headers, _entries_of_dynamic, st.binary(max_size=300), st.integers(0, 1000), _numbers)
def test_headers_that_overlap_and_counts_that_are_huge_give_a_value_or_our_error(
    headers: list[bytes], entries: list[bytes], rest: bytes, cut: int, count: int
) -> None:
    dynamic, body = b"".join(entries), bytes(64)
    offset = 64 + 56 * (len(headers) + 2)
    mapped = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, offset + len(dynamic), offset + len(dynamic), 8)
    named = struct.pack("<IIQQQQQQ", 2, 6, offset, offset, offset, len(dynamic), len(dynamic), 8)
    for number in (len(headers) + 2, count & 0xFFFF):
        ident = b"\x7fELF\x02\x01\x01" + bytes(9)
        header = struct.pack("<16sHHIQQQIHHHHHH", ident, 3, 62, 1, 0, 64, 0, 0, 64, 56, number, 64, 0, 0)
        data = header + mapped + named + b"".join(headers) + dynamic + rest + body
        for attempt in (data, data[:cut]):
            try:
                read = ElfDynamic.parse(attempt)
            except FormatError:
                continue
            assert len(read.needed) <= len(entries)


def test_the_same_list_named_again_and_again_ends_soon() -> None:
    """64 KiB that would give four thousand million versions."""
    count = 2000
    outer = b"".join(struct.pack("<HHIII", 1, 0xFFFF, 0, 16 * (count - index), 16) for index in range(count))
    inner = b"".join(struct.pack("<IHHII", 0, 0, 0, 0, 16) for _ in range(0xFFFF))
    head = 64 + 56 * 2
    tags = {5: head, 10: 8, 0x6FFFFFFE: head + 8, 0x6FFFFFFF: count, 0: 0}
    content = bytes(8) + outer + inner
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in tags.items())
    size = head + len(content) + len(dynamic)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    data = (
        struct.pack("<16sHHIQQQIHHHHHH", ident, 3, 62, 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
        + struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, size, size, 8)
        + struct.pack("<IIQQQQQQ", 2, 6, size - len(dynamic), 0, 0, len(dynamic), len(dynamic), 8)
        + content
        + dynamic
    )
    with pytest.raises(FormatError, match="at most 16384 entries"):
        ElfDynamic.parse(data)


@pytest.mark.parametrize("tag", [1, 7])
def test_a_dynamic_section_without_end_ends_soon(tag: int) -> None:
    entries = struct.pack("<qQ", tag, 0) * 20_000
    head = 64 + 56
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    data = (
        struct.pack("<16sHHIQQQIHHHHHH", ident, 3, 62, 1, 0, 64, 0, 0, 64, 56, 1, 64, 0, 0)
        + struct.pack("<IIQQQQQQ", 2, 6, head, 0, 0, len(entries), len(entries), 8)
        + entries
    )
    with pytest.raises(FormatError, match="at most 16384 entries"):
        ElfDynamic.parse(data)


@given(_files, st.data())
def test_taking_debugging_information_out_of_a_damaged_file_gives_bytes(
    file: ElfFile, data: st.DataObject
) -> None:
    image = bytearray(write_elf(file))
    for _ in range(data.draw(st.integers(1, 8))):
        image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
    for attempt in (bytes(image), bytes(image[: data.draw(st.integers(0, len(image)))])):
        assert len(without_debugging(attempt)) <= len(attempt)


def test_a_loader_cache_with_more_entries_than_a_machine_has_is_refused() -> None:
    count = 32_769
    header = struct.pack("<20sIIB3xI12x", b"glibc-ld.so.cache1.1", count, 0, 2, 0)
    with pytest.raises(FormatError, match="at most 32768 entries"):
        LoaderCache.parse(header + bytes(24 * count))
