"""Files: what is trusted, what is allowed, what is mounted."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from typing import Final

from casemate.builder.lint.form_rules import as_file_uri, shown
from casemate.builder.lint.problem import Problem
from casemate.builder.lint.settings import Mount, Settings, folders_over, host_path
from casemate.builder.lint.tree import UNKNOWN

#: Folders whose content is code or configuration on every system.
_SYSTEM: Final = re.compile(r"/|/(?:etc|usr|bin|sbin|lib[^/]*|opt|boot|root|srv)(?:/.*)?")
_CODE: Final = re.compile(
    r".*\.(?:py|pyc|pth|so(?:\.[0-9.]+)?|sh|pl|rb|js|jar|zip|whl|egg|toml|ya?ml|json|ini|cfg|conf|cnf|pem|crt|cer|key)"
)
_CODE_FOLDER: Final = re.compile(r"(?:.*/)?(?:site-packages|dist-packages|lib-dynload|__pycache__)(?:/.*)?")
#: What container runtimes replace at every start.
_LIVE: Final = frozenset({"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"})
_PRIVATE_KEY: Final = re.compile(
    r"file:(?:.*/)?(?:[^/]*\.key|[^/]*private[^/]*\.pem|[^/]*key\.pem|id_[a-z0-9]+)"
)
#: Type of a mount -> how what it shows may begin (Gramine 1.9, libos/src/fs/chroot and shm).
_SCHEMES: Final = {"chroot": ("file:", "dev:"), "encrypted": ("file:",), "untrusted_shm": ("dev:",)}
_KERNEL: Final = re.compile(r"file:/(?:proc|sys|dev)(?:/.*)?")
_RULE_OF_KEY: Final = {"_sgx_mrenclave": "sealed-to-mrenclave", "_sgx_mrsigner": "sealed-to-mrsigner"}


def file_problems(settings: Settings) -> Iterator[Problem]:
    """What is wrong with files and mounts."""
    mounts = tuple(settings.mounts())
    yield from _allowed(settings)
    yield from _contents(settings)
    for mount in mounts:
        yield from _mount(mount, settings)
    yield from _overlaps(mounts)
    yield from _idle_mounts(settings, mounts)
    start = settings.text("fs", "start_dir")
    if start is not None and not start.startswith("/"):
        yield Problem(
            rule="wrong-value",
            path=("fs", "start_dir"),
            expected="an absolute path",
            found=shown(start),
            mend="Begin the path with a slash.",
        )
    program = settings.text("libos", "entrypoint")
    if program is not None and re.match(r"[a-z]+:", program):
        mend = 'name the program by its path inside the enclave: libos.entrypoint = "/path"'
        path = ("libos", "entrypoint")
        yield Problem(rule="removed-key", path=path, expected="a path", found="a URI", mend=mend)


def _allowed(settings: Settings) -> Iterator[Problem]:
    allowed = list(settings.allowed())
    if allowed:
        found = f"{len(allowed)}"
        yield Problem(
            rule="allowed-files", path=("sgx", "allowed_files"), expected="none", found=found, at_key=True
        )
    trusted = _Folders(uri for _, uri in settings.trusted())
    for path, uri in allowed:
        if not uri.startswith("file:"):
            continue
        place = host_path(uri)
        known = UNKNOWN not in uri
        if known and _is_code(place):
            expected = "nothing that is code or configuration"
            yield Problem(rule="allowed-code", path=path, expected=expected, found=shown(uri))
        elif trusted.holds(place, folder=uri.endswith("/")):
            yield Problem(
                rule="allowed-over-trusted", path=path, expected="no trusted file in it", found=shown(uri)
            )


def _is_code(place: str) -> bool:
    whole = place in (".", "..") or re.fullmatch(r"(?:\.\./?)+", place) is not None
    return bool(whole or _SYSTEM.fullmatch(place) or _CODE.fullmatch(place) or _CODE_FOLDER.fullmatch(place))


class _Folders:
    """The trusted files, to be asked for those below a folder without going through all of them again."""

    def __init__(self, uris: Iterator[str]) -> None:
        self._uris = uris

    @cached_property
    def _files(self) -> list[str]:
        return sorted(host_path(uri) for uri in self._uris if uri.startswith("file:"))

    def holds(self, place: str, *, folder: bool) -> bool:
        """Whether ``place`` is a trusted file, or one of them is inside it."""
        at = bisect_left(self._files, place)
        if self._files[at : at + 1] == [place]:
            return True
        inside = place.rstrip("/") + "/"
        at = bisect_left(self._files, inside)
        return folder and at < len(self._files) and self._files[at].startswith(inside)


def _contents(settings: Settings) -> Iterator[Problem]:
    for number, uri in settings.trusted():
        # Few names get as far as the pattern, and there are thousands.
        if (uri.endswith((".key", ".pem")) or "id_" in uri) and _PRIVATE_KEY.fullmatch(uri):
            path = ("sgx", "trusted_files", number)
            yield Problem(rule="private-key-trusted", path=path, expected="no private key", found=shown(uri))
        if uri.startswith("file:/etc/") and host_path(uri) in _LIVE:
            path = ("sgx", "trusted_files", number)
            yield Problem(
                rule="live-file-trusted", path=path, expected="a file of the image only", found=shown(uri)
            )


def _mount(mount: Mount, settings: Settings) -> Iterator[Problem]:
    entry = _entry(settings, mount)
    yield from _required(mount, entry)
    yield from _source(mount)
    if mount.kind == "untrusted_shm":
        found = "memory that the host shares"
        yield Problem(rule="untrusted-mount", path=mount.path, expected="no such mount", found=found)
    elif mount.kind == "chroot" and mount.uri is not None and _KERNEL.fullmatch(mount.uri):
        expected = "no files of the host's kernel"
        yield Problem(rule="untrusted-mount", path=mount.path, expected=expected, found=shown(mount.uri))
    elif mount.kind == "chroot" and mount.uri is not None and mount.uri.startswith("dev:"):
        yield Problem(rule="device-access", path=mount.path, expected="no device", found=shown(mount.uri))
    elif mount.kind == "encrypted":
        rule = _RULE_OF_KEY.get(mount.key)
        if rule is not None:
            path = (*mount.path, "key_name")
            yield Problem(rule=rule, path=path, expected="a key of a key broker", found=shown(mount.key))
        found = shown(mount.inside) if mount.inside is not None else "an encrypted mount"
        yield Problem(
            rule="encrypted-rollback", path=mount.path, expected="freshness from elsewhere", found=found
        )


def _source(mount: Mount) -> Iterator[Problem]:
    """What a mount shows has to be of a kind that its type can show; a tmpfs shows nothing of the host's."""
    schemes = _SCHEMES.get(mount.kind, ())
    if not schemes or mount.uri is None or mount.uri.startswith(schemes):
        return
    is_path = mount.uri.startswith(("/", "."))
    yield Problem(
        rule="mount-uri",
        path=(*mount.path, "uri"),
        expected=" or ".join(f'"{scheme}…"' for scheme in schemes),
        found=shown(mount.uri),
        mend=f"Write {as_file_uri(mount.uri)}." if is_path and "file:" in schemes else None,
    )


def _entry(settings: Settings, mount: Mount) -> dict[str, object]:
    if mount.path == ("fs", "root"):
        return {**settings.get("fs", "root"), "path": "/"}
    entry: dict[str, object] = settings.get("fs", "mounts")[mount.path[-1]]
    return entry


def _required(mount: Mount, entry: dict[str, object]) -> Iterator[Problem]:
    missing = [
        key for key in ("path", "uri") if key not in entry and not (key == "uri" and mount.kind == "tmpfs")
    ]
    # The names of the keys may be expressions, too.
    if missing and not any(UNKNOWN in key for key in entry):
        yield Problem(
            rule="missing-key", path=mount.path, expected=" and ".join(missing), found="no such key"
        )
    for key in ("key_name", "enable_recovery"):
        if key in entry and mount.kind in ("chroot", "tmpfs", "untrusted_shm"):
            found = f"a mount of type {mount.kind}"
            yield Problem(
                rule="conflict",
                path=(*mount.path, key),
                expected='type = "encrypted"',
                found=found,
                at_key=True,
            )
    if mount.inside is not None and mount.path != ("fs", "root"):
        if mount.inside == "/":
            mend = "customise the root with fs.root"
            path = (*mount.path, "path")
            yield Problem(
                rule="mount-path", path=path, expected="a path below the root", found='"/"', mend=mend
            )
        elif not mount.inside.startswith("/"):
            path = (*mount.path, "path")
            yield Problem(
                rule="mount-path", path=path, expected="an absolute path", found=shown(mount.inside)
            )


def _overlaps(mounts: tuple[Mount, ...]) -> Iterator[Problem]:
    """Encrypted mounts inside each other, on the host; found by order, not by comparing each with each."""
    encrypted = [mount for mount in mounts if mount.kind == "encrypted" and mount.uri is not None]
    placed = sorted((host_path(mount.uri or "") + "/", number) for number, mount in enumerate(encrypted))
    outer = placed[0][0] if placed else ""
    for (_, _), (place, number) in pairwise(placed):
        if place.startswith(outer):
            mount = encrypted[number]
            found = f"{shown(mount.uri)} inside another one"
            yield Problem(
                rule="encrypted-overlap", path=mount.path, expected="folders of its own", found=found
            )
        else:
            outer = place


def _idle_mounts(settings: Settings, mounts: tuple[Mount, ...]) -> Iterator[Problem]:
    """Mounts of which nothing can be opened; said only where every entry is known."""
    if "mount-without-trusted" in settings.ignored:
        return
    uris = [uri for _, uri in settings.trusted()] + [uri for _, uri in settings.allowed()]
    lists = (settings.get("sgx", "trusted_files"), settings.get("sgx", "allowed_files"))
    complete = all(
        value is None or (isinstance(value, list) and all(map(_is_known, value))) for value in lists
    )
    policy = settings.get("sgx", "file_check_policy")
    if not uris or not complete or policy not in (None, "strict"):
        return
    folders = {host_path(uri) for uri in uris if uri.endswith("/")}
    index = _Folders(iter(uris))
    for mount in mounts:
        if mount.kind != "chroot" or mount.uri is None or not mount.uri.startswith("file:"):
            continue
        if mount.path == ("fs", "root"):
            continue
        place = host_path(mount.uri)
        if not index.holds(place, folder=True) and folders.isdisjoint(folders_over(place)):
            expected = "a trusted file below it"
            yield Problem(
                rule="mount-without-trusted", path=mount.path, expected=expected, found=shown(mount.uri)
            )


def _is_known(item: object) -> bool:
    uri = item.get("uri") if isinstance(item, dict) else item
    return isinstance(uri, str) and UNKNOWN not in uri
