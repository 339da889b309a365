"""The dynamic loader of an image: how it was built, asked of itself, and what its cache says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from casemate.builder.foreign import ImageRoot
from casemate.builder.foreign.running import ImagePrograms
from casemate.builder.native.loader import SearchRules
from casemate.builder.native.loader_diagnostics import search_rules
from casemate.errors import FormatError, ToolchainError
from casemate.formats.elf_dynamic import ElfDynamic
from casemate.formats.loader_cache import LoaderCache

_CACHE: Final = "/etc/ld.so.cache"


def image_search_rules(
    root: ImageRoot, run: ImagePrograms, program: str, env: Mapping[str, str]
) -> SearchRules:
    """How the loader of ``program`` finds libraries in a container of the image.

    An image without a cache has none: the loader then looks into its default folders alone, and
    ``/etc/ld.so.conf`` is for ``ldconfig``, which nobody runs in a container.

    Args:
        root: The image.
        run: Runs its programs.
        program: The interpreter, absolute in the image.
        env: The image's environment, for ``LD_LIBRARY_PATH``.

    Raises:
        ToolchainError: The program has no loader, it does not answer as glibc's does, or its cache is broken.
    """
    where = f"{program} in the image"
    try:
        loader = ElfDynamic.parse(root.read(program)).interpreter
    except (FormatError, OSError) as error:
        raise ToolchainError("Python interpreter", got=str(error), where=where) from error
    if loader is None:
        raise ToolchainError(
            "Python interpreter", expected="a dynamic program", got="a static one", where=where
        )
    answer = run([loader, "--list-diagnostics"], {}).decode(errors="replace")
    folders = re.split("[:;]", env.get("LD_LIBRARY_PATH", ""))
    return search_rules(
        answer,
        library_path=tuple(folder for folder in folders if folder.startswith("/")),
        cache=_cache(root),
        where=f"{loader} in the image",
    )


def _cache(root: ImageRoot) -> dict[str, str]:
    if root.identity(_CACHE) is None:
        return {}
    try:
        return LoaderCache.parse(root.read(_CACHE)).paths()
    except FormatError as error:
        raise ToolchainError(
            "loader cache", got=str(error), where=f"{_CACHE} in the image", hint="run ldconfig in the image"
        ) from error
