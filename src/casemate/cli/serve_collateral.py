"""``casemate serve collateral``: Intel's endorsements, kept near, behind PCCS's API."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.key_uri import passphrase_options
from casemate.cli.listening import (
    announcement,
    listening_address,
    log_to_stderr,
    require_certificates,
    utc_now,
)
from casemate.cli.reading import read_file
from casemate.errors import FormatError, ToolchainError, UsageError

if TYPE_CHECKING:
    from casemate.adapters.broker_server import ConnectionLimits
    from casemate.collateral.documents import CacheRules, Surroundings
    from casemate.collateral.metrics import Counters
    from casemate.collateral.store import CollateralStore
    from casemate.collateral.upstream import Upstream
    from casemate.verifier.roots import TrustRoots

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_ANY_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
_POSTGRES = ("postgresql://", "postgres://")
#: Seconds that one request waits for the upstream service, retries included; below the server's deadline.
_PATIENCE = 25.0
_ATTEMPT = 12.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CollateralOptions:
    """What ``casemate serve collateral`` was asked for; see its help."""

    listen: str
    tls: Path | None
    tls_names: tuple[str, ...]
    store: str
    mode: str
    upstream: str | None
    pcs: str | None
    pcs_certificates: str | None
    upstream_ca: Path | None
    proxy: str | None
    subscription_key: Path | None
    user_token_hash: str | None
    admin_token_hash: str | None
    refresh_hours: float
    stale_hours: float
    simulated_root: Path | None
    export: Path | None
    key: str | None
    import_package: Path | None
    trusted: tuple[Path, ...]
    as_json: bool


@click.command("collateral", short_help="Give verifiers and quoting enclaves Intel's collateral.")
@click.option(
    "--listen",
    default="127.0.0.1:8081",
    show_default=True,
    metavar="HOST:PORT",
    help="Address to listen on; with port 0, any free one.",
)
@click.option(
    "--tls",
    type=_FOLDER,
    help="Folder with ca.pem, cert.pem and key.pem; when it is empty or absent, they are made there, for "
    "development.",
)
@click.option(
    "--tls-name",
    "tls_names",
    multiple=True,
    metavar="NAME",
    help="One more name for a certificate that is made.",
)
@click.option(
    "--store",
    required=True,
    metavar="FILE|URL",
    help="SQLite file, made at the first start; or postgresql://… of a database that several services share.",
)
@click.option(
    "--mode",
    type=click.Choice(("lazy", "registered", "offline")),
    default="lazy",
    show_default=True,
    help="Ask upstream at the first request; for registered platforms only; or never.",
)
@click.option(
    "--upstream",
    metavar="URL",
    help="Another service with PCCS's API to ask, in the place of Intel's.",
)
@click.option(
    "--pcs",
    metavar="URL",
    help="Where Intel's service is.  [default: https://api.trustedservices.intel.com]",
)
@click.option(
    "--pcs-certificates",
    metavar="URL",
    help="Where Intel publishes its root's CRL.  [default: https://certificates.trustedservices.intel.com]",
)
@click.option(
    "--upstream-ca",
    type=_FILE,
    help="Authorities that certify the upstream service, PEM.  [default: the system's]",
)
@click.option("--proxy", metavar="URL", help="HTTP proxy on the way to the upstream service.")
@click.option(
    "--subscription-key", type=_FILE, help="File with the subscription key for Intel's service, on one line."
)
@click.option(
    "--user-token-hash",
    metavar="SHA512",
    help="SHA-512 of the token that may register platforms, hexadecimal.  [default: nobody may]",
)
@click.option(
    "--admin-token-hash",
    metavar="SHA512",
    help="SHA-512 of the token that may look after the service, hexadecimal.  [default: nobody may]",
)
@click.option(
    "--refresh-hours",
    default=24.0,
    show_default=True,
    type=click.FloatRange(0.1, 24 * 30),
    metavar="HOURS",
    help="Age at which a document is renewed.",
)
@click.option(
    "--stale-hours",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 24 * 30),
    metavar="HOURS",
    help="How long after its end a document is still given out, with a warning, when it cannot be renewed.",
)
@click.option(
    "--simulated-root",
    type=_FILE,
    help="Root certificate (PEM) of a simulated platform, in the place of Intel's.",
)
@click.option(
    "--export",
    type=_ANY_FILE,
    metavar="PACKAGE",
    help="Write everything in the store to a package signed with --key, and end.",
)
@click.option("--key", metavar="URI", help="Key that signs the package: see casemate key.")
@click.option(
    "--import",
    "import_package",
    type=_FILE,
    metavar="PACKAGE",
    help="Take in a package signed by a key of --trust, once all of it was checked again, and end.",
)
@click.option(
    "--trust", "trusted", multiple=True, type=_FILE, metavar="PUB.pem", help="Public key that signs packages."
)
@passphrase_options
@click.option("--json", "as_json", is_flag=True, help="Print the address as a line of JSON when ready.")
def command(**options: Any) -> None:
    """Give verifiers and quoting enclaves Intel's collateral, over HTTPS until a signal comes.

    Speaks the API of Intel's PCCS. Nothing is kept before its signatures and its window were checked.
    """
    asked = CollateralOptions(**options)
    _require_agreement(asked)
    with closing(_open_store(asked.store, may_make=asked.export is None)) as store:
        if asked.export is not None:
            _export(asked, store, asked.export)
        elif asked.import_package is not None:
            _import(asked, store, asked.import_package)
        else:
            _serve(asked, store)


def _require_agreement(options: CollateralOptions) -> None:
    if options.export is not None and options.import_package is not None:
        raise click.UsageError("Give --export or --import, not both.")
    if options.mode == "offline" and options.upstream is not None:
        raise click.UsageError("With --mode offline, --upstream is never asked: leave one of them out.")
    needed: dict[str, object] = {"--tls": options.tls}
    if options.export is not None:
        needed = {"--key": options.key}
    if options.import_package is not None:
        needed = {"--trust": options.trusted}
    for name, value in needed.items():
        if not value:
            raise click.MissingParameter(param_hint=f"'{name}'", param_type="option")


def _serve(options: CollateralOptions, store: CollateralStore) -> None:
    from casemate.adapters.broker_server import BrokerServer, bind
    from casemate.collateral.access import Tokens
    from casemate.collateral.api import Api
    from casemate.collateral.app import CollateralApp, HotCopies
    from casemate.collateral.metrics import Counters
    from casemate.collateral.upkeep import Upkeep, Watch

    if options.tls is None:
        raise click.MissingParameter(param_hint="'--tls'", param_type="option")
    log_to_stderr()
    address = listening_address(options.listen)
    tokens = Tokens.parse(user=options.user_token_hash, admin=options.admin_token_hash)
    counters, hot, rules = Counters(), HotCopies(), _rules(options)
    api = Api(_surroundings(options, store, counters, hot.clear), rules, tokens)
    require_certificates("collateral", options.tls, options.tls_names, address)
    listener = bind(address)
    host, port = listener.getsockname()[:2]
    app = CollateralApp(api, hot, clock=utc_now, counters=counters)
    announce = announcement("collateral", host, port, as_json=options.as_json)
    renewed = None if options.mode == "offline" else api.documents
    with Upkeep(Watch(store, hot.clear), renewed):
        BrokerServer(app, listener, options.tls, announce, limits=_connection_limits()).run_until_signal()


def _surroundings(
    options: CollateralOptions, store: CollateralStore, counters: Counters, changed: Callable[[], None]
) -> Surroundings:
    from casemate.collateral.asking import Asking
    from casemate.collateral.documents import Surroundings

    asking = None
    if options.mode != "offline":
        asking = Asking(_upstream(options), clock=utc_now, counters=counters)
    return Surroundings(
        store=store,
        asking=asking,
        roots=_roots(options),
        clock=utc_now,
        random=random.random,
        counters=counters,
        changed=changed,
    )


def _rules(options: CollateralOptions) -> CacheRules:
    from casemate.collateral.documents import CacheRules, Mode

    return CacheRules(
        mode=Mode(options.mode),
        refresh_every=timedelta(hours=options.refresh_hours),
        stale_for=timedelta(hours=options.stale_hours),
    )


def _connection_limits() -> ConnectionLimits:
    """Whole clusters stand behind one address, and a refresh by hand takes its time."""
    from casemate.adapters.broker_server import ConnectionLimits

    return ConnectionLimits(connections=2048, per_address=1024, exchange=120, idle=60)


def _open_store(text: str, *, may_make: bool = True) -> CollateralStore:
    if text.startswith(_POSTGRES):
        try:
            from casemate.adapters.collateral_postgres import open_postgres_store
        except ImportError as error:
            raise ToolchainError(
                "stores in PostgreSQL",
                expected="the extra postgresql",
                got="no usable psycopg",
                hint="pip install 'casemate[postgresql]'",
            ) from error
        return open_postgres_store(text)
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text)
    if scheme is not None:
        # Without what follows: there may be a password in it.
        raise UsageError(
            "collateral store",
            expected="the name of an SQLite file, or postgresql://…",
            got=f"{scheme[0]}…",
            where="--store",
        )
    path = Path(text)
    if not may_make and not path.exists():
        raise UsageError(
            "collateral store",
            expected="one that exists, as --export writes what is in it",
            got="no such file",
            where=text,
            hint="name with --store the file that the service keeps its documents in",
        )
    from casemate.adapters.collateral_sqlite import open_sqlite_store

    return open_sqlite_store(path)


def _upstream(options: CollateralOptions) -> Upstream:
    from casemate.adapters.intel_pcs import (
        CERTIFICATES,
        SERVICE,
        CacheUpstream,
        IntelUpstream,
        Limits,
        UpstreamAddress,
        proxy_address,
    )

    proxy = None if options.proxy is None else proxy_address(options.proxy)
    limits = Limits(connect=5, read=_ATTEMPT, answer=_ATTEMPT, call=_PATIENCE, attempts=2)
    if options.upstream is not None:
        return CacheUpstream(
            UpstreamAddress.parse(options.upstream), ca=options.upstream_ca, proxy=proxy, limits=limits
        )
    key = ""
    if options.subscription_key is not None:
        key = read_file(options.subscription_key).decode("ascii", "replace").strip()
    return IntelUpstream(
        UpstreamAddress.parse(options.pcs or SERVICE),
        UpstreamAddress.parse(options.pcs_certificates or CERTIFICATES),
        subscription_key=key,
        ca=options.upstream_ca,
        proxy=proxy,
        limits=limits,
    )


def _roots(options: CollateralOptions) -> TrustRoots:
    from casemate.cli.verify_trust import trust_roots

    if options.simulated_root is None:
        return trust_roots(None)
    click.echo("collateral: trusts a simulated root: it protects nothing, for development only", err=True)
    return trust_roots(options.simulated_root)


def _export(options: CollateralOptions, store: CollateralStore, path: Path) -> None:
    from casemate.builder.writing import write_files
    from casemate.cli.key_uri import open_key
    from casemate.collateral.package import write_package

    signer = open_key(options.key or "")
    package = write_package(store, signer, utc_now())
    write_files({path: package})
    count = package.count(b"\n") - 1
    click.echo(f"{path}: {count} documents, platforms and policies together, {len(package):,} bytes")


def _import(options: CollateralOptions, store: CollateralStore, path: Path) -> None:
    from casemate.collateral.documents import Documents
    from casemate.collateral.metrics import Counters
    from casemate.collateral.package import MAX_PACKAGE_SIZE, read_package
    from casemate.formats.public_key import parse_public_key

    size = path.stat().st_size
    if size > MAX_PACKAGE_SIZE:
        raise FormatError(
            "package", expected=f"at most {MAX_PACKAGE_SIZE} bytes", got=str(size), where=str(path)
        )
    keys = [parse_public_key(read_file(one), where=str(one)) for one in options.trusted]
    around = _surroundings(replace(options, mode="offline"), store, Counters(), lambda: None)
    content = read_package(read_file(path), keys, around.roots, utc_now(), where=str(path))
    documents = Documents(around, _rules(options))
    newer = sum(not documents.keep(entry) for entry in content.entries)
    for platform in content.platforms:
        store.put_platform(platform)
    for policy in content.policies:
        store.put_policy(policy)
    for refused in content.refused:
        click.echo(f"refused: {refused}", err=True)
    click.echo(
        f"{path}: made {content.made}: {len(content.entries) - newer} documents, {len(content.platforms)} "
        f"platforms, {len(content.policies)} policies taken in; {newer} documents older than those here, "
        f"{len(content.refused)} refused"
    )
