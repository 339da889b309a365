"""What code opens by name."""

from __future__ import annotations

import ast

import pytest

from casemate.builder.closure.opened import find_opened


def opened(code: str, *, own: bool = True) -> list[tuple[str, str | None]]:
    found = find_opened(code.encode(), ast.parse(code), own=own)
    return [(it.what.value, it.name) for it in found]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ctypes.CDLL('libz.so.1')", [("library", "libz.so.1")]),
        ("ctypes.CDLL(None)", []),
        ("ctypes.cdll.LoadLibrary(name='libz.so.1')", [("library", "libz.so.1")]),
        ("CDLL(find_library('z'))", [("find", "z")]),
        ("CDLL(find_library('z') or 'libz.so.1')", [("library", "libz.so.1"), ("find", "z")]),
        ("ffi.dlopen('sodium')", [("find", "sodium")]),
        ("ffi.dlopen('libsodium.so.23')", [("library", "libsodium.so.23")]),
        ("CDLL(name)", [("library", None)]),
        ("CDLL(os.path.join(here, 'thing.so'))", [("library", "thing.so")]),
        ("CDLL(str(here / 'libthing.so.2'))", [("library", "libthing.so.2")]),
        (
            "for name in ('libcuda.so.1', 'libother.so'):\n try:\n  CDLL(name)\n except OSError:\n  pass",
            [("library", None), ("library", "libcuda.so.1"), ("library", "libother.so")],
        ),
        ("x = 'libz.so.1'", []),
        ("find_library(n)", [("find", None)]),
    ],
)
def test_libraries(code: str, expected: list[tuple[str, str | None]]) -> None:
    assert opened(code) == expected


def test_what_only_the_running_code_knows_counts_in_the_application_s_own_code_alone() -> None:
    assert opened("CDLL(name)\nfind_library(n)", own=False) == []
    assert opened("ZoneInfo('Europe/Berlin')", own=False) == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("zoneinfo.ZoneInfo('Europe/Berlin')", [("zone", "Europe/Berlin")]),
        ("ZoneInfo(key='UTC')", [("zone", "UTC")]),
        ("pytz.timezone(name)", [("zone", None)]),
        ("tz.gettz('Asia/Kolkata')", [("zone", "Asia/Kolkata")]),
        ("TIME_ZONE = 'America/Argentina/Buenos_Aires'", [("zone", "America/Argentina/Buenos_Aires")]),
        ("datetime.timezone(datetime.timedelta(hours=1))", []),
        ("timezone.utc", []),
    ],
)
def test_time_zones(code: str, expected: list[tuple[str, str | None]]) -> None:
    assert opened(code) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("locale.setlocale(locale.LC_ALL, 'de_DE.UTF-8')", [("locale", "de_DE.UTF-8")]),
        ("locale.setlocale(locale.LC_ALL, '')", [("locale", "")]),
        ("locale.setlocale(locale.LC_ALL, name)", [("locale", "")]),
        ("locale.setlocale(locale.LC_ALL, None)", []),
        ("locale.setlocale(locale.LC_ALL)", []),
    ],
)
def test_locales(code: str, expected: list[tuple[str, str | None]]) -> None:
    assert opened(code) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("importlib.metadata.packages_distributions()", [("record", "")]),
        ("importlib.metadata.files('pkg')", [("record", "")]),
        ("from importlib import metadata\nd = metadata.distribution('pkg')\nd.files", [("record", "")]),
        ("importlib.metadata.version('pkg')", []),
        ("importlib.resources.files('pkg')", []),
    ],
)
def test_lists_of_installed_files(code: str, expected: list[tuple[str, str | None]]) -> None:
    assert opened(code, own=False) == expected
