"""The folder into which an image is unpacked: nothing is written outside of it, whatever the image says.

Two things see to that. What is in the folder is known from an index in memory, in which links are resolved as
they will be inside the image: an absolute one begins at the root, ``..`` at the root stays there. And every
file is reached from the root's descriptor through real folders alone, one name at a time, with
``O_NOFOLLOW``; were the index wrong, the operating system would refuse.

Not for folders that somebody else writes to at the same time: that gives errors, but no file elsewhere.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from casemate.errors import FormatError
from casemate.sources.limits import UnpackLimits
from casemate.sources.names import Parts, shown

#: As many links as Linux follows in one path (path_resolution(7)).
_MOST_LINKS: Final = 40
#: Parts of links that are followed in one path; nobody's image comes near it.
_MOST_STEPS: Final = 1024
#: Characters of a path in a message.
_MOST_SHOWN: Final = 200
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: Of a folder that no layer has said the mode of.
_IMPLIED_MODE: Final = 0o755


class _Kind(Enum):
    FOLDER = "folder"
    FILE = "file"
    SYMLINK = "symbolic link"
    #: A device or the like: it takes its place, and is not on the disk.
    ABSENT = "file that was left out"


@dataclass(slots=True, eq=False)
class _Node:
    """What is at one place.

    Attributes:
        kind: What it is.
        touched: The last layer that put something here or below.
        target: Where a symbolic link leads.
        children: By name, of a folder.
        cleared: The last layer that has deleted what lower layers had here.
    """

    kind: _Kind
    touched: int
    target: bytes = b""
    children: dict[bytes, _Node] = field(default_factory=dict)
    cleared: int = -1


@dataclass(frozen=True, slots=True)
class _Spot:
    """A name in a real folder.

    Attributes:
        folder: The folder's own path, without links.
        chain: The nodes from the root to the folder.
        name: In the folder.
    """

    folder: Parts
    chain: tuple[_Node, ...]
    name: bytes

    @property
    def node(self) -> _Node | None:
        return self.chain[-1].children.get(self.name)

    @property
    def path(self) -> Parts:
        return (*self.folder, self.name)

    def is_below(self, other: _Spot) -> bool:
        """Whether this would go if ``other`` went."""
        return self.folder[: len(other.path)] == other.path


class Tree:
    """A folder that becomes the root file system of an image.

    Args:
        root: Descriptor of the folder, which is empty; it stays the caller's.
        limits: How deep it may become and how long its paths: links in a layer lead further than its names;
            and how many folders it may have: one entry makes all those above it.
    """

    def __init__(self, root: int, limits: UnpackLimits) -> None:
        self._root = root
        self._limits = limits
        self._top = _Node(_Kind.FOLDER, -1)
        self._layer = 0
        self._folders = 0
        #: Names and descriptors of the folder that was used last and of those above it.
        self._open: list[tuple[bytes, int]] = []

    def close(self) -> None:
        """Give back what the operating system was asked for."""
        self._close_from(0)

    def begin_layer(self, number: int) -> None:
        """What comes now is of layer ``number``, counted from 0."""
        self._layer = number

    def add_folder(self, parts: Parts, mode: int, *, where: str) -> None:
        """A folder, which stays with what is in it where it is there already.

        Raises:
            FormatError: Its folder cannot be one.
            OSError: From the file system.
        """
        if not parts:
            return
        spot = self._spot(parts, where)
        if spot.node is None or spot.node.kind is not _Kind.FOLDER:
            self._clear(spot)
            self._make_folder(spot, where)
        self._touch(spot)
        self._chmod_folder(spot.path, mode)

    def add_file(self, parts: Parts, mode: int, content: Iterable[bytes], *, where: str) -> None:
        """A regular file in the place of what is there.

        Raises:
            FormatError: Its folder cannot be one, or ``content`` is wrong.
            OSError: From the file system.
        """
        spot = self._new_spot(parts, where)
        descriptor = os.open(spot.name, _NEW, 0o600, dir_fd=self._descriptor(spot.folder))
        try:
            for part in content:
                _write(descriptor, part)
            os.fchmod(descriptor, mode & 0o777 | 0o600)
        finally:
            os.close(descriptor)
        self._put(spot, _Node(_Kind.FILE, self._layer))

    def add_symlink(self, parts: Parts, target: bytes, *, where: str) -> None:
        """A symbolic link in the place of what is there, with ``target`` as it stands.

        Raises:
            FormatError: Its folder cannot be one.
            OSError: From the file system.
        """
        spot = self._new_spot(parts, where)
        os.symlink(target, spot.name, dir_fd=self._descriptor(spot.folder))
        self._put(spot, _Node(_Kind.SYMLINK, self._layer, target))

    def add_hard_link(self, parts: Parts, target: Parts, *, where: str) -> bool:
        """A further name for a file of this layer or one below; not for what was left out, nor made then.

        Raises:
            FormatError: Its folder cannot be one, or there is nothing where it leads, or a folder.
            OSError: From the file system.
        """
        source = self._existing(target, where) if target else None
        node = source.node if source else None
        spot = self._require_name(self._spot(parts, where), parts, where)
        if source is None or node is None or node.kind is _Kind.FOLDER or source.is_below(spot):
            raise FormatError(
                "hard link in a layer",
                expected="a file where it leads",
                got=f"{'nothing' if node is None else node.kind.value} at {_path(target)}",
                where=f"{where}, {_path(parts)}",
            )
        if spot.node is node:
            self._touch(spot)
            return node.kind is not _Kind.ABSENT
        self._clear(spot)
        if node.kind is _Kind.SYMLINK:
            os.symlink(node.target, spot.name, dir_fd=self._descriptor(spot.folder))
        elif node.kind is _Kind.FILE:
            self._link(source, spot)
        self._put(spot, _Node(node.kind, self._layer, node.target))
        return node.kind is not _Kind.ABSENT

    def leave_out(self, parts: Parts, *, where: str) -> None:
        """Nothing in the place of what is there: it would be a device or the like.

        Raises:
            FormatError: Its folder cannot be one.
            OSError: From the file system.
        """
        self._put(self._new_spot(parts, where), _Node(_Kind.ABSENT, self._layer))

    def delete(self, parts: Parts, *, where: str) -> None:
        """Take away what lower layers have at a place; what this layer has put there stays.

        Raises:
            FormatError: The path leads through links without end.
            OSError: From the file system.
        """
        spot = self._existing(parts, where)
        if spot is None or spot.node is None:
            return
        if spot.node.touched == self._layer:
            self._clear_lower(spot.node, spot.path)
        else:
            self._clear(spot)

    def delete_contents(self, parts: Parts, *, where: str) -> None:
        """Take away what lower layers have in a folder; what this layer has put there stays.

        Raises:
            FormatError: The path leads through links without end.
            OSError: From the file system.
        """
        if not parts:
            self._clear_lower(self._top, ())
            return
        spot = self._existing(parts, where)
        if spot is not None and spot.node is not None and spot.node.kind is _Kind.FOLDER:
            self._clear_lower(spot.node, spot.path)

    def _new_spot(self, parts: Parts, where: str) -> _Spot:
        """An empty place, with the folders above it."""
        spot = self._require_name(self._spot(parts, where), parts, where)
        self._clear(spot)
        return spot

    def _require_name(self, spot: _Spot, parts: Parts, where: str) -> _Spot:
        if not parts:
            raise FormatError("root of the image", expected="a folder", got="something else", where=where)
        return spot

    def _spot(self, parts: Parts, where: str) -> _Spot:
        """Where ``parts`` leads, the last of them not followed; folders that are not there are made."""
        folder, chain = self._walk(parts[:-1], where, make=True)
        spot = _Spot(folder, chain, parts[-1] if parts else b"")
        self._require_bounds(spot, where)
        return spot

    def _require_bounds(self, spot: _Spot, where: str) -> None:
        limits, path = self._limits, spot.path
        if len(path) > limits.depth or sum(map(len, path)) + len(path) > limits.path_bytes + 1:
            raise FormatError(
                "path in a layer, through its links",
                expected=f"at most {limits.depth} parts and {limits.path_bytes} bytes",
                got=f"{len(path)} parts",
                where=f"{where}, {_path(path)[:_MOST_SHOWN]}",
            )

    def _existing(self, parts: Parts, where: str) -> _Spot | None:
        """As :meth:`_spot`, but makes nothing; ``None`` where a folder is not there or is none."""
        folder, chain = self._walk(parts[:-1], where, make=False)
        return _Spot(folder, chain, parts[-1]) if chain else None

    def _walk(self, parts: Parts, where: str, *, make: bool) -> tuple[Parts, tuple[_Node, ...]]:
        """The real folder to which ``parts`` leads, and the nodes down to it; none where there is none."""
        links = steps = 0
        real: list[bytes] = []
        chain = [self._top]
        rest = list(reversed(parts))
        while rest:
            part = rest.pop()
            node = chain[-1].children.get(part)
            is_link = node is not None and node.kind is _Kind.SYMLINK
            steps, links = steps + 1, links + is_link
            if links > _MOST_LINKS or steps > _MOST_STEPS:
                raise self._no_folder(parts, "links without end", where)
            if part == b"..":
                real, chain = real[:-1], chain[: max(len(chain) - 1, 1)]
            elif node is not None and is_link:
                if node.target.startswith(b"/"):
                    real, chain = [], [self._top]
                rest += [name for name in reversed(node.target.split(b"/")) if name not in {b"", b"."}]
            else:
                if not make and (node is None or node.kind is not _Kind.FOLDER):
                    return (), ()
                node = node or self._make_folder(_Spot(tuple(real), tuple(chain), part), where)
                if node.kind is not _Kind.FOLDER:
                    raise self._no_folder(parts, f"a {node.kind.value}", where)
                real.append(part)
                chain.append(node)
        return tuple(real), tuple(chain)

    def _no_folder(self, parts: Parts, got: str, where: str) -> FormatError:
        return FormatError(
            "folder of an entry", expected="a folder", got=got, where=f"{where}, {_path(parts)}"
        )

    def _make_folder(self, spot: _Spot, where: str) -> _Node:
        self._require_bounds(spot, where)
        self._folders += 1
        if self._folders > self._limits.entries:
            raise FormatError(
                "folders of the image",
                expected=f"at most {self._limits.entries}",
                got=str(self._folders),
                where=f"{where}, {_path(spot.path)[:_MOST_SHOWN]}",
            )
        os.mkdir(spot.name, 0o700, dir_fd=self._descriptor(spot.folder))
        node = _Node(_Kind.FOLDER, self._layer)
        self._put(spot, node)
        self._chmod_folder(spot.path, _IMPLIED_MODE)
        return node

    def _chmod_folder(self, parts: Parts, mode: int) -> None:
        os.fchmod(self._descriptor(parts), mode & 0o777 | 0o700)

    def _put(self, spot: _Spot, node: _Node) -> None:
        spot.chain[-1].children[spot.name] = node
        self._touch(spot)

    def _touch(self, spot: _Spot) -> None:
        for node in spot.chain:
            node.touched = self._layer
        if spot.node is not None:
            spot.node.touched = self._layer

    def _link(self, source: _Spot, spot: _Spot) -> None:
        origin = os.dup(self._descriptor(source.folder))
        try:
            os.link(
                source.name,
                spot.name,
                src_dir_fd=origin,
                dst_dir_fd=self._descriptor(spot.folder),
                follow_symlinks=False,
            )
        finally:
            os.close(origin)

    def _clear(self, spot: _Spot) -> None:
        """Take away what is at a place, whosever it is."""
        node = spot.node
        if node is None:
            return
        del spot.chain[-1].children[spot.name]
        # Also closes what is open below.
        folder = self._descriptor(spot.folder)
        if node.kind is _Kind.FOLDER:
            shutil.rmtree(os.fsdecode(spot.name), dir_fd=folder)
        elif node.kind is not _Kind.ABSENT:
            os.unlink(spot.name, dir_fd=folder)

    def _clear_lower(self, node: _Node, parts: Parts) -> None:
        """Take away what lower layers have in a folder; done once for each layer."""
        if node.kind is not _Kind.FOLDER or node.cleared == self._layer:
            return
        node.cleared = self._layer
        for name, child in list(node.children.items()):
            if child.touched == self._layer:
                self._clear_lower(child, (*parts, name))
            else:
                self._clear(_Spot(parts, (node,), name))

    def _descriptor(self, parts: Parts) -> int:
        """The folder at ``parts``, which has no links; it and those above stay open for what comes next."""
        shared = self._shared(parts)
        self._close_from(shared)
        for part in parts[shared:]:
            above = self._open[-1][1] if self._open else self._root
            self._open.append((part, os.open(part, _FOLDER, dir_fd=above)))
        return self._open[-1][1] if self._open else self._root

    def _shared(self, parts: Parts) -> int:
        """How many folders from the root on are open already."""
        count = 0
        for part, (name, _) in zip(parts, self._open, strict=False):
            if part != name:
                break
            count += 1
        return count

    def _close_from(self, depth: int) -> None:
        while len(self._open) > depth:
            os.close(self._open.pop()[1])


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _path(parts: Parts) -> str:
    return "/" + "/".join(shown(part) for part in parts)
