"""What the services have in common: an address, a TLS identity, a log, a line that says that one is ready."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from casemate.errors import UsageError

if TYPE_CHECKING:
    from casemate.adapters.broker_server import Address

_WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104  # to recognise them, not to bind to them


def utc_now() -> datetime:
    """The time now."""
    return datetime.now(UTC)


def log_to_stderr() -> None:
    """Log everything but what uvicorn says while all is well."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def listening_address(text: str) -> Address:
    """The value of ``--listen``.

    Raises:
        UsageError: Not HOST:PORT.
    """
    from casemate.adapters.broker_server import Address

    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(
            "listening address",
            expected="HOST:PORT",
            got=text,
            where="--listen",
            hint="for example --listen 127.0.0.1:8080 or --listen [::1]:0",
        )
    return Address(host=host, port=int(port))


def require_certificates(
    service: str, folder: Path, further_names: tuple[str, ...], address: Address
) -> None:
    """Make a TLS identity for development in ``folder`` when there is none.

    Args:
        service: What to call the service in the message.
        folder: Where ca.pem, cert.pem and key.pem lie.
        further_names: Names in a certificate that is made, beside those of ``address``.
        address: Where the service listens.

    Raises:
        ServiceError: What is there cannot be used, or nothing can be made.
    """
    from casemate.adapters.broker_server import has_certificates
    from casemate.adapters.service_certificate import make_service_certificates

    if has_certificates(folder):
        return
    # A client does not call a wildcard address by its name.
    host = () if address.host in _WILDCARDS else (address.host,)
    names = tuple(dict.fromkeys((*host, "localhost", "127.0.0.1", *further_names)))
    make_service_certificates(folder, names, utc_now())
    click.echo(
        f"{service}: made a development certificate in {folder} for {', '.join(names)}; its authority's key "
        "is not kept",
        err=True,
    )


def announcement(service: str, host: str, port: int, *, as_json: bool) -> Callable[[], None]:
    """What says that a service is ready: a line for people, and one of JSON where it is asked for."""
    from casemate.adapters.broker_server import Address

    url = f"https://{Address(host=host, port=port)}"

    def announce() -> None:
        click.echo(f"{service}: {url} ready", err=True)
        if as_json:
            document = {"version": 1, "kind": f"casemate.{service}", "url": url, "host": host, "port": port}
            click.echo(json.dumps(document))
            sys.stdout.flush()

    return announce
