"""Serves the tree of a rehearsal to the kernel, request by request.

One thread reads requests and answers them in order. A refusal that is worth reporting is answered by a thread
of its own, after it has found out what asked; the reader goes on, because finding out makes requests too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from casemate.errors import FormatError
from casemate.formats import fuse
from casemate.rehearsal.findings import Asker, Kind, Recorder
from casemate.rehearsal.kernel_files import LINKS_OF_A_PROCESS
from casemate.rehearsal.tree import Denied, Node, Tree, permits

#: Seconds for which the kernel may believe what it was told about the image: longer than any rehearsal.
FOREVER: Final = 1_000_000
#: Bytes of the largest write, which only the made-up files take.
MAX_WRITE: Final = 16 * 1024
#: Pages of the largest read: 1 MiB.
MAX_PAGES: Final = 256
BUFFER_SIZE: Final = MAX_WRITE + 4096
NAME_LENGTH: Final = 255
BLOCK_SIZE: Final = 4096
_TAKEN: Final = (
    fuse.InitFlag.ASYNC_READ
    | fuse.InitFlag.ATOMIC_O_TRUNC
    | fuse.InitFlag.BIG_WRITES
    | fuse.InitFlag.PARALLEL_DIROPS
    | fuse.InitFlag.MAX_PAGES
)
#: RENAME and RENAME2.
_RENAMES: Final = frozenset((12, 45))


@dataclass(slots=True)
class _OpenFile:
    """What a handle stands for."""

    node: Node
    content: bytes
    entries: tuple[Node, ...] | None = None


class FileServer:
    """Answers the kernel.

    Args:
        tree: What there is.
        recorder: Keeps what was refused.
        uid: Owner of everything, as the application numbers it.
        gid: Its group.
    """

    def __init__(self, tree: Tree, recorder: Recorder, *, uid: int, gid: int) -> None:
        self._tree = tree
        self._recorder = recorder
        self._owner = (uid, gid)
        self._handles: dict[int, _OpenFile] = {}
        self._next_handle = 1
        self._thread: threading.Thread | None = None
        self._inquiries: list[threading.Thread] = []
        self._answers: dict[type, Callable[[fuse.Request, Any], bytes]] = {
            fuse.Init: self._init,
            fuse.Lookup: self._lookup,
            fuse.GetAttributes: self._get_attributes,
            fuse.SetAttributes: self._set_attributes,
            fuse.ReadLink: self._read_link,
            fuse.Open: self._open,
            fuse.Create: self._create,
            fuse.Change: self._change,
            fuse.Read: self._read,
            fuse.Write: self._write,
            fuse.StatFs: self._stat_fs,
            fuse.Release: self._release,
            fuse.OpenDirectory: self._open_directory,
            fuse.ReadDirectory: self._read_directory,
            fuse.ReleaseDirectory: self._release,
            fuse.Access: self._access,
            fuse.Destroy: lambda *_: b"",
        }

    def start(self, descriptor: int) -> None:
        """Serve ``descriptor``, an opened and mounted ``/dev/fuse``, until it is unmounted; then close it."""
        self._thread = threading.Thread(
            target=self._serve, args=(descriptor,), name="casemate-fuse", daemon=True
        )
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait, at most ``timeout`` seconds, until the file system is unmounted."""
        if self._thread is not None:
            self._thread.join(timeout)

    def answer(self, request: fuse.Request) -> bytes:
        """The payload of the answer.

        Raises:
            Denied: The request is refused.
        """
        handler = self._answers.get(type(request.body))
        if handler is None:
            renames = isinstance(request.body, fuse.Other) and request.body.opcode in _RENAMES
            raise Denied(errno.EACCES if renames else errno.ENOSYS)
        return handler(request, request.body)

    def _serve(self, descriptor: int) -> None:
        try:
            while True:
                try:
                    data = os.read(descriptor, BUFFER_SIZE)
                except OSError as failure:
                    if failure.errno in (errno.ENOENT, errno.EINTR, errno.EAGAIN):
                        continue  # the request was taken back before it was read
                    return  # ENODEV: unmounted
                self._serve_one(descriptor, fuse.parse_request(data))
        finally:
            for thread in self._inquiries:
                thread.join()
            os.close(descriptor)

    def _serve_one(self, descriptor: int, request: fuse.Request) -> None:
        if isinstance(request.body, fuse.Forget):
            return
        try:
            payload = self.answer(request)
        except Denied as denied:
            self._refuse(descriptor, request, denied)
        except FormatError:
            _send(descriptor, fuse.error(request.unique, errno.EPROTO))
        else:
            _send(descriptor, fuse.reply_header(request.unique, len(payload)), payload)

    def _refuse(self, descriptor: int, request: fuse.Request, denied: Denied) -> None:
        """Say no; a first refusal of its kind waits until it is known what asked."""
        refusal = fuse.error(request.unique, denied.number)
        if denied.finding is None or not self._recorder.is_new(*denied.finding):
            _send(descriptor, refusal)
            return
        thread = threading.Thread(
            target=self._inquire, args=(descriptor, refusal, request.pid, denied.finding), daemon=True
        )
        self._inquiries = [earlier for earlier in self._inquiries if earlier.is_alive()]
        self._inquiries.append(thread)
        thread.start()

    def _inquire(self, descriptor: int, refusal: bytes, thread: int, finding: tuple[str, Kind]) -> None:
        try:
            self._recorder.record(*finding, Asker.find(thread))
        finally:
            _send(descriptor, refusal)
            self._recorder.reap()

    def _init(self, _: fuse.Request, body: fuse.Init) -> bytes:
        return fuse.init_payload(body, take=_TAKEN, max_write=MAX_WRITE, max_pages=MAX_PAGES)

    def _attributes(self, node: Node) -> fuse.Attributes:
        return fuse.Attributes(
            node=node.number,
            size=node.size,
            mode=node.mode,
            links=2 if stat.S_ISDIR(node.mode) else 1,
            uid=self._owner[0],
            gid=self._owner[1],
        )

    def _lookup(self, request: fuse.Request, body: fuse.Lookup) -> bytes:
        folder = self._tree.node(request.node)
        try:
            node = self._tree.ask(folder, os.fsdecode(body.name))
        except Denied as denied:
            if denied.number == errno.ENOENT and denied.finding is None:
                return fuse.absent_entry_payload(seconds=FOREVER)
            raise
        return fuse.entry_payload(self._attributes(node), seconds=FOREVER)

    def _get_attributes(self, request: fuse.Request, _: fuse.GetAttributes) -> bytes:
        return fuse.attributes_payload(self._attributes(self._tree.node(request.node)), seconds=FOREVER)

    def _set_attributes(self, request: fuse.Request, body: fuse.SetAttributes) -> bytes:
        node = self._tree.node(request.node)
        if body.valid & (fuse.SetAttribute.ATIME | fuse.SetAttribute.MTIME):
            raise Denied(errno.ENOSYS)
        # chmod goes to the host, where the image is read-only; chown is remembered and nothing more.
        touched = body.valid & (fuse.SetAttribute.SIZE | fuse.SetAttribute.MODE)
        if touched and node.pseudo is None:
            raise Denied(errno.EACCES, (node.path, Kind.READ_ONLY))
        return fuse.attributes_payload(self._attributes(node), seconds=0)

    def _read_link(self, request: fuse.Request, _: fuse.ReadLink) -> bytes:
        node = self._tree.node(request.node)
        if node.target is None:
            raise Denied(errno.EINVAL)
        target = node.target
        if node.path in LINKS_OF_A_PROCESS:
            with contextlib.suppress(OSError):  # it has ended
                target = os.readlink(f"/proc/{request.pid}/{node.path.rpartition('/')[2]}")  # noqa: PTH115  # text
        return os.fsencode(target)

    def _open(self, request: fuse.Request, body: fuse.Open) -> bytes:
        node = self._tree.node(request.node)
        write = body.flags & os.O_ACCMODE != os.O_RDONLY
        self._tree.permit(node, write=write)
        if node.pseudo is not None:
            content = node.pseudo.load(_asker(request))
            return self._handle(_OpenFile(node, content), fuse.OpenFlag.DIRECT_IO)
        return self._handle(_OpenFile(node, self._tree.hold(node)), fuse.OpenFlag.KEEP_CACHE)

    def _create(self, request: fuse.Request, body: fuse.Create) -> bytes:
        raise Denied(errno.EACCES, (self._path(request, body.name), Kind.READ_ONLY))

    def _change(self, request: fuse.Request, body: fuse.Change) -> bytes:
        # Gramine takes these to the host. The image is read-only there as it is here, on a node that runs the
        # container with a read-only root file system; every such answer becomes EACCES.
        raise Denied(errno.EACCES, (self._path(request, body.name), Kind.READ_ONLY))

    def _path(self, request: fuse.Request, name: bytes) -> str:
        return f"{self._tree.node(request.node).path.rstrip('/')}/{os.fsdecode(name)}"

    def _read(self, _: fuse.Request, body: fuse.Read) -> bytes:
        return self._opened(body.handle).content[body.offset : body.offset + body.size]

    def _write(self, request: fuse.Request, body: fuse.Write) -> bytes:
        opened = self._opened(body.handle)
        pseudo = opened.node.pseudo
        if pseudo is None or pseudo.save is None:
            raise Denied(errno.EACCES)
        pseudo.save(_asker(request), body.data)
        opened.content = body.data
        return fuse.write_payload(len(body.data))

    def _stat_fs(self, *_: object) -> bytes:
        return fuse.statfs_payload(block_size=BLOCK_SIZE, name_length=NAME_LENGTH)

    def _release(self, _: fuse.Request, body: fuse.Release | fuse.ReleaseDirectory) -> bytes:
        opened = self._handles.pop(body.handle, None)
        if opened is not None and opened.node.image is not None:
            self._tree.let_go(opened.node)
        return b""

    def _open_directory(self, request: fuse.Request, _: fuse.OpenDirectory) -> bytes:
        node = self._tree.node(request.node)
        return self._handle(_OpenFile(node, b""), fuse.OpenFlag.KEEP_CACHE | fuse.OpenFlag.CACHE_DIR)

    def _read_directory(self, _: fuse.Request, body: fuse.ReadDirectory) -> bytes:
        opened = self._opened(body.handle)
        if opened.entries is None:
            opened.entries = self._tree.names(opened.node)
        named = [(".", opened.node), ("..", opened.node)]
        named += [(os.path.basename(node.path), node) for node in opened.entries]  # noqa: PTH119  # fast
        answer = b""
        for position, (name, node) in enumerate(named[body.offset :], start=body.offset + 1):
            entry = fuse.directory_entry(
                node=node.number, next_offset=position, mode=node.mode, name=os.fsencode(name)
            )
            if len(answer) + len(entry) > body.size:
                break
            answer += entry
        return answer

    def _access(self, request: fuse.Request, body: fuse.Access) -> bytes:
        if not permits(self._tree.node(request.node), body.mask & 0o7):
            raise Denied(errno.EACCES)
        return b""

    def _handle(self, opened: _OpenFile, flags: fuse.OpenFlag) -> bytes:
        handle = self._next_handle
        self._next_handle += 1
        self._handles[handle] = opened
        return fuse.open_payload(handle, flags)

    def _opened(self, handle: int) -> _OpenFile:
        try:
            return self._handles[handle]
        except KeyError:
            raise Denied(errno.EBADF) from None


def _asker(request: fuse.Request) -> Asker:
    asker = Asker.find(request.pid)
    if asker is None:
        raise Denied(errno.EACCES)
    return asker


def _send(descriptor: int, *parts: bytes) -> None:
    # ENOENT: whoever asked has gone; ENODEV, EBADF: unmounted meanwhile. Nobody waits for the answer then.
    with contextlib.suppress(OSError):
        os.writev(descriptor, parts)
