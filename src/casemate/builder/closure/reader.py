"""Reads modules for the import graph, or finds what reading them gave before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from casemate.builder.cache import Cache, Kind, key_of, key_of_code
from casemate.builder.closure.attributes import attributes_asked
from casemate.builder.closure.extensions import names_in_extension
from casemate.builder.closure.scan import Scan, scan_module

_T = TypeVar("_T")


class ModuleReader(Protocol):
    """What the graph asks of a module's bytes."""

    def scan(
        self,
        source: bytes,
        *,
        name: str,
        is_package: bool,
        version: tuple[int, int, int],
        own: bool,
        main: bool,
    ) -> Scan:
        """What :func:`scan_module` gives, and raises."""
        ...

    def attributes(self, source: bytes) -> frozenset[tuple[str, str]]:
        """What :func:`attributes_asked` gives."""
        ...

    def names(self, data: bytes, tops: tuple[str, ...]) -> tuple[str, ...]:
        """What :func:`names_in_extension` gives."""
        ...


class DirectReader:
    """Reads every time."""

    scan = staticmethod(scan_module)
    attributes = staticmethod(attributes_asked)
    names = staticmethod(names_in_extension)


class KeepingReader:
    """Reads what it does not find in a cache.

    Code that does not parse is read, and refused, every time.

    Args:
        cache: Where results are kept.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._code = key_of_code(*sorted(Path(__file__).parent.glob("*.py")))

    def scan(
        self,
        source: bytes,
        *,
        name: str,
        is_package: bool,
        version: tuple[int, int, int],
        own: bool,
        main: bool,
    ) -> Scan:
        """What :func:`scan_module` gives, and raises."""
        circumstances = f"{name} {is_package} {version} {own} {main}"
        key = key_of(self._code, circumstances, hashlib.sha256(source).digest())
        return self._found_or_made(
            Kind.SCAN,
            key,
            Scan,
            lambda: scan_module(
                source, name=name, is_package=is_package, version=version, own=own, main=main
            ),
        )

    def attributes(self, source: bytes) -> frozenset[tuple[str, str]]:
        """What :func:`attributes_asked` gives."""
        key = key_of(self._code, hashlib.sha256(source).digest())
        return self._found_or_made(
            Kind.ATTRIBUTES, key, frozenset[tuple[str, str]], lambda: attributes_asked(source)
        )

    def names(self, data: bytes, tops: tuple[str, ...]) -> tuple[str, ...]:
        """What :func:`names_in_extension` gives."""
        key = key_of(self._code, *tops, hashlib.sha256(data).digest())
        return self._found_or_made(Kind.NAMES, key, tuple[str, ...], lambda: names_in_extension(data, tops))

    def _found_or_made(self, kind: Kind, key: str, shape: type[_T], make: Callable[[], _T]) -> _T:
        kept = self._cache.find(kind, key)
        if kept is not None:
            try:
                return msgspec.msgpack.decode(kept, type=shape)
            except msgspec.MsgspecError:  # kept by other code, against all odds: made again, and replaced
                pass
        made = make()
        self._cache.keep(kind, key, msgspec.msgpack.encode(made))
        return made
