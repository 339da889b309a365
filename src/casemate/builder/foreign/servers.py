"""Command lines of Python's web servers: what they serve, and on which port.

In an enclave one process serves, with Casemate's own server, which ends TLS there. So what these options say
of processes, sockets, files of logs and TLS is dropped, and said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from casemate.errors import ProjectError
from casemate.project import Interface

#: A module and an object in it, as all servers write it.
TARGET: Final = re.compile(r"(?P<module>[A-Za-z_][\w.]*)(?::(?P<name>[A-Za-z_][\w.]*))?(?P<call>\(.*\))?")
_PORT: Final = re.compile(r"(?:.*:)?([0-9]{1,5})/?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a server's command line says.

    Attributes:
        server: Its name.
        module: That it loads; ``None`` where it has its own way to find one.
        name: The object in it; ``None`` where the server has a default.
        interface: How the server calls it; ``None`` where that is the application's choice.
        port: On which it listens; ``None`` where it does not say.
        folder: From which it loads, relative to the working folder.
        env: Variables that it sets.
        dropped: Options that mean nothing in an enclave, as written.
    """

    server: str
    module: str | None
    name: str | None
    interface: Interface | None
    port: int | None = None
    folder: str = "."
    env: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """How a server reads its command line.

    Attributes:
        interface: What it serves.
        values: Options with a value that are dropped.
        flags: Options without.
        binds: Options that say the port.
        folders: Options that say where it loads from.
        makers: Options by which the object is a factory.
        targets: Options that name what is served.
        names: Options that name the object alone.
        unread: Options whose files or words would decide more, which nobody here reads.
        default: The object, when none is named; ``None``: one has to be.
        words: Subcommands that come first.
    """

    interface: Interface | None
    values: str
    flags: str
    binds: str
    folders: str = ""
    makers: str = ""
    unread: str = ""
    default: str | None = None
    words: tuple[str, ...] = ()
    targets: str = ""
    names: str = ""


_GUNICORN: Final = _Server(
    interface=Interface.WSGI,
    default="application",
    binds="-b --bind",
    folders="--chdir",
    unread="-c --config --paste --paster --pythonpath",
    values="--backlog -w --workers -k --worker-class --threads --worker-connections --max-requests"
    " --max-requests-jitter -t --timeout --graceful-timeout --keep-alive --limit-request-line"
    " --limit-request-fields --limit-request-field_size -p --pid --worker-tmp-dir -u --user -g --group -m"
    " --umask --access-logfile --access-logformat --error-logfile --log-file --log-level --logger-class"
    " --log-config --log-config-json --log-syslog-to --log-syslog-prefix --log-syslog-facility --statsd-host"
    " --statsd-prefix --dogstatsd-tags -n --name --forwarded-allow-ips --proxy-allow-from --keyfile"
    " --certfile --ssl-version --cert-reqs --ca-certs --ciphers --header-map --reload-engine"
    " --reload-extra-file -e --env",
    flags="-D --daemon --initgroups --capture-output --proxy-protocol --reload --preload --no-sendfile"
    " --reuse-port --spew --log-syslog -R --enable-stdio-inheritance --suppress-ragged-eofs"
    " --do-handshake-on-connect --strip-header-spaces --disable-redirect-access-to-syslog",
)
_UVICORN: Final = _Server(
    interface=Interface.ASGI,
    binds="--port",
    folders="--app-dir",
    makers="--factory",
    unread="--env-file",
    values="--host --uds --fd --reload-dir --reload-include --reload-exclude --reload-delay --workers --loop"
    " --http --ws --ws-max-size --ws-max-queue --ws-ping-interval --ws-ping-timeout --ws-per-message-deflate"
    " --lifespan --interface --log-config --log-level --root-path --forwarded-allow-ips --limit-concurrency"
    " --limit-max-requests --backlog --timeout-keep-alive --timeout-graceful-shutdown"
    " --timeout-worker-healthcheck --ssl-keyfile --ssl-certfile --ssl-keyfile-password --ssl-version"
    " --ssl-cert-reqs --ssl-ca-certs --ssl-ciphers --header --h11-max-incomplete-event-size",
    flags="--reload --access-log --no-access-log --proxy-headers --no-proxy-headers --server-header"
    " --no-server-header --date-header --no-date-header --use-colors --no-use-colors",
)
_HYPERCORN: Final = _Server(
    interface=Interface.ASGI,
    binds="-b --bind",
    unread="-c --config",
    values="--insecure-bind --quic-bind --access-log --access-logfile --access-logformat --backlog --ca-certs"
    " --certfile --cert-reqs --ciphers --error-log --error-logfile --graceful-timeout --read-timeout"
    " --max-requests --max-requests-jitter -g --group -k --worker-class --keep-alive --keyfile"
    " --keyfile-password --log-config --log-level -p --pid --root-path --server-name --statsd-host"
    " --statsd-prefix -m --umask -u --user --verify-mode --websocket-ping-interval -w --workers",
    flags="--debug --reload",
)
_WAITRESS: Final = _Server(
    interface=Interface.WSGI,
    binds="--listen --port",
    makers="--call",
    targets="--app",
    values="--host --unix-socket --unix-socket-perms --url-scheme --url-prefix --threads --backlog --ident"
    " --recv-bytes --send-bytes --outbuf-overflow --outbuf-high-watermark --inbuf-overflow --connection-limit"
    " --cleanup-interval --channel-timeout --max-request-header-size --max-request-body-size --trusted-proxy"
    " --trusted-proxy-count --trusted-proxy-headers --asyncore-loop-timeout --channel-request-lookahead",
    flags="--expose-tracebacks --no-expose-tracebacks --asyncore-use-poll --no-asyncore-use-poll --ipv4"
    " --no-ipv4 --ipv6 --no-ipv6 --log-socket-errors --no-log-socket-errors --log-untrusted-proxy-headers"
    " --no-log-untrusted-proxy-headers --clear-untrusted-proxy-headers --no-clear-untrusted-proxy-headers",
)
_DAPHNE: Final = _Server(
    interface=Interface.ASGI,
    binds="-p --port",
    unread="-e --endpoint",
    values="-b --bind -u --unix-socket --fd -v --verbosity -t --http-timeout --access-log --log-fmt"
    " --ping-interval --ping-timeout --websocket_timeout --websocket_connect_timeout --root-path"
    " --proxy-headers-host --proxy-headers-port -s --server-name --application-close-timeout",
    flags="--proxy-headers --no-server-name",
)
_GRANIAN: Final = _Server(
    interface=None,
    binds="--port",
    folders="--working-dir",
    makers="--factory",
    unread="--env-files",
    values="--host --uds --interface --http --workers --blocking-threads --runtime-threads --runtime-mode"
    " --loop --task-impl --backlog --backpressure --log-level --log-config --access-log-fmt --ssl-certificate"
    " --ssl-keyfile --url-path-prefix --respawn-interval --workers-lifetime --process-name --pid-file",
    flags="--ws --no-ws --log --no-log --access-log --no-access-log --reload --no-reload"
    " --respawn-failed-workers",
)
_FLASK: Final = _Server(
    interface=Interface.WSGI,
    binds="-p --port",
    targets="-A --app",
    unread="-e --env-file --cert --key",
    values="-h --host --extra-files --exclude-patterns",
    flags="--debug --no-debug --reload --no-reload --debugger --no-debugger --with-threads --without-threads",
    words=("run",),
)
_FASTAPI: Final = _Server(
    interface=Interface.ASGI,
    binds="--port",
    names="--app",
    values="--host --workers --root-path --forwarded-allow-ips",
    flags="--reload --no-reload --proxy-headers --no-proxy-headers",
    words=("run", "dev"),
)
SERVERS: Final[Mapping[str, _Server]] = {
    "gunicorn": _GUNICORN,
    "uvicorn": _UVICORN,
    "hypercorn": _HYPERCORN,
    "waitress-serve": _WAITRESS,
    "waitress": _WAITRESS,
    "daphne": _DAPHNE,
    "granian": _GRANIAN,
    "flask": _FLASK,
    "fastapi": _FASTAPI,
}
#: Prefixes by which hypercorn and granian tell how the object is called.
_INTERFACES: Final = {"wsgi": Interface.WSGI, "asgi": Interface.ASGI, "asginl": Interface.ASGI}


@dataclass(slots=True)
class _Read:
    """A command line while it is read."""

    target: str | None = None
    name: str | None = None
    port: int | None = None
    folder: str = "."
    interface: Interface | None = None
    is_factory: bool = False
    unread: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)


def read_server(server: str, arguments: Sequence[str], *, where: str) -> Served:
    """What the command line of ``server`` says.

    Args:
        server: One of :data:`SERVERS`.
        arguments: Behind its name.
        where: The command line, for errors.

    Raises:
        ProjectError: It cannot be decided what is served, or on which port.
    """
    known = SERVERS[server]
    read = _Read(interface=known.interface)
    for option, value in _options(known, _without_words(known, arguments), where):
        _take(known, read, option, value, where)
    module, name = _target(known, read, server, where)
    if read.unread is not None:
        raise _question(
            f"{read.unread}, which may decide more and is not read", where, f"{module}:{name or 'app'}"
        )
    return Served(
        server=server,
        module=module,
        name=name,
        interface=read.interface,
        port=read.port,
        folder=read.folder,
        env=tuple(read.env.items()),
        dropped=tuple(read.dropped),
    )


def _without_words(known: _Server, arguments: Sequence[str]) -> list[str]:
    """The arguments without the subcommand, which may stand behind options."""
    rest = list(arguments)
    for word in known.words:
        if word in rest:
            rest.remove(word)
            break
    return rest


def _options(known: _Server, arguments: Sequence[str], where: str) -> Iterator[tuple[str, str | None]]:
    """Each option with its value; what is no option comes as the value of an empty one."""
    takes = {*known.values.split(), *known.unread.split(), *known.targets.split(), *known.names.split()}
    takes |= {*known.binds.split(), *known.folders.split()}
    alone = set(f"{known.flags} {known.makers}".split())
    rest = iter(arguments)
    for word in rest:
        option, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            yield "", word
        elif option in takes and equals:
            yield option, value
        elif word in alone:
            yield word, None
        elif word in takes:
            yield word, next(rest, "")
        elif word[:2] in takes and not word.startswith("--"):
            yield word[:2], word[2:]
        else:
            raise _question(f"an option {word} whose meaning is not known here", where)


def _take(known: _Server, read: _Read, option: str, value: str | None, where: str) -> None:
    if option == "" or option in known.targets.split():
        if read.target is not None:
            raise _question(f"{read.target} and {value}", where)
        read.target = value
    elif option in known.names.split():
        read.name = value
    elif option in known.binds.split():
        read.port = _port(value or "") or read.port
    elif option in known.folders.split():
        read.folder = value or "."
    elif option in known.makers.split():
        read.is_factory = True
    elif option in known.unread.split():
        read.unread = read.unread or f"{option} {value}"
    else:
        _drop(read, option, value)


def _drop(read: _Read, option: str, value: str | None) -> None:
    """What means nothing in an enclave, but for what it tells of the application."""
    text = value or ""
    if option in {"-e", "--env"} and "=" in text:
        name, _, content = text.partition("=")
        read.env[name] = content
        return
    if option in {"-k", "--worker-class"} and re.search("uvicorn|asgi", text, re.IGNORECASE):
        read.interface = Interface.ASGI
    if option == "--interface":
        read.interface = _INTERFACES.get(text.removesuffix("2").removesuffix("3"), read.interface)
    read.dropped.append(option if value is None else f"{option} {value}")


def _port(text: str) -> int | None:
    """The port of an address; ``None`` for a UNIX socket and for a bare address."""
    match = _PORT.fullmatch(text)
    port = int(match[1]) if match and not text.startswith("unix:") else 0
    return port if 0 < port < 65536 else None


def _target(known: _Server, read: _Read, server: str, where: str) -> tuple[str | None, str | None]:
    text = read.target
    if text is None or text.endswith(".py") or "/" in text:
        if server in {"flask", "fastapi"}:  # these look for a file of their own accord
            return text, read.name
        raise _question("no module" if text is None else text, where)
    prefix, colon, rest = text.partition(":")
    if colon and prefix in _INTERFACES and ":" in rest:
        read.interface, text = _INTERFACES[prefix], rest
    match = TARGET.fullmatch(text)
    if match is None:
        raise _question(text, where)
    if match["call"] or read.is_factory:
        raise _factory(text, where)
    name = match["name"] or known.default
    if name is None and server not in {"flask", "fastapi"}:
        raise _question(f"{text} without the name of an object", where)
    return match["module"], name


def _question(got: str, where: str, target: str = "module:object") -> ProjectError:
    return ProjectError(
        "start of the image",
        expected="a command line that says which module and which object are served",
        got=got,
        where=where,
        hint=f'write casemate.toml with [app] source = "/FOLDER/OF/THE/IMAGE" and serve = "{target}"',
    )


def _factory(target: str, where: str) -> ProjectError:
    module, _, name = target.partition(":")
    factory = name.partition("(")[0] or "create_app"
    return ProjectError(
        "start of the image",
        expected="an application that a module has made when it is imported",
        got=f"a factory, {target}",
        where=where,
        hint=f"add a module wsgi.py with: from {module} import {factory}; app = {factory}()",
    )
