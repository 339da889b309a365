"""``casemate init``: looks at an application and writes its ``casemate.toml``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.image_source import RegistryOptions, registry_options
from casemate.cli.terminal import printable
from casemate.errors import ProjectError, UsageError

if TYPE_CHECKING:
    from casemate.builder.closure.survey import Survey
    from casemate.project.template import Draft

_FOLDER = click.Path(file_okay=False, path_type=Path)
_PORT = 8443


@click.command(name="init")
@click.argument("directory", type=_FOLDER, default=".")
@click.option(
    "--from",
    "source",
    metavar="SOURCE",
    help="An image that holds the application: oci:DIR[:TAG], docker-archive:FILE[:REF], "
    "docker://REF@sha256:DIGEST.",
)
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="A variable of the application. Repeatable.")
@click.option("--secret", multiple=True, metavar="DESTINATION=URI", help="A secret. Repeatable.")
@click.option("--mount", multiple=True, metavar="PATH=tmpfs", help="A writable folder. Repeatable.")
@click.option("--broker", metavar="URL", help="Who releases the secrets.")
@click.option("--broker-ca", metavar="FILE", help="Certificate of the broker's CA, in PEM.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help=f"HTTPS port.  [default: {_PORT}, or what the image says]"
)
@click.option("--force", is_flag=True, help="Replace a casemate.toml that is there already.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@registry_options
def command(
    directory: Path,
    source: str | None,
    registry: RegistryOptions,
    *,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Look at the application in DIRECTORY, or in an image, and write its casemate.toml."""
    from casemate.builder.writing import write_files
    from casemate.project import PROJECT_FILE, parse_project
    from casemate.project.template import render_project

    if not directory.is_dir() and source is None:
        raise UsageError("DIRECTORY", expected="a folder", got="none", where=str(directory))
    path = directory / PROJECT_FILE
    if path.exists() and not force:
        raise ProjectError(
            PROJECT_FILE,
            expected="none yet",
            got="one that is there",
            where=str(path),
            hint="--force replaces it",
        )
    told = _Told.of(directory, options)
    if source is not None:
        draft = _of_image(source, registry, told)
        survey = None
    else:
        from casemate.builder.closure.survey import survey_application

        survey = survey_application(directory)
        draft = _of_folder(survey, told)
    text = render_project(draft).encode()
    parse_project(text, PROJECT_FILE)
    directory.mkdir(exist_ok=True)
    write_files({path: text})
    _show(path, survey, draft, as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What the options say.

    Attributes:
        env: Variables of the application.
        secrets: Pairs of destination and resource.
        mounts: Writable folders in memory.
        broker: Pair of address and CA file, or ``None``.
        port: ``None``: whatever is usual.
    """

    env: tuple[tuple[str, str], ...]
    secrets: tuple[tuple[str, str], ...]
    mounts: tuple[str, ...]
    broker: tuple[str, str] | None
    port: int | None

    @classmethod
    def of(cls, directory: Path, options: Mapping[str, Any]) -> _Told:
        """Read the options."""
        return cls(
            env=_pairs("--env", options["env"], "NAME=VALUE"),
            secrets=_pairs("--secret", options["secret"], "DESTINATION=URI"),
            mounts=_mounts(options["mount"]),
            broker=_broker(directory, options["broker"], options["broker_ca"]),
            port=options["port"],
        )

    @property
    def names(self) -> set[str]:
        """Variables that have a value."""
        return {name for name, _ in self.env} | {place.removeprefix("env:") for place, _ in self.secrets}


def _of_folder(survey: Survey, told: _Told) -> Draft:
    from casemate.project.template import Draft

    return Draft(
        name=survey.name,
        source=survey.source,
        requirements=survey.requirements,
        is_locked=survey.is_locked,
        serve=survey.serve,
        interface=survey.interface.value if survey.interface else None,
        command=survey.command,
        port=told.port or _PORT,
        env=told.env,
        unset=[(named.name, named.where) for named in survey.variables if named.name not in told.names],
        secrets=told.secrets,
        mounts=told.mounts,
        broker=told.broker,
        foreign=[module.name for module in survey.foreign] if survey.requirements is None else [],
    )


def _of_image(source: str, registry: RegistryOptions, told: _Told) -> Draft:
    """What the configuration of an image says, and the options above it."""
    from casemate.cli.build_image import ImageRequest, derived, opened_image, tell
    from casemate.cli.build_keeping import keeping
    from casemate.settings import Settings

    request = ImageRequest(source=source, registry=registry)
    settings = Settings.from_environment()
    with (
        keeping(settings, use=True) as kept,
        opened_image(request, settings, lambda _: None, kept) as opened,
    ):
        application = derived(opened, request)
    tell(application)
    draft = application.draft
    env = {**dict(draft.env), **dict(told.env)}
    return replace(
        draft,
        env=tuple((name, value) for name, value in env.items() if f"env:{name}" not in dict(told.secrets)),
        unset=[named for named in draft.unset if named[0] not in told.names],
        secrets=told.secrets,
        mounts=told.mounts,
        broker=told.broker,
        port=told.port or draft.port,
    )


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


def _show(path: Path, survey: Survey | None, draft: Draft, *, as_json: bool) -> None:
    if as_json:
        document = {
            "version": 1,
            "configuration": str(path),
            "name": draft.name,
            "serve": draft.serve,
            "interface": draft.interface,
            "command": list(draft.command) if draft.command else None,
            "requirements": draft.requirements,
            "unprovided_modules": list(draft.foreign),
            "unset_variables": [{"name": name, "where": where} for name, where in draft.unset],
        }
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(printable(f"Wrote {path}: {draft.serve or ' '.join(draft.command or ())}"))
    if not draft.is_locked and draft.requirements is not None:
        click.echo(f"{draft.requirements} is missing; `uv lock` makes it.", err=True)
    if survey is not None and draft.is_locked and draft.requirements is not None:
        _warn_unless_pinned(path.parent, draft.requirements)
    if survey is not None and draft.foreign:
        click.echo(printable(_unlocked(survey)), err=True)
    for name, where in draft.unset if survey is not None else ():
        click.echo(printable(f"{name} has no value yet; the application reads it in {where}."), err=True)


def _warn_unless_pinned(directory: Path, requirements: str) -> None:
    """Say now what a build would say of requirements that pin nothing."""
    from casemate.adapters.host_python import pinned

    if requirements == "uv.lock":
        return
    try:
        pinned(directory / requirements, requirements)
    except ProjectError as error:
        click.echo(printable(f"warning: {error}: {error.hint}"), err=True)


def _unlocked(survey: Survey) -> str:
    """What to do about modules that nothing provides."""
    modules = ", ".join(f"{module.name} ({module.where})" for module in survey.foreign)
    return (
        f"warning: no lock file provides {modules}: list what does in requirements.in, run `uv pip compile "
        "--generate-hashes requirements.in -o requirements.lock`, and write requirements = "
        '"requirements.lock" in casemate.toml.'
    )
