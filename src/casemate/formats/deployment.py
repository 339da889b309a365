"""``deployment.json`` of a bundle: what a cluster has to be told and neither manifest nor measurement says.

Not measured and not trusted: whoever changes it changes where the workload is run and whom its packets may
reach, never what runs in it. The broker's address is here so that a network policy can let it through; the
enclave pins its broker by the measured configuration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from casemate.errors import FormatError
from casemate.project.values import Project
from casemate_attester.errors import ConfigurationError
from casemate_attester.strict_json import Fields, canonical_json, read_object
from casemate_attester.variables import Variable

#: Largest document that is read, in bytes.
SIZE_LIMIT: Final = 64 * 1024
#: Most pods; the same limit as that of ``casemate.toml``.
REPLICAS_LIMIT: Final = 1000

_KIND: Final = "casemate.deployment"
_VERSION: Final = 1
_HTTPS_PORT: Final = 443
_PORT_LIMIT: Final = 65535
_DNS_LABEL: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
#: A host name or an IP address (version 6 without brackets), at most 253 characters.
_HOST: Final = r"[A-Za-z0-9_.:-]{1,253}"
_ADDRESS: Final = re.compile(
    r"https://(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^:/\[\]]+))(?::(?P<port>\d{1,5}))?"
)
_REBUILD: Final = "build the bundle again with this version of casemate"


class Platform(Enum):
    """Whose device plugin the nodes run."""

    INTEL = "intel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A TCP service that the workload has to reach.

    Attributes:
        host: Name or IP address; version 6 without brackets.
        port: TCP port.
    """

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What a cluster has to be told about a workload.

    Attributes:
        name: Name of the workload, a DNS label.
        port: TCP port on which the enclave listens.
        replicas: Number of pods.
        platform: Whose device plugin the nodes run.
        broker: Where the workload attests and fetches its secrets; ``None`` when it has no secrets.
        variables: What whoever starts the pods may choose; the enclave has the same rules, measured.
    """

    name: str
    port: int
    replicas: int
    platform: Platform
    broker: Endpoint | None
    variables: tuple[Variable, ...] = ()

    @classmethod
    def of(cls, project: Project) -> Deployment:
        """What ``project`` says about its deployment."""
        return cls(
            name=project.app.name,
            port=project.app.port,
            replicas=project.kubernetes.replicas,
            platform=Platform(project.kubernetes.platform),
            broker=_endpoint(project.broker.url) if project.broker else None,
            variables=project.variables,
        )

    @classmethod
    def parse(cls, data: bytes) -> Deployment:
        """Read ``deployment.json``.

        Raises:
            FormatError: Anything but the document that :meth:`to_bytes` writes, up to white space.
        """
        fields = read_object(
            data, document="deployment.json", error=FormatError, limit=SIZE_LIMIT, hint=_REBUILD
        )
        fields.text("kind", pattern=re.escape(_KIND), expected=f'"{_KIND}"')
        fields.integer("version", low=_VERSION, high=_VERSION)
        deployment = cls(
            name=fields.text("name", pattern=_DNS_LABEL, expected="a DNS label"),
            port=fields.integer("port", low=1, high=_PORT_LIMIT),
            replicas=fields.integer("replicas", low=1, high=REPLICAS_LIMIT),
            platform=_platform(fields),
            broker=_broker(fields),
            variables=_variables(fields),
        )
        fields.done()
        return deployment

    def to_bytes(self) -> bytes:
        """Canonical JSON (RFC 8785)."""
        broker = {"host": self.broker.host, "port": self.broker.port} if self.broker else None
        return canonical_json(
            {
                "kind": _KIND,
                "version": _VERSION,
                "name": self.name,
                "port": self.port,
                "replicas": self.replicas,
                "platform": self.platform.value,
                "broker": broker,
                "variables": [variable.to_json() for variable in self.variables],
            }
        )


def _variables(fields: Fields) -> tuple[Variable, ...]:
    try:
        return tuple(Variable.from_fields(item) for item in fields.objects("variables"))
    except ConfigurationError as error:
        raise FormatError(
            error.subject, expected=error.expected, got=error.got, where="deployment.json", hint=_REBUILD
        ) from error


def _endpoint(url: str) -> Endpoint:
    """Host and port of an address that :class:`casemate.project.values.Broker` may hold."""
    match = _ADDRESS.fullmatch(url)
    if match is None:
        raise FormatError("address of the broker", expected='"https://host:port"', got=f'"{url}"')
    return Endpoint(host=(match["six"] or match["name"]).lower(), port=int(match["port"] or _HTTPS_PORT))


def _platform(fields: Fields) -> Platform:
    word = fields.text("platform", pattern=r"[a-z-]{1,20}", expected="a platform")
    try:
        return Platform(word)
    except ValueError as error:
        raise FormatError(
            "platform",
            expected='"intel"',
            got=f'"{word}"',
            where="deployment.json",
            hint="objects are rendered for Intel's device plugin; other platforms are not built yet",
        ) from error


def _broker(fields: Fields) -> Endpoint | None:
    broker = fields.object_or_null("broker")
    if broker is None:
        return None
    endpoint = Endpoint(
        host=broker.text("host", pattern=_HOST, expected="a host name or an IP address"),
        port=broker.integer("port", low=1, high=_PORT_LIMIT),
    )
    broker.done()
    return endpoint
