"""Programs that sign: what they may answer, and how they may fail."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from casemate.adapters.file_keys import FileSigner
from casemate.adapters.program_keys import ProgramSigner, open_key
from casemate.errors import CasemateError, KeyUnfitError
from casemate.keys import Passphrase

RSA = generate_private_key(3, 2048)
DATA = bytes(256)


def ask(what: str) -> Passphrase:
    raise AssertionError(what)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key.pem"
    path.write_bytes(RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.fixture
def public(tmp_path: Path) -> Path:
    path = tmp_path / "public.pem"
    path.write_bytes(RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def signer_of(key: Path, script: str, **options: float) -> ProgramSigner:
    """Runs a Python script that finds its input in ``data``."""
    prelude = "import os, sys; data = sys.stdin.buffer.read(); out = sys.stdout.buffer\n"
    public_key = FileSigner.open(key).public_key
    return ProgramSigner(arguments=(sys.executable, "-c", prelude + script), public_key=public_key, **options)


def refusal_of(signer: ProgramSigner) -> KeyUnfitError:
    with pytest.raises(KeyUnfitError) as refused:
        signer.sign(DATA)
    return refused.value


def test_openssl_signs_as_the_file_does(key: Path, public: Path) -> None:
    signer = open_key(f"openssl dgst -sha256 -sign '{key}'?public-key={public}", ask)
    assert signer.public_key == FileSigner.open(key).public_key
    assert signer.sign(DATA) == FileSigner.open(key).sign(DATA)


def test_no_shell_looks_at_the_command(public: Path, tmp_path: Path) -> None:
    signer = open_key(f"echo $(touch {tmp_path}/made); touch {tmp_path}/made?public-key={public}", ask)
    assert signer.arguments == ("echo", "$(touch", f"{tmp_path}/made);", "touch", f"{tmp_path}/made")
    refusal_of(signer)
    assert not (tmp_path / "made").exists()


def test_what_the_program_says_reaches_the_user(key: Path, capfd: pytest.CaptureFixture[str]) -> None:
    error = refusal_of(signer_of(key, "sys.exit('insert the card')"))
    assert str(error) == f"signing program: expected exit code 0, got 1 ({sys.executable})"
    assert capfd.readouterr() == ("", "insert the card\n")


@pytest.mark.parametrize(
    ("script", "got"),
    [
        pytest.param("", "0 bytes", id="nothing"),
        pytest.param("out.write(bytes(255))", "255 bytes", id="too short"),
        pytest.param("out.write(bytes(256) + b'\\n')", "257 bytes", id="a newline behind"),
        pytest.param("out.write(bytes(256).hex().encode())", "512 bytes", id="hexadecimal"),
    ],
)
def test_output_of_another_length_is_refused(key: Path, script: str, got: str) -> None:
    error = refusal_of(signer_of(key, script))
    assert str(error) == (
        f"output of the signing program: expected 256 bytes, the signature alone, got {got} "
        f"({sys.executable})"
    )
    assert error.hint == "the raw signature, big-endian: no hexadecimal or base64, no newline"


def test_a_signature_by_another_key_is_refused(key: Path) -> None:
    error = refusal_of(signer_of(key, "out.write(bytes(256))"))
    assert str(error) == "signature: expected one that the public key confirms, got another"


def test_a_program_that_does_not_end_is_ended(key: Path) -> None:
    started = time.monotonic()
    error = refusal_of(signer_of(key, "import time; time.sleep(60)", timeout=0.3))
    assert str(error) == (
        f"signing program: expected an answer within 0.3 seconds, got none ({sys.executable})"
    )
    assert time.monotonic() - started < 30


def test_a_program_that_is_not_there_is_named(public: Path) -> None:
    error = refusal_of(open_key(f"/nowhere/sign?public-key={public}", ask))
    assert str(error) == "signing program cannot be started: got No such file or directory (/nowhere/sign)"


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        (
            "sign --with this",
            "key URI: expected exec:COMMAND ARGS?public-key=FILE.pem, got no public key",
        ),
        (
            "?public-key=public.pem",
            "key URI: expected exec:COMMAND ARGS?public-key=FILE.pem, got no program",
        ),
        ("sign 'x?public-key=public.pem", "key URI: expected quotes in pairs, got one without its pair"),
        (
            "sign?public-key=/nowhere/public.pem",
            "public key cannot be read: got No such file or directory (/nowhere/public.pem)",
        ),
        (
            f"sign?public-key={__file__}",
            (
                "public key: expected an RSA public key in PEM, or a certificate of one, got something else"
                f" ({__file__})"
            ),
        ),
    ],
)
def test_what_names_no_program_is_refused(rest: str, message: str) -> None:
    with pytest.raises(CasemateError) as refused:
        open_key(rest, ask)
    assert str(refused.value) == message
