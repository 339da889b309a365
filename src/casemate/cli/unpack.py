"""``casemate unpack``: the files of a bundle's image, in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import click

_BUNDLE = click.Path(exists=True, file_okay=False, path_type=Path)
_FOLDER = click.Path(path_type=Path)


@click.command(name="unpack")
@click.argument("bundle", type=_BUNDLE)
@click.option("--output", "-o", required=True, type=_FOLDER, help="Folder for the files; it is made.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(bundle: Path, output: Path, *, as_json: bool) -> None:
    """Write the files of BUNDLE's image into a new folder, as a container would see them.

    Every blob is checked against its digest. What was unpacked is not checked against the
    measurement: `casemate verify bundle` does that.
    """
    from tempfile import TemporaryDirectory

    from casemate.builder.bundles.bundle import Bundle
    from casemate.builder.packing.image import unpack_image
    from casemate.builder.writing import require_free
    from casemate.errors import ToolchainError

    image = Bundle.open(bundle).image
    require_free(output)
    try:
        with TemporaryDirectory(prefix=f".{output.name}.", dir=output.absolute().parent) as scratch:
            draft = Path(scratch) / "files"
            draft.mkdir()
            unpack_image(image, draft)
            draft.rename(output)
    except OSError as error:
        raise ToolchainError("folder cannot be written", got=error.strerror, where=str(output)) from error
    if as_json:
        click.echo(json.dumps({"version": 1, "folder": str(output), "image_digest": image.digest}, indent=2))
    else:
        click.echo(str(output))
