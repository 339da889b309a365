"""``casemate init``: looks at an application and writes its ``casemate.toml``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from casemate.errors import ProjectError, UsageError

if TYPE_CHECKING:
    from casemate.builder.closure.survey import Survey
    from casemate.project.template import Draft

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(name="init")
@click.argument("directory", type=_FOLDER, default=".")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable of the application. Repeatable.")
@click.option("--secret", multiple=True, metavar="DESTINATION=URI", help="A secret. Repeatable.")
@click.option("--mount", multiple=True, metavar="PATH=tmpfs", help="A writable folder. Repeatable.")
@click.option("--broker", metavar="URL", help="Who releases the secrets.")
@click.option("--broker-ca", metavar="FILE", help="Certificate of the broker's CA, in PEM.")
@click.option("--port", type=click.IntRange(1, 65535), default=8443, show_default=True, help="HTTPS port.")
@click.option("--force", is_flag=True, help="Replace a casemate.toml that is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(  # noqa: PLR0913 - one argument for each option
    directory: Path,
    env: tuple[str, ...],
    secret: tuple[str, ...],
    mount: tuple[str, ...],
    broker: str | None,
    broker_ca: str | None,
    port: int,
    *,
    force: bool,
    as_json: bool,
) -> None:
    """Look at the application in DIRECTORY and write its casemate.toml."""
    from casemate.builder.closure.survey import survey_application
    from casemate.builder.writing import write_files
    from casemate.project import PROJECT_FILE, parse_project
    from casemate.project.template import Draft, render_project

    path = directory / PROJECT_FILE
    if path.exists() and not force:
        raise ProjectError(
            PROJECT_FILE,
            expected="none yet",
            got="one that is there",
            where=str(path),
            hint="--force replaces it",
        )
    survey = survey_application(directory)
    variables = _pairs("--env", env, "NAME=VALUE")
    secrets = _pairs("--secret", secret, "DESTINATION=URI")
    told = {name for name, _ in variables} | {place.removeprefix("env:") for place, _ in secrets}
    draft = Draft(
        name=survey.name,
        source=survey.source,
        requirements=survey.requirements,
        is_locked=survey.is_locked,
        serve=survey.serve,
        interface=survey.interface.value if survey.interface else None,
        command=survey.command,
        port=port,
        env=variables,
        unset=[(variable.name, variable.where) for variable in survey.variables if variable.name not in told],
        secrets=secrets,
        mounts=_mounts(mount),
        broker=_broker(directory, broker, broker_ca),
        foreign=[module.name for module in survey.foreign] if survey.requirements is None else [],
    )
    text = render_project(draft).encode()
    parse_project(text, PROJECT_FILE)
    write_files({path: text})
    _show(path, survey, draft, as_json=as_json)


def _pairs(option: str, values: tuple[str, ...], shape: str) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = {}
    for value in values:
        # A URI may hold an equals sign, a destination does not.
        name, equals, rest = value.partition("=")
        if not name or not equals:
            raise UsageError(option, expected=shape, got=value)
        if name in pairs:
            raise UsageError(option, expected="each name once", got=f"{name} twice")
        pairs[name] = rest
    return tuple(pairs.items())


def _mounts(values: tuple[str, ...]) -> tuple[str, ...]:
    pairs = _pairs("--mount", values, "PATH=tmpfs")
    for path, kind in pairs:
        if kind != "tmpfs":
            hint = "encrypted folders are written into casemate.toml by hand"
            raise UsageError("--mount", expected=f"{path}=tmpfs", got=f"{path}={kind}", hint=hint)
    return tuple(path for path, _ in pairs)


def _broker(directory: Path, url: str | None, ca: str | None) -> tuple[str, str] | None:
    """The address, and the CA's file as ``casemate.toml`` will find it."""
    if url is None and ca is None:
        return None
    if url is None or ca is None:
        raise UsageError("--broker and --broker-ca", expected="both", got="one of them")
    file = next((path for path in (directory / ca, Path(ca)) if path.is_file()), None)
    if file is None:
        raise UsageError("--broker-ca", expected="a file", got=ca)
    # Its folder is resolved and it is not: a link in the application's folder keeps its name there.
    file, folder = file.parent.resolve() / file.name, directory.resolve()
    return url, file.relative_to(folder).as_posix() if file.is_relative_to(folder) else str(file)


def _show(path: Path, survey: Survey, draft: Draft, *, as_json: bool) -> None:
    if as_json:
        document = {
            "version": 1,
            "configuration": str(path),
            "name": survey.name,
            "serve": survey.serve,
            "interface": draft.interface,
            "command": list(survey.command) if survey.command else None,
            "requirements": survey.requirements,
            "unprovided_modules": list(draft.foreign),
            "unset_variables": [{"name": name, "where": where} for name, where in draft.unset],
        }
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(f"Wrote {path}: {survey.serve or ' '.join(survey.command or ())}")
    if not survey.is_locked and survey.requirements is not None:
        click.echo(f"{survey.requirements} is missing; `uv lock` makes it.", err=True)
    if draft.foreign:
        click.echo(_unlocked(survey), err=True)
    for name, where in draft.unset:
        click.echo(f"{name} has no value yet; the application reads it in {where}.", err=True)


def _unlocked(survey: Survey) -> str:
    """What to do about modules that nothing provides."""
    modules = ", ".join(f"{module.name} ({module.where})" for module in survey.foreign)
    return (
        f"warning: no lock file provides {modules}: list what does in requirements.in, run `uv pip compile "
        "--generate-hashes requirements.in -o requirements.lock`, and write requirements = "
        '"requirements.lock" in casemate.toml.'
    )
