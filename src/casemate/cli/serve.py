"""``casemate serve``: the services."""

from __future__ import annotations

import importlib
import os
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.accepted_status import accept_status_option, accepted_statuses
from casemate.cli.commands import SuggestingGroup
from casemate.cli.listening import (
    announcement,
    listening_address,
    log_to_stderr,
    require_certificates,
    utc_now,
)
from casemate.cli.pccs import Pccs, pccs_options
from casemate.errors import FormatError, UsageError

if TYPE_CHECKING:
    from casemate.adapters.broker_server import Address
    from casemate.broker.policy import Appraiser, ReferenceAppraiser, WorkloadPolicy
    from casemate.broker.resource import ResourceName, Secret
    from casemate.broker.store import KeyEncryptionKey, ResourceStore
    from casemate.formats.sgx.collateral import Collateral

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_ANY_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)
#: Bytes of any file that is read; each format has a smaller bound of its own.
_MAX_FILE_SIZE = 8 << 20


class _Services(SuggestingGroup):
    """The services; all but the broker are modules of their own, imported when chosen."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return [*super().list_commands(ctx), "collateral"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command that runs one."""
        if cmd_name != "collateral":
            return super().get_command(ctx, cmd_name)
        chosen: click.Command = importlib.import_module("casemate.cli.serve_collateral").command
        return chosen


@click.group("serve", cls=_Services)
def command() -> None:
    """Run a service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerOptions:
    """What ``casemate serve broker`` was asked for; see its help."""

    listen: str
    tls: Path
    tls_names: tuple[str, ...]
    store: Path
    kek: Path | None
    reference_values: tuple[Path, ...]
    collateral: Path | None
    pccs: Pccs | None
    fmspcs: tuple[str, ...]
    simulated_root: Path | None
    simulated_platform: Path | None
    prepare: bool
    statuses: tuple[str, ...]
    resources: tuple[str, ...]
    generate: tuple[str, ...]
    session_lifetime: int
    as_json: bool


@command.command("broker", short_help="Release secrets to the enclaves that match reference values.")
@click.option(
    "--listen",
    default="127.0.0.1:8080",
    show_default=True,
    metavar="HOST:PORT",
    help="Address to listen on; with port 0, any free one.",
)
@click.option(
    "--tls",
    required=True,
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
    type=_ANY_FILE,
    help="SQLite file with the sealed resources and the audit log; made at the first start.",
)
@click.option(
    "--kek",
    type=_ANY_FILE,
    help="File with the key that the resources are sealed under; made with the store.  [default: STORE.kek]",
)
@click.option(
    "--reference-values",
    multiple=True,
    type=_FILE,
    help="reference-values.json of a signed bundle NAME, which may then read default/NAME/…; repeatable.",
)
@click.option(
    "--collateral",
    type=_FILE,
    help="Intel's collateral for the platforms, JSON, one file, as casemate verify quote --save-collateral "
    "writes it.",
)
@pccs_options
@click.option(
    "--fmspc",
    "fmspcs",
    multiple=True,
    metavar="FMSPC[:processor]",
    help="A family of platforms for which --pccs is asked, at the start and before what it gave ends; "
    "repeatable. With :processor those of one package.",
)
@click.option(
    "--simulated-root",
    type=_FILE,
    help="Root certificate (PEM) of a simulated platform, to accept it beside Intel's.",
)
@accept_status_option
@click.option(
    "--simulated-platform",
    type=_FOLDER,
    metavar="DIR",
    help="Folder of a simulated platform, in place of --collateral and --simulated-root; made there if it "
    "does not exist.",
)
@click.option(
    "--prepare",
    is_flag=True,
    help="Make the certificates and the simulated platform that are not there yet, and end: an enclave is "
    "built for one broker, so its certificate comes first.",
)
@click.option(
    "--resource",
    "resources",
    multiple=True,
    metavar="REPO/TYPE/TAG=FILE",
    help="Keep the content of FILE as a resource; repeatable.",
)
@click.option(
    "--generate",
    multiple=True,
    metavar="REPO/TYPE/TAG=BYTES",
    help="Make a random resource of that size, unless it exists; repeatable.",
)
@click.option(
    "--session-lifetime",
    default=300,
    show_default=True,
    type=click.IntRange(1, 3600),
    metavar="SECONDS",
    help="How long a challenge, and what its answer proved, are good.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the address as a line of JSON when ready.")
def broker(**options: Any) -> None:
    """Release secrets to the enclaves that match reference values, over HTTPS until a signal comes."""
    if options["simulated_platform"]:
        options |= _simulation(options)
    address = listening_address(options["listen"])
    if options["prepare"]:
        require_certificates("broker", options["tls"], options["tls_names"], address)
        return
    pccs = Pccs.taken_from(options)
    endorsements = ("fmspcs", "--fmspc") if pccs else ("collateral", "--collateral")
    for name, option in (("store", "--store"), ("reference_values", "--reference-values"), endorsements):
        if not options[name]:
            raise click.MissingParameter(param_hint=f"'{option}'", param_type="option")
    if pccs is not None and options["collateral"]:
        raise click.UsageError("Give one of --collateral and --pccs.")
    if pccs is None and options["fmspcs"]:
        raise click.UsageError("--fmspc says what is asked of --pccs.")
    _serve(BrokerOptions(pccs=pccs, **options), address)


def _simulation(options: dict[str, Any]) -> dict[str, Path]:
    """What the simulated platform stands for: its endorsements and its root."""
    from casemate.adapters.platform_directory import open_platform

    if options["collateral"] or options["simulated_root"] or options["pccs"]:
        raise click.UsageError("Give --simulated-platform, or --simulated-root with --collateral or --pccs.")
    folder: Path = options["simulated_platform"]
    if not folder.exists():
        open_platform(folder, utc_now())
        click.echo(f"broker: made a simulated platform in {folder}: it protects nothing", err=True)
    return {"collateral": folder / "collateral.json", "simulated_root": folder / "root.pem"}


def _serve(options: BrokerOptions, address: Address) -> None:
    from casemate.adapters.broker_server import BrokerServer, bind
    from casemate.adapters.sqlite_store import SqliteStore
    from casemate.broker.app import make_app
    from casemate.broker.release import Broker
    from casemate.broker.session import SessionLimits
    from casemate.broker.store import ResourceStore
    from casemate.broker.token import TokenIssuer

    log_to_stderr()
    policy = _policy(options)
    appraiser, renewal = _appraiser(options, policy)
    wanted = _wanted(options)
    require_certificates("broker", options.tls, options.tls_names, address)
    key = _key(options)
    with closing(SqliteStore.open(options.store, key)) as table, renewal:
        store = ResourceStore(table, key, os.urandom)
        _fill(store, wanted, policy)
        _warn_of_simulations(policy)
        broker = Broker(
            appraiser=appraiser,
            policy=policy,
            store=store,
            audit=table,
            tokens=TokenIssuer.ephemeral(),
            limits=SessionLimits(lifetime=timedelta(seconds=options.session_lifetime)),
            random=os.urandom,
        )
        listener = bind(address)
        host, port = listener.getsockname()[:2]
        app = make_app(broker, clock=utc_now)
        announce = announcement("broker", host, port, as_json=options.as_json)
        BrokerServer(app, listener, options.tls, announce).run_until_signal()


def _policy(options: BrokerOptions) -> WorkloadPolicy:
    from casemate.broker.policy import WorkloadPolicy
    from casemate.verifier.reference_values import ReferenceValues

    values = tuple(ReferenceValues.parse(_read(path), str(path)) for path in options.reference_values)
    for path, value in zip(options.reference_values, values, strict=True):
        if value.simulated and options.simulated_root is None:
            raise UsageError(
                "reference values",
                expected="those of a real platform, as no simulated root is named",
                got="simulated ones",
                where=str(path),
                hint="build with Gramine (casemate build --gramine PATH), or name --simulated-root",
            )
    if options.simulated_root is not None and not any(value.simulated for value in values):
        raise UsageError(
            "simulated root",
            expected="simulated reference values that need it",
            got="real ones only",
            where=str(options.simulated_root),
            hint="leave --simulated-root out",
        )
    return WorkloadPolicy(reference_values=values)


def _warn_of_simulations(policy: WorkloadPolicy) -> None:
    if policy.simulated_workloads:
        names = ", ".join(policy.simulated_workloads)
        click.echo(
            f"broker: accepts simulated platforms for {names}: they protect nothing, for development only",
            err=True,
        )


def _appraiser(
    options: BrokerOptions, policy: WorkloadPolicy
) -> tuple[Appraiser, AbstractContextManager[object]]:
    """What judges evidence, and what goes on beside it."""
    from casemate.broker.policy import ReferenceAppraiser
    from casemate.cli.broker_appraisal import appraiser_under_collateral, appraiser_under_service
    from casemate.cli.verify_trust import simulated_roots
    from casemate.verifier.roots import TrustRoots

    named = options.simulated_root
    roots = TrustRoots.simulated() if named is None else simulated_roots(named)
    statuses = accepted_statuses(options.statuses)

    def appraiser_of(collateral: Collateral) -> ReferenceAppraiser:
        return ReferenceAppraiser(
            reference_values=policy.reference_values,
            endorsements=collateral,
            simulated_roots=roots,
            accepted_statuses=statuses,
        )

    if options.pccs is not None:
        return appraiser_under_service(options.pccs, options.fmspcs, appraiser_of)
    return appraiser_under_collateral(_read(options.collateral or Path()), appraiser_of)


def _key(options: BrokerOptions) -> KeyEncryptionKey:
    from casemate.adapters.kek_file import read_or_make_key

    path = options.kek or options.store.with_name(options.store.name + ".kek")
    return read_or_make_key(path, os.urandom, may_make=not options.store.exists())


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedResources:
    """What the store has to hold when the broker serves.

    Attributes:
        given: Secrets from files.
        generated: Sizes of random secrets, in bytes.
    """

    given: tuple[tuple[ResourceName, Secret], ...]
    generated: tuple[tuple[ResourceName, int], ...]


def _wanted(options: BrokerOptions) -> WantedResources:
    """Read the options ``--resource`` and ``--generate``, and the files that they name."""
    from casemate.broker.resource import Secret

    files = [_named(text, "--resource", "FILE") for text in options.resources]
    sizes = [_named(text, "--generate", "BYTES") for text in options.generate]
    return WantedResources(
        given=tuple((name, Secret(_read(Path(path)))) for name, path in files),
        generated=tuple((name, _size(size)) for name, size in sizes),
    )


def _fill(store: ResourceStore, wanted: WantedResources, policy: WorkloadPolicy) -> None:
    """Keep and generate what is wanted; say so when nobody will be able to read it."""
    for name, secret in wanted.given:
        store.put(name, secret)
    for name, size in wanted.generated:
        store.generate(name, size)
    for name, _ in (*wanted.given, *wanted.generated):
        if not policy.has_reader(name):
            click.echo(f"broker: nobody can read {name}: no reference values are for its workload", err=True)


def _named(text: str, option: str, value: str) -> tuple[ResourceName, str]:
    from casemate.broker.resource import ResourceName

    name, separator, rest = text.partition("=")
    if not separator or not rest:
        raise UsageError("resource", expected=f"REPO/TYPE/TAG={value}", got=text, where=option)
    try:
        return ResourceName.parse(name), rest
    except FormatError as error:
        raise UsageError(
            error.subject,
            expected=error.expected,
            got=error.got,
            where=option,
            hint=f"for example {option} default/notes/db-key={value}",
        ) from error


def _size(text: str) -> int:
    from casemate.broker.resource import MAX_SECRET_SIZE

    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= MAX_SECRET_SIZE:
        raise UsageError(
            "resource size", expected=f"1 to {MAX_SECRET_SIZE} bytes", got=text, where="--generate"
        )
    return int(text)


def _read(path: Path) -> bytes:
    """The content of a file that the command line names."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_SIZE + 1)
    except OSError as error:
        raise UsageError(
            "file", expected="one that can be read", got=error.strerror or str(error), where=str(path)
        ) from error
    if len(content) > _MAX_FILE_SIZE:
        raise FormatError("file", expected=f"at most {_MAX_FILE_SIZE} bytes", got="more", where=str(path))
    return content
