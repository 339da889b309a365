"""``casemate sign --manifest``: what stands in for ``gramine-sgx-sign``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.reading import read_file
from casemate.cli.signing_options import SigningOptions, enclave_signature, open_keys, prepare
from casemate.errors import UsageError

if TYPE_CHECKING:
    from casemate.formats.sgx.sigstruct import SigStruct

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestForm:
    """The options of the form that takes a manifest."""

    manifest: Path | None
    pal: Path | None
    output: Path | None
    sigfile: Path | None


def manifest_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the form that takes a manifest; they arrive as the fields of its form."""
    options = (
        click.option("--manifest", "-m", type=_FILE, help="The manifest to sign."),
        click.option("--pal", "-l", type=_FILE, help="Gramine's platform image (lib/gramine/sgx/libpal.so)."),
        click.option(
            "--output", "-o", type=_NEW_FILE, help="Where the complete manifest goes (….manifest.sgx)."
        ),
        click.option("--sigfile", "-s", type=_NEW_FILE, help="Where the signature goes (….sig)."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def sign_manifest_form(form: ManifestForm, options: SigningOptions) -> dict[str, Any]:
    """Sign the enclave of a manifest; write the signature, and the complete manifest where asked to.

    With ``--prepare`` only the request is written: a manifest that is not complete is expanded again when the
    signature is attached, and has to come to the same then.

    Raises:
        UsageError: An option is missing.
        CasemateError: What reading, measuring and signing raise; nothing has been written then.
    """
    from casemate.builder.signing import measured_subject
    from casemate.builder.writing import write_files

    manifest, pal, sigfile = _required(form, prepare=options.prepare is not None)
    policy = options.policy()
    measured = _complete(read_file(manifest), form, pal=pal)
    subject = measured_subject(measured, read_file(pal), policy=policy, where=str(manifest))
    if options.prepare is not None or sigfile is None:
        return prepare(subject, options, policy)
    signer, _ = open_keys(options, policy)
    sigstruct = enclave_signature(subject, options, policy, signer)
    files = {sigfile: sigstruct.to_bytes()}
    if form.output is not None:
        files = {form.output: measured} | files
    write_files(files)
    return _document(sigstruct) | {
        "manifest": str(form.output or manifest),
        "sigfile": str(sigfile),
    }


def _required(form: ManifestForm, *, prepare: bool) -> tuple[Path, Path, Path | None]:
    if form.manifest is None or form.pal is None or (form.sigfile is None and not prepare):
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
