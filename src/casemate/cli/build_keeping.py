"""What ``casemate build`` keeps for the next build, and how it is asked."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from casemate.adapters.kept_folders import KeptFolders
    from casemate.builder.cache import Cache
    from casemate.builder.closure import Compiler, Interpreter, ModuleSource
    from casemate.builder.closure.reader import ModuleReader
    from casemate.settings import Settings

_ENVIRONMENTS: Final = "environments-1"
_IMAGES: Final = "images-1"
_MOST_IMAGES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Installs, unpacks, reads and compiles with what former builds have kept.

    Attributes:
        held: What is let go of when the build ends.
        cache: Where results are kept; ``None`` keeps nothing.
        environments: Installed environments; ``None`` keeps none.
        images: Unpacked images; ``None`` keeps none.
    """

    held: ExitStack
    cache: Cache | None
    environments: KeptFolders | None
    images: KeptFolders | None

    def environment(self, key: str | None, make: Callable[[Path], None]) -> Path:
        """An installed environment, for the length of the build.

        Args:
            key: A digest of everything that decides what is installed; ``None``: it is not known.
            make: Installs into a folder that it makes.
        """
        return self._folder(self.environments, key, make)

    def image_root(self, key: str, make: Callable[[Path], None]) -> Path:
        """An unpacked image, for the length of the build.

        Args:
            key: A digest of everything that decides what is unpacked.
            make: Unpacks into a folder that it makes.
        """
        return self._folder(self.images, key, make)

    def _folder(self, kept: KeptFolders | None, key: str | None, make: Callable[[Path], None]) -> Path:
        if kept is not None and key is not None:
            return self.held.enter_context(kept.folder(key, make))
        folder = Path(self.held.enter_context(TemporaryDirectory(prefix="casemate-"))) / "tree"
        make(folder)
        return folder

    def reader(self) -> ModuleReader:
        """Reads modules for the import graph, on all processors."""
        from casemate.adapters.reading_processes import ReadingProcesses
        from casemate.builder.cache import NoCache
        from casemate.builder.closure.reader import KeepingReader

        processors = len(os.sched_getaffinity(0))
        together = ReadingProcesses(processors) if processors > 1 else None
        if together is not None:
            self.held.callback(together.end)
        return KeepingReader(self.cache or NoCache(), together)

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
    from casemate.adapters.kept_folders import KeptFolders
    from casemate.adapters.kept_results import KeptResults

    with ExitStack() as held:
        held.enter_context(_without_collector())
        if not use:
            yield Keeping(held=held, cache=None, environments=None, images=None)
            return
        environments = KeptFolders(settings.cache, _ENVIRONMENTS)
        images = KeptFolders(settings.cache, _IMAGES, limit=_MOST_IMAGES)
        results = held.enter_context(KeptResults(settings.cache))
        yield Keeping(held=held, cache=results, environments=environments, images=images)
        for kept in (results, environments, images):
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
