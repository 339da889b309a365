"""The keys of Gramine's manifest, from version 1.6 to 1.9, and those that are gone.

What the versions make of keys that they all know is said by :mod:`casemate.formats.gramine_versions`.

Gramine 1.9, "Manifest syntax", and ``gramine-manifest-check``; the documentation of the versions before it
for when a key came or went. ``*`` in a path is any name, ``[]`` any item of an array.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from casemate.formats.gramine_versions import VERSIONS
from casemate.formats.manifest import MAX_ISV_NUMBER, MAX_THREADS

LATEST: Final = VERSIONS[-1]


class Kind(Enum):
    """What a value is."""

    BOOL = auto()
    INT = auto()
    TEXT = auto()
    SIZE = auto()
    HEX = auto()
    TEXTS = auto()
    TABLE = auto()
    TABLES = auto()
    VARIABLE = auto()
    TRUSTED = auto()
    ANYTHING = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key.

    Attributes:
        kind: What its value is.
        choices: The words that are allowed; any when empty.
        low: Smallest integer.
        high: Largest one; for :attr:`Kind.HEX` the number of digits.
        since: The version that brought it; ``None`` when it was there in 1.6.
    """

    kind: Kind
    choices: tuple[str, ...] = ()
    low: int = -(1 << 63)
    high: int = (1 << 63) - 1
    since: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A key that is gone, or a form of it.

    Attributes:
        until: The last version that knew it; ``None`` for those before 1.6.
        mend: What to do.
        renamed: The new name of the last part, when there is one that means the same.
        values: What stands in place of false and of true, as TOML, when they have changed as well.
    """

    until: str | None
    mend: str
    renamed: str | None = None
    values: tuple[str, str] | None = None


_BOOL: Final = Key(kind=Kind.BOOL)
_TEXT: Final = Key(kind=Kind.TEXT)
_SIZE: Final = Key(kind=Kind.SIZE)
_TABLE: Final = Key(kind=Kind.TABLE)
_FEATURE: Final = Key(kind=Kind.TEXT, choices=("unspecified", "disabled", "required"))
_HARDENED: Final = Key(kind=Kind.TEXT, choices=("disabled", "required"))
_IDENTITY: Final = Key(kind=Kind.INT, low=0, high=(1 << 32) - 1)
_ISV: Final = Key(kind=Kind.INT, low=0, high=MAX_ISV_NUMBER)
_MOUNT_TYPES: Final = ("chroot", "encrypted", "tmpfs", "untrusted_shm")

SCHEMA: Final[Mapping[str, Key]] = {
    "libos": _TABLE,
    "libos.entrypoint": _TEXT,
    "libos.check_invalid_pointers": _BOOL,
    "loader": _TABLE,
    "loader.entrypoint": _TABLE,
    "loader.entrypoint.uri": Key(kind=Kind.TEXT, since="1.8"),
    "loader.entrypoint.sha256": Key(kind=Kind.HEX, high=64, since="1.8"),
    "loader.argv": Key(kind=Kind.TEXTS),
    "loader.argv_src_file": _TEXT,
    "loader.env": _TABLE,
    "loader.env.*": Key(kind=Kind.VARIABLE),
    "loader.env_src_file": _TEXT,
    "loader.gid": _IDENTITY,
    "loader.insecure__use_cmdline_argv": _BOOL,
    "loader.insecure__use_host_env": _BOOL,
    "loader.insecure__disable_aslr": _BOOL,
    "loader.log_file": _TEXT,
    "loader.log_level": Key(kind=Kind.TEXT, choices=("none", "error", "warning", "debug", "trace", "all")),
    "loader.uid": _IDENTITY,
    "fs": _TABLE,
    "fs.mounts": Key(kind=Kind.TABLES),
    "fs.mounts[].type": Key(kind=Kind.TEXT, choices=_MOUNT_TYPES),
    "fs.mounts[].path": _TEXT,
    "fs.mounts[].uri": _TEXT,
    "fs.mounts[].key_name": _TEXT,
    "fs.mounts[].enable_recovery": Key(kind=Kind.BOOL, since="1.9"),
    "fs.root": _TABLE,
    "fs.root.type": Key(kind=Kind.TEXT, choices=_MOUNT_TYPES),
    "fs.root.uri": _TEXT,
    "fs.root.key_name": _TEXT,
    "fs.root.enable_recovery": Key(kind=Kind.BOOL, since="1.9"),
    "fs.start_dir": _TEXT,
    "fs.insecure__keys": _TABLE,
    "fs.insecure__keys.*": Key(kind=Kind.HEX, high=32),
    "sys": _TABLE,
    "sys.allowed_ioctls": Key(kind=Kind.TABLES),
    "sys.allowed_ioctls[].request_code": Key(kind=Kind.INT),
    "sys.allowed_ioctls[].struct": _TEXT,
    "sys.brk": _TABLE,
    "sys.brk.max_size": _SIZE,
    "sys.disallow_subprocesses": _BOOL,
    "sys.enable_extra_runtime_domain_names_conf": _BOOL,
    "sys.enable_sigterm_injection": _BOOL,
    "sys.experimental__enable_flock": _BOOL,
    "sys.insecure__allow_eventfd": _BOOL,
    "sys.ioctl_structs": _TABLE,
    "sys.ioctl_structs.*": Key(kind=Kind.ANYTHING),
    "sys.debug__mock_syscalls": Key(kind=Kind.TABLES, since="1.8"),
    "sys.debug__mock_syscalls[].name": _TEXT,
    "sys.debug__mock_syscalls[].return": Key(kind=Kind.INT),
    "sys.stack": _TABLE,
    "sys.stack.size": _SIZE,
    "sys.fds": _TABLE,
    "sys.fds.limit": Key(kind=Kind.INT, low=0, since="1.8"),
    "sgx": _TABLE,
    "sgx.allowed_files": Key(kind=Kind.TEXTS),
    "sgx.cpu_features": _TABLE,
    "sgx.cpu_features.avx": _FEATURE,
    "sgx.cpu_features.avx512": _FEATURE,
    "sgx.cpu_features.amx": _FEATURE,
    "sgx.cpu_features.mpx": _HARDENED,
    "sgx.cpu_features.pkru": _HARDENED,
    "sgx.debug": _BOOL,
    "sgx.edmm_enable": _BOOL,
    "sgx.enable_stats": _BOOL,
    "sgx.enclave_size": _SIZE,
    "sgx.file_check_policy": Key(kind=Kind.TEXT, choices=("strict", "allow_all_but_log")),
    "sgx.insecure__allow_memfaults_without_exinfo": _BOOL,
    "sgx.insecure__rpc_thread_num": Key(kind=Kind.INT, low=0, high=256),
    "sgx.isvprodid": _ISV,
    "sgx.isvsvn": _ISV,
    "sgx.max_threads": Key(kind=Kind.INT, low=1, high=MAX_THREADS),
    "sgx.preheat_enclave": _BOOL,
    "sgx.profile": _TABLE,
    "sgx.profile.enable": Key(kind=Kind.TEXT, choices=("none", "main", "all")),
    "sgx.profile.mode": Key(kind=Kind.TEXT, choices=("aex", "ocall_inner", "ocall_outer")),
    "sgx.profile.with_stack": _BOOL,
    "sgx.profile.frequency": Key(kind=Kind.INT),
    "sgx.remote_attestation": Key(kind=Kind.TEXT, choices=("none", "dcap")),
    "sgx.seal_key": _TABLE,
    "sgx.seal_key.flags_mask": Key(kind=Kind.HEX, high=16),
    "sgx.seal_key.xfrm_mask": Key(kind=Kind.HEX, high=16),
    "sgx.seal_key.misc_mask": Key(kind=Kind.HEX, high=8),
    "sgx.trusted_files": Key(kind=Kind.TRUSTED),
    "sgx.use_exinfo": _BOOL,
    "sgx.vtune_profile": _BOOL,
}

_ENCRYPTED: Final = (
    'mount the folder: fs.mounts = [{ type = "encrypted", path = "…", uri = "file:…", key_name = "…" }]'
)


def _feature(name: str) -> Removed:
    weak = "unspecified" if name in ("avx", "avx512", "amx") else "disabled"
    return Removed(
        until="1.7",
        mend=f'sgx.cpu_features.{name} = "required" in place of true, "{weak}" in place of false',
        renamed=f"cpu_features.{name}",
        values=(f'"{weak}"', '"required"'),
    )


REMOVED: Final[Mapping[str, Removed]] = {
    "loader.preload": Removed(
        until=None, mend='name the program in libos.entrypoint = "/path"; the LibOS is found'
    ),
    "loader.exec": Removed(until=None, mend='libos.entrypoint = "/path/inside/the/enclave"'),
    "loader.execname": Removed(until=None, mend='libos.entrypoint = "/path/inside/the/enclave"'),
    "loader.argv0_override": Removed(
        until=None, mend='loader.argv = ["name", …]; the first item is the name'
    ),
    "loader.pal_internal_mem_size": Removed(
        until=None, mend="remove it; Gramine finds out by itself since 1.5"
    ),
    "loader.debug_type": Removed(until=None, mend='loader.log_level = "error"'),
    "fs.mount": Removed(
        until=None, mend='fs.mounts = [{ path = "…", uri = "file:…" }], one table for each mount'
    ),
    "fs.experimental__enable_sysfs_topology": Removed(until=None, mend="remove it; always on since 1.5"),
    "sgx.thread_num": Removed(until=None, mend="rename it to sgx.max_threads", renamed="max_threads"),
    "sgx.rpc_thread_num": Removed(
        until=None,
        mend="remove it; what it did is called sgx.insecure__rpc_thread_num now, for CVE-2022-21233",
    ),
    "sgx.nonpie_binary": Removed(until=None, mend="remove it; not needed since 1.5"),
    "sgx.static_address": Removed(until=None, mend="remove it; not needed since 1.5"),
    "sgx.protected_files": Removed(until=None, mend=_ENCRYPTED),
    "sgx.protected_mrenclave_files": Removed(
        until=None, mend=_ENCRYPTED.replace('"…" }]', '"_sgx_mrenclave" }]')
    ),
    "sgx.protected_mrsigner_files": Removed(
        until=None, mend=_ENCRYPTED.replace('"…" }]', '"_sgx_mrsigner" }]')
    ),
    "sgx.protected_files_key": Removed(
        until=None, mend="let a key broker provide the key of an encrypted mount"
    ),
    "sgx.insecure__protected_files_key": Removed(
        until=None, mend="let a key broker provide the key of an encrypted mount"
    ),
    "sgx.require_avx": _feature("avx"),
    "sgx.require_avx512": _feature("avx512"),
    "sgx.require_amx": _feature("amx"),
    "sgx.require_mpx": _feature("mpx"),
    "sgx.require_pkru": _feature("pkru"),
    "sgx.require_exinfo": Removed(until="1.7", mend="rename it to sgx.use_exinfo", renamed="use_exinfo"),
    "sgx.ra_client_spid": Removed(
        until="1.8", mend='remove it; EPID is gone, use sgx.remote_attestation = "dcap"'
    ),
    "sgx.ra_client_linkable": Removed(
        until="1.8", mend='remove it; EPID is gone, use sgx.remote_attestation = "dcap"'
    ),
    "sgx.ra_client_key": Removed(until=None, mend="remove it"),
    "sgx.sigfile": Removed(until=None, mend="remove it; the signature lies beside the manifest, as NAME.sig"),
}

#: Variables that Gramine's libraries read no longer.
REMOVED_VARIABLES: Final[Mapping[str, str]] = {"SECRET_PROVISION_SET_PF_KEY": "SECRET_PROVISION_SET_KEY"}

#: Keys without which an entry of an array is none.
REQUIRED_IN_ITEMS: Final[Mapping[str, tuple[str, ...]]] = {
    "sys.allowed_ioctls": ("request_code",),
    "sys.debug__mock_syscalls": ("name",),
}


def is_known(key: Removed, version: str) -> bool:
    """Whether ``version`` still knows a key that is gone by now."""
    return key.until is not None and VERSIONS.index(version) <= VERSIONS.index(key.until)


def is_later(key: Key, version: str) -> bool:
    """Whether ``key`` came after ``version``."""
    return key.since is not None and VERSIONS.index(version) < VERSIONS.index(key.since)
