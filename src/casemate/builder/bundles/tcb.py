"""``tcb.json``: every trusted file of a bundle and why it is there; and what was left out.

The document answers the reviewer's question, so nothing in it is measured: the manifest is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, Self

import msgspec

from casemate.builder.contents import Considered, ImageFile, Reason, Rule
from casemate.errors import FormatError, ProjectError
from casemate.formats.documents import Count, Document, Hex32, read_document

#: Bytes; an environment with a million files is described by less.
SIZE_LIMIT: Final = 256 * 1024 * 1024
_REBUILD: Final = "build the bundle again with this version of casemate"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedContent:
    """A file of the image and what it holds at the time of the build.

    Attributes:
        file: The file.
        size: Bytes.
        sha256: Hexadecimal.
    """

    file: ImageFile
    size: int
    sha256: str

    @classmethod
    def of(cls, file: ImageFile) -> Self:
        """Read and hash ``file``."""
        content = file.read()
        return cls(file=file, size=len(content), sha256=hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbFile:
    """One line of ``tcb.json``: path in the enclave, size in bytes, digest in hexadecimal, reason."""

    path: str
    size: int
    sha256: str
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Tcb:
    """What is trusted, and against what that is to be held.

    Attributes:
        interpreter: Version of Python: ``"3.11"``.
        files: Sorted by path.
        considered: What a tool that converts everything would trust.
    """

    interpreter: str
    files: tuple[TcbFile, ...]
    considered: Considered

    @classmethod
    def of(cls, interpreter: str, contents: Iterable[TrustedContent], considered: Considered) -> Self:
        """The document for an image.

        Files that were left out are not named where nobody could write their names.

        Raises:
            ProjectError: The path of a trusted file, or the reason for it, has control characters.
        """
        files = tuple(
            TcbFile(path=each.file.path, size=each.size, sha256=each.sha256, reason=each.file.reason)
            for each in contents
        )
        for text in _texts(files):
            if not text.isprintable():
                raise ProjectError(
                    "name of a trusted file, or reason for it",
                    expected="no control characters",
                    got=ascii(text),
                    hint="rename what is called so; listings would not show it",
                )
        left_out = tuple(path for path in considered.left_out if path.isprintable())
        return cls(
            interpreter=interpreter,
            files=tuple(sorted(files, key=lambda file: file.path)),
            considered=replace(considered, left_out=left_out),
        )

    @property
    def size(self) -> int:
        """Bytes of all trusted files."""
        return sum(file.size for file in self.files)

    def to_bytes(self) -> bytes:
        """JSON, indented for people."""
        document: dict[str, Any] = {
            "version": 1,
            "kind": "casemate.tcb",
            "interpreter": self.interpreter,
            "files": [
                {
                    "path": file.path,
                    "size": file.size,
                    "sha256": file.sha256,
                    "reason": {
                        "rule": file.reason.rule.value,
                        "of": file.reason.of,
                        "detail": file.reason.detail,
                    },
                }
                for file in self.files
            ],
            "considered": {"files": self.considered.files, "size": self.considered.size},
            "left_out": sorted(self.considered.left_out),
        }
        return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            FormatError: Anything else.
        """
        read = read_document(data, _Tcb, name="tcb.json", limit=SIZE_LIMIT, hint=_REBUILD)
        files = tuple(
            TcbFile(
                path=file.path,
                size=file.size,
                sha256=file.sha256,
                reason=Reason(rule=file.reason.rule, of=file.reason.of, detail=file.reason.detail),
            )
            for file in read.files
        )
        for text in (*_texts(files), *read.left_out):
            if not text.isprintable():
                raise FormatError(
                    "tcb.json", expected="text without control characters", got=ascii(text), hint=_REBUILD
                )
        return cls(
            interpreter=read.interpreter,
            files=files,
            considered=Considered(
                files=read.considered.files, size=read.considered.size, left_out=read.left_out
            ),
        )


def _texts(files: Iterable[TcbFile]) -> Iterator[str]:
    """What is shown to people, on terminals among others."""
    for file in files:
        yield from (file.path, file.reason.of or "", file.reason.detail)


class _Reason(Document, frozen=True):
    rule: Rule
    of: str | None
    detail: str


class _File(Document, frozen=True):
    path: str
    size: Count
    sha256: Hex32
    reason: _Reason


class _Considered(Document, frozen=True):
    files: Count
    size: Count


class _Tcb(Document, frozen=True):
    version: Literal[1]
    kind: Literal["casemate.tcb"]
    interpreter: Annotated[str, msgspec.Meta(pattern=r"\A3\.\d{1,3}\Z")]
    files: tuple[_File, ...]
    considered: _Considered
    left_out: tuple[str, ...]
