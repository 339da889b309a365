"""The manifest as a value, generated whole: from the project and the files of the image, without a template.

Gramine 1.9, "Manifest syntax". What Gramine calls insecure does not occur; ``debug`` only when
``casemate.toml`` asks for it by name, and then signing refuses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from casemate.builder.layout import APPLICATION_ROOT, CA_BUNDLE, ENCLAVE_ROOT, GRAMINE_ROOT, interpreter_path
from casemate.builder.libraries import ENCLAVE_LIBRARY_PATH
from casemate.builder.system_files import time_zone
from casemate.builder.tcb import TrustedContent
from casemate.errors import ProjectError
from casemate.formats.manifest import EnclaveSettings, parse_size
from casemate.project import App, Destination, Enclave, EncryptedMount, Project, TmpfsMount
from casemate.project.places import hides_measured, is_key_name, is_plain, is_variable

#: The only writable folder that every application gets: memory of the enclave.
TEMPORARY_FOLDER: Final = "/tmp"  # noqa: S108 - the enclave's own
#: Open files and sockets; Gramine's default of 900 is less than a busy server needs.
_FILE_DESCRIPTORS: Final = 4096
#: Numerical libraries start one thread for each processor of the host, which the enclave has no room for.
_THREAD_POOLS: Final = (
    "BLIS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
#: joblib's locks and processes do not work in Gramine: it computes in one thread, and starts no ``lscpu``.
_SERIAL: Final = {"JOBLIB_MULTIPROCESSING": "0", "LOKY_MAX_CPU_COUNT": "1"}
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
    project: Project, files: Iterable[TrustedContent], *, python: str, libos: LibOs
) -> dict[str, Any]:
    """The measured manifest.

    Args:
        project: What ``casemate.toml`` says.
        files: Every file that the enclave may open; all of them are trusted, and nothing else is.
        python: Version of the interpreter: ``"3.11"``.
        libos: The LibOS.

    Raises:
        ProjectError: The size of the enclave is no power of two.
    """
    trusted = {entry.file.path: entry.sha256 for entry in files}
    return _generate(project, trusted, python=python, libos=libos)


def foreign_settings(
    manifest: Mapping[str, Any], trusted: Mapping[str, str], *, python: str, libos: LibOs
) -> tuple[str, ...]:
    """The places in which ``manifest`` is none that :func:`make_manifest` writes, sorted.

    The project is read back from the manifest, the manifest is generated from it again, and the two are
    compared: what a project cannot say cannot be there.

    Args:
        manifest: What the TOML says.
        trusted: Digests of the trusted files, by path.
        python: Version of the interpreter.
        libos: The LibOS.

    Raises:
        FormatError: A setting of the enclave is not what Gramine allows.
    """
    generated = _generate(_project_of(manifest), trusted, python=python, libos=libos)
    return tuple(sorted(_differences("", generated, manifest)))


def _differences(place: str, expected: object, found: object) -> Iterator[str]:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in expected.keys() | found.keys():
            inner = f"{place}.{key}" if place else str(key)
            yield from _differences(inner, expected.get(key), found.get(key))
    elif type(expected) is not type(found) or expected != found:
        yield place


def _project_of(manifest: Mapping[str, Any]) -> Project:
    """The project from which ``manifest`` may have been generated; without what no project can say."""
    settings = EnclaveSettings.from_manifest(manifest)
    env = _text_items(manifest, "loader", "env")
    size = dict(_text_items(manifest, "sys", "stack")).get("size", "")
    return Project(
        app=App(name="", serve=""),
        enclave=Enclave(
            size=settings.size,
            threads=settings.threads,
            stack=parse_size(size, where="sys.stack.size"),
            isvprodid=settings.isvprodid,
            isvsvn=settings.isvsvn,
            debug=settings.debug,
            edmm=settings.edmm,
        ),
        env=tuple((name, value) for name, value in env if is_variable(name)),
        mounts=tuple(mount for mount in map(_mount_of, manifest["fs"]["mounts"]) if mount is not None),
    )


def _text_items(manifest: Mapping[str, Any], *path: str) -> list[tuple[str, str]]:
    table: Any = manifest
    for key in path:
        table = table.get(key) if isinstance(table, Mapping) else None
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
        return EncryptedMount(path=path, key=texts["key_name"], host=host)
    return None


def _generate(project: Project, trusted: Mapping[str, str], *, python: str, libos: LibOs) -> dict[str, Any]:
    entrypoint = interpreter_path(python)
    return {
        "libos": {"entrypoint": entrypoint},
        "loader": {
            "entrypoint": {"uri": libos.uri, "sha256": libos.sha256},
            "log_level": "error",
            "argv": [entrypoint, "-I", "-B", "-u", "-X", "utf8", "-m", "casemate_attester"],
            "env": dict(sorted(environment(project).items())),
        },
        "fs": {
            "root": {"type": "chroot", "uri": f"file:{ENCLAVE_ROOT}"},
            # Seen from inside, as the application sees it: relative paths mean what they mean outside.
            "start_dir": APPLICATION_ROOT,
            "mounts": list(_mounts(project)),
        },
        "sys": {
            "stack": {"size": format_size(project.enclave.stack)},
            "fds": {"limit": _FILE_DESCRIPTORS},
            "enable_sigterm_injection": True,
            "disallow_subprocesses": True,
            "enable_extra_runtime_domain_names_conf": True,
        },
        "sgx": {**_sgx(project), "trusted_files": list(_trusted(trusted))},
    }


def environment(project: Project) -> dict[str, str]:
    """The whole environment of the application, before its secrets: nothing of the host's passes through."""
    return {
        "HOME": TEMPORARY_FOLDER,
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "MALLOC_ARENA_MAX": "1",
        "REQUESTS_CA_BUNDLE": CA_BUNDLE,
        "SSL_CERT_FILE": CA_BUNDLE,
        "TMPDIR": TEMPORARY_FOLDER,
        "TZ": time_zone(project),
        "XDG_CACHE_HOME": f"{TEMPORARY_FOLDER}/.cache",
        **dict.fromkeys(_THREAD_POOLS, "1"),
        **_SERIAL,
        **dict(project.env),
        "LD_LIBRARY_PATH": ":".join(ENCLAVE_LIBRARY_PATH),
    }


def _sgx(project: Project) -> dict[str, Any]:
    enclave = project.enclave
    if enclave.size <= 0 or enclave.size & (enclave.size - 1):
        raise ProjectError(
            "size of the enclave",
            expected="a power of two",
            got=format_size(enclave.size),
            where="[enclave] size",
            hint=f'the next one is size = "{format_size(1 << enclave.size.bit_length())}"',
        )
    return {
        "enclave_size": format_size(enclave.size),
        "max_threads": enclave.threads,
        "remote_attestation": "dcap",
        "debug": enclave.debug,
        "edmm_enable": enclave.edmm,
        "use_exinfo": False,
        "isvprodid": enclave.isvprodid,
        "isvsvn": enclave.isvsvn,
        "file_check_policy": "strict",
    }


def _mounts(project: Project) -> Iterator[dict[str, str]]:
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
            yield {"type": "encrypted", "path": path, "uri": f"file:{mount.host}", "key_name": mount.key}


def _trusted(digests: Mapping[str, str]) -> Iterator[dict[str, str]]:
    for path, sha256 in sorted(digests.items()):
        yield {"uri": f"file:{ENCLAVE_ROOT}{path}", "sha256": sha256}


def format_size(size: int) -> str:
    """Bytes as Gramine's signer and runtime both read them: decimal, with an upper-case suffix."""
    for unit, suffix in _UNITS:
        if size and size % unit == 0:
            return f"{size // unit}{suffix}"
    return str(size)
