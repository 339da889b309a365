"""Leaves out of the image what no loader looks at, and spares it what would be read twice.

An interpreter that was built on the machine, and many a wheel, carries symbol tables and debugging
information; Gramine would hash it at every start. Libraries are laid out so that mapping them reads them only
once. Gramine's own files stay as its packagers made them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath

from casemate.builder.contents import ImageFile, Rule
from casemate.builder.layout import GLIBC_ROOT
from casemate.formats.elf_dynamic import MAGIC
from casemate.formats.elf_sections import without_debugging
from casemate.formats.elf_segments import first_segment_last

_LAID_OUT = "as its segments alone, the first one last"
_STRIPPED = "without its symbol table and debugging information"


def slim(file: ImageFile) -> ImageFile:
    """``file`` as it goes into the image; its reason says so when it is not as it was found."""
    if file.reason.rule is Rule.GRAMINE:
        return file
    if not isinstance(file.content, bytes):
        with file.content.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                return file
    data = file.read()
    slimmed, note = _slimmed(data, PurePosixPath(file.path))
    if slimmed is data:
        return file
    reason = replace(file.reason, detail=f"{file.reason.detail}; {note}")
    return replace(file, content=slimmed, reason=reason)


def _slimmed(data: bytes, path: PurePosixPath) -> tuple[bytes, str]:
    # The C library, its loader among it, is that of Gramine wherever it counts.
    if ".so" in path.name and not path.is_relative_to(GLIBC_ROOT):
        laid_out = first_segment_last(data)
        if laid_out is not data:
            return laid_out, _LAID_OUT
    return without_debugging(data), _STRIPPED
