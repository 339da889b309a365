"""A signature that was made elsewhere is taken only when it holds; else it is said what it seems to be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.support.small_bundle import KEY

from casemate.adapters.file_keys import FileSigner
from casemate.builder.bundles.attached_signature import attached_sigstruct
from casemate.builder.signing.sigstruct import SigningSubject, enclave_identity, make_sigstruct, signed_bytes
from casemate.errors import RefusedError
from casemate.formats.manifest import EnclaveSettings
from casemate.formats.sgx.report import MrEnclave
from casemate.formats.sgx.sigstruct import NO_DATE, SigStruct

SUBJECT = SigningSubject(
    enclave=enclave_identity(MrEnclave(bytes(range(32))), EnclaveSettings(size=1 << 28)),
    manifest_sha256="ab" * 32,
    platform_image_sha256="cd" * 32,
    gramine_version="1.9",
)
DATA = signed_bytes(SUBJECT.enclave, NO_DATE)
OTHER_DIGEST = hashlib.sha256(b"other bytes").hexdigest()


@cache
def key() -> RSAPrivateKey:
    read = load_pem_private_key(KEY.read_bytes(), None)
    assert isinstance(read, RSAPrivateKey)
    return read


def right() -> bytes:
    return key().sign(DATA, PKCS1v15(), SHA256())


def raw(data: bytes) -> bytes:
    """The padding of PKCS#1 v1.5 around ``data`` itself, as some tools sign a digest."""
    numbers = key().private_numbers()
    block = b"\x00\x01" + b"\xff" * (384 - 3 - len(data)) + b"\x00" + data
    return pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n).to_bytes(384, "big")


def attach(signature: bytes) -> SigStruct:
    return attached_sigstruct(
        SUBJECT, signature, date=NO_DATE, key=FileSigner.open(KEY).public_key, where="signature.bin"
    )


def test_a_signature_that_holds_gives_the_structure_that_signing_here_gives() -> None:
    assert attach(right()) == make_sigstruct(SUBJECT.enclave, date=NO_DATE, signer=FileSigner.open(KEY))


@pytest.mark.parametrize(
    ("signature", "got"),
    [
        pytest.param(lambda: b"", "0 bytes in place of 384", id="nothing"),
        pytest.param(lambda: right()[:-1], "383 bytes in place of 384", id="cut"),
        pytest.param(lambda: right() + b"\n", "385 bytes in place of 384", id="line feed"),
        pytest.param(
            lambda: generate_private_key(3, 3072).sign(DATA, PKCS1v15(), SHA256()),
            "one of another key, or another padding",
            id="another key",
        ),
        pytest.param(
            lambda: key().sign(DATA, PSS(MGF1(SHA256()), 32), SHA256()),
            "one of another key, or another padding",
            id="PSS",
        ),
        pytest.param(lambda: b"\xff" * 384, "one of another key, or another padding", id="too large"),
        pytest.param(lambda: bytes(384), "one of another key, or another padding", id="zero"),
        pytest.param(lambda: right()[::-1], "one in reverse byte order", id="little-endian"),
        pytest.param(
            lambda: key().sign(DATA, PKCS1v15(), SHA512()),
            "one of this key with another hash than SHA-256",
            id="SHA-512",
        ),
        pytest.param(
            lambda: raw(hashlib.sha256(DATA).digest()),
            "one over the bare digest, without the name of its algorithm",
            id="bare digest",
        ),
        pytest.param(
            lambda: key().sign(hashlib.sha256(DATA).digest(), PKCS1v15(), SHA256()),
            "one over the digest of the bytes, which was hashed once more",
            id="hashed twice",
        ),
        pytest.param(
            lambda: key().sign(b"other bytes", PKCS1v15(), SHA256()),
            f"one of this key over other bytes, whose SHA-256 is {OTHER_DIGEST}",
            id="other bytes",
        ),
        pytest.param(
            lambda: key().sign(bytes.fromhex(OTHER_DIGEST), PKCS1v15(), Prehashed(SHA256())),
            f"one of this key over other bytes, whose SHA-256 is {OTHER_DIGEST}",
            id="another digest",
        ),
    ],
)
def test_what_does_not_hold_is_refused_and_explained(signature: Callable[[], bytes], got: str) -> None:
    with pytest.raises(RefusedError) as refused:
        attach(signature())

    assert str(refused.value) == (
        "attached signature: expected one of the key that is named, over the 256 bytes of the request, "
        f"got {got} (signature.bin)"
    )
    assert refused.value.hint == (
        "sign to-be-signed.bin of this request with the key that is named: openssl dgst -sha256 "
        "-sign KEY.pem -out signature.bin to-be-signed.bin"
    )
