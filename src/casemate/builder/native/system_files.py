"""The files below ``/etc`` and ``/usr/share`` that an application expects, and that no host may choose.

What the C library asks for names and numbers is written here, the same for every image: a container runtime
replaces the host's own files at run time, so they could never be measured. The authorities of TLS and the
rules of time zones are taken from the build host. Gramine gives ``/etc/resolv.conf`` and the host name
(``sys.enable_extra_runtime_domain_names_conf``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from casemate.builder.contents import ImageFile, Reason, Rule
from casemate.builder.layout import APPLICATION_ROOT, BROKER_CA, CA_BUNDLE, IDENTITY, WORKLOAD_CONFIGURATION
from casemate.errors import ProjectError, ToolchainError
from casemate.project import Interface, Project
from casemate_attester import configuration as attester

DEFAULT_TIME_ZONE: Final = "UTC"
ZONE_FOLDER: Final = "/usr/share/zoneinfo"
#: Gramine's own threads (inter-process communication, asynchronous events, TLS) and Python's main one.
HELPER_THREADS: Final = 4
#: Worker threads of a WSGI server, where the enclave has room for them.
_WORKERS: Final = 8

#: UTC as RFC 8536 (TZif) writes it, versions 1 and 2: the default needs nothing of the build host.
_TZIF_COUNTS: Final = struct.pack(">6I", 0, 0, 0, 0, 1, 4)
_TZIF_UTC: Final = struct.pack(">iBB4s", 0, 0, 0, b"UTC")
_UTC_FILE: Final = (b"TZif2" + bytes(15) + _TZIF_COUNTS + _TZIF_UTC) * 2 + b"\nUTC0\n"

_TEXTS: Final = {
    "/etc/passwd": (
        f"root:x:0:0:root:/:/sbin/nologin\napp:x:{IDENTITY}:{IDENTITY}:the application:/tmp:/sbin/nologin\n"
    ),
    "/etc/group": f"root:x:0:\napp:x:{IDENTITY}:\n",
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "/etc/nsswitch.conf": (
        "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\nnetworks: files\n"
    ),
    "/etc/host.conf": "multi on\n",
    "/etc/gai.conf": "# RFC 6724 as the C library has it built in.\n",
    "/etc/services": (
        "domain 53/tcp\ndomain 53/udp\nhttp 80/tcp\nntp 123/udp\nhttps 443/tcp\nmysql 3306/tcp\n"
        "amqps 5671/tcp\namqp 5672/tcp\npostgresql 5432/tcp\nredis 6379/tcp\n"
    ),
    "/etc/protocols": "ip 0 IP\nicmp 1 ICMP\ntcp 6 TCP\nudp 17 UDP\nipv6-icmp 58 IPv6-ICMP\n",
}
_WHY: Final = {
    "/etc/passwd": "pwd.getpwuid, os.path.expanduser: the user that the application is",
    "/etc/group": "grp.getgrgid: its group",
    "/etc/hosts": "localhost without DNS; a container runtime's own file differs from start to start",
    "/etc/nsswitch.conf": "where the C library looks for names of hosts and users",
    "/etc/host.conf": "how the C library resolves names of hosts",
    "/etc/gai.conf": "the order of addresses from getaddrinfo",
    "/etc/services": "socket.getservbyname, and getaddrinfo with a name for a port",
    "/etc/protocols": "socket.getprotobyname",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSystem:
    """Files of the build host that an image takes over.

    Attributes:
        ca_bundle: The authorities that TLS clients accept, PEM.
        zones: The folder of compiled time zones.
    """

    ca_bundle: Path
    zones: Path


def system_files(
    project: Project, folder: Path, interface: Interface | None, host: HostSystem
) -> tuple[ImageFile, ...]:
    """Everything below ``/etc`` and ``/usr/share`` in the enclave, sorted by path.

    Args:
        project: What ``casemate.toml`` says.
        folder: Where it lies; the broker's certificate is looked up from there.
        interface: How the application is served; ``None`` for a command.
        host: What is taken from the build host.

    Raises:
        ToolchainError: The build host has no authorities, or no time zones where another than UTC is asked
        for.
        ProjectError: The time zone is none, or the broker's certificate is not there.
    """
    files = [*_texts(), *_time_zone(project, host.zones), _authorities(host.ca_bundle)]
    files += _broker_ca(project, folder)
    files.append(
        ImageFile(
            path=WORKLOAD_CONFIGURATION,
            content=workload(project, interface).to_bytes(),
            reason=Reason(
                rule=Rule.CONFIGURATION,
                of=None,
                detail="what the attester runs and fetches, from casemate.toml",
            ),
        )
    )
    return tuple(sorted(files, key=lambda file: file.path))


def _texts() -> Iterator[ImageFile]:
    for path, text in _TEXTS.items():
        reason = Reason(rule=Rule.SYSTEM_FILE, of=None, detail=_WHY[path])
        yield ImageFile(path=path, content=text.encode(), reason=reason)


def time_zone(project: Project) -> str:
    """``TZ`` of the application."""
    return dict(project.env).get("TZ", DEFAULT_TIME_ZONE)


def _time_zone(project: Project, zones: Path) -> Iterator[ImageFile]:
    name = time_zone(project).removeprefix(":")
    content = _UTC_FILE if name == DEFAULT_TIME_ZONE else _zone_file(name, zones)
    path = f"{ZONE_FOLDER}/{PurePosixPath(name)}"
    reason = Reason(rule=Rule.TIME_ZONE, of=None, detail=f"TZ={name}")
    yield ImageFile(path=path, content=content, reason=reason)
    reason = Reason(rule=Rule.TIME_ZONE, of=path, detail="for what reads the local time without TZ")
    yield ImageFile(path="/etc/localtime", content=content, reason=reason)


def _zone_file(name: str, zones: Path) -> Path:
    if not zones.is_dir():
        raise ToolchainError(
            "time zones of this machine",
            expected="a folder",
            got="none",
            where=str(zones),
            hint="install tzdata",
        )
    parts = PurePosixPath(name).parts
    file = zones / name
    if not parts or parts[0] == "/" or ".." in parts or not file.is_file():
        raise ProjectError(
            "time zone",
            expected="a name such as UTC or Europe/Berlin",
            got=name or "nothing",
            where="[env] TZ",
            hint=f"the names are those below {zones}",
        )
    return file


def _authorities(bundle: Path) -> ImageFile:
    if not bundle.is_file():
        raise ToolchainError(
            "certificate authorities of this machine",
            expected="a file with certificates",
            got="none",
            where=str(bundle),
            hint="install ca-certificates",
        )
    detail = "authorities for TLS clients: SSL_CERT_FILE and REQUESTS_CA_BUNDLE name this file"
    return ImageFile(
        path=CA_BUNDLE, content=bundle, reason=Reason(rule=Rule.CA_BUNDLE, of=None, detail=detail)
    )


def _broker_ca(project: Project, folder: Path) -> Iterator[ImageFile]:
    if project.broker is None:
        return
    source = folder / project.broker.ca
    try:
        content = source.read_bytes()
    except OSError as error:
        raise ProjectError(
            "certificate of the broker",
            expected="a PEM file",
            got=error.strerror or str(error),
            where=str(source),
            hint="copy the certificate of the authority under which your broker's certificate is issued",
        ) from error
    if b"-----BEGIN CERTIFICATE-----" not in content or b"PRIVATE KEY" in content:
        raise ProjectError(
            "certificate of the broker",
            expected="certificates in PEM, and no key",
            got="a private key" if b"PRIVATE KEY" in content else "no certificate",
            where=str(source),
        )
    detail = f"[broker] ca = {project.broker.ca}: the workload accepts no other broker"
    reason = Reason(rule=Rule.CONFIGURATION, of=WORKLOAD_CONFIGURATION, detail=detail)
    yield ImageFile(path=BROKER_CA, content=content, reason=reason)


def workload(project: Project, interface: Interface | None) -> attester.Workload:
    """What the attester is told; measured, so that the host cannot say otherwise."""
    return attester.Workload(
        application=_application(project, interface),
        listen=attester.Listen(
            port=project.app.port, threads=min(_WORKERS, project.enclave.threads - HELPER_THREADS)
        ),
        broker=attester.Broker(url=project.broker.url, ca=BROKER_CA) if project.broker else None,
        secrets=tuple(
            attester.Secret(destination=secret.destination, resource=secret.resource)
            for secret in project.secrets
        ),
        variables=project.variables,
    )


def _application(project: Project, interface: Interface | None) -> attester.Application:
    command = project.app.command
    if command is not None:
        script = [command[1]] if command[1] == "-m" else [f"{APPLICATION_ROOT}/{PurePosixPath(command[1])}"]
        return attester.Application(
            interface=attester.Interface.COMMAND,
            command=("python", *script, *command[2:]),
            path=(APPLICATION_ROOT,),
        )
    kinds: Mapping[Interface, attester.Interface] = {
        Interface.WSGI: attester.Interface.WSGI,
        Interface.ASGI: attester.Interface.ASGI,
    }
    if interface is None:
        raise ProjectError(
            "interface of the application",
            expected="wsgi or asgi",
            got="neither can be told",
            where="[app] serve",
            hint='add interface = "wsgi" or interface = "asgi" to [app]',
        )
    return attester.Application(
        interface=kinds[interface], target=project.app.serve, path=(APPLICATION_ROOT,)
    )
