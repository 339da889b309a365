"""From an image to its root file system in a folder.

What is kept: regular files with their permissions (the owner may always read and write), folders (the owner
may always enter and write), symbolic links as they stand, hard links. What is not: owners, times, extended
attributes, the bits for set-user-ID, set-group-ID and sticky. What is left out, and said: devices, fifos, and
names that nobody could write into a manifest. docs/reference/sources.md has the rule for every odd entry.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

from casemate.errors import FormatError, ToolchainError
from casemate.formats.tar_entries import EntryKind, TarEntry, TarReader
from casemate.sources.files import FileRange, opened
from casemate.sources.image import Progress, SourceImage, SourceLayer
from casemate.sources.layer import LayerStream
from casemate.sources.limits import UnpackLimits
from casemate.sources.names import (
    Opaque,
    Parts,
    Place,
    Unwritable,
    Whiteout,
    read_name,
    shown,
    target_parts,
    unwritable_text,
)
from casemate.sources.tree import Tree

_AT_ONCE: Final = 1 << 18
#: What is left out is listed up to this number; the number itself is always right.
_MOST_LISTED: Final = 1000


class LeftOutReason(Enum):
    """Why an entry is not in the folder."""

    DEVICE = "a device"
    FIFO = "a fifo"
    LINK_TO_LEFT_OUT = "a hard link to something that was left out"
    NOT_UTF8 = Unwritable.NOT_UTF8.value
    CONTROL_CHARACTER = Unwritable.CONTROL_CHARACTER.value
    UNWRITABLE_TARGET = "a link whose target has a control character or is not UTF-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """An entry that is not in the folder.

    Attributes:
        path: In the image, in ASCII.
        reason: Why.
    """

    path: str
    reason: LeftOutReason


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackedImage:
    """A root file system.

    Attributes:
        root: The folder. Links in it mean what they mean inside: absolute ones begin at ``root``.
        entries: That the layers had.
        content: Bytes of all files that the layers had.
        left_out: What is not there, the first thousand.
        left_out_count: How many there are.
    """

    root: Path
    entries: int
    content: int
    left_out: tuple[LeftOut, ...]
    left_out_count: int


def unpack(
    image: SourceImage,
    into: Path,
    *,
    limits: UnpackLimits | None = None,
    progress: Progress | None = None,
) -> UnpackedImage:
    """Write the root file system of ``image``.

    All layers are checked against their digests before the first of them is used, and each one's ``diff_id``
    when it has been read.

    Args:
        image: What to unpack.
        into: A folder that is empty or not there; on errors it is left empty.
        limits: What it may cost; the defaults where nothing is said.
        progress: Called with bytes of layers.

    Raises:
        FormatError: A layer is not what its digest says, or cannot be applied, or is more than allowed.
        ToolchainError: ``into`` is not empty, or a file cannot be read or written.
    """
    limits = limits or UnpackLimits()
    for layer in image.layers:
        _require_digest(layer, limits)
    with _empty_folder(into) as root:
        work = _Work(tree=Tree(root, limits), limits=limits)
        total = sum(layer.size for layer in image.layers)
        done = 0
        try:
            for number, layer in enumerate(image.layers):
                work.tree.begin_layer(number)
                for taken in work.apply(layer):
                    if progress is not None:
                        progress(done + taken, total)
                done += layer.size
        finally:
            work.tree.close()
    return UnpackedImage(
        root=into,
        entries=work.entries,
        content=work.content,
        left_out=tuple(work.left_out),
        left_out_count=work.left_out_count,
    )


@dataclass(slots=True, kw_only=True)
class _Work:
    """One image on its way to the disk."""

    tree: Tree
    limits: UnpackLimits
    entries: int = 0
    content: int = 0
    left_out: list[LeftOut] = field(default_factory=list)
    left_out_count: int = 0

    def apply(self, layer: SourceLayer) -> Iterator[int]:
        """Write one layer; gives the bytes that were read of it, again and again."""
        with opened(layer.path, layer.name) as file:
            stream = LayerStream(FileRange(file, layer.offset, layer.size), self.limits, where=layer.name)
            reader = TarReader(stream, where=layer.name)
            for entry in reader:
                self._count(entry, layer.name)
                self._entry(entry, reader, layer.name)
                yield stream.taken
            while stream.read(_AT_ONCE):
                pass
            if stream.digest() != layer.diff_id:
                raise FormatError(
                    "uncompressed layer of the image",
                    expected=layer.diff_id,
                    got=stream.digest(),
                    where=layer.name,
                )
            yield layer.size

    def _count(self, entry: TarEntry, where: str) -> None:
        limits = self.limits
        self.entries += 1
        self.content += entry.size
        for subject, number, most in (
            ("entries of the image", self.entries, limits.entries),
            ("size of a file in the image", entry.size, limits.file_bytes),
            ("size of all files in the image", self.content, limits.total_bytes),
        ):
            if number > most:
                raise FormatError(
                    subject,
                    expected=f"at most {most}",
                    got=str(number),
                    where=f"{where}, {shown(entry.name)}",
                    hint="images for enclaves are far smaller; look at what this layer holds",
                )

    def _entry(self, entry: TarEntry, reader: TarReader, where: str) -> None:
        match read_name(entry.name, self.limits, where=where):
            case Place(parts):
                self._place(parts, entry, reader, where)
            case Whiteout(parts):
                self.tree.delete(parts, where=where)
            case Opaque(parts):
                self.tree.delete_contents(parts, where=where)
            case Unwritable() as reason:
                self._note(entry.name, LeftOutReason(reason.value))
            case None:
                pass

    def _place(self, parts: Parts, entry: TarEntry, reader: TarReader, where: str) -> None:
        tree = self.tree
        match entry.kind:
            case EntryKind.FOLDER:
                tree.add_folder(parts, entry.mode, where=where)
            case EntryKind.FILE:
                tree.add_file(parts, entry.mode, reader.content(), where=where)
            case EntryKind.SYMLINK:
                self._symlink(parts, entry, where)
            case EntryKind.HARD_LINK:
                self._hard_link(parts, entry, where)
            case EntryKind.CHARACTER_DEVICE | EntryKind.BLOCK_DEVICE:
                tree.leave_out(parts, where=where)
                self._note(entry.name, LeftOutReason.DEVICE)
            case EntryKind.FIFO:
                tree.leave_out(parts, where=where)
                self._note(entry.name, LeftOutReason.FIFO)

    def _symlink(self, parts: Parts, entry: TarEntry, where: str) -> None:
        target = entry.target
        if not 0 < len(target) <= self.limits.path_bytes:
            raise FormatError(
                "target of a symbolic link",
                expected=f"1 to {self.limits.path_bytes} bytes",
                got=str(len(target)),
                where=f"{where}, {shown(entry.name)}",
            )
        if unwritable_text(target) is None:
            self.tree.add_symlink(parts, target, where=where)
        else:
            self.tree.leave_out(parts, where=where)
            self._note(entry.name, LeftOutReason.UNWRITABLE_TARGET)

    def _hard_link(self, parts: Parts, entry: TarEntry, where: str) -> None:
        if unwritable_text(entry.target) is not None:
            self.tree.leave_out(parts, where=where)
            self._note(entry.name, LeftOutReason.UNWRITABLE_TARGET)
        elif not self.tree.add_hard_link(
            parts, target_parts(entry.target, self.limits, where=where), where=where
        ):
            self._note(entry.name, LeftOutReason.LINK_TO_LEFT_OUT)

    def _note(self, name: bytes, reason: LeftOutReason) -> None:
        self.left_out_count += 1
        if len(self.left_out) < _MOST_LISTED:
            parts = (part for part in shown(name).split("/") if part not in {"", "."})
            self.left_out.append(LeftOut(path="/" + "/".join(parts), reason=reason))


def _require_digest(layer: SourceLayer, limits: UnpackLimits) -> None:
    """See that the layer is what its digest says, or that it is small enough to be looked at at all."""
    if layer.size > limits.layer_bytes:
        raise FormatError(
            "size of a layer", expected=f"at most {limits.layer_bytes}", got=str(layer.size), where=layer.name
        )
    digest = hashlib.sha256()
    size = 0
    with opened(layer.path, layer.name) as file:
        source = FileRange(file, layer.offset, layer.size)
        while data := _read(source, layer):
            digest.update(data)
            size += len(data)
    found = f"sha256:{digest.hexdigest()}"
    expected = layer.digest or layer.diff_id
    if size != layer.size or found != expected:
        raise FormatError(
            "layer of the image",
            expected=f"{expected} of {layer.size} bytes",
            got=f"{found} of {size} bytes",
            where=str(layer.path),
        )


def _read(source: FileRange, layer: SourceLayer) -> bytes:
    try:
        return source.read(_AT_ONCE)
    except OSError as error:
        raise ToolchainError(
            f"{layer.name} cannot be read", got=error.strerror, where=str(layer.path)
        ) from error


@contextmanager
def _empty_folder(path: Path) -> Iterator[int]:
    """A descriptor of the folder ``path``, which is made, and made empty again on errors."""
    try:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.scandir(descriptor) as entries:
            if any(entries):
                raise ToolchainError(
                    "folder for the image", expected="an empty one", got="files", where=str(path)
                )
        try:
            yield descriptor
        except BaseException as error:
            _empty(descriptor)
            if isinstance(error, OSError):
                raise _unwritable(path, error) from error
            raise
    finally:
        os.close(descriptor)


def _empty(descriptor: int) -> None:
    with os.scandir(descriptor) as entries:
        found: Iterable[tuple[str, bool]] = [
            (entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries
        ]
    for name, is_folder in found:
        with suppress(OSError):
            if is_folder:
                shutil.rmtree(name, dir_fd=descriptor)
            else:
                os.unlink(name, dir_fd=descriptor)


def _unwritable(path: Path, error: OSError) -> ToolchainError:
    return ToolchainError("image cannot be unpacked", got=error.strerror or str(error), where=str(path))
