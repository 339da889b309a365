"""``casemate build``: from an application's folder to a bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.image_source import registry_options
from casemate.cli.terminal import printable
from casemate.errors import ProjectError, RefusedError, UsageError

if TYPE_CHECKING:
    from casemate.builder.build import Application, Built, Machine
    from casemate.cli.build_image import ImageRequest
    from casemate.cli.image_source import RegistryOptions
    from casemate.project import Project

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_NEW_FOLDER = click.Path(path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(name="build")
@click.argument("directory", type=_FOLDER, default=".")
@click.option("--output", "-o", required=True, type=_NEW_FOLDER, metavar="BUNDLE", help="Where it goes.")
@click.option(
    "--from",
    "source",
    default="host",
    show_default=True,
    metavar="SOURCE",
    help="What it is built from: host (this machine's interpreter and the locked requirements), or an image: "
    "oci:DIR[:TAG], docker-archive:FILE[:REF], docker://REF@sha256:DIGEST.",
)
@click.option(
    "--python",
    type=_FILE,
    metavar="PATH",
    help="Interpreter of the application.  [default: the Python that runs casemate]",
)
@click.option("--gramine", type=_FOLDER, metavar="PREFIX", help="Prefix of the Gramine that will run it.")
@click.option(
    "--gsc-manifest",
    type=_FILE,
    metavar="FILE",
    help="Follow a manifest that was written for GSC: take over what has a counterpart, and name the rest.",
)
@click.option(
    "--save-project",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the casemate.toml that is built to FILE, for an image that has none.",
)
@click.option("--expect", metavar="MRENCLAVE", help="Fail unless this is what the bundle measures to.")
@click.option("--no-cache", is_flag=True, help="Make everything anew, and keep nothing for the next build.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@registry_options
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
    from casemate.builder.bundles.bundle import Bundle

    image = _image(image_request(source, python, options["registry"]), options)
    expected = _expected(options["expect"])
    was_signed = Bundle(output).signature_path.is_file()
    built, application = build_bundle(
        directory, output, python=python, gramine=gramine, use_cache=not options["no_cache"], image=image
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


def image_request(source: str, python: Path | None, registry: RegistryOptions) -> ImageRequest | None:
    """The image that ``--from`` names; ``None`` for this machine."""
    from casemate.cli.build_image import ImageRequest

    if source == "host":
        return None
    if python is not None:
        raise UsageError(
            "--python",
            expected="only beside --from host",
            got=source,
            hint="an image has its own interpreter",
        )
    return ImageRequest(source=source, registry=registry)


def _image(image: ImageRequest | None, options: Mapping[str, Any]) -> ImageRequest | None:
    """The image, with what only means something beside one."""
    if image is not None:
        return replace(image, gsc_manifest=options["gsc_manifest"], save=options["save_project"])
    for name in ("gsc_manifest", "save_project"):
        if options[name] is not None:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(option, expected="only beside --from IMAGE", got="--from host")
    return None


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
    directory: Path,
    output: Path,
    *,
    python: Path | None,
    gramine: Path | None,
    use_cache: bool,
    image: ImageRequest | None = None,
) -> tuple[Built, Application]:
    """Build a bundle with what this machine has.

    Args:
        directory: The folder of ``casemate.toml``.
        output: Where the bundle goes.
        python: The interpreter; ``None`` takes the one that runs Casemate.
        gramine: Prefix of Gramine; ``None`` looks for one.
        use_cache: Whether what former builds have kept is used.
        image: The image with the application; ``None``: it lies in ``directory``.
    """
    from casemate.builder.build import build
    from casemate.builder.enclave.cautions import cautions
    from casemate.cli.shown_findings import findings_shown

    with (
        findings_shown(),
        prepared(directory, python=python, gramine=gramine, use_cache=use_cache, image=image) as parts,
    ):
        application, machine, progress = parts
        built = build(application, machine, output, progress)
    if built.record.simulated:
        click.echo("No Gramine on this machine: the measurement is simulated.", err=True)
    for caution in cautions(application.project, built.record.gramine_version):
        click.echo(f"warning: {printable(caution)}", err=True)
    return built, application


@contextmanager
def prepared(
    directory: Path,
    *,
    python: Path | None,
    gramine: Path | None,
    use_cache: bool,
    image: ImageRequest | None,
) -> Iterator[tuple[Application, Machine, Callable[[str], None]]]:
    """What is built, what it is built from, and who is told how far it is; arguments as of a build."""
    from casemate.adapters.gramine_installation import find_gramine
    from casemate.cli.build_host import host_application, host_machine
    from casemate.cli.build_image import image_parts
    from casemate.cli.build_keeping import keeping
    from casemate.cli.build_platform import Work
    from casemate.settings import Settings

    settings = Settings.from_environment()
    installed = find_gramine(gramine or settings.gramine)
    with (
        _progress() as progress,
        keeping(settings, use=use_cache) as kept,
        ExitStack() as held,
    ):
        work = Work(settings=settings, gramine=installed, progress=progress, kept=kept)
        if image is not None:
            application, machine = held.enter_context(image_parts(image, directory, work))
        else:
            application = host_application(read_project(directory), directory, python, work)
            machine = host_machine(application.interpreter, work)
        yield application, machine, progress


def read_project(directory: Path) -> Project:
    """The ``casemate.toml`` of a folder."""
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
        click.echo(printable(f"question: {question.where}: {question.question}"), err=True)
        click.echo(f"  {printable(question.line)}", err=True)


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
