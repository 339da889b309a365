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
    PublicFormat,
)

from casemate.adapters.file_keys import FileSigner
from casemate.errors import KeyUnfitError
from casemate.keys import AskPassphrase, Passphrase

RSA = generate_private_key(3, 2048)


def written(path: Path, key: object, encoding: PrivateFormat, encryption: KeySerializationEncryption) -> Path:
    path.write_bytes(key.private_bytes(Encoding.PEM, encoding, encryption))  # type: ignore[attr-defined]
    return path


def refusal_of(path: Path, ask: AskPassphrase | None = None) -> KeyUnfitError:
    with pytest.raises(KeyUnfitError) as refused:
        FileSigner.open(path, ask)
    return refused.value


class Asked:
    """Gives one passphrase, and remembers what it was asked for."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.questions: list[str] = []

    def __call__(self, what: str) -> Passphrase:
        self.questions.append(what)
        return Passphrase(self.answer)


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


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_encrypted_keys_are_read_in_both_forms(tmp_path: Path, form: PrivateFormat) -> None:
    path = written(tmp_path / "key.pem", RSA, form, BestAvailableEncryption(b"open sesame"))
    ask = Asked(b"open sesame")
    signer = FileSigner.open(path, ask)
    assert signer.public_key.modulus == RSA.public_key().public_numbers().n
    assert ask.questions == [f"passphrase of key file {path}"]


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_wrong_passphrase_is_tried_once_and_shown_nowhere(tmp_path: Path, form: PrivateFormat) -> None:
    path = written(tmp_path / "key.pem", RSA, form, BestAvailableEncryption(b"open sesame"))
    ask = Asked(b"open barley")
    error = refusal_of(path, ask)
    assert str(error) == (
        "passphrase of the key file: expected the one that it was encrypted with, "
        f"got another, or a damaged file ({path})"
    )
    assert error.hint == "it was tried once; give the command again"
    assert error.__cause__ is None
    assert len(ask.questions) == 1


def test_no_passphrase_is_asked_for_a_key_that_needs_none(tmp_path: Path) -> None:
    ask = Asked(b"")
    FileSigner.open(written(tmp_path / "key.pem", RSA, PrivateFormat.PKCS8, NoEncryption()), ask)
    assert ask.questions == []


def test_an_encrypted_key_needs_somebody_to_ask(tmp_path: Path) -> None:
    path = written(tmp_path / "key.pem", RSA, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    assert str(refusal_of(path)) == (
        f"key file: expected an unencrypted private key, got an encrypted one ({path})"
    )


@pytest.mark.parametrize("passphrase", [None, b"open sesame"], ids=["plain", "encrypted"])
def test_a_new_key_is_its_owners_alone(tmp_path: Path, passphrase: bytes | None) -> None:
    path = tmp_path / "key.pem"
    ask = None if passphrase is None else Asked(passphrase)
    made = FileSigner.generate(path, bits=2048, exponent=3, ask=ask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (b"ENCRYPTED" in path.read_bytes()) == (passphrase is not None)
    assert FileSigner.open(path, ask).public_key == made.public_key
    assert made.public_key.exponent == 3
    assert made.public_key.modulus.bit_length() == 2048


def test_a_new_key_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("a key that somebody needs")
    ask = Asked(b"not asked for")
    with pytest.raises(KeyUnfitError) as refused:
        FileSigner.generate(path, bits=2048, exponent=3, ask=ask)
    assert ask.questions == []
    assert str(refused.value) == f"new key file: expected a name that is free, got a file ({path})"
    assert refused.value.hint == "a key that is overwritten cannot be had back; choose another name"
    assert path.read_text() == "a key that somebody needs"


def test_a_new_key_replaces_nothing_that_appears_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"

    def ask(what: str) -> Passphrase:
        path.write_text("somebody was quicker")
        return Passphrase(what.encode())

    with pytest.raises(KeyUnfitError) as refused:
        FileSigner.generate(path, bits=2048, exponent=3, ask=ask)
    assert str(refused.value) == f"new key file: expected a name that is free, got a file ({path})"
    assert path.read_text() == "somebody was quicker"


def test_a_new_key_does_not_go_where_a_link_leads(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(KeyUnfitError):
        FileSigner.generate(path, bits=2048, exponent=3, ask=None)
    assert not (tmp_path / "elsewhere.pem").exists()


def test_a_new_key_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyUnfitError) as refused:
        FileSigner.generate(tmp_path / "gone/key.pem", bits=2048, exponent=3, ask=None)
    assert str(refused.value) == (
        f"key file cannot be written: got No such file or directory ({tmp_path}/gone/key.pem)"
    )


def test_a_key_of_another_algorithm_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "key.pem", Ed25519PrivateKey.generate(), PrivateFormat.PKCS8, NoEncryption())
    refusal = refusal_of(path)
    assert str(refusal) == f"key file: expected an RSA private key, got Ed25519 ({path})"
    assert refusal.hint == (
        "give the private half of an RSA key; `casemate key generate file:KEY.pem` makes one that fits"
    )


def test_a_public_key_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(
        Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    assert str(refusal_of(path)) == (
        f"key file: expected an RSA private key in PEM, got a public key ({path})"
    )


@pytest.mark.parametrize("content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    assert str(refusal_of(path)) == (
        f"key file: expected an RSA private key in PEM, got something else ({path})"
    )
