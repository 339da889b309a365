"""``casemate verify bundle``: check everything in a bundle against everything else, offline."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.image_source import registry_options
from casemate.cli.reading import read_public_key
from casemate.cli.shown_checks import show_checks, show_summary

if TYPE_CHECKING:
    from casemate.builder.bundles.parts import BundleCheck
    from casemate.builder.bundles.verification import BundleVerification
    from casemate.cli.build_image import ImageRequest

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("bundle")
@click.argument("path", metavar="BUNDLE", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--key", type=_FILE, metavar="PUB.pem", help="Whose signature it must have: a public key.")
@click.option(
    "--provenance-key",
    type=_FILE,
    metavar="PUB.pem",
    help="Who must have signed reference values and provenance.  [default: the enclave's signer]",
)
@click.option(
    "--accept-unsigned-statements",
    is_flag=True,
    help="Accept reference values and provenance that nobody has signed, as sign --attach leaves them. Not "
    "where a key is named.",
)
@click.option(
    "--rebuild",
    "source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="SOURCE",
    help="Build the application in SOURCE again and compare bit for bit.",
)
@click.option(
    "--from",
    "image",
    metavar="IMAGE",
    help="For --rebuild: the image that it was built from: oci:DIR[:TAG], docker-archive:FILE[:REF], "
    "docker://REF@sha256:DIGEST.  [default: this machine]",
)
@click.option(
    "--python", type=_FILE, metavar="PATH", help="For --rebuild.  [default: the Python that runs casemate]"
)
@click.option(
    "--gramine",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="PREFIX",
    help="For --rebuild: prefix of the Gramine that was measured.",
)
@click.option("--all", "everything", is_flag=True, help="Show every check, not only those that were refused.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@registry_options
def command(
    path: Path,
    *,
    key: Path | None,
    provenance_key: Path | None,
    accept_unsigned_statements: bool,
    source: Path | None,
    everything: bool,
    as_json: bool,
    **tools: Any,
) -> None:
    """Check everything in BUNDLE against everything else, offline.

    The measurement is made again, every file of the image is hashed, and every document is held against
    the measured manifest. A check that was refused is shown with what was expected and what was found;
    the exit code is 0 only when all of them have passed.
    """
    from casemate.builder.bundles.bundle import Bundle
    from casemate.builder.bundles.verification import require_sound, verify_bundle
    from casemate.cli.build import image_request
    from casemate.simulator.platform_image import platform_image

    if accept_unsigned_statements and (key or provenance_key):
        raise click.UsageError("--accept-unsigned-statements goes with neither --key nor --provenance-key.")
    result = verify_bundle(
        Bundle.open(path),
        simulated_platform_image=platform_image(),
        key=None if key is None else read_public_key(key),
        provenance_key=None if provenance_key is None else read_public_key(provenance_key),
        accept_unsigned_statements=accept_unsigned_statements,
    )
    image = image_request(tools.pop("image") or "host", tools["python"], tools.pop("registry"))
    if source is None and image is not None:
        raise click.UsageError("--from goes with --rebuild.")
    if source is not None:
        result = replace(result, checks=(*result.checks, *_rebuild(path, source, image, **tools)))
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    else:
        shown = result.checks if everything else result.refusals
        if shown:
            show_checks((f"{check.part}: {check.name}", check) for check in shown)
            click.echo()
        show_summary(_bundle_summary(result))
    require_sound(result)


def _rebuild(
    path: Path, source: Path, image: ImageRequest | None, *, python: Path | None, gramine: Path | None
) -> tuple[BundleCheck, ...]:
    """What a rebuild from ``source`` says of the bundle at ``path``; nothing where that cannot be read."""
    from tempfile import TemporaryDirectory

    from casemate.builder.bundles.bundle import Bundle
    from casemate.builder.bundles.parts import read_parts, require_parts
    from casemate.builder.bundles.rebuild import compare_rebuild
    from casemate.cli.build import build_bundle

    given, _ = read_parts(Bundle.open(path))
    if given is None:
        return ()
    with TemporaryDirectory(prefix="casemate-") as scratch:
        again = Path(scratch) / "bundle"
        build_bundle(source, again, python=python, gramine=gramine, use_cache=False, image=image)
        return compare_rebuild(given, require_parts(Bundle.open(again)))


def _bundle_summary(result: BundleVerification) -> dict[str, str]:
    """The lines under the table."""
    refused = len(result.refusals)
    outcome = f"of which {refused} refused" if refused else "all passed"
    lines = {"checks": f"{len(result.checks)}, {outcome}; --all shows them"}
    if not result.complete:
        lines["not compared"] = "parts with each other, because not all of them can be read"
    else:
        lines["workload"] = str(result.name)
        lines["MRENCLAVE"] = str(result.mrenclave)
        lines["MRSIGNER"] = result.mrsigner or "none: the bundle is not signed"
    if result.statements_signed is False:
        lines["not signed"] = (
            "reference values and provenance: only MRSIGNER vouches, for what MRENCLAVE covers"
        )
    if result.simulated:
        lines["simulated"] = "yes: the measurement holds on no SGX machine"
    return lines
