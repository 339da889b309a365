"""``casemate sign``: a SIGSTRUCT for a bundle, or for a manifest as Gramine's own signer makes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from casemate.cli.sign_command import SignCommand
from casemate.cli.sign_manifest import ManifestForm, manifest_options, sign_manifest_form
from casemate.cli.signing_options import (
    SigningOptions,
    enclave_signature,
    open_keys,
    prepare,
    signing_options,
)
from casemate.errors import UsageError

_SHOWN = ("name", "mrenclave", "mrsigner", "isvprodid", "isvsvn", "date", "sigfile", "request")


@click.command(name="sign", cls=SignCommand)
@click.argument("bundle", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@signing_options
@manifest_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(
    context: click.Context,
    /,
    bundle: Path | None,
    options: SigningOptions,
    *,
    as_json: bool,
    **manifest_form: Any,
) -> None:
    """Sign an enclave; the signature is verified before it is written.

    \b
    casemate sign BUNDLE --key URI

    measures the bundle again and adds the signature to it and to its image; reference values
    and provenance are signed, too.

    A key that never comes near this machine signs in two steps. The first writes what is to be
    signed, for a person and for OpenSSL or the tool of an HSM; the second takes the signature:

    \b
    casemate sign BUNDLE --prepare OUT [--public-key PEM]
    casemate sign BUNDLE --attach SIGNATURE --request OUT --public-key PEM [--provenance-key URI]

    \b
    casemate sign --manifest M --output M.sgx [--key URI] [--pal P] [--sigfile SIG]

    stands in for gramine-sgx-sign, with its options and what it prints: a manifest whose trusted
    files are not yet hashed is expanded into --output; a complete one is measured byte for byte
    as it stands, and needs no --output. --prepare and --attach go with this form, too.

    What gives an enclave away is refused before any key is asked for: a measurement that
    --expect-mrenclave does not name; debug and other insecure settings, what casemate lint calls
    an error, a step back behind --after, each of which --accept takes by its name.
    """  # noqa: D301 - \b is click's mark for lines that it must not fill
    form = ManifestForm(**manifest_form)
    if bundle is None and options.provenance_uri is not None:
        raise UsageError("options of sign", expected="a bundle", got="--provenance-key with --manifest")
    if bundle is not None and any(manifest_form.values()):
        raise UsageError("options of sign", expected="a bundle, or --manifest with its options", got="both")
    if bundle is None:
        options = form.with_key(options, context.args)
    options.require_consistent()
    options.date()
    options.named_key()
    if bundle is not None:
        _show(_sign_bundle(bundle, options), as_json=as_json)
        return
    result = sign_manifest_form(form, options, as_json=as_json)
    if as_json or options.prepare is not None:
        _show(result, as_json=as_json)


def _sign_bundle(path: Path, options: SigningOptions) -> dict[str, Any]:
    from casemate.builder.bundles.bundle import Bundle
    from casemate.builder.bundles.signing import put_signature, signable_bundle
    from casemate.simulator.platform_image import platform_image

    policy = options.policy()
    bundle = Bundle.open(path)
    signable = signable_bundle(bundle, policy=policy, simulated_platform_image=platform_image())
    simulated = signable.parts.record.simulated
    if options.prepare is not None:
        document = prepare(signable.subject, options, policy)
        _tell(simulated=simulated)
        return document
    signer, statement_signer = open_keys(options, policy)
    sigstruct = enclave_signature(signable.subject, options, policy, signer)
    record = put_signature(signable, sigstruct, statement_signer=statement_signer)
    _tell(simulated=simulated)
    if statement_signer is None:
        click.echo(
            "Nobody has signed reference values and provenance: whoever names a key for them refuses them. "
            "--provenance-key URI signs them.",
            err=True,
        )
    return {
        "version": 1,
        "name": signable.subject.name,
        **record.sgx(),
        "date": str(sigstruct.date),
        "simulated": simulated,
        "image_digest": record.image_digest,
        "statements_signed": statement_signer is not None,
        "sigfile": str(bundle.signature_path),
    }


def _tell(*, simulated: bool) -> None:
    if simulated:
        click.echo("The bundle is simulated: its signature holds on no SGX machine.", err=True)


def _show(result: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        import json

        click.echo(json.dumps(result, indent=2))
        return
    for name in _SHOWN:
        if result.get(name) is not None:
            click.echo(f"{name:<10} {result[name]}")
