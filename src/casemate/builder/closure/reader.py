"""Reads modules for the import graph, or finds what reading them gave before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

from casemate.builder.cache import Cache, Kind, key_of, key_of_code
from casemate.builder.closure.attributes import attributes_asked
from casemate.builder.closure.extensions import names_in_extension
from casemate.builder.closure.scan import Scan, scan_module

#: Modules for which it takes as long to ask others as to read them.
FEW: Final = 8

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleFile:
    """A module that is to be read, with everything that decides what reading it gives.

    Attributes:
        file: The file of this machine.
        name: Its absolute name.
        is_package: As :func:`scan_module` takes it, and so are ``version``, ``own`` and ``main``.
        tops: For an extension module: as :func:`names_in_extension` takes them.
    """

    file: str
    name: str
    is_package: bool
    version: tuple[int, int, int]
    own: bool
    main: bool
    tops: tuple[str, ...] | None = None

    @property
    def kind(self) -> Kind:
        """What reading it gives."""
        return Kind.SCAN if self.tops is None else Kind.NAMES

    @property
    def circumstances(self) -> tuple[str, ...]:
        """Everything that decides what reading it gives, besides its bytes and the code that reads."""
        if self.tops is not None:
            return self.tops
        return (f"{self.name} {self.is_package} {self.version} {self.own} {self.main}",)


#: Digest of the bytes that were read, and what reading them gave, encoded.
Read = tuple[bytes, bytes]
#: Gives each of several modules, the largest first, with what reading it gives; in any order.
ReadTogether = Callable[[Sequence[ModuleFile]], Iterable[tuple[ModuleFile, Read | None]]]


def read_module(module: ModuleFile) -> Read | None:
    """Read one module; ``None`` for a file that is not there or not Python."""
    try:
        data = Path(module.file).read_bytes()
        made: object
        if module.tops is not None:
            made = names_in_extension(data, module.tops)
        else:
            made = scan_module(
                data,
                name=module.name,
                is_package=module.is_package,
                version=module.version,
                own=module.own,
                main=module.main,
            )
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return hashlib.sha256(data).digest(), msgspec.msgpack.encode(made, order="deterministic")


class ModuleReader(Protocol):
    """What the graph asks of a module's bytes."""

    def ahead(self, modules: Iterable[ModuleFile]) -> None:
        """Read modules that will probably be asked for. It changes how long that takes, and nothing else."""
        ...

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
    """Reads every time, when it is asked."""

    scan = staticmethod(scan_module)
    attributes = staticmethod(attributes_asked)
    names = staticmethod(names_in_extension)

    def ahead(self, modules: Iterable[ModuleFile]) -> None:
        """Nothing is read before it is asked for."""


class KeepingReader:
    """Reads what it does not find in a cache.

    Code that does not parse is read, and refused, every time.

    Args:
        cache: Where results are kept.
        together: Reads several modules at the same time; ``None``: one is read after the other.
    """

    def __init__(self, cache: Cache, together: ReadTogether | None = None) -> None:
        self._cache = cache
        self._together = together
        self._code = key_of_code(*sorted(Path(__file__).parent.glob("*.py")))
        self._ready: dict[tuple[Kind, str], bytes] = {}
        self._made = 0

    def ahead(self, modules: Iterable[ModuleFile]) -> None:
        """Read those of ``modules`` that are not in the cache, once it has turned out that some are not."""
        if self._together is None or self._made < FEW:
            return
        missing = sorted(self._missing(modules), key=lambda sized: -sized[0])
        if len(missing) < FEW:
            return
        for module, read in self._together([module for _, module in missing]):
            if read is not None:
                key = key_of(self._code, *module.circumstances, read[0])
                self._cache.keep(module.kind, key, read[1])
                self._ready[module.kind, key] = read[1]

    def _missing(self, modules: Iterable[ModuleFile]) -> Iterator[tuple[int, ModuleFile]]:
        """Modules that have to be read, with their sizes; others are made ready."""
        for module in modules:
            try:
                data = Path(module.file).read_bytes()
            except OSError:  # said when it is asked for
                continue
            key = key_of(self._code, *module.circumstances, hashlib.sha256(data).digest())
            kept = self._cache.find(module.kind, key)
            if kept is None:
                yield len(data), module
            else:
                self._ready[module.kind, key] = kept

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
        module = ModuleFile(file="", name=name, is_package=is_package, version=version, own=own, main=main)
        key = key_of(self._code, *module.circumstances, hashlib.sha256(source).digest())
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
        kept = self._ready.pop((kind, key), None) or self._cache.find(kind, key)
        if kept is not None:
            try:
                return msgspec.msgpack.decode(kept, type=shape)
            except msgspec.MsgspecError:  # kept by other code, against all odds: made again, and replaced
                pass
        made = make()
        self._made += 1
        self._cache.keep(kind, key, msgspec.msgpack.encode(made))
        return made
