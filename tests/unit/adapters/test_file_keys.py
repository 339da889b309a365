"""Keys in files: what is read, and why anything else is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from casemate.adapters.file_keys import FileSigner
from casemate.errors import KeyUnfitError

RSA = generate_private_key(3, 2048)


def written(path: Path, key: object, encoding: PrivateFormat, encryption: KeySerializationEncryption) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, encoding, encryption))  # type: ignore[attr-defined]
    return path


def refusal_of(path: Path) -> KeyUnfitError:
    with pytest.raises(KeyUnfitError) as refused:
        FileSigner.open(path)
    return refused.value


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_rsa_keys_are_read_in_both_forms(tmp_path: Path, form: PrivateFormat) -> None:
    signer = FileSigner.open(written(tmp_path / "key.pem", RSA, form, NoEncryption()))
    assert signer.public_key.modulus == RSA.public_key().public_numbers().n
    assert signer.public_key.exponent == 3


def test_the_key_does_not_show_in_its_representation(tmp_path: Path) -> None:
    signer = FileSigner.open(written(tmp_path / "key.pem", RSA, PrivateFormat.PKCS8, NoEncryption()))
    assert repr(signer).startswith("<casemate.adapters.file_keys.FileSigner object at")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    error = refusal_of(tmp_path / "gone.pem")
    assert str(error) == f"key file cannot be read: got No such file or directory ({tmp_path}/gone.pem)"
    assert error.hint == "give the path of a PEM file: --key file:KEY.pem"


def test_an_encrypted_key_is_refused_with_how_to_decrypt_it(tmp_path: Path) -> None:
    path = written(tmp_path / "key.pem", RSA, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    error = refusal_of(path)
    assert str(error) == f"key file: expected an unencrypted private key, got an encrypted one ({path})"
    assert error.hint == (
        "decrypt it into a file in memory first: openssl rsa -in KEY.pem -out /dev/shm/KEY.pem"
    )


def test_a_key_of_another_algorithm_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "key.pem", Ed25519PrivateKey.generate(), PrivateFormat.PKCS8, NoEncryption())
    assert str(refusal_of(path)) == f"key file: expected an RSA private key, got Ed25519 ({path})"


@pytest.mark.parametrize("content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    assert str(refusal_of(path)) == (
        f"key file: expected an RSA private key in PEM, got something else ({path})"
    )
