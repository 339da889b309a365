"""SHA-256 of a file that does not change while it is read; and, run as a program, of many files.

As a program it is a worker of :mod:`casemate.builder.trusted.file_digests`. It reads batches of paths from
standard input and writes a line for each path to standard output. It imports nothing but a few modules of the
standard library, because it is started while somebody waits.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import sys

#: Bytes that are read at a time; what one file takes of memory.
CHUNK_SIZE = 1 << 20

#: Device, inode, size, time of the last change of the content and of anything, in nanoseconds.
Stamp = tuple[int, int, int, int, int]


class FileChangedError(OSError):
    """The file changed while it was read."""


def stamp_of(status: os.stat_result) -> Stamp:
    """What changes when the content does."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def digest_file(path: str) -> tuple[str, Stamp]:
    """The hexadecimal digest of the file at ``path``, and what it was when it was read.

    Raises:
        FileChangedError: It changed meanwhile, or holds another number of bytes than it says.
        OSError: It cannot be read, or is no regular file; ``EISDIR`` for a folder.
    """
    # Not blocking: opening a pipe would wait for somebody to write into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            if stat.S_ISDIR(before.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            raise OSError(errno.EINVAL, "not a regular file", path)
        digest = hashlib.sha256()
        left = before.st_size
        while data := os.read(descriptor, min(left, CHUNK_SIZE) or 1):
            digest.update(data)
            left -= len(data)
            if left <= 0:
                break
        stamp = stamp_of(before)
        if left != 0 or stamp_of(os.fstat(descriptor)) != stamp:
            raise FileChangedError(errno.EAGAIN, "it changed while it was read", path)
        return digest.hexdigest(), stamp
    finally:
        os.close(descriptor)


def answer(path: str) -> str:
    """What :func:`digest_file` says in a line: ``DIGEST STAMP``, ``!changed``, or ``!NUMBER`` of an error."""
    try:
        digest, stamp = digest_file(path)
    except FileChangedError:
        return "!changed"
    except OSError as error:
        return f"!{error.errno or errno.EIO}"
    return f"{digest} {stamp[0]} {stamp[1]} {stamp[2]} {stamp[3]} {stamp[4]}"


def serve() -> None:
    """Answer batches until standard input ends.

    A batch is a line with a number of bytes and so many bytes of paths, NUL between them; its answer is a
    line with a number of bytes and so many bytes of lines.
    """
    while header := sys.stdin.buffer.readline():
        paths = sys.stdin.buffer.read(int(header)).split(b"\0")
        answers = "\n".join([answer(os.fsdecode(path)) for path in paths]).encode("ascii")
        sys.stdout.buffer.write(b"%d\n%b" % (len(answers), answers))
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve()
