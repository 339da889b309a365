"""Gramine's manifest: TOML text to a mapping and back, and the part of it that decides the enclave.

Gramine 1.6 to 1.9, "Manifest syntax". The text form (order of keys, quoting) is free: only its bytes are
measured. So what :func:`dump_manifest` writes is as good as what any other tool writes, and what
:func:`load_manifest` reads is never written again in its place.

Not checked here: keys that Gramine does not know, paths, that files exist.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from casemate.errors import FormatError
from casemate.formats.gramine_toml import parsed_toml, require_one_meaning, require_readable
from casemate.formats.gramine_versions import LATEST, GramineVersion
from casemate.formats.trusted_files_text import all_hashed, lengthened, shortened

#: Gramine's defaults where the manifest says nothing, without and with dynamic memory (EDMM).
DEFAULT_ENCLAVE_SIZE: Final = "256M"
DEFAULT_ENCLAVE_SIZE_EDMM: Final = "1024G"
#: Gramine keeps at most this many thread control structures (``MAX_DBG_THREADS``).
MAX_THREADS: Final = 4096
#: Bytes; Gramine's own largest default. A larger enclave takes minutes to measure and fits no machine.
MAX_ENCLAVE_SIZE: Final = 1 << 40
#: ISVPRODID and ISVSVN are 16 bits wide.
MAX_ISV_NUMBER: Final = 0xFFFF

#: What ``sgx.cpu_features`` and ``sgx.use_exinfo`` were called; read until Gramine 1.7.
_OLD_FEATURES: Final = tuple(f"require_{name}" for name in ("avx", "avx512", "amx", "mpx", "pkru"))
_OLD_EXINFO: Final = "require_exinfo"

_SIZE: Final = re.compile(r"([0-9]{1,15})([KMG]?)")
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")

_TYPE_NAMES: Final[Mapping[type, str]] = {
    bool: "true or false",
    int: "an integer",
    float: "a fraction",
    str: "a string",
    list: "an array",
    dict: "a table",
}


class CpuFeature(Enum):
    """What a manifest says of one feature of the processor; the value is its word."""

    UNSPECIFIED = "unspecified"
    DISABLED = "disabled"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuFeatures:
    """``sgx.cpu_features``, with Gramine's defaults."""

    avx: CpuFeature = CpuFeature.UNSPECIFIED
    avx512: CpuFeature = CpuFeature.UNSPECIFIED
    amx: CpuFeature = CpuFeature.UNSPECIFIED
    mpx: CpuFeature = CpuFeature.DISABLED
    pkru: CpuFeature = CpuFeature.DISABLED


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclaveSettings:
    """The keys of ``[sgx]`` that decide the layout and the attributes of the enclave.

    Attributes:
        size: Bytes of address space, a power of two.
        threads: Number of thread control structures.
        edmm: Whether memory is added at run time (SGX2) instead of at start.
        debug: Whether the enclave can be read by a debugger.
        exinfo: Whether the processor tells the enclave about page faults.
        cpu_features: Which extended states must, may or must not be there.
        old_features: Those that ``sgx.require_…`` asks for, until Gramine 1.7: switched on, and not enforced
            by the mask; ``None`` when the manifest has none of these keys.
        isvprodid: The product's number.
        isvsvn: The product's security version.
    """

    size: int
    threads: int = 4
    edmm: bool = False
    debug: bool = False
    exinfo: bool = False
    cpu_features: CpuFeatures = CpuFeatures()
    old_features: tuple[str, ...] | None = None
    isvprodid: int = 0
    isvsvn: int = 0

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any], version: GramineVersion = LATEST) -> EnclaveSettings:
        """Read them, with Gramine's defaults for what is not there.

        Args:
            manifest: What the TOML says.
            version: Whose keys are read.

        Raises:
            FormatError: A value of the wrong type or out of its range; a size that is no power of two; an
                old key and its new form at once.
        """
        sgx = _table(manifest, "sgx")
        edmm = _get(sgx, "sgx.edmm_enable", bool, False)
        default_size = DEFAULT_ENCLAVE_SIZE_EDMM if edmm else DEFAULT_ENCLAVE_SIZE
        return cls(
            size=_enclave_size(_get(sgx, "sgx.enclave_size", str, default_size)),
            threads=_number(sgx, "sgx.max_threads", default=4, low=1, high=MAX_THREADS),
            edmm=edmm,
            debug=_get(sgx, "sgx.debug", bool, False),
            exinfo=_get(sgx, _exinfo_key(sgx, version), bool, False),
            cpu_features=_cpu_features(sgx),
            old_features=_old_features(sgx, version),
            isvprodid=_number(sgx, "sgx.isvprodid", default=0, low=0, high=MAX_ISV_NUMBER),
            isvsvn=_number(sgx, "sgx.isvsvn", default=0, low=0, high=MAX_ISV_NUMBER),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedFile:
    """One entry of ``sgx.trusted_files``.

    Attributes:
        uri: ``file:`` and a path; a folder ends with a slash.
        sha256: Hexadecimal digest; ``None`` when the file is yet to be hashed.
    """

    uri: str
    sha256: str | None

    @classmethod
    def parse(cls, entry: object) -> TrustedFile:
        """Read an entry, which is a URI or a table with ``uri`` and perhaps ``sha256``.

        Raises:
            FormatError: Anything else, a URI that does not begin with ``file:``, a digest that is none.
        """
        table = {"uri": entry} if isinstance(entry, str) else entry
        if not isinstance(table, dict) or not {"uri"} <= table.keys() <= {"uri", "sha256"}:
            raise FormatError(
                "trusted file",
                expected='"file:…" or { uri = "file:…", sha256 = "…" }',
                got=type_name(entry) if not isinstance(entry, dict) else f"keys {', '.join(sorted(entry))}",
                where="sgx.trusted_files",
            )
        uri, sha256 = table["uri"], table.get("sha256")
        if not isinstance(uri, str) or not uri.startswith("file:") or uri == "file:":
            raise FormatError(
                "URI of a trusted file",
                expected="file:PATH",
                got=repr(uri),
                where="sgx.trusted_files",
                hint="Gramine trusts files only; other URIs cannot be hashed",
            )
        if sha256 is not None and not (isinstance(sha256, str) and _SHA256.fullmatch(sha256)):
            raise FormatError(
                "digest of a trusted file",
                expected="64 hexadecimal digits",
                got=repr(sha256),
                where=f"sgx.trusted_files: {uri}",
            )
        return cls(uri=uri, sha256=sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredManifest:
    """A manifest that is measured or signed: its bytes, and what they say.

    Attributes:
        data: The bytes that MRENCLAVE covers.
        value: What they say, without any default.
        missing: What keeps it from being measured, as :func:`missing_for_measurement` says it.
    """

    data: bytes
    value: Mapping[str, Any]
    missing: tuple[str, ...]

    @classmethod
    def parse(cls, data: bytes, version: GramineVersion = LATEST) -> MeasuredManifest:
        """Read ``data`` for ``version``; errors are those of :func:`load_measured_manifest`."""
        value = load_manifest(data)
        return cls.strictly(data, value, missing_for_measurement(value, version))

    @classmethod
    def strictly(cls, data: bytes, value: Mapping[str, Any], missing: tuple[str, ...]) -> MeasuredManifest:
        """``data``, of which :func:`load_manifest` gave ``value``; errors are those of :meth:`parse`.

        ``missing`` is what :func:`missing_for_measurement` says of it.
        """
        require_one_meaning(data.decode("utf-8"))
        require_readable(value)
        return cls(data=data, value=value, missing=missing)

    @classmethod
    def of(cls, value: Mapping[str, Any], version: GramineVersion = LATEST) -> MeasuredManifest:
        """Write ``value`` for ``version``; errors are those of :func:`dump_manifest`."""
        _require_start(value)
        return cls(data=dump_manifest(value), value=value, missing=missing_for_measurement(value, version))


def load_manifest(data: bytes) -> dict[str, Any]:
    """Parse the bytes of a manifest.

    Returns:
        What the TOML says, without any default; ``libos.entrypoint`` and ``fs.mounts`` are there.

    Raises:
        FormatError: Not UTF-8, not TOML, a NUL byte, or one of the two keys missing.
    """
    if b"\0" in data:
        raise FormatError(
            "manifest",
            expected="TOML without NUL bytes",
            got="a NUL byte",
            where=f"offset {data.index(0)}",
            hint="Gramine ends the manifest at the first NUL byte",
        )
    try:
        manifest = parsed_toml(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        where = f"offset {error.start}"
        raise FormatError("manifest", expected="UTF-8", got="other bytes", where=where) from error
    except RecursionError as error:
        raise FormatError("manifest", expected="TOML", got="arrays nested too deeply") from error
    except ValueError as error:
        raise FormatError(
            "manifest",
            expected="TOML",
            got=str(error),
            hint="a template has to be rendered first; {{ … }} is not TOML",
        ) from error
    _require_start(manifest)
    return manifest


def load_measured_manifest(data: bytes) -> dict[str, Any]:
    """Parse the bytes of a manifest that is measured or signed as it stands.

    What is judged has to be what Gramine will read, so a document that its parser may read otherwise than
    TOML says is refused: multi-line strings, whose end it finds elsewhere after a backslash; carriage
    returns; NUL behind an escape, where it ends a key or value; integers that it cuts off; and values
    without a use in a manifest. No tool that writes manifests writes any of them.

    Returns:
        The same as :func:`load_manifest`.

    Raises:
        FormatError: The same as there, or one of these.
    """
    manifest = load_manifest(data)
    require_one_meaning(data.decode("utf-8"))
    require_readable(manifest)
    return manifest


def dump_manifest(value: Mapping[str, Any]) -> bytes:
    """The text of a manifest, keys in the order in which ``value`` has them.

    Raises:
        FormatError: A value that Gramine's TOML parser cannot read: anything but booleans, 64-bit integers,
            strings, arrays and tables; or control characters other than tabs and line breaks.
    """
    import tomli_w  # noqa: PLC0415 (only builders and signers write manifests)

    short = shortened(value)
    require_readable(short or value)
    try:
        text = lengthened(tomli_w.dumps(short), value["sgx"]["trusted_files"]) if short else None
        return (text if text is not None else tomli_w.dumps(value)).encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError("manifest", expected="text that UTF-8 can hold", got="a lone surrogate") from error


def with_defaults(manifest: Mapping[str, Any], version: GramineVersion = LATEST) -> dict[str, Any]:
    """``manifest`` with the keys that Gramine's own tools add before they measure, as a new value.

    Args:
        manifest: What the TOML says.
        version: Whose tools; the older ones leave out what an old key stands for.

    Raises:
        FormatError: ``sgx``, ``sgx.cpu_features`` or ``loader`` is no table.
    """
    sgx = _table(manifest, "sgx")
    edmm = _get(sgx, "sgx.edmm_enable", bool, False)
    defaults: dict[str, Any] = {
        "trusted_files": [],
        "max_threads": 4,
        "isvprodid": 0,
        "isvsvn": 0,
        "remote_attestation": "none",
        "debug": False,
        "enable_stats": False,
        "edmm_enable": False,
        "enclave_size": DEFAULT_ENCLAVE_SIZE_EDMM if edmm else DEFAULT_ENCLAVE_SIZE,
    }
    if not (version.old_features and _OLD_EXINFO in sgx):
        defaults["use_exinfo"] = False
    complete = sgx | {key: value for key, value in defaults.items() if key not in sgx}
    if not (version.old_features and any(key in sgx for key in _OLD_FEATURES)):
        features, given = CpuFeatures(), _table(sgx, "sgx.cpu_features")
        complete["cpu_features"] = given | {
            name: getattr(features, name).value for name in CpuFeatures.__slots__ if name not in given
        }
    return dict(manifest) | {"sgx": complete}


def trusted_files(manifest: Mapping[str, Any]) -> tuple[TrustedFile, ...]:
    """The entries of ``sgx.trusted_files`` in their order.

    Raises:
        FormatError: The key is no array, or one of its entries is not what :class:`TrustedFile` allows.
    """
    entries = _get(_table(manifest, "sgx"), "sgx.trusted_files", list, [])
    return tuple(TrustedFile.parse(entry) for entry in entries)


def missing_for_measurement(manifest: Mapping[str, Any], version: GramineVersion = LATEST) -> tuple[str, ...]:
    """What keeps a manifest from being measured as it stands, as places in it; empty when it is complete.

    Gramine's host loader refuses a manifest without enclave size and number of threads, its platform image
    refuses one whose LibOS or trusted files carry no digest.

    Args:
        manifest: What the TOML says.
        version: Whose form the LibOS has to have.

    Raises:
        FormatError: A table or the list of trusted files is something else.
    """
    sgx = _table(manifest, "sgx")
    entries = _get(sgx, "sgx.trusted_files", list, [])
    missing = [f"sgx.{key}" for key in ("enclave_size", "max_threads") if key not in sgx]
    missing += _missing_libos(_table(manifest, "loader"), entries, version)
    if not all_hashed(entries):
        missing += [f"digest of {file.uri}" for file in trusted_files(manifest) if file.sha256 is None]
    return tuple(missing)


def _missing_libos(loader: Mapping[str, Any], entries: list[Any], version: GramineVersion) -> list[str]:
    if version.libos_in_table:
        table = _table(loader, "loader.entrypoint")
        return [f"loader.entrypoint.{key}" for key in ("uri", "sha256") if key not in table]
    uri = _get(loader, "loader.entrypoint", str, None)
    if uri is None:
        return ["loader.entrypoint"]
    trusted = (entry.get("uri") if isinstance(entry, dict) else entry for entry in entries)
    return [] if uri in trusted else [f"digest of {uri}"]


def parse_size(text: str, *, where: str) -> int:
    """Bytes of a size such as ``512M``: decimal digits and K, M, G or nothing.

    Gramine's signer also takes hexadecimal and its runtime lower-case suffixes, but neither takes both; only
    what both read alike is accepted.

    Raises:
        FormatError: Anything else.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise FormatError(
            "size",
            expected="decimal digits and K, M, G or nothing",
            got=repr(text),
            where=where,
            hint='write it as "512M" or "4G"; Gramine knows no other suffix',
        )
    return int(match[1]) * _UNITS[match[2]]


def type_name(value: object) -> str:
    """The TOML type of ``value`` in words."""
    return _TYPE_NAMES.get(type(value), "a date or time")


def _enclave_size(text: str) -> int:
    where = "sgx.enclave_size"
    size = parse_size(text, where=where)
    if size == 0 or size & (size - 1):
        raise FormatError(
            "enclave size",
            expected="a power of two",
            got=repr(text),
            where=where,
            hint=f'SGX has no other sizes; the next one is "{_shown_size(1 << size.bit_length())}"',
        )
    if size > MAX_ENCLAVE_SIZE:
        raise FormatError(
            "enclave size", expected=f"at most {_shown_size(MAX_ENCLAVE_SIZE)}", got=repr(text), where=where
        )
    return size


def _shown_size(size: int) -> str:
    """``size`` as a manifest writes it, in the largest unit that divides it."""
    unit = max((unit for unit in _UNITS if size % _UNITS[unit] == 0), key=_UNITS.__getitem__)
    return f"{size // _UNITS[unit]}{unit}"


def _cpu_features(sgx: Mapping[str, Any]) -> CpuFeatures:
    table = _table(sgx, "sgx.cpu_features")
    return CpuFeatures(**{name: _cpu_feature(table, name) for name in CpuFeatures.__slots__ if name in table})


def _exinfo_key(sgx: Mapping[str, Any], version: GramineVersion) -> str:
    if not (version.old_features and _OLD_EXINFO in sgx):
        return "sgx.use_exinfo"
    if "use_exinfo" in sgx:
        raise _both_forms(_OLD_EXINFO, "use_exinfo")
    return f"sgx.{_OLD_EXINFO}"


def _old_features(sgx: Mapping[str, Any], version: GramineVersion) -> tuple[str, ...] | None:
    given = [key for key in _OLD_FEATURES if version.old_features and key in sgx]
    if not given:
        return None
    if "cpu_features" in sgx:
        raise _both_forms(given[0], "cpu_features")
    return tuple(key.removeprefix("require_") for key in given if _get(sgx, f"sgx.{key}", bool, False))


def _both_forms(old: str, new: str) -> FormatError:
    return FormatError(
        "manifest",
        expected=f"one of sgx.{old} and sgx.{new}",
        got="both",
        where=f"sgx.{old}",
        hint="remove the old one: Gramine 1.6 and later know the new one",
    )


def _cpu_feature(table: Mapping[str, Any], name: str) -> CpuFeature:
    allowed = list(CpuFeature)
    if name in ("mpx", "pkru"):  # Gramine allows no third state for what weakens an enclave
        allowed.remove(CpuFeature.UNSPECIFIED)
    for feature in allowed:
        if feature.value == table[name]:
            return feature
    raise FormatError(
        "processor feature",
        expected=" or ".join(f'"{feature.value}"' for feature in allowed),
        got=repr(table[name]),
        where=f"sgx.cpu_features.{name}",
    )


def _require_start(manifest: Mapping[str, Any]) -> None:
    """The two keys without which Gramine does not start."""
    if "entrypoint" not in _table(manifest, "libos"):
        raise FormatError(
            "manifest",
            expected="libos.entrypoint",
            got="nothing",
            hint='name the program by its path inside the enclave: libos.entrypoint = "/usr/bin/python3"',
        )
    _get(_table(manifest, "libos"), "libos.entrypoint", str, "")
    mounts = _get(_table(manifest, "fs"), "fs.mounts", list, None)
    if mounts is None:
        raise FormatError(
            "manifest",
            expected="fs.mounts",
            got="nothing",
            hint="list what the application may see; fs.mounts = [] when that is the root file system alone",
        )
    if not all(isinstance(mount, dict) for mount in mounts):
        raise FormatError("manifest", expected="an array of tables", got="other entries", where="fs.mounts")


def _table(parent: Mapping[str, Any], place: str) -> dict[str, Any]:
    table: dict[str, Any] = _get(parent, place, dict, {})
    return table


def _get(parent: Mapping[str, Any], place: str, kind: type, default: Any) -> Any:
    """The value at ``place``, which names the key last, when it has the type ``kind``; else ``default``."""
    value = parent.get(place.rpartition(".")[2], default)
    if value is default or type(value) is kind:
        return value
    raise FormatError("manifest", expected=_TYPE_NAMES[kind], got=type_name(value), where=place)


def _number(sgx: Mapping[str, Any], place: str, *, default: int, low: int, high: int) -> int:
    value: int = _get(sgx, place, int, default)
    if low <= value <= high:
        return value
    raise FormatError("manifest", expected=f"{low} to {high}", got=str(value), where=place)
