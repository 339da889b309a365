"""The files that the lines of a batch name: read when they are needed, remembered while they are the same."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import OrderedDict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, Generic, TypeVar

from casemate.errors import FormatError, ToolchainError
from casemate.formats.sgx.collateral_files import certificates_in

#: Bytes of a file that is read. Quotes have less than 16 KiB, Intel's documents and CRLs less than 1 MiB.
MAX_FILE_SIZE: Final = 4 << 20
#: Files whose digest is remembered, of 200 bytes each.
_MOST_FILES: Final = 16_384
#: How files with certificates are called, where they lie beside collateral.
_CERTIFICATE_SUFFIXES = (".pem", ".crt", ".cer")

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")

#: What tells one state of a file from another.
Stamp = tuple[int, int, int, int]


class Recent(Generic[_Key, _Value]):
    """The values that were used last, at most ``limit`` of them."""

    __slots__ = ("_limit", "_values")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[_Key, _Value] = OrderedDict()

    def get(self, key: _Key) -> _Value | None:
        """The value of ``key``, which counts as used."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def keep(self, key: _Key, value: _Value) -> _Value:
        """Remember ``value``, and give it back."""
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._limit:
            self.forget_oldest()
        return value

    def values(self) -> Collection[_Value]:
        """All of them."""
        return self._values.values()

    def forget_oldest(self) -> None:
        """Forget the value that was used the longest ago."""
        self._values.popitem(last=False)


def read_bounded(path: str) -> bytes:
    """The bytes of a regular file.

    Raises:
        ToolchainError: It cannot be read, is no regular file, or has more than :data:`MAX_FILE_SIZE` bytes.
    """
    try:
        # Without waiting: what is named may be a pipe that nobody writes to.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise ToolchainError(
                    "file cannot be read", expected="a regular file", got="another kind of file", where=path
                )
            return _read(descriptor, min(found.st_size, MAX_FILE_SIZE), path)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        raise _unreadable(error, path) from error


def _read(descriptor: int, size: int, path: str) -> bytes:
    """All of it, which may be more than ``size`` by now; only at its end a regular file gives less."""
    data, wanted = b"", size + 1
    while len(data) <= MAX_FILE_SIZE:
        block = os.read(descriptor, wanted)
        data += block
        if len(block) < wanted:
            return data
    raise ToolchainError(
        "file cannot be read", expected=f"at most {MAX_FILE_SIZE} bytes", got="more", where=path
    )


def _unreadable(error: OSError | ValueError, path: str) -> ToolchainError:
    # ValueError: the only thing that no path may hold. Python's words for it differ from version to version.
    reason = (error.strerror or str(error)) if isinstance(error, OSError) else "a path with a NUL"
    return ToolchainError("file cannot be read", got=reason, where=path)


class Digests:
    """SHA-256 of files by their path, found again only when the file has changed."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: Recent[str, tuple[Stamp, bytes]] = Recent(_MOST_FILES)

    def of(self, path: str) -> bytes:
        """The digest of what ``path`` holds now.

        Raises:
            ToolchainError: It cannot be read.
        """
        try:
            stamp = _stamp(path)
        except (OSError, ValueError) as error:
            raise _unreadable(error, path) from error
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
        digest = hashlib.sha256(read_bounded(path)).digest()
        self._known.keep(path, (stamp, digest))
        return digest


class NeighbouringCertificates:
    """Certificates in the folders where collateral lies, found again only when a folder has changed."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: Recent[str, tuple[Stamp, tuple[bytes, ...]]] = Recent(256)

    def of(self, path: str) -> tuple[bytes, ...]:
        """DER of the certificates beside the file ``path``.

        Raises:
            ToolchainError: The folder cannot be read.
        """
        folder = str(Path(path).parent)
        try:
            stamp = _stamp(folder)
            known = self._known.get(folder)
            if known is None or known[0] != stamp:
                known = self._known.keep(folder, (stamp, tuple(_certificates(folder))))
        except OSError as error:
            raise _unreadable(error, folder) from error
        return known[1]


def _certificates(folder: str) -> Iterator[bytes]:
    with os.scandir(folder) as entries:
        names = sorted(entry.path for entry in entries if entry.name.endswith(_CERTIFICATE_SUFFIXES))
    for name in names:
        try:
            yield from certificates_in(read_bounded(name))
        except ToolchainError:  # not ours to judge: nobody has named it
            continue


def certificates_of(folder: Path) -> tuple[bytes, ...]:
    """DER of whatever may be a certificate in ``folder``, PEM or DER, in files of any name.

    Raises:
        FormatError: There is none.
        ToolchainError: The folder or a file in it cannot be read.
    """
    try:
        files = sorted(entry for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        raise _unreadable(error, str(folder)) from error
    found = tuple(der for file in files for der in certificates_in(read_bounded(str(file))))
    if not found:
        raise FormatError(
            "certificates",
            expected="at least one, PEM or DER",
            got="none",
            where=str(folder),
            hint="Without --certs they are looked for beside the collateral.",
        )
    return found


def _stamp(path: str) -> Stamp:
    found = os.stat(path)  # noqa: PTH116 - for each file of each line; a Path takes five times as long
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)
