"""Runs the application in this process, behind TLS that ends in the enclave.

Gramine has neither fork nor inotify nor utimensat, so the servers are the ones that work with one process and
threads or one event loop: cheroot for WSGI, uvicorn for ASGI. They belong to the image of the workload, not
to this wheel, and are imported where they run.
"""

import importlib
import operator
import os
import runpy
import secrets
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from casemate_attester.configuration import Application, Interface, Listen
from casemate_attester.discretion import describe
from casemate_attester.errors import ApplicationError
from casemate_attester.ratls import Identity

__all__ = ["load_callable", "run_application", "run_command", "server_context"]

#: Connections that wait to be accepted.
_BACKLOG = 128
_OUTSIDE = "run the application without an enclave, in its own environment, to see the whole error"


def server_context(identity: Identity, folder: Path) -> ssl.SSLContext:
    """TLS 1.2 or later with the identity of this enclave.

    The ssl module takes keys from files only. The file lives for the length of one call in ``folder``,
    which the manifest makes a tmpfs: enclave memory. Should somebody mount a folder of the host there
    instead, the host still finds nothing but a key under a password that never leaves this function.

    Args:
        identity: Key and certificate.
        folder: A writable folder.
    """
    password = secrets.token_bytes(32)
    pem = identity.certificate.public_bytes(Encoding.PEM) + identity.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    path = folder / f".casemate-{secrets.token_hex(8)}.pem"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
            context.load_cert_chain(path, password=password)
        finally:
            path.unlink()
    except OSError as error:
        raise ApplicationError(
            "TLS key",
            expected="a writable folder for the moment of loading it",
            got=os.strerror(error.errno or 0),
            where=str(folder),
            hint="mount a tmpfs there in the manifest",
        ) from error
    return context


def load_callable(target: str) -> object:
    """The object that ``MODULE:ATTRIBUTE`` names.

    Raises:
        ApplicationError: When the module cannot be imported or has no such attribute.
    """
    module_name, _, attribute = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise ApplicationError(
            "application",
            expected=f"a module {module_name} that can be imported",
            got=describe(error, within=load_callable),
            where=target,
            hint=_OUTSIDE,
        ) from error
    try:
        result: object = operator.attrgetter(attribute)(module)
    except AttributeError as error:
        raise ApplicationError(
            "application",
            expected=f"an attribute {attribute} of module {module_name}",
            got="none",
            where=target,
            hint="mend [app] serve in casemate.toml and build the image again",
        ) from error
    return result


def run_command(command: tuple[str, ...]) -> None:
    """Runs a Python program as ``__main__`` in this process; returns when it ends.

    Args:
        command: ``python -m MODULE ARGUMENT…`` or ``python SCRIPT ARGUMENT…``. A script that lies there as
            bytecode only, ``SCRIPT`` with a ``c`` behind it, is run from that.

    Raises:
        ApplicationError: When the program ends with an exception other than ``SystemExit``.
    """
    is_module = command[1] == "-m"
    program, *arguments = command[2:] if is_module else command[1:]
    sys.argv = [program, *arguments]
    try:
        if is_module:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            compiled = Path(f"{program}c")
            runpy.run_path(str(compiled) if compiled.exists() else program, run_name="__main__")
    except Exception as error:
        raise ApplicationError(
            "application",
            expected="a program that runs",
            got=describe(error, within=run_command),
            where=" ".join(command),
            hint=_OUTSIDE,
        ) from error


def run_application(
    application: Application, listen: Listen, context: ssl.SSLContext | None, announce: Callable[[], None]
) -> None:
    """Runs the application until it ends or the process is told to end.

    Args:
        application: What to run.
        listen: Where a callable is served.
        context: TLS; a command has none, as it opens its own sockets.
        announce: Called once, when a callable accepts connections or just before a command starts.

    Raises:
        ApplicationError: When it cannot be imported or started.
    """
    sys.path[:0] = application.path
    if application.target is None or context is None:
        announce()
        run_command(application.command)
        return
    target = load_callable(application.target)
    with _listener(listen) as listener:
        if application.interface is Interface.WSGI:
            from casemate_attester.wsgi_server import serve_wsgi  # noqa: PLC0415 - imports cheroot

            serve_wsgi(
                target,
                listener,
                threads=listen.threads,
                backlog=_BACKLOG,
                context=context,
                announce=announce,
            )
        else:
            from casemate_attester.asgi_server import serve_asgi  # noqa: PLC0415 - imports uvicorn

            serve_asgi(target, listener, context=context, announce=announce)


def _listener(listen: Listen) -> socket.socket:
    """A socket that listens."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        listener = socket.create_server((listen.host, listen.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ApplicationError(
            "server",
            expected="an address to listen on",
            got=error.strerror or type(error).__name__,
            where=f"{listen.host} port {listen.port}",
            hint="choose another [app] port in casemate.toml, or end what listens there",
        ) from error
    # Inherited by connections: head and body of a response are two writes, which must not wait for an echo.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
