"""``casemate render dockerfile``: what Docker and Buildah need to make the bundle that ``build`` makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from casemate.errors import UsageError

if TYPE_CHECKING:
    from casemate.builder.packing.dockerfile import Recipe

_SOURCE = click.Path(exists=True, file_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(name="dockerfile", short_help="Write a Dockerfile that makes the bundle.")
@click.argument("source", type=_SOURCE, metavar="BUNDLE|DIRECTORY")
@click.option(
    "--output", "-o", required=True, type=_FOLDER, help="The build context: the application's folder."
)
@click.option("--wheels", required=True, type=_FOLDER, help="Folder with the wheels of Casemate.")
@click.option("--base", metavar="REF", help="Image with Python for the build: NAME[:TAG]@sha256:….")
@click.option("--gramine", metavar="REF", help="Image with Gramine in /usr: NAME[:TAG]@sha256:….")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    source: Path, output: Path, wheels: Path, base: str | None, gramine: str | None, *, as_json: bool
) -> None:
    """Write a multi-stage Dockerfile, a .dockerignore, and what the builder stage installs.

    `docker build` and `buildah bud` then make the bundle that `casemate build` makes of the same
    interpreter and libraries. From a BUNDLE, the build fails unless it measures to the same.

    Without --base the build asks for it: --build-arg BASE=NAME --build-arg BASE_SHA256=…. Without --gramine
    the bundle is simulated.
    """
    from casemate.builder.packing.dockerfile import dockerfile_files

    found = {path.name: path.read_bytes() for path in sorted(wheels.glob("casemate*.whl"))}
    recipe = _recipe(source, base, gramine, found)
    files = {output / name: data for name, data in dockerfile_files(recipe).items()}
    _write(files, output)
    if as_json:
        click.echo(json.dumps({"version": 1, "files": [str(path) for path in files]}, indent=2))
        return
    for path in files:
        click.echo(str(path))
    argument = "" if base is not None else "--build-arg BASE=NAME --build-arg BASE_SHA256=… "
    click.echo(f"docker build {argument}--target bundle --output bundle {output}", err=True)


def _recipe(source: Path, base: str | None, gramine: str | None, wheels: dict[str, bytes]) -> Recipe:
    """What the Dockerfile says, from a bundle or from a ``casemate.toml``."""
    from casemate.builder.bundles.bundle import Bundle
    from casemate.builder.packing.dockerfile import Recipe
    from casemate.project import PROJECT_FILE, parse_project
    from casemate.settings import Settings

    epoch = Settings.from_environment().source_date_epoch
    if (source / PROJECT_FILE).is_file():
        app = parse_project((source / PROJECT_FILE).read_bytes(), PROJECT_FILE).app
        name, port, mrenclave = app.name, app.port, None
    else:
        bundle = Bundle.open(source)
        deployment, record = bundle.deployment, bundle.measurement
        name, port, mrenclave = deployment.name, deployment.port, record.mrenclave.hex()
        if record.simulated != (gramine is None):
            raise UsageError(
                "Gramine of the bundle",
                expected="none, because the bundle is simulated" if record.simulated else "an image with it",
                got=gramine or "none",
                where="--gramine",
            )
    return Recipe(
        name=name, port=port, base=base, gramine=gramine, mrenclave=mrenclave, epoch=epoch, wheels=wheels
    )


def _write(files: dict[Path, bytes], output: Path) -> None:
    """Write all files or none; nothing that somebody else has written is replaced."""
    from casemate.builder.packing.dockerfile import FOLDER, MARK
    from casemate.builder.writing import write_files
    from casemate.errors import ToolchainError

    for path in files:
        if path.parent == output and path.exists() and not path.read_bytes().startswith(MARK.encode()):
            raise UsageError(
                f"new {path.name}",
                expected="a name that is free",
                got="a file that Casemate has not written",
                where=str(path),
                hint="rename it",
            )
    folder = output / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        write_files(files)
        for other in set(folder.glob("*.whl")) - files.keys():  # of a Casemate that is not used any more
            other.unlink()
    except OSError as error:
        raise ToolchainError("folder cannot be written", got=error.strerror, where=str(folder)) from error
