"""A manifest that somebody wrote for GSC, and the ``casemate.toml`` that says the same.

A user's GSC manifest is plain TOML that is merged into the one that GSC generates. Here the manifest is
generated whole, so that what the user's file asked for is asked of ``casemate.toml``: what has a counterpart
is taken over, what Gramine calls insecure is refused, and the rest is named with the reason.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from casemate.builder.foreign.root import ImageRoot
from casemate.builder.layout import APPLICATION_ROOT
from casemate.builder.lint.secrets import secret_reason
from casemate.errors import FormatError, ProjectError
from casemate.formats.manifest import parse_size
from casemate.project.places import hides_measured, is_plain, is_variable
from casemate.project.reading import quote, type_name

#: Threads of a manifest that are too few for a server beside Gramine's own four.
_FEWEST_THREADS: Final = 8
_SEALING: Final = ("_sgx_mrenclave", "_sgx_mrsigner")
_LARGEST: Final = 1 << 20
#: Keys with a list, and with a table in the manifests of old.
_LISTS: Final = ("sgx.trusted_files", "sgx.allowed_files", "fs.mounts")
_NOT_VARIABLES: Final = frozenset({"PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME"})
#: Folders of an image in which the closure finds what is needed, and puts it elsewhere.
_FOUND_ANYWAY: Final = (
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32"),
    *("/usr/lib64", "/usr/libexec", "/usr/local/bin", "/usr/local/lib", "/gramine"),
)


@dataclass(slots=True)
class Converted:
    """What a GSC manifest says.

    Attributes:
        tables: Keys for ``casemate.toml``, by table.
        include: Patterns for ``[closure] include``.
        notes: Pairs of a key that has no counterpart and the reason.
        secrets: Names of variables that look like secrets; their values are not taken over.
        refused: Pairs of a key that is insecure and the way out.
    """

    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    include: list[str] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def put(self, table: str, key: str, value: Any) -> None:
        """A key for ``casemate.toml``."""
        self.tables.setdefault(table, {})[key] = value

    def note(self, key: str, reason: str) -> None:
        """A key without a counterpart."""
        self.notes.append((key, reason))

    def refuse(self, key: str, way: str) -> None:
        """A key that is insecure."""
        self.refused.append((key, way))


@dataclass(frozen=True, slots=True)
class _Setting:
    """One key of the manifest while it is judged."""

    key: str
    value: Any
    where: str
    converted: Converted
    root: ImageRoot

    def put(self, table: str, name: str, value: Any) -> None:
        self.converted.put(table, name, value)

    def note(self, reason: str, *, of: str | None = None) -> None:
        self.converted.note(of or self.key, reason)

    def refuse(self, way: str, *, of: str | None = None) -> None:
        self.converted.refuse(of or self.key, way)

    def wrong(self, expected: str, value: object, *, of: str | None = None) -> ProjectError:
        got = quote(value) if isinstance(value, str) else type_name(value)
        return ProjectError(of or self.key, expected=expected, got=got, where=self.where)


def convert_gsc_manifest(data: bytes, where: str, root: ImageRoot) -> Converted:
    """Read a user's GSC manifest.

    Args:
        data: Its bytes.
        where: Its name, for errors.
        root: The image to which it belongs.

    Raises:
        ProjectError: It is no plain TOML, a value is not what Gramine takes, or it asks for what is insecure;
            all of that is named.
    """
    document = _load(data, where)
    converted = Converted()
    for key, value in _flat("", document):
        _take(_Setting(key, value, where, converted, root))
    if converted.refused:
        raise ProjectError(
            "insecure settings of the GSC manifest",
            expected="none of them",
            got=", ".join(key for key, _ in converted.refused),
            where=where,
            hint="; ".join(f"{key}: {way}" for key, way in converted.refused),
        )
    return converted


def merged(project: Mapping[str, Any], converted: Converted) -> dict[str, Any]:
    """A ``casemate.toml`` as a document, with what the manifest says above it.

    Args:
        project: The document as it was.
        converted: What the manifest says.
    """
    result = {name: dict(table) if isinstance(table, Mapping) else table for name, table in project.items()}
    for name, table in converted.tables.items():
        result[name] = {**result.get(name, {}), **table}
    source = str(result.get("app", {}).get("source", ""))
    include = [item for pattern in converted.include for item in _patterns(pattern, source)]
    if include:
        closure = result.setdefault("closure", {})
        closure["include"] = list(dict.fromkeys([*closure.get("include", []), *include]))
    return result


def _patterns(pattern: str, source: str) -> Iterator[str]:
    """A pattern of the image; for what is in the application's folder also as the application sees it.

    The whole of that folder is no pattern: its modules and its data are found.
    """
    inside = source.startswith("/") and PurePosixPath(pattern).is_relative_to(source)
    if inside and pattern != f"{source}/**":
        yield str(PurePosixPath(pattern).relative_to(source))
    if not inside or (source != APPLICATION_ROOT and pattern != f"{source}/**"):
        yield pattern


def _load(data: bytes, where: str) -> Mapping[str, Any]:
    if len(data) > _LARGEST:
        raise ProjectError("GSC manifest", expected=f"at most {_LARGEST} bytes", got="more", where=where)
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ProjectError("GSC manifest", expected="UTF-8", where=where) from error
    except (ValueError, RecursionError) as error:
        hint = "GSC takes plain TOML; render the template first" if b"{{" in data or b"{%" in data else None
        raise ProjectError(
            "GSC manifest", expected="a TOML document", got=str(error), where=where, hint=hint
        ) from error


def _flat(place: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each value with its dotted key; variables and the tables in lists stay whole."""
    for name, value in table.items():
        key = f"{place}.{name}" if place else name
        whole = key.startswith("loader.env.") or key in _LISTS
        if isinstance(value, Mapping) and not whole:
            yield from _flat(key, value)
        else:
            yield key, value


def _take(it: _Setting) -> None:
    rule = _RULES.get(it.key)
    if ".insecure__" in it.key:
        if it.value:
            ways = (way for prefix, way in _WAYS.items() if it.key.startswith(prefix))
            it.refuse(next(ways, "leave it out"))
    elif it.key.startswith("loader.env."):
        _variable(it)
    elif rule is not None:
        rule(it)
    else:
        it.note(_reason(it.key))


def _reason(key: str) -> str:
    for prefix, reason in _REASONS.items():
        if key == prefix or key.startswith(f"{prefix}."):
            return reason
    return "no key of Gramine 1.9's manifest, or none that is known here"


_Rule = Callable[[_Setting], None]


def _size(name: str) -> _Rule:
    def take(it: _Setting) -> None:
        text = it.value.upper() if isinstance(it.value, str) and it.value.isascii() else ""
        try:
            parse_size(text, where=it.where)
        except FormatError as error:
            raise it.wrong('a size such as "512M"', it.value) from error
        it.put("enclave", name, text)

    return take


def _number(name: str) -> _Rule:
    def take(it: _Setting) -> None:
        if not isinstance(it.value, int) or isinstance(it.value, bool):
            raise it.wrong("a number", it.value)
        it.put("enclave", name, it.value)

    return take


def _flag(name: str) -> _Rule:
    def take(it: _Setting) -> None:
        if not isinstance(it.value, bool):
            raise it.wrong("true or false", it.value)
        it.put("enclave", name, it.value)

    return take


def _threads(it: _Setting) -> None:
    if not isinstance(it.value, int) or isinstance(it.value, bool):
        raise it.wrong("a number", it.value)
    if it.value < _FEWEST_THREADS:
        it.note(f"{it.value} are too few beside Gramine's own four: the default is taken")
    else:
        it.put("enclave", "threads", it.value)


def _unless(*harmless: object, way: str) -> _Rule:
    """Refused, but for some values."""

    def take(it: _Setting) -> None:
        if it.value not in harmless:
            it.refuse(way)

    return take


def _subprocesses(it: _Setting) -> None:
    if it.value is False:
        it.note("starting programs has to be asked for: [enclave] subprocesses = true")


def _attestation(it: _Setting) -> None:
    if it.value not in ("dcap", True):
        it.note("Casemate's enclaves always attest with DCAP")


def _feature(name: str) -> _Rule:
    def take(it: _Setting) -> None:
        word = it.value
        if isinstance(word, bool):
            word = "required" if word else "unspecified"
        if not isinstance(word, str):
            raise it.wrong('"unspecified", "disabled" or "required"', it.value)
        it.converted.tables.setdefault("enclave", {}).setdefault("cpu", {})[name] = word

    return take


def _allowed(it: _Setting) -> None:
    for uri in _uris(it):
        it.refuse(
            "the host could change it unseen; read-only data goes into [closure] include, what is written "
            'into [mounts] as "tmpfs" or { encrypted = "KEY", host = "/folder" }',
            of=f"{it.key} {uri}",
        )


def _former_encrypted(it: _Setting) -> None:
    it.refuse('gone from Gramine: [mounts] "/folder" = { encrypted = "KEY", host = "/folder" }')


def _uris(it: _Setting) -> Iterator[str]:
    """Of lists of URIs, of tables with one, and of the tables of names that Gramine had before 1.2."""
    items = list(it.value.values()) if isinstance(it.value, Mapping) else it.value
    if not isinstance(items, list):
        raise it.wrong("a list of URIs", it.value)
    for item in items:
        uri = item.get("uri") if isinstance(item, Mapping) else item
        if not isinstance(uri, str) or not uri.isprintable():
            raise it.wrong("URIs such as file:/srv/data/", uri)
        yield uri


def _trusted_files(it: _Setting) -> None:
    for uri in _uris(it):
        name = f"{it.key} {uri}"
        path = uri.removeprefix("file:")
        folder = path.rstrip("/")
        if not is_plain(folder):
            it.note("not an absolute path of the image", of=name)
        elif any(PurePosixPath(path).is_relative_to(found) for found in _FOUND_ANYWAY):
            it.note("what is needed of libraries and programs is found without it", of=name)
        elif it.root.file(folder).is_dir():
            it.converted.include.append(f"{folder}/**")
        elif it.root.file(path).is_file():
            it.converted.include.append(path)
        else:
            it.note("the image has no such file", of=name)


def _mounts(it: _Setting) -> None:
    if not isinstance(it.value, list) or not all(isinstance(item, Mapping) for item in it.value):
        raise it.wrong("a list of tables", it.value)
    for item in it.value:
        _mount(it, {key: text for key, text in item.items() if isinstance(text, str)})


def _mount(it: _Setting, texts: Mapping[str, str]) -> None:
    path, kind = texts.get("path", ""), texts.get("type", "chroot")
    name = f"{it.key} {path or '?'}"
    if kind == "untrusted_shm":
        it.refuse("memory that the host shares: leave it out", of=name)
    elif not is_plain(path):
        raise it.wrong("an absolute path", path, of=name)
    elif kind == "chroot":
        _chroot(it, name, path, texts.get("uri", ""))
    elif hides_measured(path):
        it.note("measured files lie there: choose another folder for what is written", of=name)
    elif kind == "encrypted":
        _encrypted(it, name, path, texts)
    elif kind != "tmpfs":
        raise it.wrong("chroot, encrypted or tmpfs", kind, of=name)
    elif path != "/tmp":  # noqa: S108 - which every enclave has
        it.put("mounts", path, "tmpfs")


def _encrypted(it: _Setting, name: str, path: str, texts: Mapping[str, str]) -> None:
    host, key = texts.get("uri", "").removeprefix("file:"), texts.get("key_name", "default")
    if not is_plain(host):
        raise it.wrong("a uri such as file:/folder", texts.get("uri", ""), of=name)
    it.put("mounts", path, {"encrypted": key, "host": host})
    if key not in _SEALING:
        it.note(
            f'its key has to come from a broker: [secrets] "/dev/attestation/keys/{key}" = '
            f'"kbs:///default/NAME/{key}", and [broker]',
            of=name,
        )


def _chroot(it: _Setting, name: str, path: str, uri: str) -> None:
    if uri.removeprefix("file:") == path and it.root.file(path).exists():
        it.note(f'the image\'s own files need no mount: [closure] include = ["{path}/**"]', of=name)
    else:
        it.note("the host's files are not mounted: copy them into the image, or encrypt the mount", of=name)


def _variable(it: _Setting) -> None:
    name, value = it.key.removeprefix("loader.env."), it.value
    text = value.get("value") if isinstance(value, Mapping) else value
    if isinstance(value, Mapping) and value.get("passthrough") is True:
        it.note(f'the host would choose any value: [env] {name} = {{ pass = true, one_of = ["…"] }}')
    elif name in _NOT_VARIABLES or not is_variable(name):
        it.note("Casemate sets it from what is in the image, or it means nothing there")
    elif not isinstance(text, str):
        raise it.wrong("a text", value)
    elif secret_reason(name, text) is not None:
        it.converted.secrets.append(name)
    else:
        it.put("env", name, text)


_DEBUG: Final = "it opens the enclave to whoever runs it: leave it out"
_RULES: Final[Mapping[str, _Rule]] = {
    "sgx.enclave_size": _size("size"),
    "sgx.max_threads": _threads,
    "sgx.thread_num": _threads,
    "sgx.isvprodid": _number("isvprodid"),
    "sgx.isvsvn": _number("isvsvn"),
    "sgx.edmm_enable": _flag("edmm"),
    "sgx.preheat_enclave": _flag("preheat"),
    "sgx.use_exinfo": _flag("exinfo"),
    "sgx.require_exinfo": _flag("exinfo"),
    **{f"sgx.cpu_features.{name}": _feature(name) for name in ("avx", "avx512", "amx")},
    **{f"sgx.require_{name}": _feature(name) for name in ("avx", "avx512", "amx")},
    "sys.stack.size": _size("stack"),
    "sys.brk.max_size": _size("brk"),
    "sys.fds.limit": _number("files"),
    "sys.disallow_subprocesses": _subprocesses,
    "sgx.remote_attestation": _attestation,
    "loader.log_level": _unless(
        "none", "error", way='what it logs gives away the application: write "error"'
    ),
    "sgx.allowed_files": _allowed,
    "sgx.trusted_files": _trusted_files,
    "fs.mounts": _mounts,
    "sgx.debug": _unless(False, way=_DEBUG),
    "sgx.enable_stats": _unless(False, way=_DEBUG),
    "sgx.vtune_profile": _unless(False, way=_DEBUG),
    "sgx.profile.enable": _unless("none", way=_DEBUG),
    "sgx.file_check_policy": _unless(
        "strict", way='the host could add any file: write "strict", and [closure] include'
    ),
    "sys.experimental__enable_flock": _unless(
        False, way="Gramine calls its locks experimental: lock by threading.Lock in one process"
    ),
    "sys.debug__mock_syscalls": _unless([], way="leave it out"),
    **dict.fromkeys(
        ("sgx.protected_files", "sgx.protected_mrenclave_files", "sgx.protected_mrsigner_files"),
        _former_encrypted,
    ),
}
_WAYS: Final = {
    "loader.insecure__use_cmdline_argv": "arguments are measured: write them into [app] command",
    "loader.insecure__use_host_env": "name what the host may choose: "
    '[env] NAME = { pass = true, one_of = ["…"] }',
    "fs.insecure__keys": "a key in a manifest is public: let a broker deliver it, by [secrets]",
    "sgx.insecure__rpc_thread_num": "system calls without exits leak (CVE-2022-21233): leave it out",
    "sys.insecure__allow_eventfd": "Gramine has one of its own inside the enclave: leave it out",
    "sgx.insecure__allow_memfaults_without_exinfo": "write sgx.use_exinfo = true",
}
_REASONS: Final[Mapping[str, str]] = {
    "libos.entrypoint": "the enclave starts Casemate's attester, and that the application",
    "libos": "left as Gramine has it",
    "loader.entrypoint": "Gramine's own, from the machine that builds",
    "loader.argv": "what the image starts, or [app], decides",
    "loader.argv_src_file": "what the image starts, or [app], decides",
    "loader.env_src_file": "write its variables into [env]",
    "loader.uid": "the application's identity in the enclave is fixed",
    "loader.gid": "the application's identity in the enclave is fixed",
    "loader.log_file": "what Gramine logs goes to the container's error stream",
    "loader": "left as Gramine has it",
    "fs.root": "the root is the folder of the image that holds the trusted files",
    "fs.start_dir": "the application starts in /app, which [app] source becomes",
    "sys.enable_sigterm_injection": "always on",
    "sys.enable_extra_runtime_domain_names_conf": "always on",
    "sys.allowed_ioctls": "no device is passed through",
    "sys.ioctl_structs": "no device is passed through",
    "sgx.seal_key": "left as Gramine has it",
    "sgx.profile": "only for builds of Gramine for debugging",
    "sgx.cpu_features": "left as Gramine has it",
    "sgx.ra_client_spid": "EPID has ended; DCAP is used",
    "sgx.ra_client_linkable": "EPID has ended; DCAP is used",
    "sgx.sigfile": "casemate sign writes the signature",
    "sgx.nonpie_binary": "not needed since Gramine 1.5",
}


def named_notes(converted: Converted) -> Sequence[str]:
    """The notes as lines."""
    return [f"{key}: {reason}" for key, reason in converted.notes]
