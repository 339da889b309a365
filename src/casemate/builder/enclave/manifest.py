"""The manifest as a value, generated whole: from the project and the files of the image, without a template.

Gramine 1.6 to 1.9, "Manifest syntax". What Gramine calls insecure does not occur; ``debug`` only when
``casemate.toml`` asks for it by name, and then signing refuses. Left at Gramine's defaults are the masks of
``sgx.seal_key`` and ``libos.check_invalid_pointers``: nothing that a service needs speaks for other values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from casemate.builder.bundles.tcb import TrustedContent
from casemate.builder.enclave.environment import TEMPORARY_FOLDER, environment
from casemate.builder.layout import APPLICATION_ROOT, ENCLAVE_ROOT, GRAMINE_ROOT, IDENTITY, interpreter_path
from casemate.errors import ProjectError
from casemate.formats.gramine_versions import LATEST, GramineVersion
from casemate.formats.manifest import EnclaveSettings
from casemate.project import App, Destination, Enclave, EncryptedMount, Project, TmpfsMount
from casemate.project.enclave import read_enclave
from casemate.project.places import hides_measured, is_key_name, is_plain, is_variable
from casemate.project.reading import Table
from casemate_attester.variables import Variable, decides_what_runs

#: What a manifest says of a variable that the host may choose; the rule is the attester's.
_PASSED: Final[Mapping[str, Any]] = {"passthrough": True}
_UNITS: Final = ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LibOs:
    """The LibOS that the enclave loads.

    Attributes:
        uri: Where it lies in the image.
        sha256: Its digest, hexadecimal.
    """

    uri: str
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> LibOs:
        """The LibOS of an installed Gramine (``libsysdb.so``)."""
        return cls(uri=f"file:{GRAMINE_ROOT}/libsysdb.so", sha256=hashlib.sha256(content).hexdigest())

    @classmethod
    def absent(cls) -> LibOs:
        """Stands where a simulated bundle has none.

        The digest is one that no file is known to have, so that a real enclave refuses to start with it.
        """
        return cls(uri=f"file:{GRAMINE_ROOT}/simulated-bundle-has-no-libos", sha256="0" * 64)


def make_manifest(
    project: Project,
    files: Iterable[TrustedContent],
    *,
    python: str,
    libos: LibOs,
    gramine: GramineVersion = LATEST,
) -> dict[str, Any]:
    """The measured manifest.

    Args:
        project: What ``casemate.toml`` says.
        files: Every file that the enclave may open; all of them are trusted, and nothing else is.
        python: Version of the interpreter: ``"3.11"``.
        libos: The LibOS.
        gramine: The version that will read it.

    Raises:
        ProjectError: The size of the enclave is no power of two, or the project asks for what this Gramine
            does not have.
    """
    trusted = {entry.file.path: entry.sha256 for entry in files}
    return _generate(project, trusted, python=python, gramine=(gramine, libos))


def foreign_settings(
    manifest: Mapping[str, Any],
    trusted: Mapping[str, str],
    *,
    python: str,
    libos: LibOs,
    gramine: GramineVersion = LATEST,
) -> tuple[str, ...]:
    """The places in which ``manifest`` is none that :func:`make_manifest` writes, sorted.

    The project is read back from the manifest, the manifest is generated from it again, and the two are
    compared: what a project cannot say cannot be there.

    Args:
        manifest: What the TOML says.
        trusted: Digests of the trusted files, by path.
        python: Version of the interpreter.
        libos: The LibOS.
        gramine: The version that will read it.

    Raises:
        FormatError: A setting of the enclave is not what Gramine allows.
        ProjectError: It has what this Gramine does not have.
    """
    generated = _generate(_project_of(manifest), trusted, python=python, gramine=(gramine, libos))
    return tuple(sorted(_differences("", generated, manifest)))


def passed_variables(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the variables whose value the host chooses, sorted."""
    table = _value(manifest, "loader", "env")
    entries = table.items() if isinstance(table, Mapping) else ()
    return tuple(sorted(name for name, value in entries if value == _PASSED))


def _differences(place: str, expected: object, found: object) -> Iterator[str]:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in expected.keys() | found.keys():
            inner = f"{place}.{key}" if place else str(key)
            yield from _differences(inner, expected.get(key), found.get(key))
    elif type(expected) is not type(found) or expected != found:
        yield place


def _project_of(manifest: Mapping[str, Any]) -> Project:
    """The project from which ``manifest`` may have been generated; without what no project can say."""
    env = _text_items(manifest, "loader", "env")
    return Project(
        app=App(name="", serve=""),
        enclave=_enclave_of(manifest),
        env=tuple((name, value) for name, value in env if is_variable(name)),
        variables=tuple(
            Variable(name=name)
            for name in passed_variables(manifest)
            if is_variable(name) and not decides_what_runs(name)
        ),
        mounts=tuple(mount for mount in map(_mount_of, manifest["fs"]["mounts"]) if mount is not None),
    )


def _enclave_of(manifest: Mapping[str, Any]) -> Enclave:
    """What ``[enclave]`` would say; without what it cannot, which then differs at its place."""
    settings = EnclaveSettings.from_manifest(manifest)
    candidates = {
        "size": format_size(settings.size),
        "threads": settings.threads,
        "stack": _value(manifest, "sys", "stack", "size"),
        "brk": _value(manifest, "sys", "brk", "max_size"),
        "files": _value(manifest, "sys", "fds", "limit"),
        "isvprodid": settings.isvprodid,
        "isvsvn": settings.isvsvn,
        "debug": settings.debug,
        "edmm": settings.edmm,
        "preheat": _value(manifest, "sgx", "preheat_enclave"),
        "exinfo": settings.exinfo,
        "subprocesses": _value(manifest, "sys", "disallow_subprocesses") is False,
        "cpu": _value(manifest, "sgx", "cpu_features"),
    }
    said: dict[str, Any] = {}
    for key, value in candidates.items():
        if value is not None and _can_be_said(said | {key: value}):
            said[key] = value
    return read_enclave(_enclave_table(said))


def _can_be_said(values: Mapping[str, Any]) -> bool:
    try:
        read_enclave(_enclave_table(values))
    except ProjectError:
        return False
    return True


def _enclave_table(values: Mapping[str, Any]) -> Table:
    return Table(values, name="enclave", where="app.manifest.sgx")


def _value(manifest: Mapping[str, Any], *path: str) -> Any:
    value: Any = manifest
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _text_items(manifest: Mapping[str, Any], *path: str) -> list[tuple[str, str]]:
    table = _value(manifest, *path)
    items = table.items() if isinstance(table, Mapping) else ()
    return [(key, value) for key, value in items if isinstance(value, str)]


def _mount_of(entry: Mapping[str, Any]) -> TmpfsMount | EncryptedMount | None:
    texts = {key: value for key, value in entry.items() if isinstance(value, str)}
    path, host = texts.get("path", ""), texts.get("uri", "").removeprefix("file:")
    if not is_plain(path) or hides_measured(path):
        return None
    if entry.get("type") == "tmpfs":
        return TmpfsMount(path=path)
    if is_plain(host) and is_key_name(texts.get("key_name", "")):
        recovery = entry.get("enable_recovery") is True
        return EncryptedMount(path=path, key=texts["key_name"], host=host, recovery=recovery)
    return None


def _generate(
    project: Project, trusted: Mapping[str, str], *, python: str, gramine: tuple[GramineVersion, LibOs]
) -> dict[str, Any]:
    version, libos = gramine
    entrypoint = interpreter_path(python)
    named = {"uri": libos.uri, "sha256": libos.sha256}
    passed = {variable.name: dict(_PASSED) for variable in project.variables}
    env: dict[str, Any] = environment(project, trusted) | passed
    return {
        "libos": {"entrypoint": entrypoint},
        "loader": {
            "entrypoint": named if version.libos_in_table else libos.uri,
            "log_level": "error",
            "argv": [entrypoint, "-I", "-B", "-u", "-X", "utf8", "-m", "casemate_attester"],
            "env": dict(sorted(env.items())),
            # Nobody has rights inside; but programs that see themselves as root try to give them up.
            "uid": IDENTITY,
            "gid": IDENTITY,
        },
        "fs": {
            "root": {"type": "chroot", "uri": f"file:{ENCLAVE_ROOT}"},
            # Seen from inside, as the application sees it: relative paths mean what they mean outside.
            "start_dir": APPLICATION_ROOT,
            "mounts": list(_mounts(project, version)),
        },
        "sys": _system(project.enclave, version),
        "sgx": {
            **_sgx(project.enclave),
            "trusted_files": [*([] if version.libos_in_table else [named]), *_trusted(trusted)],
        },
    }


def _system(enclave: Enclave, version: GramineVersion) -> dict[str, Any]:
    system: dict[str, Any] = {"stack": {"size": format_size(enclave.stack)}}
    if enclave.brk is not None:
        system["brk"] = {"max_size": format_size(enclave.brk)}
    if version.descriptor_limit:
        system["fds"] = {"limit": enclave.files}
    return system | {
        "enable_sigterm_injection": True,
        "disallow_subprocesses": not enclave.subprocesses,
        "enable_extra_runtime_domain_names_conf": True,
    }


def _sgx(enclave: Enclave) -> dict[str, Any]:
    if enclave.size <= 0 or enclave.size & (enclave.size - 1):
        raise ProjectError(
            "size of the enclave",
            expected="a power of two",
            got=format_size(enclave.size),
            where="[enclave] size",
            hint=f'the next one is size = "{format_size(1 << enclave.size.bit_length())}"',
        )
    settings = {
        "enclave_size": format_size(enclave.size),
        "max_threads": enclave.threads,
        "remote_attestation": "dcap",
        "debug": enclave.debug,
        "edmm_enable": enclave.edmm,
        # Since 1.8 memory that comes on demand comes by page faults, whose address has to be believed.
        "use_exinfo": enclave.exinfo or enclave.edmm,
        "isvprodid": enclave.isvprodid,
        "isvsvn": enclave.isvsvn,
        "file_check_policy": "strict",
    }
    optional = {"preheat_enclave": enclave.preheat, "cpu_features": dict(enclave.cpu)}
    return settings | {key: value for key, value in optional.items() if value}


def _mounts(project: Project, version: GramineVersion) -> Iterator[dict[str, Any]]:
    """Writable folders, outer ones before those inside them: Gramine mounts in the order of the list."""
    memory = {TEMPORARY_FOLDER}
    memory |= {mount.path for mount in project.mounts if isinstance(mount, TmpfsMount)}
    encrypted = {mount.path: mount for mount in project.mounts if isinstance(mount, EncryptedMount)}
    memory |= {
        str(PurePosixPath(secret.destination).parent)
        for secret in project.secrets
        if secret.kind is Destination.FILE
    } - encrypted.keys()
    for path in sorted(memory | encrypted.keys()):
        mount = encrypted.get(path)
        if mount is None:
            yield {"type": "tmpfs", "path": path}
        else:
            yield _encrypted(mount, version)


def _encrypted(mount: EncryptedMount, version: GramineVersion) -> dict[str, Any]:
    if mount.recovery and not version.recovery:
        raise ProjectError(
            "recovery of encrypted files",
            expected="Gramine 1.9",
            got=f"Gramine {version.name}",
            where=f"[mounts] {mount.path}",
            hint="leave recovery out, or build for a newer Gramine",
        )
    entry = {"type": "encrypted", "path": mount.path, "uri": f"file:{mount.host}", "key_name": mount.key}
    return entry | ({"enable_recovery": True} if mount.recovery else {})


def _trusted(digests: Mapping[str, str]) -> Iterator[dict[str, str]]:
    for path, sha256 in sorted(digests.items()):
        yield {"uri": f"file:{ENCLAVE_ROOT}{path}", "sha256": sha256}


def format_size(size: int) -> str:
    """Bytes as Gramine's signer and runtime both read them: decimal, with an upper-case suffix."""
    for unit, suffix in _UNITS:
        if size and size % unit == 0:
            return f"{size // unit}{suffix}"
    return str(size)
