"""Modules that are read and compiled once: what is kept is what reading and compiling give."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.builder.cache import Kind, key_of, key_of_code
from casemate.builder.closure import ModuleSource
from casemate.builder.closure.attributes import attributes_asked
from casemate.builder.closure.compiling import FEW, DividedCompiler, KeepingCompiler
from casemate.builder.closure.extensions import names_in_extension
from casemate.builder.closure.reader import DirectReader, KeepingReader
from casemate.builder.closure.scan import Scan

VERSION = (3, 11, 7)
SOURCE = b"""
import json as j, os.path
from . import sibling
from .other import *
__all__ = ["a", "b"]
try:
    import fast
except ImportError:
    import slow
def __getattr__(name):
    if name in {"x", "y"}:
        from . import lazy
import importlib
importlib.import_module("named.module")
j.decoder.JSONDecoder
"text".encode("cp1252")
"""


class MemoryCache:
    """Keeps in memory, and counts what was found."""

    def __init__(self) -> None:
        self.values: dict[tuple[Kind, str], bytes] = {}
        self.found = 0

    def find(self, kind: Kind, key: str) -> bytes | None:
        value = self.values.get((kind, key))
        self.found += value is not None
        return value

    def keep(self, kind: Kind, key: str, value: bytes) -> None:
        self.values[kind, key] = value


def scan(reader: DirectReader | KeepingReader, source: bytes = SOURCE, **others: object) -> Scan:
    given_ = {"name": "pkg.mod", "is_package": False, "version": VERSION, "own": True, "main": False} | others
    return reader.scan(source, **given_)  # type: ignore[arg-type]  # names of its own parameters


def test_what_is_kept_is_what_reading_gives() -> None:
    cache = MemoryCache()
    direct = scan(DirectReader())
    assert direct.imports
    assert [scan(KeepingReader(cache)) for _ in range(2)] == [direct, direct]
    assert cache.found == 1


@pytest.mark.parametrize(
    "others",
    [{"name": "pkg.other"}, {"is_package": True}, {"version": (3, 12, 0)}, {"own": False}, {"main": True}],
    ids=["name", "package", "version", "owner", "main"],
)
def test_a_module_in_other_circumstances_is_read_again(others: dict[str, object]) -> None:
    reader = KeepingReader(cache := MemoryCache())
    scan(reader)
    assert scan(reader, **others) == scan(DirectReader(), **others)
    assert cache.found == 0


@given(change=st.integers(min_value=0, max_value=len(SOURCE)))
def test_a_module_that_is_changed_is_read_again(change: int) -> None:
    reader = KeepingReader(MemoryCache())
    scan(reader)
    other = SOURCE[:change] + b"\n" + SOURCE[change:]
    try:
        expected = scan(DirectReader(), other)
    except SyntaxError:
        with pytest.raises(SyntaxError):
            scan(reader, other)
    else:
        assert scan(reader, other) == expected


@pytest.mark.parametrize("kept", [b"", b"\xc1", b"\x80", b"\x93\x01\x02\x03"])
def test_what_nobody_can_have_kept_is_made_again(kept: bytes) -> None:
    cache = MemoryCache()
    reader = KeepingReader(cache)
    expected = (scan(reader), reader.attributes(SOURCE), reader.names(SOURCE, ("pkg",)))
    cache.values = dict.fromkeys(cache.values, kept)
    assert (scan(reader), reader.attributes(SOURCE), reader.names(SOURCE, ("pkg",))) == expected


def test_attributes_and_names_are_kept() -> None:
    cache = MemoryCache()
    data = b"\0json.decoder\0pkg.inner\0"
    for _ in range(2):
        reader = KeepingReader(cache)
        assert reader.attributes(SOURCE) == attributes_asked(SOURCE)
        assert reader.names(data, ("pkg",)) == names_in_extension(data, ("pkg",)) != ()
    assert cache.found == 2
    assert KeepingReader(cache).names(data, "other") == names_in_extension(data, "other")
    assert cache.found == 2


def test_code_that_does_not_parse_is_refused_every_time() -> None:
    reader = KeepingReader(cache := MemoryCache())
    for _ in range(2):
        with pytest.raises(SyntaxError):
            scan(reader, b"import (")
    assert cache.values == {}


def test_other_code_of_the_reader_finds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "scan.py"
    file.write_text("old")
    before = key_of_code(file)
    file.write_text("new")
    assert key_of_code(file) != before


def test_a_key_says_where_its_parts_end() -> None:
    assert len({key_of("ab", "c"), key_of("a", "bc"), key_of("abc"), key_of("ab", "c", "")}) == 4


class Compiler:
    """Compiles by putting a mark before the source; what is not Python begins with a question mark."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, sources: Sequence[ModuleSource], /) -> tuple[bytes | None, ...]:
        self.asked += [source.host.name for source in sources]
        data = [source.host.read_bytes() for source in sources]
        return tuple(None if each.startswith(b"?") else b"pyc:" + each for each in data)


@pytest.fixture
def sources(tmp_path: Path) -> list[ModuleSource]:
    for name, text in {"one.py": "1", "two.py": "2", "wrong.py": "?"}.items():
        (tmp_path / name).write_text(text)
    return [ModuleSource(host=path, path=f"/app/{path.name}") for path in sorted(tmp_path.iterdir())]


def test_what_was_compiled_is_not_compiled_again(sources: list[ModuleSource]) -> None:
    compiler = Compiler()
    keeping = KeepingCompiler(compiler=compiler, cache=MemoryCache(), identity="3.11.7")
    for _ in range(2):
        assert keeping(sources) == (b"pyc:1", b"pyc:2", None)
        assert compiler.asked == ["one.py", "two.py", "wrong.py"]
    sources[1].host.write_text("3")
    assert keeping(sources) == (b"pyc:1", b"pyc:3", None)
    assert compiler.asked[3:] == ["two.py"]


def test_another_interpreter_and_another_path_are_compiled_for(sources: list[ModuleSource]) -> None:
    compiler, cache = Compiler(), MemoryCache()
    KeepingCompiler(compiler=compiler, cache=cache, identity="3.11.7")(sources[:1])
    KeepingCompiler(compiler=compiler, cache=cache, identity="3.12.0")(sources[:1])
    moved = [ModuleSource(host=sources[0].host, path="/elsewhere/one.py")]
    KeepingCompiler(compiler=compiler, cache=cache, identity="3.11.7")(moved)
    assert compiler.asked == ["one.py"] * 3


def test_a_source_that_changes_while_it_is_compiled_is_not_kept(sources: list[ModuleSource]) -> None:
    cache = MemoryCache()

    def compiler(asked: Sequence[ModuleSource], /) -> tuple[bytes | None, ...]:
        asked[0].host.write_text("changed meanwhile")
        return (b"pyc:of the changed one",)

    KeepingCompiler(compiler=compiler, cache=cache, identity="")(sources[:1])
    assert cache.values == {}


@pytest.mark.parametrize("count", [0, 1, 2 * FEW - 1, 2 * FEW, 5 * FEW + 3])
def test_what_is_compiled_at_the_same_time_comes_back_in_order(tmp_path: Path, count: int) -> None:
    sources = [ModuleSource(host=tmp_path / f"{number}.py", path="") for number in range(count)]
    for source in sources:
        source.host.write_text(source.host.stem)
    compiler = Compiler()
    expected = tuple(f"pyc:{number}".encode() for number in range(count))
    assert DividedCompiler(compiler=compiler, parts=3)(sources) == expected
    assert sorted(compiler.asked) == sorted(source.host.name for source in sources)
