"""``casemate build``: from an application's folder to a bundle."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casemate.errors import ProjectError, RefusedError, UsageError

if TYPE_CHECKING:
    from casemate.adapters.gramine_installation import GramineInstallation
    from casemate.builder.build import Application, Built, Machine, Platform
    from casemate.builder.closure import Interpreter
    from casemate.cli.build_keeping import Keeping
    from casemate.formats.trace import Trace
    from casemate.project import Project
    from casemate.settings import Settings

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_NEW_FOLDER = click.Path(path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_ZONES = Path("/usr/share/zoneinfo")
#: Where distributions keep the authorities that TLS clients accept: Debian and its like, Fedora and its like.
_CA_BUNDLES = (Path("/etc/ssl/certs/ca-certificates.crt"), Path("/etc/pki/tls/certs/ca-bundle.crt"))
_SOURCE_HINT = "leave --from out: the interpreter of this machine and the locked requirements are taken"


@click.command(name="build")
@click.argument("directory", type=_FOLDER, default=".")
@click.option("--output", "-o", required=True, type=_NEW_FOLDER, metavar="BUNDLE", help="Where it goes.")
@click.option(
    "--from",
    "source",
    default="host",
    show_default=True,
    metavar="SOURCE",
    help="What it is built from: host, this machine's interpreter and the locked requirements.",
)
@click.option(
    "--python",
    type=_FILE,
    metavar="PATH",
    help="Interpreter of the application.  [default: the Python that runs casemate]",
)
@click.option("--gramine", type=_FOLDER, metavar="PREFIX", help="Prefix of the Gramine that will run it.")
@click.option("--expect", metavar="MRENCLAVE", help="Fail unless this is what the bundle measures to.")
@click.option("--no-cache", is_flag=True, help="Make everything anew, and keep nothing for the next build.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    directory: Path,
    output: Path,
    source: str,
    python: Path | None,
    gramine: Path | None,
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """Build a bundle from the application in DIRECTORY: image, manifest, measurement.

    Without Gramine on this machine the measurement is simulated: the bundle can be
    rehearsed and shown, and holds on no SGX machine.
    """
    from casemate.builder.bundle import Bundle

    if source != "host":
        raise UsageError("source", expected="host", got=source, where="--from", hint=_SOURCE_HINT)
    expected = _expected(options["expect"])
    was_signed = Bundle(output).signature_path.is_file()
    built, application = build_bundle(
        directory, output, python=python, gramine=gramine, use_cache=not options["no_cache"]
    )
    if was_signed:
        click.echo(
            f"The signature went with the former bundle; sign again: casemate sign {output} --key URI",
            err=True,
        )
    _show(built, application, output, as_json=as_json)
    if expected is not None and expected != built.record.mrenclave:
        raise RefusedError(
            "MRENCLAVE",
            expected=expected.hex(),
            got=built.record.mrenclave.hex(),
            where=str(output),
            hint=f"casemate diff says what has changed between {output} and the bundle that was expected",
        )


def _expected(text: str | None) -> bytes | None:
    """The measurement that ``--expect`` names."""
    if text is None:
        return None
    if re.fullmatch("[0-9a-f]{64}", text) is None:
        raise UsageError(
            "measurement", expected="64 hexadecimal digits, lower case", got=text, where="--expect"
        )
    return bytes.fromhex(text)


def build_bundle(
    directory: Path, output: Path, *, python: Path | None, gramine: Path | None, use_cache: bool
) -> tuple[Built, Application]:
    """Build a bundle with what this machine has.

    Args:
        directory: The application.
        output: Where the bundle goes.
        python: The interpreter; ``None`` takes the one that runs Casemate.
        gramine: Prefix of Gramine; ``None`` looks for one.
        use_cache: Whether what former builds have kept is used.
    """
    from casemate.adapters.gramine_installation import find_gramine
    from casemate.builder.build import build
    from casemate.cli.build_keeping import keeping
    from casemate.cli.shown_findings import findings_shown
    from casemate.settings import Settings

    settings = Settings.from_environment()
    installed = find_gramine(gramine or settings.gramine)
    if installed is None:
        click.echo("No Gramine on this machine: the measurement is simulated.", err=True)
    project = _project(directory)
    with findings_shown(), _progress() as progress, keeping(settings, use=use_cache) as kept:
        application = _application(project, directory, python, (progress, kept))
        machine = _machine(application.interpreter, installed, settings)
        built = build(application, machine, output, progress)
    return built, application


def _project(directory: Path) -> Project:
    from casemate.project import PROJECT_FILE, parse_project

    file = directory / PROJECT_FILE
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ProjectError(
            PROJECT_FILE,
            expected="a file",
            got=error.strerror,
            where=str(file),
            hint=f"make one with: casemate init {directory}",
        ) from error
    return parse_project(data, PROJECT_FILE)


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Shows what happens now, on a terminal; nothing in a pipe."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status("Reading casemate.toml") as status:
        yield lambda step: status.update(f"{step[:1].upper()}{step[1:]}")


def _application(
    project: Project, directory: Path, python: Path | None, work: tuple[Callable[[str], None], Keeping]
) -> Application:
    """Describe the interpreter, install the environment, find what is needed of both."""
    import casemate_attester
    from casemate.adapters.host_python import describe_interpreter, environment_identity, install_environment
    from casemate.builder.build import Application
    from casemate.builder.closure import Sources, find_python_closure, interface_of

    progress, kept = work
    interpreter = describe_interpreter(python or Path(sys.executable))
    source = _source(directory, project)
    interface = interface_of(project, source)
    wanted = (directory.resolve(), project.app.requirements, interpreter)
    environment = kept.environment(
        environment_identity(*wanted, interface=interface),
        lambda into: install_environment(*wanted, into, interface=interface, progress=progress),
    )
    progress("Finding what the application needs")
    closure = find_python_closure(
        project,
        Sources(
            application=source,
            environment=(environment,),
            attester=Path(casemate_attester.__file__).parent.parent,
            interpreter=interpreter,
            trace=_trace(project, directory),
        ),
        kept.compiler(interpreter),
        kept.reader(),
    )
    return Application(
        project=project,
        folder=directory,
        interpreter=interpreter,
        closure=closure,
        sources=_sources(project, directory, interpreter),
    )


def _source(directory: Path, project: Project) -> Path:
    """The folder of the application's own files; no link may lead it out of ``directory``."""
    folder = directory.resolve()
    source = folder / project.app.source
    if not source.resolve().is_relative_to(folder):
        raise ProjectError(
            "source",
            expected="a folder inside that of casemate.toml",
            got=f"a link to {source.resolve()}",
            where="casemate.toml: app.source",
            hint="build where the application's files are",
        )
    return source


def _trace(project: Project, directory: Path) -> Trace | None:
    """The record of runs that casemate.toml names."""
    from casemate.builder.closure.trace import read_trace

    if project.closure.trace is None:
        return None
    return read_trace(directory / project.closure.trace, project.closure.trace)


def _sources(project: Project, directory: Path, interpreter: Interpreter) -> dict[str, str]:
    """What the image is made from, for the statement about it."""
    from hashlib import sha256

    from casemate import __version__
    from casemate.project import PROJECT_FILE

    files = (PROJECT_FILE, project.app.requirements, project.closure.trace)
    names = [name for name in files if name is not None]
    digests = {name: f"sha256:{sha256((directory / name).read_bytes()).hexdigest()}" for name in names}
    return {**digests, "python": interpreter.release, "casemate": __version__}


def _machine(interpreter: Interpreter, gramine: GramineInstallation | None, settings: Settings) -> Machine:
    from casemate.adapters.host_loader import HostFiles, host_search_rules
    from casemate.builder.build import Machine
    from casemate.builder.libraries import LibrarySources
    from casemate.builder.system_files import HostSystem

    sources = LibrarySources(
        files=HostFiles(),
        rules=host_search_rules(interpreter.executable, settings.library_path),
        glibc=gramine.glibc if gramine is not None else None,
    )
    bundle = next((path for path in _CA_BUNDLES if path.is_file()), _CA_BUNDLES[0])
    return Machine(
        libraries=sources,
        system=HostSystem(ca_bundle=bundle, zones=_ZONES),
        platform=_platform(gramine, sources),
        epoch=settings.source_date_epoch,
    )


def _platform(gramine: GramineInstallation | None, sources: Any) -> Platform:
    """The Gramine of this machine, or its simulation."""
    from casemate.builder.build import Platform
    from casemate.builder.layers import LayerFile
    from casemate.builder.layout import GRAMINE_ROOT
    from casemate.builder.libraries import libraries_outside
    from casemate.builder.manifest import LibOs

    if gramine is None:
        from casemate.simulator.platform_image import platform_image

        return Platform(image=platform_image(), version=None, libos=LibOs.absent(), outside=())
    outside = (
        LayerFile(path=f"{GRAMINE_ROOT}/loader", content=gramine.loader, executable=True),
        LayerFile(path=f"{GRAMINE_ROOT}/libpal.so", content=gramine.platform_image, executable=True),
        LayerFile(path=f"{GRAMINE_ROOT}/libsysdb.so", content=gramine.libos),
        *libraries_outside(gramine.loader, sources),
    )
    return Platform(
        image=gramine.platform_image.read_bytes(),
        version=gramine.version,
        libos=LibOs.of(gramine.libos.read_bytes()),
        outside=outside,
    )


def _show(built: Built, application: Application, output: Path, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_document(built, application, output), indent=2))
        return
    from casemate.cli.shown_checks import show_aligned
    from casemate.cli.shown_findings import show_findings

    record, tcb = built.record, built.tcb
    considered = tcb.considered
    show_aligned(
        [
            ("bundle", str(output)),
            ("trusted", f"{len(tcb.files):,} files, {_mebibytes(tcb.size)}"),
            ("instead of", f"{considered.files:,} files, {_mebibytes(considered.size)}"),
            ("MRENCLAVE", record.mrenclave.hex()),
            ("measured with", _measured_with(built)),
            ("image", record.image_digest),
        ]
    )
    show_findings(built.findings)
    for question in application.closure.questions:
        click.echo(f"question: {question.where}: {question.question}", err=True)
        click.echo(f"  {question.line}", err=True)


def _measured_with(built: Built) -> str:
    if built.record.simulated:
        return "a simulated platform: holds on no SGX machine"
    return f"Gramine {built.record.gramine_version}"


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def _document(built: Built, application: Application, output: Path) -> dict[str, Any]:
    record, tcb = built.record, built.tcb
    return {
        "version": 1,
        "bundle": str(output),
        "simulated": record.simulated,
        **record.sgx(),
        "gramine": record.gramine(),
        "image_digest": record.image_digest,
        "manifest_sha256": record.manifest_sha256,
        "trusted": {"files": len(tcb.files), "size": tcb.size},
        "considered": {"files": tcb.considered.files, "size": tcb.considered.size},
        "findings": [finding.to_json() for finding in built.findings],
        "questions": [
            {"where": question.where, "question": question.question, "line": question.line}
            for question in application.closure.questions
        ],
    }
