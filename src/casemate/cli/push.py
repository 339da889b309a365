"""``casemate push``: the image of a bundle into a registry, byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from casemate.cli.image_source import RegistryOptions, open_registry, registry_options, shown_bytes
from casemate.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from casemate.builder.bundles.bundle import BundleDocuments
    from casemate.formats.image_reference import ImageReference


@click.command(name="push")
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("ref", metavar="REF")
@click.option(
    "--mount-from",
    metavar="REPOSITORY",
    help="Take layers from this repository of the same registry where it has them.",
)
@click.option("--allow-unsigned", is_flag=True, help="Push an image that no enclave can start from yet.")
@click.option("--allow-simulated", is_flag=True, help="Push an image that protects nothing.")
@registry_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    bundle: Path,
    ref: str,
    *,
    mount_from: str | None,
    allow_unsigned: bool,
    allow_simulated: bool,
    registry: RegistryOptions,
    as_json: bool,
) -> None:
    """Push the image of BUNDLE to REF, as HOST/REPOSITORY:TAG.

    The image is not changed: its digest stays the one in reference-values.json. What the registry has is
    not sent again. Credentials are those of docker login. Printed is a name for exactly this image.

    An image that is simulated protects nothing, and one that is not signed starts nowhere; both are
    pushed only where they are asked for by name.
    """
    from casemate.adapters.registry import push
    from casemate.builder.bundles.bundle import Bundle
    from casemate.formats.image_reference import ImageReference
    from casemate.settings import Settings

    reference = ImageReference.parse(ref)
    opened = Bundle.open(bundle)
    documents = opened.documents()
    _require_consistent(documents, reference)
    signed = opened.signature is not None
    if documents.measurement.simulated:
        _require_allowed("simulated", "its image protects nothing", "--allow-simulated", allow_simulated)
    if not signed:
        _require_allowed("unsigned", "no enclave starts from its image", "--allow-unsigned", allow_unsigned)
    target = open_registry(reference, registry, Settings.from_environment())
    with shown_bytes("Pushing") as progress:
        pushed = push(target, opened.image, documents.image, mount_from=mount_from, progress=progress)
    if as_json:
        result = {
            "version": 1,
            "reference": pushed.reference,
            "digest": pushed.digest,
            "blobs_sent": pushed.sent,
            "blobs_there": pushed.there,
            "simulated": documents.measurement.simulated,
            "signed": signed,
        }
        click.echo(json.dumps(result, indent=2))
        return
    click.echo(pushed.reference)


def _require_allowed(state: str, meaning: str, option: str, allowed: bool) -> None:  # noqa: FBT001  one flag
    if not allowed:
        raise RefusedError(
            "bundle to be pushed",
            expected="one that is signed, for real processors",
            got=f"one that is {state}",
            hint=f"{meaning}; push it all the same with {option}",
        )
    click.echo(f"The bundle is {state}: {meaning}.", err=True)


def _require_consistent(documents: BundleDocuments, reference: ImageReference) -> None:
    """See that the image is the one of the reference values, and of the digest in ``reference``."""
    digest = documents.image.digest
    bound = f"sha256:{documents.reference_values.subject[0].digest.sha256}"
    if bound != digest:
        raise RefusedError(
            "image of the bundle",
            expected=f"the one that reference-values.json is for, {bound}",
            got=digest,
            hint="see what else is wrong with: casemate verify bundle",
        )
    if reference.digest not in {None, digest}:
        raise UsageError("digest to be pushed", expected=digest, got=reference.digest)
