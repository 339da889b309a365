"""The measured configuration of a workload: ``workload.json`` and the frozen value that it is.

The file lies among the trusted files of the image, so MRENCLAVE covers it: it is the only thing by which the
attester decides what to run, whom to ask for secrets and where to put them. Values cannot be made that break
a rule, whether they come from bytes or from the toolchain; each class checks itself.

This module never opens a file.
"""

import posixpath
import re
from dataclasses import dataclass
from enum import Enum
from typing import Self
from urllib.parse import urlsplit

from casemate_attester.errors import ConfigurationError
from casemate_attester.strict_json import Fields, canonical_json, read_object
from casemate_attester.variables import Variable

__all__ = [
    "MAX_BYTES",
    "MAX_THREADS",
    "VERSION",
    "Application",
    "Broker",
    "EnvironmentPlace",
    "FilePlace",
    "Interface",
    "KeyPlace",
    "Listen",
    "Resource",
    "Secret",
    "Workload",
]

VERSION = 1
#: A workload with a thousand secrets needs a quarter of this.
MAX_BYTES = 1024 * 1024
MAX_THREADS = 1024

_DOCUMENT = "workload configuration"
_REBUILD = "mend casemate.toml and build the image again: this file is measured"
_KEYS_FOLDER = "/dev/attestation/keys/"
#: Pseudo file systems: nothing but a Gramine key can be placed there.
_NOT_FOR_SECRETS = ("/dev/", "/proc/", "/sys/")
_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_]*"
_MODULE = rf"{_IDENTIFIER}(\.{_IDENTIFIER})*"
#: One part of a resource path, as the key broker accepts it: no leading dot, so never ``.`` or ``..``.
_RESOURCE_PART = r"[a-zA-Z0-9_\-][a-zA-Z0-9_\-.]*"
_MAX_RESOURCE_PART = 255


class Interface(Enum):
    """How the application is run."""

    WSGI = "wsgi"
    ASGI = "asgi"
    COMMAND = "command"


def _require(condition: object, subject: str, expected: str, got: object) -> None:
    """Raises unless ``condition`` holds; ``got`` is public: the configuration holds no secret."""
    if not condition:
        raise ConfigurationError(
            subject, expected=expected, got=ascii(got)[:120], where=_DOCUMENT, hint=_REBUILD
        )


def _is_plain_path(path: str) -> bool:
    """Whether ``path`` is absolute, normalised, printable, and not the root."""
    return (
        path.startswith("/")
        and not path.startswith("//")
        and path != "/"
        and posixpath.normpath(path) == path
        and path.isprintable()
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What to run.

    Attributes:
        interface: A WSGI or ASGI callable behind our server, or a command that serves by itself.
        target: ``"package.module:callable"``; ``None`` for a command.
        command: ``("python", "-m", "module", …)`` or ``("python", "/app/script.py", …)``; empty otherwise.
        path: Folders that go to the front of ``sys.path``.
    """

    interface: Interface
    target: str | None = None
    command: tuple[str, ...] = ()
    path: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for folder in self.path:
            _require(_is_plain_path(folder), "application.path", "absolute normalised folders", folder)
        if self.interface is Interface.COMMAND:
            _require(self.target is None, "application.target", "null for a command", self.target)
            _require(
                _is_python_command(self.command),
                "application.command",
                'python with "-m MODULE" or an absolute script, and arguments',
                list(self.command),
            )
        else:
            _require(not self.command, "application.command", "null for a callable", list(self.command))
            _require(
                re.fullmatch(rf"{_MODULE}:{_MODULE}", self.target or ""),
                "application.target",
                "MODULE:CALLABLE",
                self.target,
            )

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """The value that an object of the document holds."""
        words = "|".join(item.value for item in Interface)
        interface = Interface(fields.text("interface", pattern=words, expected=words))
        is_command = interface is Interface.COMMAND
        target = None if is_command else fields.text("target")
        command = fields.texts("command") if is_command else ()
        path = fields.texts("path")
        fields.done()
        return cls(interface=interface, target=target, command=command, path=path)


def _is_python_command(command: tuple[str, ...]) -> bool:
    """Whether the attester can run ``command`` in its own process."""
    if any("\0" in word for word in command):
        return False
    match command:
        case ("python" | "python3", "-m", module, *_):
            return re.fullmatch(_MODULE, module) is not None
        case ("python" | "python3", script, *_):
            return _is_plain_path(script)
        case _:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where the server listens, inside the enclave; the peer always reaches it through the host.

    Attributes:
        host: Address to bind.
        port: TCP port.
        threads: Worker threads of a WSGI server; the manifest's thread limit has to allow for them.
    """

    host: str = "0.0.0.0"  # noqa: S104 - a pod's own network namespace; TLS ends in the enclave
    port: int
    threads: int = 8

    def __post_init__(self) -> None:
        _require(re.fullmatch(r"[0-9A-Za-z.:\-]{1,253}", self.host), "listen.host", "an address", self.host)
        _require(1 <= self.port <= 65535, "listen.port", "a port from 1 to 65535", self.port)
        _require(1 <= self.threads <= MAX_THREADS, "listen.threads", f"1 to {MAX_THREADS}", self.threads)

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """The value that an object of the document holds."""
        host = fields.text("host")
        port = fields.integer("port", low=1, high=65535)
        threads = fields.integer("threads", low=1, high=MAX_THREADS)
        fields.done()
        return cls(host=host, port=port, threads=threads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """The key broker that this workload trusts.

    Attributes:
        url: ``https://HOST[:PORT]``, nothing behind it.
        ca: Path, in the enclave, of the PEM file with the only authorities whose certificates count.
    """

    url: str
    ca: str

    def __post_init__(self) -> None:
        _require(_origin(self.url) is not None, "broker.url", "https://HOST[:PORT]", self.url)
        _require(_is_plain_path(self.ca), "broker.ca", "an absolute normalised path", self.ca)

    @property
    def host(self) -> str:
        """Name or address of the broker; its certificate has to be made out to it."""
        return (_origin(self.url) or ("", 0))[0]

    @property
    def port(self) -> int:
        """TCP port of the broker."""
        return (_origin(self.url) or ("", 0))[1]

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """The value that an object of the document holds."""
        result = cls(url=fields.text("url"), ca=fields.text("ca"))
        fields.done()
        return result


def _origin(url: str) -> tuple[str, int] | None:
    """Host and port of ``https://HOST[:PORT]``, or nothing when it is anything else."""
    if re.fullmatch(r"https://([0-9A-Za-z.\-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?", url) is None:
        return None
    try:
        parts = urlsplit(url)
        port = 443 if parts.port is None else parts.port
    except ValueError:
        return None
    return (parts.hostname, port) if parts.hostname and port else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A resource of the key broker: ``kbs:///REPOSITORY/TYPE/TAG``."""

    repository: str
    kind: str
    tag: str

    def __post_init__(self) -> None:
        for part in (self.repository, self.kind, self.tag):
            _require(
                len(part) <= _MAX_RESOURCE_PART and re.fullmatch(_RESOURCE_PART, part),
                "resource",
                "kbs:///REPOSITORY/TYPE/TAG, each of letters, digits, '_', '-' and inner dots",
                part,
            )

    @classmethod
    def parse(cls, uri: str) -> Self:
        """The resource that ``uri`` names.

        Raises:
            ConfigurationError: When it is not ``kbs:///`` and three parts. A broker in the authority
                (``kbs://host/…``) is refused: the workload pins one broker.
        """
        parts = uri.removeprefix("kbs:///").split("/")
        _require(uri.startswith("kbs:///") and len(parts) == 3, "resource", "kbs:///REPOSITORY/TYPE/TAG", uri)
        return cls(repository=parts[0], kind=parts[1], tag=parts[2])

    @property
    def path(self) -> str:
        """``REPOSITORY/TYPE/TAG``."""
        return f"{self.repository}/{self.kind}/{self.tag}"

    def __str__(self) -> str:
        return f"kbs:///{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePlace:
    """A secret that becomes a file of mode 0600."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentPlace:
    """A secret that becomes an environment variable of this process."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPlace:
    """A secret that becomes a key of Gramine's encrypted files."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A resource and where it goes.

    Attributes:
        destination: An absolute path, ``env:NAME``, or ``/dev/attestation/keys/NAME``.
        resource: ``kbs:///REPOSITORY/TYPE/TAG``.
    """

    destination: str
    resource: str

    def __post_init__(self) -> None:
        Resource.parse(self.resource)
        _place(self.destination)

    @property
    def source(self) -> Resource:
        """The resource as what it is."""
        return Resource.parse(self.resource)

    @property
    def place(self) -> FilePlace | EnvironmentPlace | KeyPlace:
        """The destination as what it is."""
        return _place(self.destination)

    @classmethod
    def from_fields(cls, fields: Fields) -> Self:
        """The value that an object of the document holds."""
        result = cls(destination=fields.text("destination"), resource=fields.text("resource"))
        fields.done()
        return result


def _place(destination: str) -> FilePlace | EnvironmentPlace | KeyPlace:
    """What a destination says; raises when it is none."""
    name = destination.removeprefix("env:")
    if name != destination and re.fullmatch(_IDENTIFIER, name):
        return EnvironmentPlace(name=name)
    name = destination.removeprefix(_KEYS_FOLDER)
    # Names with a leading underscore are Gramine's own sealing keys.
    if name != destination and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.\-]*", name):
        return KeyPlace(name=name)
    _require(
        _is_plain_path(destination) and not f"{destination}/".startswith(_NOT_FOR_SECRETS),
        "secrets.destination",
        f"an absolute normalised path outside of /dev, /proc and /sys, env:NAME, or {_KEYS_FOLDER}NAME",
        destination,
    )
    return FilePlace(path=destination)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Everything that the attester is told.

    Attributes:
        application: What to run.
        listen: Where to serve it.
        broker: Whom to ask for secrets; ``None`` when there are none.
        secrets: What to ask for, in this order.
        variables: What the host may choose, by name.
    """

    application: Application
    listen: Listen
    broker: Broker | None = None
    secrets: tuple[Secret, ...] = ()
    variables: tuple[Variable, ...] = ()

    def __post_init__(self) -> None:
        _require(
            self.broker is not None or not self.secrets, "broker", "a broker, as there are secrets", None
        )
        destinations = [secret.destination for secret in self.secrets]
        _require(
            len(set(destinations)) == len(destinations),
            "secrets",
            "each destination once",
            sorted(destinations),
        )
        names = [variable.name for variable in self.variables]
        _require(names == sorted(set(names)), "variables", "each name once, sorted", names)
        twice = [name for name in names if f"env:{name}" in destinations]
        _require(not twice, "variables", "none that a secret sets as well", twice)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The configuration that ``data`` holds.

        Raises:
            ConfigurationError: For anything but version 1 with exactly its fields.
        """
        fields = read_object(
            data, document=_DOCUMENT, error=ConfigurationError, limit=MAX_BYTES, hint=_REBUILD
        )
        fields.integer("version", low=VERSION, high=VERSION)
        application = Application.from_fields(fields.object("application"))
        listen = Listen.from_fields(fields.object("listen"))
        broker = fields.object_or_null("broker")
        secrets = tuple(Secret.from_fields(item) for item in fields.objects("secrets"))
        variables = tuple(Variable.from_fields(item) for item in fields.objects("variables"))
        fields.done()
        return cls(
            application=application,
            listen=listen,
            broker=None if broker is None else Broker.from_fields(broker),
            secrets=secrets,
            variables=variables,
        )

    def to_bytes(self) -> bytes:
        """Canonical bytes: the same value always gives the same file, so the same MRENCLAVE."""
        application: dict[str, object] = {
            "interface": self.application.interface.value,
            "path": list(self.application.path),
        }
        if self.application.interface is Interface.COMMAND:
            application["command"] = list(self.application.command)
        else:
            application["target"] = self.application.target
        listen = self.listen
        document = {
            "version": VERSION,
            "application": application,
            "listen": {"host": listen.host, "port": listen.port, "threads": listen.threads},
            "broker": self.broker and {"url": self.broker.url, "ca": self.broker.ca},
            "secrets": [
                {"destination": secret.destination, "resource": secret.resource} for secret in self.secrets
            ],
            "variables": [variable.to_json() for variable in self.variables],
        }
        return canonical_json(document)
