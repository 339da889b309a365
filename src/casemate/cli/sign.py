"""``casemate sign``: a SIGSTRUCT for a manifest, as Gramine's own signer makes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.key_uri import open_key, passphrase_options
from casemate.cli.sign_manifest import ManifestForm, manifest_options, sign_manifest_form
from casemate.errors import UsageError

if TYPE_CHECKING:
    from casemate.formats.sgx.sigstruct import SigningDate
    from casemate.keys import Signer


@click.command(name="sign")
@click.argument("bundle", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--key",
    "-k",
    "key_uri",
    required=True,
    metavar="URI",
    help="The signing key; casemate key --help shows the kinds.",
)
@click.option(
    "--provenance-key",
    "provenance_uri",
    metavar="URI",
    help="The key that signs reference values and provenance of a bundle.  [default: that of --key]",
)
@click.option(
    "--date",
    "-d",
    "date_text",
    default="0000-00-00",
    show_default=True,
    metavar="DATE",
    help="Date in the signature: YYYY-MM-DD, or today (UTC). The default says none: same bytes on any day.",
)
@manifest_options
@click.option(
    "--allow-debug", is_flag=True, help="Sign debug enclaves, and settings that Gramine calls insecure."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was signed as a document.")
@passphrase_options
def command(
    bundle: Path | None,
    key_uri: str,
    provenance_uri: str | None,
    date_text: str,
    *,
    allow_debug: bool,
    as_json: bool,
    **manifest_form: Path | None,
) -> None:
    """Sign an enclave; the signature is verified before it is written.

    \b
    casemate sign BUNDLE --key URI

    measures the bundle again and adds the signature to it and to its image; reference values
    and provenance are signed, too.

    \b
    casemate sign --manifest M --pal P --key URI --sigfile SIG [--output M.sgx]

    stands in for gramine-sgx-sign: a manifest whose trusted files are not yet hashed is
    expanded into --output; a complete one is measured byte for byte as it stands.
    """  # noqa: D301 - \b is click's mark for lines that it must not fill
    signer = open_key(key_uri)
    date = signing_date(date_text)
    form = ManifestForm(**manifest_form)
    if bundle is None and provenance_uri is not None:
        raise UsageError("options of sign", expected="a bundle", got="--provenance-key with --manifest")
    if bundle is None:
        result = sign_manifest_form(form, signer, date, allow_debug=allow_debug)
    elif any(manifest_form.values()):
        raise UsageError("options of sign", expected="a bundle, or --manifest with its options", got="both")
    else:
        second = None if provenance_uri is None else open_key(provenance_uri)
        result = _sign_bundle(bundle, (signer, second), date, allow_debug=allow_debug)
    _show(result, as_json=as_json)


def signing_date(text: str) -> SigningDate:
    """The date that ``--date`` asks for.

    Raises:
        FormatError: Neither a day that exists nor ``today`` nor 0000-00-00.
    """
    from casemate.formats.sgx.sigstruct import SigningDate

    if text == "today":
        return SigningDate.of(datetime.now(UTC).date())
    return SigningDate.parse(text, where="--date")


def _sign_bundle(
    path: Path, signers: tuple[Signer, Signer | None], date: SigningDate, *, allow_debug: bool
) -> dict[str, Any]:
    from casemate.builder.bundle import Bundle
    from casemate.builder.bundle_signing import sign_bundle
    from casemate.simulator.platform_image import platform_image

    bundle = Bundle.open(path)
    signed = sign_bundle(
        bundle,
        signers[0],
        date=date,
        allow_debug=allow_debug,
        simulated_platform_image=platform_image(),
        provenance_signer=signers[1],
    )
    record = signed.record
    if record.simulated:
        click.echo("The bundle is simulated: its signature holds on no SGX machine.", err=True)
    return {
        "version": 1,
        "name": signed.name,
        **record.sgx(),
        "date": str(date),
        "simulated": record.simulated,
        "image_digest": record.image_digest,
        "sigfile": str(bundle.signature_path),
    }


def _show(result: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    for name in ("name", "mrenclave", "mrsigner", "isvprodid", "isvsvn", "date", "sigfile"):
        if name in result:
            click.echo(f"{name:<10} {result[name]}")
