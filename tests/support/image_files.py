"""Files of an image and of a build host, made in memory or in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.support.elf_writer import ElfFile, write_elf

from casemate.builder.contents import ImageFile, Reason, Rule
from casemate.builder.native.loader import SearchRules
from casemate.builder.packing.image import ImageDocuments, ImageLayout, signed_image, write_signed_image

INTERPRETER = "/lib64/ld-linux-x86-64.so.2"
PROGRAM = "/opt/python/bin/python3.11"


class MemoryFiles:
    """Implements the seam of the loader; a value that is a text is a link to that path."""

    def __init__(self, files: Mapping[str, bytes | str]) -> None:
        self._files = files

    def identity(self, path: str) -> str | None:
        while isinstance(self._files.get(path), str):
            path = str(self._files[path])
        return path if path in self._files else None

    def read(self, path: str) -> bytes:
        content = self._files[self.identity(path) or path]
        assert isinstance(content, bytes)
        return content


def rules(
    *,
    library_path: tuple[str, ...] = (),
    cache: Mapping[str, str] | None = None,
    default_folders: tuple[str, ...] = ("/lib",),
) -> SearchRules:
    """The rules of a loader for x86-64."""
    return SearchRules(
        machine=62,
        library_path=library_path,
        cache=cache or {},
        default_folders=default_folders,
        lib="lib/x86_64-linux-gnu",
        platform="x86_64",
    )


def program(**says: object) -> bytes:
    """A program that asks for the loader of glibc."""
    return write_elf(ElfFile(interpreter=INTERPRETER, **says))  # type: ignore[arg-type]  # named fields


def library(**says: object) -> bytes:
    """A shared library."""
    return write_elf(ElfFile(**says))  # type: ignore[arg-type]  # named fields


def image_file(
    path: str, content: bytes | Path, rule: Rule = Rule.IMPORT, of: str | None = None
) -> ImageFile:
    """A file of an image."""
    return ImageFile(path=path, content=content, reason=Reason(rule=rule, of=of, detail=f"for {path}"))


def append_signature(layout: ImageLayout, former: ImageDocuments, sigstruct: bytes) -> str:
    """Sign an image as signing a bundle does; gives the new digest."""
    image = signed_image(former, sigstruct)
    write_signed_image(layout, former, image, {})
    return image.digest
