"""Judges the libraries of an image: what they need of the C library that Gramine brings.

Gramine's C library stands in place of the one that the image was made with. Its version decides which symbol
versions there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from casemate.builder.contents import ImageFile
from casemate.builder.layout import GLIBC_ROOT
from casemate.builder.native.libraries import GLIBC_FILES
from casemate.builder.preflight.finding import Finding
from casemate.builder.preflight.rule import FOREIGN_LIBC, GLIBC_PRIVATE, GLIBC_VERSION, LIBGOMP, Rule
from casemate.errors import FormatError
from casemate.formats.elf_dynamic import MAGIC, ElfDynamic

#: Version of Gramine -> version of the C library that it builds: ``subprojects/glibc-*.wrap`` of its tags.
GLIBC_OF_GRAMINE: Final = {"1.6": (2, 38), "1.7": (2, 39), "1.8": (2, 40), "1.9": (2, 40)}
#: Versions that are no numbers, and the C library in which they came.
_NAMED_VERSIONS: Final = {
    "GLIBC_ABI_DT_RELR": (2, 36),
    "GLIBC_ABI_GNU2_TLS": (2, 42),
    "GLIBC_ABI_GNU_TLS": (2, 42),
}
_VERSION: Final = re.compile(r"GLIBC_(\d+)\.(\d+)(?:\.\d+)?")
_PRIVATE: Final = "GLIBC_PRIVATE"
_MUSL: Final = re.compile(r"libc\.musl-.*|ld-musl-.*|libc\.so")


def check_libraries_of(files: Iterable[ImageFile], gramine: str) -> Iterator[Finding]:
    """What the ELF files of an image need and Gramine does not have.

    Args:
        files: Files of the image; those that are not ELF files, or none that the loader could read, are
            passed over.
        gramine: Major and minor number of Gramine; of one that is not known, the newest is taken.
    """
    newest = GLIBC_OF_GRAMINE.get(gramine, max(GLIBC_OF_GRAMINE.values()))
    for file in files:
        if file.path.startswith(f"{GLIBC_ROOT}/"):
            continue
        dynamic = _dynamic(file)
        if dynamic is not None:
            yield from _check(file.path, dynamic, newest)


def _dynamic(file: ImageFile) -> ElfDynamic | None:
    if not isinstance(file.content, bytes):
        with file.content.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                return None
    data = file.read()
    try:
        return ElfDynamic.parse(data) if data.startswith(MAGIC) else None
    except FormatError:
        return None  # what the loader would open is read, and refused, where libraries are found


def _check(path: str, dynamic: ElfDynamic, newest: tuple[int, int]) -> Iterator[Finding]:
    foreign = [name for name in dynamic.needed if _MUSL.fullmatch(name)]
    if foreign:
        yield _finding(FOREIGN_LIBC, path, f"needs {foreign[0]}")
    versions = {
        version for need in dynamic.version_needs if need.library in GLIBC_FILES for version in need.versions
    }
    newer = sorted((number, name) for name in versions if (number := _number(name)) > newest)
    if newer:
        text = f"needs {newer[-1][1]}, and Gramine has {newest[0]}.{newest[1]}"
        yield _finding(GLIBC_VERSION, path, text)
    if _PRIVATE in versions:
        yield _finding(GLIBC_PRIVATE, path, f"needs {_PRIVATE}")
    if path.rpartition("/")[2].startswith(("libgomp.", "libgomp-")):
        yield _finding(LIBGOMP, path, "libgomp")


def _number(version: str) -> tuple[int, int]:
    match = _VERSION.fullmatch(version)
    return (int(match[1]), int(match[2])) if match else _NAMED_VERSIONS.get(version, (0, 0))


def _finding(rule: Rule, path: str, subject: str) -> Finding:
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        where=path,
        subject=subject,
        happens=rule.happens,
        mend=rule.mend,
    )
