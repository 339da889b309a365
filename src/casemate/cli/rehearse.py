"""``casemate rehearse``: run a bundle here, as Gramine would."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from casemate.cli.terminal import printable

if TYPE_CHECKING:
    from casemate.builder.bundles.bundle import Bundle
    from casemate.cli.rehearse_learn import Learning
    from casemate.rehearsal.direct import DirectGramine
    from casemate.rehearsal.recording import Recording
    from casemate.rehearsal.report import Report
    from casemate.rehearsal.session import Session
    from casemate.simulator.platform import SimulatedPlatform

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(name="rehearse")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--platform",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Simulated platform to run on, made there if it does not exist.  [default: a fresh one each time]",
)
@click.option("--rootfs", type=_FOLDER, help="Root file system to run from.  [default: the bundle's image]")
@click.option(
    "--runtime",
    type=click.Choice(["sandbox", "gramine-direct"]),
    default="sandbox",
    show_default=True,
    help="What stands for Gramine: namespaces, FUSE and seccomp; or an installed Gramine, without SGX.",
)
@click.option(
    "--gramine",
    type=_FOLDER,
    metavar="PREFIX",
    help="Prefix of the Gramine for --runtime gramine-direct.  [default: looked for in the usual places]",
)
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Stop it after so many seconds.")
@click.option(
    "--pass",
    "passed",
    multiple=True,
    metavar="NAME",
    help="Let a passthrough variable of the manifest have its value from here; repeatable.",
)
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Add what the run opens to FILE, for closure mode trace; made if it does not exist.",
)
@click.option(
    "--learn",
    type=_FOLDER,
    metavar="DIR",
    help="Propose what is to change in the casemate.toml of DIR, from what was missing.",
)
@click.option(
    "--write",
    is_flag=True,
    help="With --learn: change the file, build, and run again until nothing new is missing.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON; the application prints to stderr."
)
def command(  # noqa: PLR0913 - one argument for each option
    bundle: Path,
    *,
    platform: Path | None,
    rootfs: Path | None,
    runtime: str,
    gramine: Path | None,
    timeout: float | None,
    passed: tuple[str, ...],
    record: Path | None,
    learn: Path | None,
    write: bool,
    as_json: bool,
) -> None:
    """Run BUNDLE on this machine, as Gramine would, with simulated attestation.

    The application sees the files, mounts, arguments and environment of the manifest and nothing else. Files
    that it asks for and does not get are reported, with the line of code that asked. Stop it with SIGTERM or
    Ctrl-C.
    """
    from casemate.builder.bundles.bundle import Bundle
    from casemate.cli.rehearse_learn import Learning, learn_in_rounds, refuse_write_alone

    wanted = _Wanted(
        runtime=runtime,
        platform=platform,
        rootfs=rootfs,
        gramine=gramine,
        timeout=timeout,
        passed=passed,
        stdout=2 if as_json else 1,
    )
    wanted.check(learn=learn, record=record)
    refuse_write_alone(learn, write=write)
    opened = Bundle.open(bundle)
    recording = _recording(opened, record)
    learning = None if learn is None else Learning.begin(learn)
    report = wanted.run(opened)
    if learning is not None:
        options = () if gramine is None else ("--gramine", str(gramine))
        report = learn_in_rounds(learning, report, wanted.run, options=options, write=write)
    if as_json:
        click.echo(json.dumps(report.to_json() | _learned(learning), indent=2))
    else:
        _show(report)
    if learning is not None:
        _show_learned(learning, write=write)
    report.require_success()
    if recording is not None:
        trace = recording.add(report.asked)
        click.echo(
            f"recorded in {record}: {len(trace.modules)} modules, {len(trace.data)} data files", err=True
        )
        click.echo(printable(recording.advice), err=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """How bundles are to be run; the attributes are the options of the command."""

    runtime: str
    platform: Path | None
    rootfs: Path | None
    gramine: Path | None
    timeout: float | None
    passed: tuple[str, ...]
    stdout: int

    def check(self, *, learn: Path | None, record: Path | None) -> None:
        """Refuse options that mean nothing to the runtime."""
        if self.runtime == "gramine-direct":
            _refuse_with(self.runtime, platform=self.platform, rootfs=self.rootfs, record=record)
        elif learn is None:
            _refuse_with(self.runtime, gramine=self.gramine)

    def run(self, bundle: Bundle) -> Report:
        """Run a bundle once, to its end."""
        from casemate.rehearsal.direct import DirectRehearsal
        from casemate.rehearsal.loading import stage_of
        from casemate.rehearsal.run import Rehearsal
        from casemate.settings import variables

        session: Session
        outside = variables(self.passed)
        if self.runtime == "gramine-direct":
            found = _gramine(self.gramine)
            session = DirectRehearsal(bundle, found, outside=outside, stdout=self.stdout)
        else:
            stage = stage_of(bundle, _platform(self.platform), self.rootfs)
            session = Rehearsal(stage, outside=outside, stdout=self.stdout)
        with session:
            return _run(session, self.timeout)


def _learned(learning: Learning | None) -> dict[str, object]:
    """What was learned, for the document."""
    if learning is None:
        return {}
    return {
        "learned": {"changes": [change.because for change in learning.changes], "diff": learning.difference}
    }


def _show_learned(learning: Learning, *, write: bool) -> None:
    """The change of the file, on standard error."""
    if not learning.changes:
        click.echo("learned: nothing that casemate.toml could change", err=True)
        return
    for line in learning.difference.removesuffix("\n").split("\n"):
        click.echo(printable(line.replace("\t", "    ")), err=True)
    for change in learning.changes:
        click.echo(printable(f"learned from: {change.because}"), err=True)
    done = "written; build the bundle again" if write else "not written; --write changes the file"
    click.echo(f"learned: {len(learning.changes)} changes, {done}", err=True)


def _refuse_with(runtime: str, **options: object) -> None:
    """Options that mean nothing to a runtime."""
    from casemate.errors import UsageError

    for name, value in options.items():
        if value is not None:
            raise UsageError(f"--{name}", expected=f"no such option with --runtime {runtime}", got=str(value))


def _gramine(prefix: Path | None) -> DirectGramine:
    from casemate.adapters.gramine_installation import USUAL_PREFIXES, find_gramine
    from casemate.errors import ToolchainError
    from casemate.rehearsal.direct import DirectGramine

    found = find_gramine(prefix)
    if found is None:
        raise ToolchainError(
            "Gramine",
            expected="an installed one",
            got="none in " + ", ".join(map(str, USUAL_PREFIXES)),
            hint="name its prefix with --gramine, or rehearse in the sandbox, which needs none",
        )
    return DirectGramine(version=found.version, loader=found.direct_loader, libos=found.libos)


def _recording(bundle: Bundle, file: Path | None) -> Recording | None:
    """The record, refused before anything runs when the run cannot be added to it."""
    from casemate.rehearsal.recording import Recording

    return None if file is None else Recording.begin(bundle, file)


def _platform(folder: Path | None) -> SimulatedPlatform:
    from datetime import UTC, datetime

    from casemate.adapters.platform_directory import open_platform
    from casemate.simulator.platform import SimulatedPlatform

    now = datetime.now(UTC)
    return SimulatedPlatform.create(now) if folder is None else open_platform(folder, now)


def _run(rehearsal: Session, timeout: float | None) -> Report:
    """Wait, handing SIGTERM and SIGINT on as the SIGTERM that Gramine injects."""
    import signal

    numbers = (signal.SIGTERM, signal.SIGINT)
    former = {number: signal.signal(number, lambda *_: rehearsal.terminate()) for number in numbers}
    try:
        return rehearsal.wait(timeout)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _show(report: Report) -> None:
    """The report for people, on standard error: standard output is the application's."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(stderr=True)
    if report.findings and console.is_terminal:
        table = Table("refused", "what", "asked for by", title="What the application did not get")
        for finding in report.findings:
            table.add_row(finding.kind.value, Text(printable(finding.path)), Text(printable(finding.asker)))
        console.print(table)
    for finding in () if console.is_terminal else report.findings:
        line = f"refused: {finding.kind.value} {finding.path}, asked for by {finding.asker}"
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    for remedy in dict.fromkeys(map(report.remedy, report.findings)):
        files = [finding.path for finding in report.findings if report.remedy(finding) == remedy]
        line = f"what to do about {_counted(files)}: {remedy}"
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    for note in report.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    opened = "" if report.opened is None else f"{report.opened} trusted files opened, "
    root = "no platform" if report.root_sha256 is None else f"root of the platform {report.root_sha256}"
    console.print(
        f"rehearsed for {report.seconds:.1f} s: {opened}{len(report.findings)} refused, "
        f"exit code {report.exit_code}; simulated MRENCLAVE {report.mrenclave}, {root}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _counted(files: list[str]) -> str:
    """One file by its path, several by the first of them."""
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"
