"""``casemate measure``: MRENCLAVE of a measured manifest and a platform image."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import click

from casemate.cli.gramine_version import chosen_version, gramine_version_option, tell_version

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(name="measure")
@click.option("--manifest", "-m", required=True, type=_FILE, help="The measured manifest (….manifest.sgx).")
@click.option(
    "--pal",
    "--libpal",
    "-l",
    required=True,
    type=_FILE,
    help="Gramine's platform image (lib/gramine/sgx/libpal.so).",
)
@gramine_version_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(manifest: Path, pal: Path, gramine_version: str | None, *, as_json: bool) -> None:
    """Compute MRENCLAVE: what an enclave is, from the bytes that Gramine will load.

    The manifest is measured byte for byte as it stands, so it has to be complete: every default filled in and
    every trusted file hashed, as `casemate build` and `casemate sign --output` write it.
    """
    from casemate.builder.enclave.measurement import layout_of, measure_layout
    from casemate.cli.reading import read_file

    version = chosen_version(gramine_version)
    manifest_bytes, image = read_file(manifest), read_file(pal)
    layout = layout_of(manifest_bytes, image, version)
    mrenclave = measure_layout(layout)
    tell_version(gramine_version)
    if not as_json:
        click.echo(mrenclave.hex())
        return
    document = {
        "version": 1,
        "mrenclave": mrenclave.hex(),
        "enclave_size": layout.size,
        "gramine": {
            "version": version,
            "platform_image_sha256": hashlib.sha256(image).hexdigest(),
        },
        "manifest_sha256": hashlib.sha256(manifest_bytes).hexdigest(),
    }
    click.echo(json.dumps(document, indent=2))
