"""RSA public keys in PEM."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from casemate.errors import FormatError
from casemate.formats.public_key import parse_public_key, public_key_pem
from casemate.keys import RsaPublicKey

PRIVATE = generate_private_key(3, 2048)
RSA = PRIVATE.public_key()
KEY = RsaPublicKey(modulus=RSA.public_numbers().n, exponent=3)


@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1])
def test_keys_are_read_in_both_forms(form: PublicFormat) -> None:
    assert parse_public_key(RSA.public_bytes(Encoding.PEM, form), where="k") == KEY


def certificate(key: RSAPrivateKey | Ed25519PrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "release")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2020, 1, 2, tzinfo=UTC))
    )
    algorithm = SHA256() if isinstance(key, RSAPrivateKey) else None
    return made.sign(key, algorithm).public_bytes(Encoding.PEM)


def test_a_certificate_gives_its_key_whoever_issued_it_and_whenever() -> None:
    assert parse_public_key(certificate(PRIVATE), where="k") == KEY
    assert parse_public_key(b"subject=release\n" + certificate(PRIVATE), where="k") == KEY


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
        certificate(Ed25519PrivateKey.generate()),
        certificate(PRIVATE)[:200],
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ],
    ids=["empty", "cut off", "Ed25519", "certified Ed25519", "cut certificate", "no certificate", "private"],
)
def test_anything_else_is_refused(data: bytes) -> None:
    got = "a private key" if b"PRIVATE KEY" in data else "something else"
    with pytest.raises(FormatError) as refused:
        parse_public_key(data, where="public.pem")
    assert str(refused.value) == (
        f"public key: expected an RSA public key in PEM, or a certificate of one, got {got} (public.pem)"
    )


def test_numbers_that_no_key_has_are_not_written() -> None:
    with pytest.raises(FormatError, match="modulus and exponent of RSA"):
        public_key_pem(RsaPublicKey(modulus=4, exponent=1))
