"""Which file the loader takes for a name."""

from __future__ import annotations

import pytest

from casemate.errors import FormatError
from casemate.formats.loader_cache import X86_64_LIBRARY, CacheEntry, LoaderCache


def test_the_first_of_several_is_taken_and_other_machines_and_processors_are_not() -> None:
    cache = LoaderCache(
        entries=(
            CacheEntry(name="libz.so.1", path="/v3/libz.so.1", flags=X86_64_LIBRARY, hwcap=1 << 62),
            CacheEntry(name="libz.so.1", path="/lib32/libz.so.1", flags=3, hwcap=0),
            CacheEntry(name="libz.so.1", path="/lib/libz.so.1", flags=X86_64_LIBRARY, hwcap=0),
            CacheEntry(name="libz.so.1", path="/usr/lib/libz.so.1", flags=X86_64_LIBRARY, hwcap=0),
        )
    )

    assert cache.paths() == {"libz.so.1": "/lib/libz.so.1"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", "loader cache: expected glibc-ld.so.cache1.1, got nothing", id="empty"),
        pytest.param(
            b"ld.so-1.7.0\0\0\0\0\0",
            "loader cache: expected glibc-ld.so.cache1.1, got nothing",
            id="old format only",
        ),
        pytest.param(
            b"ld.so-1.7.0\0\0", "loader cache: expected 16 bytes, got 13 bytes", id="old format cut"
        ),
        pytest.param(
            b"glibc-ld.so.cache1.1" + b"\2" + bytes(11) + bytes(16),
            "loader cache: expected 96 bytes for 2 entries, got 48 bytes",
            id="entries missing",
        ),
        pytest.param(
            b"glibc-ld.so.cache1.1" + bytes(8) + b"\3" + bytes(19),
            "byte order of the loader cache: expected little endian, got 0x3",
            id="big endian",
        ),
    ],
)
def test_what_is_no_cache_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as refused:
        LoaderCache.parse(data)
    assert str(refused.value) == message
