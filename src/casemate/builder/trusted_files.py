"""``sgx.trusted_files`` of a manifest, expanded to single files with their digests, as Gramine does it.

An entry is a URI or a table with ``uri`` and perhaps ``sha256``. A URI that ends with a slash is a folder:
its files are taken in sorted order, hidden ones too; what is neither file nor folder, or cannot be read, is
left out; a link to a file is taken under the link's own name, a link to a folder is not followed. The
entries keep the order in which they are first seen.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from casemate.errors import ToolchainError, UsageError
from casemate.formats.manifest import TrustedFile, trusted_files, with_defaults

_SCHEME = "file:"


def expand_manifest(manifest: Mapping[str, Any], *, libos: Path | None) -> dict[str, Any]:
    """``manifest`` with Gramine's defaults, its trusted files expanded and hashed; ready to be measured.

    Args:
        manifest: What the TOML says. Relative paths in it are relative to the working folder.
        libos: ``libsysdb.so`` for a manifest that does not name one.

    Raises:
        FormatError: An entry that is not what Gramine allows.
        UsageError: A manifest that names no LibOS, when there is none to fall back on.
        ToolchainError: A file that is missing or cannot be read, a folder without its slash, two digests
        for one
            URI.
    """
    complete = with_defaults(manifest)
    loader = dict(complete.get("loader", {}))
    loader["entrypoint"] = _entrypoint(loader.get("entrypoint", {}), libos)
    files = hash_files(expand_files(trusted_files(complete)))
    entries = [{"uri": file.uri, "sha256": file.sha256} for file in files]
    return complete | {"loader": loader, "sgx": complete["sgx"] | {"trusted_files": entries}}


def expand_files(entries: Iterable[TrustedFile]) -> tuple[TrustedFile, ...]:
    """The single files that ``entries`` stand for, each URI once.

    Raises:
        ToolchainError: A folder without its slash or the reverse, two digests for one URI, a digest of a
        folder.
    """
    found: dict[str, TrustedFile] = {}
    for entry in entries:
        for file in _expand(entry):
            known = found.get(file.uri)
            if known is None or known.sha256 is None:
                found[file.uri] = file
            elif file.sha256 is not None and file.sha256.lower() != known.sha256.lower():
                raise ToolchainError(
                    "trusted file with two digests", expected=known.sha256, got=file.sha256, where=file.uri
                )
    return tuple(found.values())


def hash_files(files: Iterable[TrustedFile]) -> tuple[TrustedFile, ...]:
    """``files`` with the digest of each that has none yet.

    Raises:
        ToolchainError: A file that is missing or cannot be read.
    """
    return tuple(
        file if file.sha256 else TrustedFile(uri=file.uri, sha256=_sha256(_path(file.uri))) for file in files
    )


def _entrypoint(table: Mapping[str, Any], libos: Path | None) -> dict[str, Any]:
    """``loader.entrypoint`` with the LibOS and its digest."""
    if "uri" in table:
        file = TrustedFile.parse({key: table[key] for key in ("uri", "sha256") if key in table})
    elif libos is not None:
        file = TrustedFile(uri=f"{_SCHEME}{libos}", sha256=table.get("sha256"))
    else:
        raise UsageError(
            "manifest without a LibOS",
            expected="loader.entrypoint.uri",
            got="nothing",
            hint="name Gramine's libsysdb.so there, or give --pal inside an installed Gramine",
        )
    return dict(table) | {"uri": file.uri, "sha256": file.sha256 or _sha256(_path(file.uri))}


def _path(uri: str) -> Path:
    return Path(uri.removeprefix(_SCHEME))


def _expand(entry: TrustedFile) -> Iterator[TrustedFile]:
    path = _path(entry.uri)
    is_folder = path.is_dir()
    if is_folder != entry.uri.endswith("/"):
        raise ToolchainError(
            "trusted file",
            expected="a folder's URI to end with a slash, and no other",
            got="a folder" if is_folder else "no folder",
            where=entry.uri,
            hint="end the URI with / to trust every file below the folder" if is_folder else None,
        )
    if not is_folder:
        yield entry
    elif entry.sha256 is not None:
        raise ToolchainError(
            "trusted folder with a digest", expected="none", got=entry.sha256, where=entry.uri
        )
    else:
        yield from _walk(path)


def _walk(folder: Path) -> Iterator[TrustedFile]:
    """The readable files below ``folder``."""
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        raise _unreadable(folder, error) from error
    for child in children:
        if not os.access(child, os.R_OK):
            continue
        if child.is_dir():
            if not child.is_symlink():
                yield from _walk(child)
        elif child.is_file():
            yield TrustedFile(uri=f"{_SCHEME}{child}", sha256=None)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ToolchainError:
    return ToolchainError(
        "trusted file cannot be read",
        got=getattr(error, "strerror", None) or str(error),
        where=str(path),
        hint="the manifest trusts it; relative paths in a manifest begin at the working folder",
    )
