"""``sgx.trusted_files`` of a manifest, expanded to single files with their digests, as Gramine does it.

An entry is a URI or a table with ``uri`` and perhaps ``sha256``. A URI that ends with a slash is a folder:
its files are taken in sorted order, hidden ones too; what is neither file nor folder, or cannot be read, is
left out; a link to a file is taken under the link's own name, a link to a folder is not followed. The
entries keep the order in which they are first seen.

With a chroot, all paths of trusted files begin at its root, and so do the links in it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

from casemate.builder.trusted.chroot import outside
from casemate.builder.trusted.digest_cache import DigestCache
from casemate.builder.trusted.file_digest import stamp_of
from casemate.builder.trusted.file_digests import Digested, digest_files
from casemate.errors import ToolchainError, UsageError
from casemate.formats.gramine_versions import LATEST, GramineVersion
from casemate.formats.manifest import TrustedFile, trusted_files, type_name, with_defaults

_SCHEME: Final = "file:"


class LocatedFile(NamedTuple):
    """One trusted file.

    Attributes:
        uri: Its name in the manifest.
        sha256: Hexadecimal digest; ``None`` when it is yet to be hashed.
        path: Where it is on this machine.
        listed: Whether it was found in a folder, where it is left out when it cannot be read.
    """

    uri: str
    sha256: str | None
    path: str
    listed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """A manifest that is ready to be measured, and what it was made from.

    Attributes:
        manifest: With Gramine's defaults, its trusted files expanded and hashed.
        paths: Where its trusted files are on this machine, in their order.
        from_cache: How many digests were not taken now.
    """

    manifest: dict[str, Any]
    paths: tuple[str, ...]
    from_cache: int


def expand_manifest(
    manifest: Mapping[str, Any],
    *,
    libos: str | None,
    chroot: str | None = None,
    cache: DigestCache | None = None,
    version: GramineVersion = LATEST,
) -> Expansion:
    """``manifest`` with Gramine's defaults, its trusted files expanded and hashed.

    Args:
        manifest: What the TOML says. Relative paths in it are relative to the working folder.
        libos: ``libsysdb.so`` for a manifest that does not name one.
        chroot: Folder at whose root the trusted files' paths begin. The LibOS is outside of it.
        cache: Digests that need not be taken again; ``None`` takes all of them.
        version: Whose defaults are filled in. Before Gramine 1.8 the LibOS is a trusted file like others, and
            no tool adds it.

    Raises:
        FormatError: An entry that is not what Gramine allows.
        UsageError: A manifest that names no LibOS, when there is none to fall back on.
        ToolchainError: A file that is missing, cannot be read or changes while it is read, a folder without
            its slash, two digests for one URI.
    """
    complete = with_defaults(manifest, version)
    hashing = _Hashing(cache=cache)
    loader = dict(complete.get("loader", {}))
    if version.libos_in_table:
        loader["entrypoint"] = _entrypoint(loader.get("entrypoint", {}), libos, hashing)
    files = hashing.hashed(expand_files(trusted_files(complete), chroot=chroot))
    entries = [{"uri": file.uri, "sha256": file.sha256} for file in files]
    if not version.libos_in_table:
        _require_trusted_libos(loader.get("entrypoint"), files)
    return Expansion(
        manifest=complete | {"loader": loader, "sgx": complete["sgx"] | {"trusted_files": entries}},
        paths=tuple([file.path for file in files]),
        from_cache=hashing.from_cache,
    )


def expand_files(entries: Iterable[TrustedFile], *, chroot: str | None = None) -> tuple[LocatedFile, ...]:
    """The single files that ``entries`` stand for, each URI once.

    Raises:
        ToolchainError: A folder without its slash that has a digest, something else with one, two digests for
            one URI, a digest of a folder, a path that cannot be followed.
    """
    tree = _Tree(chroot=chroot)
    found: dict[str, LocatedFile] = {}
    for entry in entries:
        for file in tree.expand(entry):
            known = found.setdefault(file.uri, file)
            if known.sha256 is None:
                found[file.uri] = known if file.listed else file
            elif file.sha256 is not None and file.sha256.lower() != known.sha256.lower():
                raise ToolchainError(
                    "trusted file with two digests", expected=known.sha256, got=file.sha256, where=file.uri
                )
    return tuple(found.values())


def _entrypoint(table: Mapping[str, Any], libos: str | None, hashing: _Hashing) -> dict[str, Any]:
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
    located = LocatedFile(file.uri, file.sha256, _path(file.uri))
    (hashed,) = hashing.hashed([located])
    return dict(table) | {"uri": hashed.uri, "sha256": hashed.sha256}


def _require_trusted_libos(uri: object, files: Sequence[LocatedFile]) -> None:
    """Before Gramine 1.8 a manifest names its LibOS by a URI and trusts it; no tool fills in either."""
    if not isinstance(uri, str):
        raise UsageError(
            "manifest without a LibOS",
            expected='loader.entrypoint = "file:…", as Gramine before 1.8 has it',
            got="nothing" if uri is None else type_name(uri),
            hint="name Gramine's libsysdb.so there, and among sgx.trusted_files",
        )
    if all(file.uri != uri for file in files):
        raise UsageError(
            "LibOS that is not trusted",
            expected=f"{uri} among sgx.trusted_files",
            got="no such entry",
            hint="before Gramine 1.8 the LibOS is a trusted file like any other",
        )


def _path(uri: str) -> str:
    return str(PurePosixPath(uri.removeprefix(_SCHEME)))


@dataclass(slots=True)
class _Hashing:
    """Digests of files, out of the cache where there is one."""

    cache: DigestCache | None
    from_cache: int = field(default=0)

    def hashed(self, files: Sequence[LocatedFile]) -> list[LocatedFile]:
        """``files`` with all digests, in their order; without those that were listed and cannot be read."""
        known = [self._known(file) for file in files]
        taken = iter(self._taken([file for file, sha256 in zip(files, known, strict=True) if sha256 is None]))
        digests = [sha256 or next(taken) for sha256 in known]
        return [
            LocatedFile(file.uri, sha256, file.path)
            for file, sha256 in zip(files, digests, strict=True)
            if sha256
        ]

    def _known(self, file: LocatedFile) -> str | None:
        if file.sha256 is not None or self.cache is None:
            return file.sha256
        try:
            known = self.cache.digest_of(stamp_of(os.stat(file.path)))  # noqa: PTH116 (20,000 times)
        except OSError:
            return None  # taking its digest says why
        self.from_cache += known is not None
        return known

    def _taken(self, files: Sequence[LocatedFile]) -> list[str]:
        """The digests of ``files``; an empty one for what is left out."""
        now = time.time_ns()
        outcomes = digest_files([file.path for file in files])
        for file, outcome in zip(files, outcomes, strict=True):
            if isinstance(outcome, OSError) and not (file.listed and isinstance(outcome, PermissionError)):
                raise _unreadable(file, outcome) from outcome
        if self.cache is not None:
            self.cache.learn([outcome for outcome in outcomes if isinstance(outcome, Digested)], now=now)
        return [outcome.sha256 if isinstance(outcome, Digested) else "" for outcome in outcomes]


@dataclass(frozen=True, slots=True)
class _Tree:
    """Where the paths of trusted files begin: at the root of this machine, or of a chroot."""

    chroot: str | None

    def expand(self, entry: TrustedFile) -> Iterator[LocatedFile]:
        """The files that ``entry`` stands for.

        Whether a file without a digest is a folder is seen when it is read.
        """
        path = self._outside(entry.uri)
        is_folder = entry.uri.endswith("/")
        if (is_folder or entry.sha256 is not None) and os.path.isdir(path) != is_folder:  # noqa: PTH112
            raise _kind_differs(entry.uri, is_folder=not is_folder)
        if not is_folder:
            yield LocatedFile(entry.uri, entry.sha256, path)
        elif entry.sha256 is not None:
            raise ToolchainError(
                "trusted folder with a digest", expected="none", got=entry.sha256, where=entry.uri
            )
        else:
            yield from self._walk(path)

    def _outside(self, uri: str) -> str:
        path = _path(uri)
        if self.chroot is None:
            return path
        if not path.startswith("/"):
            raise UsageError(
                "trusted file in a chroot",
                expected="a path from its root: file:/…",
                got=uri,
                where="sgx.trusted_files",
            )
        try:
            return outside(path, chroot=self.chroot)
        except OSError as error:
            raise _unreadable(LocatedFile(uri, None, path), error) from error

    def _walk(self, folder: str) -> Iterator[LocatedFile]:
        """The readable files below ``folder``, a place on this machine."""
        try:
            with os.scandir(folder) as entries:
                children = sorted(entries, key=lambda child: child.name)
        except OSError as error:
            raise _unreadable(LocatedFile(f"{_SCHEME}{folder}/", None, folder), error) from error
        prefix = "" if folder == "." else folder.rstrip("/") + "/"
        for child in children:
            path = prefix + child.name
            if child.is_dir(follow_symlinks=False):
                if os.access(path, os.R_OK):
                    yield from self._walk(path)
            elif child.is_symlink():
                yield from self._linked(path)
            elif child.is_file(follow_symlinks=False):
                yield LocatedFile(self._uri(path), None, path, listed=True)

    def _linked(self, path: str) -> Iterator[LocatedFile]:
        """What a link in a folder leads to, when that is a readable file."""
        target = path
        if self.chroot is not None:
            try:
                target = outside(self._inside(path), chroot=self.chroot)
            except OSError:
                return
        if os.path.isfile(target):  # noqa: PTH113 (as everywhere here)
            yield LocatedFile(self._uri(path), None, target, listed=True)

    def _uri(self, path: str) -> str:
        return _SCHEME + (path if self.chroot is None else self._inside(path))

    def _inside(self, path: str) -> str:
        root = str(PurePosixPath(self.chroot or "/"))
        return "/" + (path if root == "." else path[len(root) :].lstrip("/"))


def _kind_differs(uri: str, *, is_folder: bool) -> ToolchainError:
    return ToolchainError(
        "trusted file",
        expected="a folder's URI to end with a slash, and no other",
        got="a folder" if is_folder else "no folder",
        where=uri,
        hint="end the URI with / to trust every file below the folder" if is_folder else None,
    )


def _unreadable(file: LocatedFile, error: OSError) -> ToolchainError:
    if isinstance(error, IsADirectoryError):
        return _kind_differs(file.uri, is_folder=True)
    return ToolchainError(
        "trusted file cannot be read",
        got=error.strerror or str(error),
        where=file.path,
        hint="the manifest trusts it; relative paths in a manifest begin at the working folder",
    )
