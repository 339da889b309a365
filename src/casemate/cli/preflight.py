"""``casemate preflight``: what of an application does not run in Gramine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from casemate.cli.image_source import registry_options

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(name="preflight")
@click.argument("directory", type=_FOLDER, default=".")
@click.option(
    "--from",
    "source",
    default="host",
    show_default=True,
    metavar="SOURCE",
    help="What it would be built from, as of casemate build.",
)
@click.option(
    "--python",
    type=_FILE,
    metavar="PATH",
    help="Interpreter of the application.  [default: the Python that runs casemate]",
)
@click.option("--gramine", type=_FOLDER, metavar="PREFIX", help="Prefix of the Gramine that will run it.")
@click.option("--no-cache", is_flag=True, help="Read everything anew, and keep nothing for the next time.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@registry_options
def command(
    directory: Path,
    source: str,
    python: Path | None,
    gramine: Path | None,
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """Say what of the application in DIRECTORY does not run in Gramine, or runs otherwise there.

    Nothing is run and nothing is written. The exit code is 1 when there is an error that casemate.toml does
    not accept.
    """
    from casemate.builder.build import preflight
    from casemate.builder.preflight import require_acceptable
    from casemate.cli.build import image_request, prepared
    from casemate.cli.shown_findings import show_findings

    image = image_request(source, python, options["registry"])
    use_cache = not options["no_cache"]
    with prepared(directory, python=python, gramine=gramine, use_cache=use_cache, image=image) as parts:
        application, machine, progress = parts
        progress("Finding shared libraries")
        findings = preflight(application, machine)
    if as_json:
        document = {"version": 1, "findings": [finding.to_json() for finding in findings]}
        click.echo(json.dumps(document, indent=2))
    else:
        show_findings(findings, err=False)
    require_acceptable(findings)
    if not as_json and not findings:
        click.echo("nothing found", err=True)
