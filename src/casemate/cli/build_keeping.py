"""What ``casemate build`` keeps for the next build, and how it is asked."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from casemate.adapters.kept_environments import KeptEnvironments
    from casemate.builder.cache import Cache
    from casemate.builder.closure import Compiler, Interpreter, ModuleSource
    from casemate.builder.closure.reader import ModuleReader
    from casemate.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Installs, reads and compiles with what former builds have kept.

    Attributes:
        held: What is let go of when the build ends.
        cache: Where results are kept; ``None`` keeps nothing.
        environments: Installed environments; ``None`` keeps none.
    """

    held: ExitStack
    cache: Cache | None
    environments: KeptEnvironments | None

    def environment(self, key: str | None, make: Callable[[Path], None]) -> Path:
        """An installed environment, for the length of the build.

        Args:
            key: A digest of everything that decides what is installed; ``None``: it is not known.
            make: Installs into a folder that it makes.
        """
        if self.environments is not None and key is not None:
            return self.held.enter_context(self.environments.environment(key, make))
        environment = Path(self.held.enter_context(TemporaryDirectory(prefix="casemate-"))) / "environment"
        make(environment)
        return environment

    def reader(self) -> ModuleReader | None:
        """Reads modules for the import graph; ``None`` for one that remembers nothing."""
        from casemate.builder.closure.reader import KeepingReader

        return KeepingReader(self.cache) if self.cache is not None else None

    def compiler(self, interpreter: Interpreter) -> Compiler:
        """Compiles with ``interpreter``."""
        from casemate.adapters.host_python import COMPILE, compile_modules
        from casemate.builder.cache import key_of
        from casemate.builder.closure.compiling import DividedCompiler, KeepingCompiler

        def one(modules: Sequence[ModuleSource], /) -> tuple[bytes | None, ...]:
            return compile_modules(interpreter, modules)

        compiler = DividedCompiler(compiler=one, parts=len(os.sched_getaffinity(0)))
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
    from casemate.adapters.kept_environments import KeptEnvironments
    from casemate.adapters.kept_results import KeptResults

    with ExitStack() as held:
        held.enter_context(_without_collector())
        if not use:
            yield Keeping(held=held, cache=None, environments=None)
            return
        environments = KeptEnvironments(settings.cache)
        results = held.enter_context(KeptResults(settings.cache))
        yield Keeping(held=held, cache=results, environments=environments)
        for kept in (results, environments):
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
