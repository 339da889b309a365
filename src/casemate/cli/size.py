"""``casemate size``: how large an enclave has to be, from a run that is looked at."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

from casemate.errors import RehearsalError

if TYPE_CHECKING:
    from casemate.builder.bundles.bundle import Bundle
    from casemate.builder.enclave.sizing import Enclosure, Proposal, Usage
    from casemate.rehearsal.profile import Profiler
    from casemate.rehearsal.report import Report
    from casemate.rehearsal.run import Rehearsal

_LISTENING_TIMEOUT = 120.0
_PACE = 0.2
_NOT_MEASURED = (
    "Measured in a rehearsal, not on SGX: what an enclave takes follows from a model. Run the bundle "
    "at the proposed size under the same traffic on SGX before you rely on it."
)


@click.command(name="size", context_settings={"ignore_unknown_options": True})
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("command_line", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--for",
    "seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Look for so long after it listens.  [default: until SIGTERM or Ctrl-C, or until COMMAND ends]",
)
@click.option(
    "--headroom",
    type=click.IntRange(0, 1000),
    default=25,
    show_default=True,
    metavar="PERCENT",
    help="What is added to what was used.",
)
@click.option(
    "--pass",
    "passed",
    multiple=True,
    metavar="NAME",
    help="Let a passthrough variable of the manifest have its value from here; repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    bundle: Path,
    command_line: tuple[str, ...],
    seconds: float | None,
    headroom: int,
    passed: tuple[str, ...],
    *,
    as_json: bool,
) -> None:
    """Rehearse BUNDLE, look at what it uses, and propose size, threads and stack of its enclave.

    COMMAND sends the traffic that the service will see; it starts when the service listens. Without one, send
    it yourself. What the application prints goes to standard error.
    """
    from casemate.builder.bundles.bundle import Bundle
    from casemate.builder.enclave.sizing import propose

    opened = Bundle.open(bundle)
    usage = _profile(opened, command_line, seconds, passed)
    proposal = propose(usage, _enclosure(opened), headroom=headroom)
    if as_json:
        document = {
            "version": 1,
            "bundle": str(bundle),
            "measured_on_sgx": False,
            "measured": usage.to_json(),
            **proposal.to_json(),
        }
        click.echo(json.dumps(document, indent=2))
    else:
        _show(usage, proposal)


def _profile(
    bundle: Bundle, command_line: tuple[str, ...], seconds: float | None, passed: tuple[str, ...]
) -> Usage:
    from datetime import UTC, datetime

    from casemate.rehearsal.loading import stage_of
    from casemate.rehearsal.profile import Profiler, with_room
    from casemate.rehearsal.run import Rehearsal
    from casemate.settings import variables
    from casemate.simulator.platform import SimulatedPlatform

    make = stage_of(bundle, SimulatedPlatform.create(datetime.now(UTC)), None)
    with Rehearsal(
        lambda private: with_room(make(private)), outside=variables(passed), stdout=2
    ) as rehearsal:
        profiler = Profiler(
            rehearsal.process,
            folders=tuple(mount.path for mount in rehearsal.plan.mounts),
            stack_size=rehearsal.plan.stack,
            port=bundle.deployment.port,
        )
        with profiler, _Traffic(rehearsal, profiler, command_line, seconds) as traffic:
            report = _wait(rehearsal)
        report.require_success()
        traffic.require_success()
        return profiler.usage


def _wait(rehearsal: Rehearsal) -> Report:
    """Wait for the end, handing SIGTERM and SIGINT on."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    former = {number: signal.signal(number, lambda *_: rehearsal.terminate()) for number in numbers}
    try:
        return rehearsal.wait()
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class _Traffic:
    """Lets the application be used, and tells it to end; a context manager with a thread of its own."""

    def __init__(
        self,
        rehearsal: Rehearsal,
        profiler: Profiler,
        command_line: tuple[str, ...],
        seconds: float | None,
    ) -> None:
        self._rehearsal = rehearsal
        self._profiler = profiler
        self._command_line = command_line
        self._seconds = seconds
        self._over = threading.Event()
        self._failure: RehearsalError | None = None
        self._thread = threading.Thread(target=self._drive, name="casemate-traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def require_success(self) -> None:
        """Raise when the command that sends the traffic failed.

        Raises:
            RehearsalError: It did, or it could not be started.
        """
        if self._failure is not None:
            raise self._failure

    def _drive(self) -> None:
        if not self._profiler.wait_until_it_listens(_LISTENING_TIMEOUT):
            click.echo("The application does not listen; it is looked at all the same.", err=True)
        if self._command_line:
            self._failure = self._send()
        elif self._seconds is not None:
            self._over.wait(self._seconds)
        else:
            click.echo("Send the application its traffic, then stop this with Ctrl-C.", err=True)
            self._over.wait()
        if not self._over.is_set():
            self._rehearsal.terminate()

    def _send(self) -> RehearsalError | None:
        """Run the command until it ends, the application does, or time is up."""
        try:
            sender = subprocess.Popen(self._command_line, stdin=subprocess.DEVNULL, stdout=2)
        except OSError as error:
            return _failed(self._command_line, error.strerror or str(error))
        end = None if self._seconds is None else time.monotonic() + self._seconds
        with sender:
            while sender.poll() is None:
                if self._over.wait(_PACE) or (end is not None and time.monotonic() >= end):
                    sender.terminate()
                    return None
        return _failed(self._command_line, str(sender.returncode)) if sender.returncode else None


def _failed(command_line: tuple[str, ...], got: str) -> RehearsalError:
    return RehearsalError(
        "command that sends the traffic",
        expected="exit code 0",
        got=got,
        where=shlex.join(command_line),
        hint="what it printed says why; nothing is proposed from traffic that failed",
    )


def _enclosure(bundle: Bundle) -> Enclosure:
    from casemate.builder.enclave.measurement import DEFAULT_GRAMINE_VERSION
    from casemate.builder.enclave.sizing import Enclosure
    from casemate.formats.manifest import EnclaveSettings, load_manifest

    manifest, tcb, record = bundle.manifest, bundle.tcb, bundle.measurement
    return Enclosure(
        manifest=manifest,
        settings=EnclaveSettings.from_manifest(load_manifest(manifest)),
        platform_image=_platform_image(bundle),
        gramine=".".join((record.gramine_version or DEFAULT_GRAMINE_VERSION).split(".")[:2]),
        files=len(tcb.files),
        bytes=tcb.size,
    )


def _platform_image(bundle: Bundle) -> bytes:
    """Gramine's own out of the image, or its simulation."""
    if bundle.measurement.simulated:
        from casemate.simulator.platform_image import platform_image

        return platform_image()
    from casemate.builder.bundles.parts import IMAGE_PLATFORM
    from casemate.builder.packing.image_contents import image_holdings

    holdings = image_holdings(bundle.image, bundle.image.documents().manifest, IMAGE_PLATFORM.__eq__)
    if IMAGE_PLATFORM not in holdings.kept:
        raise RehearsalError(
            "platform image", expected="Gramine's, in the image", got="none", where=IMAGE_PLATFORM
        )
    return holdings.kept[IMAGE_PLATFORM]


def _show(usage: Usage, proposal: Proposal) -> None:
    from casemate.builder.enclave.manifest import format_size
    from casemate.cli.shown_checks import show_aligned

    click.echo(f"measured in {usage.seconds:.1f} s, {usage.looks} looks")
    ready = "it was not seen to" if usage.ready is None else f"after {usage.ready:.1f} s"
    show_aligned(
        [
            ("  listened", ready),
            ("  address space", _mebibytes(usage.address_space)),
            ("  of it files", f"{_mebibytes(usage.libraries)} libraries, {_mebibytes(usage.mapped)} others"),
            ("  resident", _mebibytes(usage.resident)),
            ("  temporary files", _mebibytes(usage.temporary)),
            ("  threads", str(usage.threads)),
            ("  stack", f"{usage.stack >> 10} KiB of {format_size(usage.stack_size)}"),
            ("  descriptors", str(usage.descriptors)),
        ]
    )
    click.echo("modelled")
    show_aligned(
        [(f"  {name}", _mebibytes(size)) for name, size in proposal.parts]
        + [
            ("  together", _mebibytes(proposal.needed)),
            ("  loading", f"{proposal.loading:.1f} s"),
            ("  start of Gramine", f"{proposal.starting:.1f} s"),
            ("  trusted files", f"{proposal.hashing:.1f} s"),
            ("  EDMM", f"{'yes' if proposal.edmm else 'no'}: {proposal.edmm_reason}"),
            ("  MALLOC_ARENA_MAX", "1, as the manifest sets it: each further arena takes 64 MiB"),
        ]
    )
    if usage.processes > 1:
        click.echo(f"note: {usage.processes} processes; each is an enclave of this size", err=True)
    click.echo(f"into casemate.toml, in place of what [enclave] there says of them:\n\n{proposal.lines()}")
    click.echo(_NOT_MEASURED, err=True)


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
