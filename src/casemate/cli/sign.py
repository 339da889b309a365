"""``casemate sign``: a SIGSTRUCT for a manifest, as Gramine's own signer makes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.key_uri import open_key, passphrase_options
from casemate.errors import ToolchainError, UsageError

if TYPE_CHECKING:
    from casemate.formats.sgx.sigstruct import SigningDate, SigStruct
    from casemate.keys import Signer

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestForm:
    """The options of the form that takes a manifest."""

    manifest: Path | None
    pal: Path | None
    output: Path | None
    sigfile: Path | None


@click.command(name="sign")
@click.argument("bundle", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--manifest", "-m", type=_FILE, help="The manifest to sign.")
@click.option("--pal", "-l", type=_FILE, help="Gramine's platform image (lib/gramine/sgx/libpal.so).")
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
@click.option("--output", "-o", type=_NEW_FILE, help="Where the complete manifest goes (….manifest.sgx).")
@click.option("--sigfile", "-s", type=_NEW_FILE, help="Where the signature goes (….sig).")
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
        result = _sign_manifest(form, signer, date, allow_debug=allow_debug)
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


def read_file(path: Path) -> bytes:
    """The bytes of ``path``.

    Raises:
        ToolchainError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ToolchainError("file cannot be read", got=error.strerror, where=str(path)) from error


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


def _sign_manifest(
    form: ManifestForm, signer: Signer, date: SigningDate, *, allow_debug: bool
) -> dict[str, Any]:
    from casemate.builder.signing import sign_manifest
    from casemate.builder.writing import write_files

    manifest, pal, sigfile = _required(form)
    manifest_bytes = read_file(manifest)
    measured = _complete(manifest_bytes, form, pal=pal)
    sigstruct = sign_manifest(
        measured, read_file(pal), signer=signer, date=date, where=str(manifest), allow_debug=allow_debug
    )
    files = {sigfile: sigstruct.to_bytes()}
    if form.output is not None:
        files = {form.output: measured} | files
    write_files(files)
    return _document(sigstruct) | {
        "manifest": str(form.output or manifest),
        "sigfile": str(sigfile),
    }


def _required(form: ManifestForm) -> tuple[Path, Path, Path]:
    if form.manifest is None or form.pal is None or form.sigfile is None:
        given = {"--manifest": form.manifest, "--pal": form.pal, "--sigfile": form.sigfile}
        missing = ", ".join(option for option, value in given.items() if value is None)
        raise UsageError("options of sign", expected="--manifest, --pal and --sigfile", got=f"no {missing}")
    return form.manifest, form.pal, form.sigfile


def _complete(manifest_bytes: bytes, form: ManifestForm, *, pal: Path) -> bytes:
    """The bytes to measure: those of a complete manifest as they stand, else those of its expansion."""
    from casemate.builder.trusted_files import expand_manifest
    from casemate.formats.manifest import (
        dump_manifest,
        load_manifest,
        missing_for_measurement,
        with_defaults,
    )

    manifest = load_manifest(manifest_bytes)
    missing = missing_for_measurement(manifest)
    if not missing and (form.output is None or with_defaults(manifest) == manifest):
        return manifest_bytes
    if form.output is None:
        raise UsageError(
            "manifest that is not yet complete",
            expected="--output, for its expansion is what is measured",
            got=f"none, and no {missing[0]}",
            where=str(form.manifest),
            hint="add --output APP.manifest.sgx; Gramine loads that file",
        )
    libos = pal.resolve().parent.parent / "libsysdb.so"
    return dump_manifest(expand_manifest(manifest, libos=libos if libos.is_file() else None))


def _document(sigstruct: SigStruct) -> dict[str, Any]:
    enclave = sigstruct.enclave
    return {
        "version": 1,
        "mrenclave": enclave.mrenclave.hex(),
        "mrsigner": sigstruct.mrsigner.hex(),
        "isvprodid": enclave.isvprodid,
        "isvsvn": enclave.isvsvn,
        "attributes": enclave.attributes.to_bytes().hex(),
        "attributes_mask": enclave.attributes_mask.to_bytes().hex(),
        "misc_select": enclave.misc_select.hex(),
        "date": str(sigstruct.date),
    }


def _show(result: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    for name in ("name", "mrenclave", "mrsigner", "isvprodid", "isvsvn", "date", "sigfile"):
        if name in result:
            click.echo(f"{name:<10} {result[name]}")
