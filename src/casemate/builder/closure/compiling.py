"""Compiles what was not compiled before, on all processors."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from casemate.builder.cache import Cache, Kind, key_of
from casemate.builder.closure.values import Compiler, ModuleSource

#: Kept for a module that is not valid Python; no bytecode is this short.
_NOT_PYTHON: Final = b""
#: Modules for which starting another process takes as long as compiling them.
FEW: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DividedCompiler:
    """Divides what is to be compiled among several runs of a compiler, at the same time.

    Attributes:
        compiler: Compiles, in a process of its own.
        parts: How many.
    """

    compiler: Compiler
    parts: int

    def __call__(self, sources: Sequence[ModuleSource], /) -> tuple[bytes | None, ...]:
        """The bytes of an unchecked-hash pyc for each source; ``None`` where it is not valid Python."""
        parts = min(self.parts, len(sources) // FEW)
        if parts < 2:
            return self.compiler(sources)
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 (many a build compiles nothing)

        with ThreadPoolExecutor(parts) as pool:
            done = list(pool.map(self.compiler, [sources[at::parts] for at in range(parts)]))
        return tuple(done[at % parts][at // parts] for at in range(len(sources)))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepingCompiler:
    """Asks a compiler for what it does not find in a cache.

    Attributes:
        compiler: Compiles.
        cache: Where bytecode is kept.
        identity: Of everything that decides what the compiler gives, besides source and path.
    """

    compiler: Compiler
    cache: Cache
    identity: str

    def __call__(self, sources: Sequence[ModuleSource], /) -> tuple[bytes | None, ...]:
        """The bytes of an unchecked-hash pyc for each source; ``None`` where it is not valid Python."""
        keys = [self._key(source) for source in sources]
        found = {key: self.cache.find(Kind.BYTECODE, key) for key in keys}
        missing = [(key, source) for key, source in zip(keys, sources, strict=True) if found[key] is None]
        made = self.compiler([source for _, source in missing]) if missing else ()
        for (key, source), code in zip(missing, made, strict=True):
            found[key] = code or _NOT_PYTHON
            if self._key(source) == key:  # it was not written to before it was compiled
                self.cache.keep(Kind.BYTECODE, key, code or _NOT_PYTHON)
        return tuple(found[key] or None for key in keys)

    def _key(self, source: ModuleSource) -> str:
        return key_of(self.identity, source.path, hashlib.sha256(source.host.read_bytes()).digest())
