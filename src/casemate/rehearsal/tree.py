"""The files of an enclave as Gramine 1.9 presents them: what is there, what may be opened, what fails how.

The rules, found in Gramine's behaviour:

1. A name exists when the image has it. Symbolic links are followed and seen as what they point to.
2. Looking up a trusted file reads it whole and hashes it; a digest other than the manifest's is EPERM, for
   stat(2) as for open(2). Listing a folder looks up all its names, so one changed file in it is EPERM too.
3. A file that is not trusted can be looked up and not opened: EACCES. Folders can always be listed.
4. Nothing in the image can be opened for writing or made: EACCES.
5. All times are 0. The owner is whoever asks, and of the permissions only the owner's count.
6. ``/dev``, ``/proc`` and ``/sys`` hide what the image has there. A mount point that the image lacks appears.

Beyond Gramine: the path of the dynamic loader that is written into every program, because the kernel of this
machine looks for the loader there, where Gramine looks for its file name in ``LD_LIBRARY_PATH``.
"""

from __future__ import annotations

import errno
import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from casemate.builder.layout import APPLICATION_ROOT
from casemate.errors import RehearsalError
from casemate.formats.fuse import ROOT_NODE
from casemate.rehearsal.findings import Asker, Kind
from casemate.rehearsal.kernel_files import LINKS_OF_A_PROCESS, process_files, topology
from casemate.rehearsal.plan import LOADER_ALIAS, Plan, image_path

#: Folders at the top that programs and libraries look into by guessing.
_GUESSED: Final = frozenset(
    ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/usr", "/home", "/root", "/run", "/boot")
)
#: Folders that Gramine fills itself.
GRAMINE_FOLDERS: Final = ("/dev", "/proc", "/sys")
#: Devices that are the host's own here; Gramine emulates the same ones.
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/tty")
LINKS: Final = {
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
}
MAX_LINKS: Final = 40
_LIBRARY: Final = re.compile(r"\.so(\.\d+)*$")
_SYNTHETIC_FOLDER: Final = stat.S_IFDIR | 0o555


class Denied(Exception):  # noqa: N818  # an answer to the application, not an error of this tool
    """A request that Gramine refuses.

    Args:
        number: errno(3).
        finding: What to report, when it is worth reporting: the path and how it failed.
    """

    def __init__(self, number: int, finding: tuple[str, Kind] | None = None) -> None:
        self.number = number
        self.finding = finding
        super().__init__(number, finding)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pseudo:
    """A file that Gramine makes up: the content is computed at open(2), per process.

    Attributes:
        load: The content that a process sees.
        save: Takes what a process writes; ``None`` for a file that cannot be written.
    """

    load: Callable[[Asker], bytes]
    save: Callable[[Asker, bytes], None] | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Node:
    """One thing that has a name.

    Attributes:
        number: Inode number, for as long as the rehearsal lasts.
        path: Where the application sees it.
        mode: Kind and permissions.
        size: Bytes, as stat(2) shows them.
        host: Where it lies on this machine, links followed.
        image: Where it lies in the image; ``None`` for what the image does not hold.
        target: Where a link points.
        pseudo: How a made-up file behaves.
        content: Verified bytes, while somebody has the file open.
        users: How often it is open.
    """

    number: int
    path: str
    mode: int
    size: int = 0
    host: Path | None = None
    image: str | None = None
    target: str | None = None
    pseudo: Pseudo | None = None
    content: bytes | None = field(default=None, repr=False)
    users: int = 0


class Tree:
    """The file system of one rehearsal.

    Args:
        rootfs: The image's root file system on this machine.
        plan: What the manifest says.
        pseudo: Path to behaviour of every made-up file.
        left_out: Paths that the environment had and the image does not.
        instead: Path in the image to a file of this machine whose content is shown in its place, once the
            image's own is found to be what was measured.

    Raises:
        RehearsalError: The root that the manifest names is not in the image, or a mount point is a file.
    """

    def __init__(
        self,
        rootfs: Path,
        plan: Plan,
        *,
        pseudo: Mapping[str, Pseudo],
        left_out: Collection[str],
        instead: Mapping[str, Path],
    ) -> None:
        self._top = rootfs.resolve()
        self._plan = plan
        self._left_out = frozenset(left_out)
        self._instead = instead
        self._nodes: dict[int, Node] = {}
        self._by_path: dict[str, Node] = {}
        self._children: dict[str, list[str]] = {}
        self._opened: set[str] = set()
        self._asked: set[str] = set()
        self._missed: dict[str, str] = {}
        self._latest: tuple[str, bytes] | None = None
        self._add_root(plan.root)
        for path in (*GRAMINE_FOLDERS, *(mount.path for mount in plan.mounts)):
            self._add_folder(path)
        for file in (*topology(), *(() if plan.subprocesses else process_files())):
            if file.is_folder:
                self._add_folder(file.path)
            else:
                self._add(file.path, mode=stat.S_IFREG | 0o444)
        for path in DEVICES:
            self._add(path, mode=stat.S_IFREG | 0o666)
        for path, target in {**LINKS, **({} if plan.subprocesses else _process_links(plan))}.items():
            self._add(path, mode=stat.S_IFLNK | 0o777, target=target)
        for path, behaviour in pseudo.items():
            mode = stat.S_IFREG | (0o444 if behaviour.save is None else 0o666)
            self._add(path, mode=mode, pseudo=behaviour)
        self._add_loader(plan.loader)

    @property
    def opened(self) -> int:
        """How many trusted files have been opened."""
        return len(self._opened)

    @property
    def asked(self) -> tuple[str, ...]:
        """Trusted files that were asked for by name, as the application sees them, sorted.

        Opened or only looked at: a program that finds a file missing takes another way.
        """
        return tuple(sorted(self._asked))

    def ask(self, folder: Node, name: str) -> Node:
        """The same as :meth:`lookup`, for a request that names the file."""
        node = self.lookup(folder, name)
        if node.image in self._plan.trusted:
            self._asked.add(node.path)
        return node

    def node(self, number: int) -> Node:
        """The node that the kernel was told of under ``number``."""
        try:
            return self._nodes[number]
        except KeyError:
            raise Denied(errno.ESTALE) from None

    def lookup(self, folder: Node, name: str) -> Node:
        """The node called ``name`` in ``folder`` (rules 1 to 3).

        Raises:
            Denied: ENOENT, EPERM for a changed file, or what this machine said.
        """
        path = posixpath.join(folder.path, name)
        known = self._by_path.get(path)
        if known is None:
            if folder.host is None or path in GRAMINE_FOLDERS:
                raise Denied(errno.ENOENT)
            try:
                host = self._follow(folder.host, name)
                found = host.lstat()
            except OSError as refusal:
                if folder.path in self._plan.library_folders and _LIBRARY.search(name):
                    self._missed.setdefault(name, path)
                raise self._absent(path, refusal.errno or errno.EIO) from None
            known = self._add_found(path, host, found)
        self._missed.pop(name, None)
        return known

    def names(self, folder: Node) -> tuple[Node, ...]:
        """What a folder holds, by name, each looked up (rule 2).

        Raises:
            Denied: What looking one of them up gave, apart from EACCES and ENOENT, which leave it out.
        """
        names = set(self._children.get(folder.path, ()))
        if folder.host is not None:
            try:
                names.update(child.name for child in folder.host.iterdir())
            except OSError as refusal:
                raise Denied(refusal.errno or errno.EIO) from None
        found = []
        for name in sorted(names):
            try:
                found.append(self.lookup(folder, name))
            except Denied as denied:
                if denied.number not in (errno.EACCES, errno.ENOENT):
                    raise
        return tuple(found)

    def permit(self, node: Node, *, write: bool) -> None:
        """Refuse an open(2) that Gramine refuses (rules 3 and 4).

        Raises:
            Denied: EACCES.
        """
        if not permits(node, os.W_OK if write else os.R_OK):
            raise Denied(errno.EACCES)
        if node.image is not None and node.image not in self._plan.trusted:
            raise Denied(errno.EACCES, (node.path, Kind.UNTRUSTED))
        if node.image is not None and write:
            raise Denied(errno.EACCES, (node.path, Kind.READ_ONLY))

    def hold(self, node: Node) -> bytes:
        """The verified content of a trusted file, kept until as many calls of :meth:`let_go`.

        Raises:
            Denied: EPERM when it is not, or no longer, what was measured.
        """
        if node.content is None:
            if node.host is None or node.image is None:
                raise Denied(errno.EACCES)
            node.content = self._verified(self._inside(node.image), node.image, node.host)
            self._opened.add(node.image)
        node.users += 1
        return node.content

    def let_go(self, node: Node) -> None:
        """One user less."""
        node.users -= 1
        if node.users == 0:
            node.content = None

    @property
    def missed_libraries(self) -> tuple[str, ...]:
        """Shared libraries that were looked for and found in no folder: where each was looked for first."""
        return tuple(self._missed.values())

    def absent_trusted(self) -> tuple[str, ...]:
        """Trusted files that the image does not hold, as the application would see them."""
        root = self._plan.root.rstrip("/") + "/"
        return tuple(
            self._inside(path)
            for path in sorted(self._plan.trusted)
            if path.startswith(root) and not (self._top / path.lstrip("/")).exists()
        )

    def _inside(self, image: str) -> str:
        """Where the application sees a file of the image: the other direction of :func:`image_path`."""
        return image.removeprefix(self._plan.root.rstrip("/"))

    def _add_root(self, root: str) -> None:
        try:
            host = self._follow(self._top, root)
        except OSError:
            host = self._top / root.lstrip("/")
        if not host.is_dir():
            raise RehearsalError(
                "root file system",
                expected=f"a folder {root}",
                got="none",
                where=str(self._top),
                hint=_ROOT_HINT,
            )
        mode = stat.S_IFDIR | stat.S_IMODE(host.stat().st_mode)
        node = Node(number=ROOT_NODE, path="/", mode=mode, host=host, image=None)
        self._nodes[ROOT_NODE] = self._by_path["/"] = node

    def _add(self, path: str, *, mode: int, target: str | None = None, pseudo: Pseudo | None = None) -> Node:
        """Something that the image does not hold; its folders appear as needed."""
        parent = posixpath.dirname(path)
        if parent not in self._by_path:
            self._add_folder(parent)
        self._children.setdefault(parent, []).append(posixpath.basename(path))
        size = 0 if target is None else len(target)
        return self._number(Node(number=0, path=path, mode=mode, size=size, target=target, pseudo=pseudo))

    def _add_folder(self, path: str) -> None:
        """A mount point: the image's folder, else one that is made up (rule 6)."""
        if path in self._by_path:
            return
        parent = posixpath.dirname(path)
        self._add_folder(parent)
        try:
            node = self.lookup(self._by_path[parent], posixpath.basename(path))
        except Denied:
            self._add(path, mode=_SYNTHETIC_FOLDER)
            return
        if not stat.S_ISDIR(node.mode):
            raise RehearsalError("mount point", expected="a folder", got="a file", where=path)

    def _add_loader(self, loader: str | None) -> None:
        """The loader under the name that the kernel asks for, unless the image has something there."""
        if loader is None or (self._top / image_path(self._plan.root, LOADER_ALIAS).lstrip("/")).exists():
            return
        image = image_path(self._plan.root, loader)
        node = self._add(LOADER_ALIAS, mode=stat.S_IFREG | 0o755)
        node.host, node.image = self._top / image.lstrip("/"), image
        shown = self._instead.get(image, node.host)
        if shown.exists():
            node.size = shown.stat().st_size

    def _add_found(self, path: str, host: Path, found: os.stat_result) -> Node:
        if stat.S_ISDIR(found.st_mode):
            mode = stat.S_IFDIR | stat.S_IMODE(found.st_mode)
            return self._number(Node(number=0, path=path, mode=mode, host=host))
        if not stat.S_ISREG(found.st_mode) or not os.access(host, os.R_OK):
            raise Denied(errno.EACCES, (path, Kind.UNTRUSTED))
        image = image_path(self._plan.root, path)
        size = found.st_size
        if image in self._plan.trusted:
            size = len(self._verified(path, image, host))
        mode = stat.S_IFREG | stat.S_IMODE(found.st_mode)
        return self._number(Node(number=0, path=path, mode=mode, size=size, host=host, image=image))

    def _number(self, node: Node) -> Node:
        node.number = len(self._nodes) + 1
        self._nodes[node.number] = self._by_path[node.path] = node
        return node

    def _verified(self, path: str, image: str, host: Path) -> bytes:
        """Read and hash; the latest file is kept, because opening follows looking up."""
        if self._latest is not None and self._latest[0] == image:
            return self._latest[1]
        try:
            content = host.read_bytes()
        except OSError as refusal:
            raise self._absent(path, refusal.errno or errno.EIO) from None
        if hashlib.sha256(content).digest() != self._plan.trusted[image]:
            raise Denied(errno.EPERM, (path, Kind.CHANGED))
        if image in self._instead:
            content = self._instead[image].read_bytes()
        self._latest = (image, content)
        return content

    def _absent(self, path: str, number: int) -> Denied:
        """The refusal of a path that this machine does not give.

        It is worth reporting when the file was measured, when the environment had it, and below the
        application's own folder, where nothing is looked for by guessing. So is a folder at the top, such as
        ``/data``: nothing else tells of the file in it that was to be made.
        """
        if number != errno.ENOENT:
            return Denied(number)
        if path.count("/") == 1 and path not in _GUESSED and not path.startswith("/."):
            return Denied(number, (path, Kind.MISSING))
        own = path.startswith(f"{APPLICATION_ROOT}/") and not path.endswith("/__pycache__")
        known = path in self._left_out or image_path(self._plan.root, path) in self._plan.trusted
        # A module shipped as bytecode stands for its source, which tracebacks look for in vain.
        replaced = image_path(self._plan.root, path.removesuffix(".py") + ".pyc") in self._plan.trusted
        return Denied(number, (path, Kind.MISSING) if (own or known) and not replaced else None)

    def _follow(self, folder: Path, name: str) -> Path:
        """Where ``name`` in ``folder`` leads, links followed without ever leaving the image (rule 1)."""
        pending = name.split("/")[::-1]
        links = 0
        while pending:
            part = pending.pop()
            if part in ("", "."):
                continue
            if part == "..":
                folder = folder if folder == self._top else folder.parent
                continue
            place = folder / part
            if not place.is_symlink():
                folder = place
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = str(place.readlink())
            pending.extend(target.split("/")[::-1])
            folder = self._top if target.startswith("/") else folder
        return folder


def _process_links(plan: Plan) -> dict[str, str]:
    """Links of the only process, as they are at its start."""
    started = dict(zip(LINKS_OF_A_PROCESS, (plan.start_dir, plan.entrypoint), strict=True))
    return {"/proc/self": "1", "/proc/1/root": "/", **started}


def permits(node: Node, mask: int) -> bool:
    """Whether the owner's permissions have every bit of an access(2) ``mask`` (rule 5)."""
    return (node.mode >> 6) & mask == mask


_ROOT_HINT: Final = "give the folder that holds the whole image, not the enclave's part of it"
