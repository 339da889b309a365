"""What a manifest asks for, as far as a rehearsal does it: it becomes a :class:`Plan`, or is refused.

Gramine's defaults apply where the manifest says nothing. What a rehearsal cannot do as Gramine does is
refused by name, because a run that is easier than the real one proves nothing.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from casemate.errors import RehearsalError
from casemate.formats.manifest import EnclaveSettings, parse_size, trusted_files, type_name

#: The name that the application sees as the machine's, unless the manifest asks for the host's.
HOSTNAME: Final = "localhost"
DEFAULT_STACK: Final = "256K"
DEFAULT_DESCRIPTORS: Final = 900
#: Threads that the LibOS keeps for itself: one for its timers, one for its other processes.
OWN_THREADS: Final = 2
#: Bytes of the enclave that Gramine's two parts take, about: their code and data, and what they allocate.
OWN_MEMORY: Final = 8 << 20
#: The same for each thread: 64 pages of stack and 16 for signals, state saves, control structure.
OWN_MEMORY_OF_THREAD: Final = 92 << 12
#: The only name by which the kernel asks for the dynamic loader of an x86-64 program with the GNU C library.
LOADER_ALIAS: Final = "/lib64/ld-linux-x86-64.so.2"
_FILE: Final = "file:"
#: Signed 32 bits, the least of what the kernel takes for identifiers and limits.
_LARGEST_NUMBER: Final = (1 << 31) - 1
#: Keys that every SGX enclave has, readable only.
SEALING_KEYS: Final = ("_sgx_mrenclave", "_sgx_mrsigner")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A mount of the manifest that a rehearsal keeps in memory.

    Attributes:
        path: Where the application sees it.
        key: Name of the key of an encrypted mount; ``None`` for plain tmpfs.
    """

    path: str
    key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a manifest decides about a rehearsal.

    Attributes:
        entrypoint: Program, as the application sees it.
        argv: Its arguments, the program's own name first.
        environment: Values that the manifest sets.
        passthrough: Names whose values come from outside.
        root: Folder of the image that is the application's root.
        mounts: Mounts kept in memory.
        start_dir: Working directory.
        uid: User that the application seems to be.
        gid: Its group.
        trusted: Path in the image to SHA-256, for every trusted file.
        enclave_size: Bytes.
        memory: Bytes of addresses that the application has, about: the enclave's without Gramine's own.
        stack: Soft limit of the stack, bytes.
        descriptors: Soft limit of open files.
        remote_attestation: ``"dcap"`` or ``"none"``.
        sigterm: Whether SIGTERM from outside reaches the application.
        subprocesses: Whether it may make processes.
        flock: Whether flock(2) is there.
        threads: Most threads at once, those of the LibOS included; ``None`` where they can be added.
        domain_names: Whether host name and resolver configuration come from the host.
        loader: In-enclave path of the dynamic loader, where ``LD_LIBRARY_PATH`` has one.
    """

    entrypoint: str
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    passthrough: tuple[str, ...]
    root: str
    mounts: tuple[Mount, ...]
    start_dir: str
    uid: int
    gid: int
    trusted: Mapping[str, bytes]
    enclave_size: int
    memory: int
    stack: int
    descriptors: int
    remote_attestation: str
    sigterm: bool
    subprocesses: bool
    flock: bool
    threads: int | None
    domain_names: bool
    loader: str | None

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Plan:
        """Read a manifest, as :func:`casemate.formats.manifest.load_manifest` gives it.

        Raises:
            RehearsalError: It asks for something that a rehearsal does not do, or a value cannot be used.
            FormatError: A size, an entry of the trusted files, or ``[sgx]`` is not what Gramine allows.
        """
        _refuse_what_is_not_rehearsed(manifest)
        root = _root(manifest)
        trusted = _trusted(manifest)
        environment, passthrough = _environment(manifest)
        enclave = EnclaveSettings.from_manifest(manifest)
        entrypoint: str = _get(manifest, "libos.entrypoint", str, "")
        start_dir: str = _get(manifest, "fs.start_dir", str, "/")
        return cls(
            entrypoint=_absolute(entrypoint, "libos.entrypoint"),
            argv=_arguments(manifest, entrypoint),
            environment=environment,
            passthrough=passthrough,
            root=root,
            mounts=_mounts(manifest),
            start_dir=_absolute(start_dir, "fs.start_dir"),
            uid=_number(manifest, "loader.uid", 0),
            gid=_number(manifest, "loader.gid", 0),
            trusted=trusted,
            enclave_size=enclave.size,
            memory=max(enclave.size - OWN_MEMORY - enclave.threads * OWN_MEMORY_OF_THREAD, 0),
            stack=parse_size(_get(manifest, "sys.stack.size", str, DEFAULT_STACK), where="sys.stack.size"),
            descriptors=_number(manifest, "sys.fds.limit", DEFAULT_DESCRIPTORS),
            remote_attestation=_get(manifest, "sgx.remote_attestation", str, "none"),
            sigterm=_get(manifest, "sys.enable_sigterm_injection", bool, False),
            subprocesses=not _get(manifest, "sys.disallow_subprocesses", bool, False),
            flock=_get(manifest, "sys.experimental__enable_flock", bool, False),
            threads=None if enclave.edmm else max(enclave.threads - OWN_THREADS, 1),
            domain_names=_get(manifest, "sys.enable_extra_runtime_domain_names_conf", bool, False),
            loader=_loader(environment, root, trusted),
        )

    @property
    def key_names(self) -> tuple[str, ...]:
        """Names of the keys that the mounts use, apart from the two that every enclave has."""
        names = {mount.key for mount in self.mounts if mount.key is not None}
        return tuple(sorted(names - set(SEALING_KEYS)))

    @property
    def library_folders(self) -> tuple[str, ...]:
        """Where the loader looks for libraries that name no other place."""
        return _library_folders(self.environment)

    def variables(self, outside: Mapping[str, str]) -> dict[str, str]:
        """The environment of the application; ``outside`` is that of whoever starts the rehearsal."""
        passed = {name: outside[name] for name in self.passthrough if name in outside}
        return passed | dict(self.environment)


def _number(manifest: Mapping[str, Any], place: str, default: int) -> int:
    """An integer that the kernel takes for an identifier or a limit."""
    value: int = _get(manifest, place, int, default)
    if not 0 <= value <= _LARGEST_NUMBER:
        raise RehearsalError(place, expected=f"0 to {_LARGEST_NUMBER}", got=str(value))
    return value


def _get(manifest: Mapping[str, Any], place: str, kind: type, default: Any) -> Any:
    """The value at the dotted ``place``, which must have the type ``kind`` where it is there."""
    table, _, rest = place.partition(".")
    seen = table
    value: Any = manifest.get(table)
    while rest and value is not None:
        if not isinstance(value, Mapping):
            raise _wrong_type(dict, value, seen)
        table, _, rest = rest.partition(".")
        seen += f".{table}"
        value = value.get(table)
    if value is None:
        return default
    if type(value) is not kind:
        raise _wrong_type(kind, value, place)
    return value


def _wrong_type(kind: type, value: object, where: str) -> RehearsalError:
    return RehearsalError("manifest", expected=type_name(kind()), got=type_name(value), where=where)


#: What would make a rehearsal easier, or other, than the real run: place, and what to do about it.
_NOT_REHEARSED: Final = (
    ("loader.insecure__use_cmdline_argv", "write the arguments into loader.argv"),
    ("loader.insecure__use_host_env", "name each variable in loader.env"),
    ("loader.argv_src_file", "write the arguments into loader.argv"),
    ("loader.env_src_file", "write the environment into loader.env"),
    ("fs.insecure__keys", "let the application write the key to /dev/attestation/keys"),
    ("sgx.allowed_files", "trust the file, or put it on a tmpfs or an encrypted mount"),
    ("sys.debug__mock_syscalls", "remove it"),
)


def _refuse_what_is_not_rehearsed(manifest: Mapping[str, Any]) -> None:
    for place, remedy in _NOT_REHEARSED:
        table, _, name = place.partition(".")
        if _get(manifest, table, dict, {}).get(name):
            raise RehearsalError(
                f"manifest key {place}", expected="nothing", got="a value", where=place, hint=remedy
            )
    policy = _get(manifest, "sgx.file_check_policy", str, "strict")
    if policy != "strict":
        raise RehearsalError(
            "file check policy",
            expected="strict",
            got=policy,
            where="sgx.file_check_policy",
            hint="a rehearsal reports every file that is asked for and not trusted",
        )


def _root(manifest: Mapping[str, Any]) -> str:
    kind = _get(manifest, "fs.root.type", str, "chroot")
    uri: str = _get(manifest, "fs.root.uri", str, "")
    if kind != "chroot" or not uri.startswith(_FILE + "/"):
        raise RehearsalError(
            "root of the application",
            expected='type = "chroot" and uri = "file:/…"',
            got=f'type = "{kind}" and uri = "{uri}"',
            where="fs.root",
        )
    return posixpath.normpath(uri.removeprefix(_FILE))


def _trusted(manifest: Mapping[str, Any]) -> dict[str, bytes]:
    trusted = {}
    for entry in trusted_files(manifest):
        if entry.sha256 is None:
            raise RehearsalError(
                "trusted file without a digest",
                where=f"sgx.trusted_files: {entry.uri}",
                hint="rehearse the manifest of a bundle; casemate build hashes every file",
            )
        trusted[posixpath.normpath(entry.uri.removeprefix(_FILE))] = bytes.fromhex(entry.sha256)
    return trusted


def _arguments(manifest: Mapping[str, Any], entrypoint: str) -> tuple[str, ...]:
    argv = _get(manifest, "loader.argv", list, [entrypoint])
    if not argv or not all(isinstance(argument, str) and "\0" not in argument for argument in argv):
        raise RehearsalError("arguments", expected="at least one, all strings", where="loader.argv")
    return tuple(argv)


def _environment(manifest: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    values: list[tuple[str, str]] = []
    passthrough: list[str] = []
    for name, given in _get(manifest, "loader.env", dict, {}).items():
        value = given["value"] if isinstance(given, dict) and given.keys() == {"value"} else given
        if isinstance(value, str) and "\0" not in value:
            values.append((name, value))
        elif given == {"passthrough": True}:
            passthrough.append(name)
        else:
            raise RehearsalError(
                "environment variable",
                expected='"value", { value = "…" } or { passthrough = true }',
                got=str(given),
                where=f"loader.env.{name}",
            )
    return tuple(values), tuple(passthrough)


def _mounts(manifest: Mapping[str, Any]) -> tuple[Mount, ...]:
    mounts = []
    for number, mount in enumerate(_get(manifest, "fs.mounts", list, [])):
        where = f"fs.mounts[{number}]"
        kind = mount.get("type", "chroot")
        if kind not in ("tmpfs", "encrypted"):
            raise RehearsalError(
                "mount",
                expected="tmpfs or encrypted",
                got=str(kind),
                where=where,
                hint="put the files into the image; a rehearsal shows nothing else of this machine",
            )
        key = mount.get("key_name", "default") if kind == "encrypted" else None
        mounts.append(Mount(path=_absolute(str(mount.get("path", "")), f"{where}.path"), key=key))
    return tuple(mounts)


def _absolute(path: str, where: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise RehearsalError("path", expected="one that begins with /", got=repr(path), where=where)
    return "/" + posixpath.normpath(path).lstrip("/")


def _loader(environment: tuple[tuple[str, str], ...], root: str, trusted: Mapping[str, bytes]) -> str | None:
    """Where Gramine finds the loader: by its file name, in the folders of ``LD_LIBRARY_PATH``."""
    name = posixpath.basename(LOADER_ALIAS)
    for folder in _library_folders(environment):
        path = posixpath.join(folder, name)
        if image_path(root, path) in trusted:
            return path
    return None


def _library_folders(environment: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    folders = dict(environment).get("LD_LIBRARY_PATH", "").split(":")
    return tuple(posixpath.normpath(posixpath.join("/", folder)) for folder in folders if folder)


def image_path(root: str, path: str) -> str:
    """Where a path that the application sees lies in the image; ``root`` is the image's folder for ``/``."""
    return root if path == "/" else posixpath.join(root, path.lstrip("/"))
