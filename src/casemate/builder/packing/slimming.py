"""Leaves out of the image what no loader looks at: symbol tables and debugging information of libraries.

An interpreter that was built on the machine, and many a wheel, carries more of it than code; Gramine would
hash it at every start. Gramine's own files stay as its packagers made them.
"""

from __future__ import annotations

from dataclasses import replace

from casemate.builder.contents import ImageFile, Rule
from casemate.formats.elf_dynamic import MAGIC
from casemate.formats.elf_sections import without_debugging

_NOTE = "without its symbol table and debugging information"


def slim(file: ImageFile) -> ImageFile:
    """``file`` as it goes into the image; its reason says so when it is not as it was found."""
    if file.reason.rule is Rule.GRAMINE:
        return file
    if not isinstance(file.content, bytes):
        with file.content.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                return file
    data = file.read()
    slimmed = without_debugging(data)
    if slimmed is data:
        return file
    reason = replace(file.reason, detail=f"{file.reason.detail}; {_NOTE}")
    return replace(file, content=slimmed, reason=reason)
