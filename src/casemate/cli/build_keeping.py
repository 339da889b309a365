"""What ``casemate build`` keeps for the next build, and how it is asked."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from casemate.builder.cache import Cache
    from casemate.builder.closure import Compiler, Interpreter, ModuleSource
    from casemate.builder.closure.reader import ModuleReader
    from casemate.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Reads and compiles modules with what former builds have kept.

    Attributes:
        cache: Where it is kept; ``None`` keeps nothing.
    """

    cache: Cache | None

    def reader(self) -> ModuleReader | None:
        """Reads modules for the import graph; ``None`` for one that remembers nothing."""
        from casemate.builder.closure.reader import KeepingReader

        return KeepingReader(self.cache) if self.cache is not None else None

    def compiler(self, interpreter: Interpreter) -> Compiler:
        """Compiles with ``interpreter``."""
        from casemate.adapters.host_python import COMPILE, compile_modules
        from casemate.builder.cache import key_of
        from casemate.builder.closure.compiling import KeepingCompiler

        def compiler(modules: Sequence[ModuleSource], /) -> tuple[bytes | None, ...]:
            return compile_modules(interpreter, modules)

        if self.cache is None:
            return compiler
        programs = [interpreter.executable, *([interpreter.libpython] if interpreter.libpython else [])]
        identity = key_of(interpreter.release, *(file.read_bytes() for file in [COMPILE, *programs]))
        return KeepingCompiler(compiler=compiler, cache=self.cache, identity=identity)


@contextmanager
def keeping(settings: Settings, *, use: bool) -> Iterator[Keeping]:
    """The cache of this user, or none, for the length of a build.

    A cache that cannot be used is said and does not fail a build.

    Args:
        settings: Say where it is.
        use: Whether it is used.
    """
    from casemate.adapters.kept_results import KeptResults

    with ExitStack() as stack:
        stack.enter_context(_without_collector())
        if not use:
            yield Keeping(cache=None)
            return
        kept = stack.enter_context(KeptResults(settings.cache))
        yield Keeping(cache=kept)
        if kept.warning is not None:
            click.echo(f"warning: {kept.warning}", err=True)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Syntax trees are many objects and no cycles: looking for some takes a third of the time of parsing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
