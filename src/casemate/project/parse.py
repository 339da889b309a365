"""From the bytes of ``casemate.toml`` to a :class:`Project`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from casemate.errors import ProjectError
from casemate.project.enclave import read_enclave
from casemate.project.environment import check_variable, read_environment
from casemate.project.places import (
    KEY_NAME,
    MEASURED,
    SEALING_KEYS,
    hides_measured,
    is_includable_file,
    is_plain,
)
from casemate.project.reading import Table, quote, type_name
from casemate.project.values import (
    INCLUDE_KINDS,
    App,
    Broker,
    Closure,
    ClosureMode,
    Destination,
    EncryptedMount,
    Interface,
    Kubernetes,
    Mount,
    Preflight,
    Project,
    Secret,
    TmpfsMount,
)

_ENCLAVE_KEYS: Final = "/dev/attestation/keys/"

_DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DOTTED: Final = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_MODULE: Final = re.compile(_DOTTED)
_SERVE: Final = re.compile(rf"{_DOTTED}:{_DOTTED}")
#: Each part of a resource's name, as Trustee's key broker accepts it.
_RESOURCE_PART: Final = r"[a-zA-Z0-9_\-]+[a-zA-Z0-9_\-\.]*"
_RESOURCE: Final = re.compile(rf"kbs:///{_RESOURCE_PART}/{_RESOURCE_PART}/{_RESOURCE_PART}")

#: What the standard library's parser says of it.
_TWICE: Final = re.compile(r"(?:Cannot (?:overwrite|declare|mutate)|Duplicate) .*\(at line ([0-9]+),")

_DESTINATIONS: Final = "secrets go to a file, to env:NAME or to /dev/attestation/keys/NAME"
_MOUNT_POINT: Final = "it is the folder as the application sees it inside; relative paths begin at /app"

_LIBRARY: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*\.so(\.[A-Za-z0-9_.+-]+)?")
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")
#: What the name of each kind of included thing may be.
_INCLUDABLE: Final[Mapping[str, Callable[[str], object]]] = {
    "module": _MODULE.fullmatch,
    "library": _LIBRARY.fullmatch,
    "zone": _ZONE.fullmatch,
    "file": is_includable_file,
}

#: The tables of the file.
TABLES: Final = ("app", "closure", "enclave", "env", "mounts", "secrets", "broker", "kubernetes", "preflight")


def parse_project(data: bytes, where: str) -> Project:
    """Read a ``casemate.toml``.

    Args:
        data: Bytes of the file.
        where: Name of the file, for errors.

    Raises:
        ProjectError: A key is unknown or missing, or a value is not what it must be.
    """
    root = Table(_load(data, where), name="", where=where)
    if "telemetry" in root.values:
        raise ProjectError(
            "[telemetry]",
            expected="no such table: this version has no telemetry",
            where=f"{where}: telemetry",
            hint="remove the table; nothing leaves the enclave through Casemate",
        )
    root.refuse_unknown(TABLES)
    secrets = _secrets(root.table("secrets"))
    broker = _broker(root)
    if secrets and broker is None:
        raise ProjectError(
            "[secrets] without [broker]",
            expected="a [broker] that holds the secrets",
            where=f"{where}: secrets",
            hint='add [broker] with url = "https://…" and ca = "broker-ca.pem"',
        )
    env, variables = read_environment(root.table("env"), secrets)
    return Project(
        app=_app(root.table("app")),
        closure=_closure(root.table("closure")),
        enclave=read_enclave(root.table("enclave")),
        env=env,
        variables=variables,
        mounts=_mounts(root.table("mounts"), secrets),
        secrets=secrets,
        broker=broker,
        kubernetes=_kubernetes(root.table("kubernetes")),
        preflight=_preflight(root.table("preflight")),
    )


def _load(data: bytes, where: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ProjectError(
            "encoding of the file", expected="UTF-8", got=f"byte {data[error.start]:#04x}", where=where
        ) from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        twice = _TWICE.search(str(error))
        if twice is not None:
            raise ProjectError(
                "key or table that is there twice",
                expected="each once",
                where=f"{where}, line {twice[1]}",
                hint="join the two, or remove one",
            ) from error
        raise ProjectError("not a TOML document", got=str(error), where=where) from error


def _names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _app(table: Table) -> App:
    table.refuse_unknown(_names(App))
    name = table.required_text("name", 'give the workload a name: name = "notes"')
    table.matching(
        "name", name, _DNS_LABEL, subject="name", expected="small letters, digits and hyphens, at most 63"
    )
    serve = table.optional_text("serve")
    command = table.texts("command", ()) or None
    if (serve is None) == (command is None):
        raise table.error(
            "serve",
            "what to run",
            expected="one of serve and command",
            got="neither" if serve is None else "both",
            hint='serve = "module:callable" for WSGI and ASGI, else command = ["python", "-m", "module"]',
        )
    if serve is not None:
        hint = '"wsgi:app" is the variable app of wsgi.py; what a function makes goes into a variable first'
        table.matching("serve", serve, _SERVE, subject="serve", expected='"module:callable"', hint=hint)
    interface = table.choice("interface", {kind.value: kind for kind in Interface})
    if interface is not None and serve is None:
        raise table.error("interface", "interface", expected="only beside serve", got="a command")
    return App(
        name=name,
        source=_source(table),
        requirements=_requirements(table),
        serve=serve,
        interface=interface,
        command=_command(table, command),
        port=table.number("port", 8443, lowest=1, highest=65535),
    )


def _requirements(table: Table) -> str | None:
    if table.values.get("requirements") == "":
        return None
    return _below(table, "requirements", "uv.lock")


def _command(table: Table, command: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """A command runs in the attester's own process, so it can only be Python."""
    if command is None:
        return None
    python = re.fullmatch(r"python(3(\.\d+)?)?", command[0]) is not None
    module = len(command) >= 3 and command[1] == "-m" and _MODULE.fullmatch(command[2]) is not None
    script = len(command) >= 2 and command[1].endswith(".py") and not command[1].startswith(("-", "/"))
    if not (python and (module or script)):
        raise table.error(
            "command",
            "command",
            expected='["python", "-m", "module", …] or ["python", "script.py", …]',
            got=quote(" ".join(command)),
            hint=(
                "the application runs in the process that attested, and that is a Python interpreter; for "
                'WSGI and ASGI, Casemate is the server: serve = "module:callable" in the place of command'
            ),
        )
    return command


def _source(table: Table) -> str:
    """The application's folder: below that of ``casemate.toml``, or absolute, which is one of an image."""
    text = table.text("source", ".")
    if not text.startswith("/"):
        return _below(table, "source", ".")
    if not is_plain(text):
        expected = "a path inside the folder of casemate.toml, or a folder of an image such as /srv/app"
        raise table.error("source", "source", expected=expected, got=quote(text))
    return text


def _below(table: Table, key: str, default: str) -> str:
    """A path that stays in the folder of ``casemate.toml``, normalised."""
    text = table.text(key, default)
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        raise table.error(key, key, expected="a path inside the folder of casemate.toml", got=quote(text))
    return str(path)


def _closure(table: Table) -> Closure:
    table.refuse_unknown(_names(Closure))
    mode = table.choice("mode", {kind.value: kind for kind in ClosureMode}) or ClosureMode.MODULE
    include = table.texts("include", ())
    for item in include:
        if not _is_includable(item):
            raise table.error(
                "include",
                "include",
                expected="a pattern inside app.source, a path of an image that begins with /, or module:, "
                "library:, zone: or file:/ and a name",
                got=quote(item),
            )
    source = table.texts("source", ())
    for package in source:
        table.matching("source", package, _MODULE, subject="source", expected="the name of a package")
    return Closure(mode=mode, include=include, source=source, trace=_trace(table, mode))


def _is_includable(item: str) -> bool:
    """Whether an item of ``include`` is of a known kind, and names something that the kind can have."""
    kind, _, name = item.partition(":")
    if item.startswith(INCLUDE_KINDS):
        return bool(_INCLUDABLE[kind](name))
    path = PurePosixPath(item)
    return ".." not in path.parts


def _trace(table: Table, mode: ClosureMode) -> str | None:
    """The file with the record: needed in mode ``trace``, and meaning nothing in another."""
    recorded = mode is ClosureMode.TRACE
    if recorded != ("trace" in table.values):
        raise table.error(
            "trace",
            "file with the record of runs",
            expected='trace = "FILE"' if recorded else 'only beside mode = "trace"',
            got="none" if recorded else f'mode = "{mode.value}"',
            hint='casemate rehearse BUNDLE --record FILE writes it, for a bundle built in mode "module"'
            if recorded
            else None,
        )
    return _below(table, "trace", "") if recorded else None


def _preflight(table: Table) -> Preflight:
    """What is accepted; that there are such rules is checked where they are applied."""
    table.refuse_unknown(_names(Preflight))
    return Preflight(accept=table.texts("accept", ()))


def _secrets(table: Table) -> tuple[Secret, ...]:
    def read(destination: str) -> Secret:
        resource = table.values[destination]
        if not isinstance(resource, str):
            raise table.error(destination, "type of a resource", expected="a text", got=type_name(resource))
        if _RESOURCE.fullmatch(resource) is None:
            raise table.error(
                destination,
                "resource",
                expected='"kbs:///repository/type/tag"',
                got=quote(resource),
                hint="three parts of letters, digits, _, - and ., none of which begins with a dot",
            )
        kind = _destination(table, destination)
        return Secret(destination=destination, kind=kind, resource=resource)

    return table.each(read)


def _destination(table: Table, text: str) -> Destination:
    if text.startswith("env:"):
        name = text.removeprefix("env:")
        check_variable(table, text, name)
        return Destination.VARIABLE
    if text.startswith(_ENCLAVE_KEYS):
        name = text.removeprefix(_ENCLAVE_KEYS)
        table.matching(
            text, name, KEY_NAME, subject="name of a key", expected="letters, digits, dots and hyphens"
        )
        return Destination.ENCLAVE_KEY
    _plain_path(table, text, "destination of a secret", '"/run/secrets/db-key"', _DESTINATIONS)
    folder = str(PurePosixPath(text).parent)
    if folder == "/":
        raise table.error(
            text,
            "destination of a secret",
            expected="a file in a folder",
            got=quote(text),
            hint="write /run/secrets/NAME: the folder becomes memory of the enclave",
        )
    _refuse_measured(table, text, folder, "destination of a secret")
    return Destination.FILE


def _plain_path(table: Table, text: str, subject: str, example: str, hint: str) -> None:
    if not text.isprintable():
        raise table.error(text, subject, expected="a path without control characters", got=quote(text))
    if not is_plain(text):
        expected = f"an absolute path such as {example}"
        raise table.error(text, subject, expected=expected, got=quote(text), hint=hint)


def _refuse_measured(table: Table, text: str, folder: str, subject: str) -> None:
    """Refuse a writable ``folder`` within the measured image, and one that would cover part of it."""
    if hides_measured(folder):
        raise table.error(
            text,
            subject,
            expected="a folder that neither lies in the measured image nor covers part of it",
            got=quote(text),
            hint=f"the measured folders are {', '.join(MEASURED)}",
        )


def _mounts(table: Table, secrets: tuple[Secret, ...]) -> tuple[Mount, ...]:
    def read(path: str) -> Mount:
        _plain_path(table, path, "folder of a mount", '"/var/lib/notes"', _MOUNT_POINT)
        _refuse_measured(table, path, path, "folder of a mount")
        value = table.values[path]
        if value == "tmpfs":
            return TmpfsMount(path=path)
        if isinstance(value, dict):
            return _encrypted(Table(value, name=f'mounts."{path}"', where=table.where), path, secrets)
        got = quote(value) if isinstance(value, str) else type_name(value)
        expected = '"tmpfs" or { encrypted = "KEY", host = "/folder" }'
        raise table.error(path, "mount", expected=expected, got=got)

    return table.each(read)


def _encrypted(table: Table, path: str, secrets: tuple[Secret, ...]) -> EncryptedMount:
    table.refuse_unknown(("encrypted", "host", "recovery"))
    key = table.required_text("encrypted", 'name the key: { encrypted = "KEY", host = "/folder" }')
    delivered = {
        secret.destination.removeprefix(_ENCLAVE_KEYS)
        for secret in secrets
        if secret.kind is Destination.ENCLAVE_KEY
    }
    if key not in delivered | SEALING_KEYS:
        raise table.error(
            "encrypted",
            "key of an encrypted folder",
            expected="a key that [secrets] delivers, _sgx_mrenclave or _sgx_mrsigner",
            got=quote(key),
            hint=f'add "{_ENCLAVE_KEYS}{key}" = "kbs:///…" to [secrets]',
        )
    host = table.required_text("host", "name the folder of the host that holds the encrypted files")
    if not is_plain(host):
        expected = "an absolute path in its shortest form"
        raise table.error("host", "folder of the host", expected=expected, got=quote(host))
    return EncryptedMount(path=path, key=key, host=host, recovery=table.boolean("recovery", default=False))


def _broker(root: Table) -> Broker | None:
    if "broker" not in root.values:
        return None
    table = root.table("broker")
    table.refuse_unknown(_names(Broker))
    url = table.required_text("url", 'url = "https://broker.internal:8080"')
    ca = table.required_text(
        "ca", "the certificate of the broker's CA is measured: without it any broker would do"
    )
    return Broker(url=_broker_url(table, url), ca=ca)


def _broker_url(table: Table, url: str) -> str:
    expected = '"https://host:port"'
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise table.error("url", "url", expected=expected, got=quote(url)) from error
    bare = not (parts.username or parts.password or parts.query or parts.fragment) and parts.path in {"", "/"}
    if (
        parts.scheme != "https"
        or not parts.hostname
        or not bare
        or port == 0
        or url[-1] in "?#@:"
        or " " in url
    ):
        hint = "a broker that is spoken to without TLS could be anybody" if parts.scheme == "http" else None
        raise table.error("url", "url", expected=expected, got=quote(url), hint=hint)
    return url.rstrip("/")


def _kubernetes(table: Table) -> Kubernetes:
    table.refuse_unknown(_names(Kubernetes))
    later = dict.fromkeys(("aks", "ack"), "this version renders for Intel's device plugin only")
    platform = table.choice("platform", {"intel": "intel"}, later)
    return Kubernetes(
        platform=platform or "intel", replicas=table.number("replicas", 1, lowest=1, highest=1000)
    )
