"""``casemate key``: make the key that signs enclaves, and look at one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.commands import SuggestingGroup
from casemate.cli.key_uri import generate_key, name_of_key, open_key, passphrase_options
from casemate.errors import KeyUnfitError

if TYPE_CHECKING:
    from casemate.keys import RsaPublicKey


@click.group("key", cls=SuggestingGroup)
def command() -> None:
    """Make the key that signs enclaves, or look at one.

    A key is named by a URI:

    \b
    file:KEY.pem                           a file, perhaps encrypted
    pkcs11:token=T;object=K?module-path=M  an HSM or a smart card (RFC 7512)
    azurekv://VAULT/KEY[/VERSION]          Azure Key Vault or Managed HSM
    exec:COMMAND?public-key=FILE.pem       any program that signs
    plugin:NAME ARGS                       a plugin of gramine-sgx-sign

    AWS KMS, Google Cloud KMS and HashiCorp Vault are refused: SGX wants RSA with
    3072 bits and exponent 3, and they make keys with the exponent 65537 only.
    """  # noqa: D301 - \b is click's mark for lines that it must not fill


@command.command("generate")
@click.argument("uri", metavar="URI")
@click.option("--unencrypted", is_flag=True, help="Store a key file without a passphrase.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@passphrase_options
def generate(uri: str, *, unencrypted: bool, as_json: bool) -> None:
    """Make a key that fits: RSA, 3072 bits, exponent 3.

    URI is file:KEY.pem, which is encrypted unless asked otherwise, or
    pkcs11:token=TOKEN;object=KEY?module-path=MODULE.so, where the key can never be extracted.
    """
    from casemate.builder.signing.sigstruct import MODULUS_BITS
    from casemate.formats.sgx.sigstruct import EXPONENT

    signer = generate_key(uri, bits=MODULUS_BITS, exponent=EXPONENT, encrypted=not unencrypted)
    if uri.startswith("file:") and not as_json:
        click.echo(f"Wrote {uri.removeprefix('file:')}.", err=True)
    _show(signer.public_key, uri, as_json=as_json)


@command.command("show", short_help="Print its public half, whether it can sign enclaves, and MRSIGNER.")
@click.argument("uri", metavar="URI")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@passphrase_options
def show(uri: str, *, as_json: bool) -> None:
    """Print the public half of a key, whether it can sign enclaves, and MRSIGNER."""
    _show(open_key(uri).public_key, uri, as_json=as_json)


def _show(key: RsaPublicKey, uri: str, *, as_json: bool) -> None:
    """Print what is known of ``key``; then raise if it cannot sign enclaves."""
    from casemate.builder.signing.sigstruct import require_enclave_key
    from casemate.formats.public_key import public_key_pem
    from casemate.formats.sgx.sigstruct import mrsigner_of

    unfit: KeyUnfitError | None = None
    try:
        require_enclave_key(key, where=name_of_key(uri))
    except KeyUnfitError as error:
        unfit = error
    pem = public_key_pem(key).decode()
    known = {
        "bits": key.modulus.bit_length(),
        "exponent": key.exponent,
        "fit": unfit is None,
        "mrsigner": mrsigner_of(key.modulus).hex() if unfit is None else None,
    }
    if as_json:
        document: dict[str, Any] = {"version": 1, **known, "public_key": pem}
        click.echo(json.dumps(document, indent=2))
    else:
        for name, value in known.items():
            if value is not None:
                click.echo(f"{name:<9} {value if name != 'fit' else 'yes' if value else 'no'}")
        click.echo(pem, nl=False)
    if unfit is not None:
        raise unfit
