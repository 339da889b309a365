"""RSA public keys in PEM."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from casemate.errors import FormatError
from casemate.formats.public_key import parse_public_key, public_key_pem
from casemate.keys import RsaPublicKey

RSA = generate_private_key(3, 2048).public_key()
KEY = RsaPublicKey(modulus=RSA.public_numbers().n, exponent=3)


@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1])
def test_keys_are_read_in_both_forms(form: PublicFormat) -> None:
    assert parse_public_key(RSA.public_bytes(Encoding.PEM, form), where="k") == KEY


def test_what_is_written_is_what_openssl_writes() -> None:
    assert public_key_pem(KEY) == RSA.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"-----BEGIN PUBLIC KEY-----\n",
        Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ],
    ids=["empty", "cut off", "Ed25519"],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError) as refused:
        parse_public_key(data, where="public.pem")
    assert str(refused.value) == (
        "public key: expected an RSA public key in PEM, or a certificate of one, got something else (public.pem)"
    )


def test_numbers_that_no_key_has_are_not_written() -> None:
    with pytest.raises(FormatError, match="modulus and exponent of RSA"):
        public_key_pem(RsaPublicKey(modulus=4, exponent=1))
