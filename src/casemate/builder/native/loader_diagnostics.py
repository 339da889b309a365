"""What a dynamic loader says of itself (``ld.so --list-diagnostics``, glibc 2.33 and newer)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from casemate.builder.native.loader import SearchRules
from casemate.errors import ToolchainError
from casemate.formats.elf_dynamic import MACHINE_X86_64

_FOLDER: Final = re.compile(r'^path\.system_dirs\[0x[0-9a-f]+\]="(/.*)/"$', re.MULTILINE)
_LIB: Final = re.compile(r'^dl_dst_lib="(.*)"$', re.MULTILINE)


def search_rules(
    diagnostics: str, *, library_path: tuple[str, ...], cache: Mapping[str, str], where: str
) -> SearchRules:
    """How the loader finds libraries.

    Args:
        diagnostics: What it said.
        library_path: Folders of ``LD_LIBRARY_PATH``.
        cache: Name -> path, from its ``/etc/ld.so.cache``.
        where: Whose loader it is, for errors.

    Raises:
        ToolchainError: It does not answer as glibc's does.
    """
    folders, lib = tuple(_FOLDER.findall(diagnostics)), _LIB.search(diagnostics)
    if not folders or lib is None:
        raise ToolchainError(
            "dynamic loader",
            expected="path.system_dirs and dl_dst_lib among its diagnostics",
            got="others",
            where=where,
            hint="build on a distribution with glibc 2.33 or newer",
        )
    return SearchRules(
        machine=MACHINE_X86_64,
        library_path=library_path,
        cache=cache,
        default_folders=folders,
        lib=lib[1],
        platform="x86_64",
    )
