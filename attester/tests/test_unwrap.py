import dataclasses
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from casemate_attester.errors import UnwrapError
from casemate_attester.messages import TeePublicKey, WrappedSecret, decode_base64url, encode_base64url
from casemate_attester.unwrap import SecretBytes, agreed_key, unwrap

Wrap = Callable[[bytes, TeePublicKey], WrappedSecret]


def private_key(x: str, y: str, d: str) -> ec.EllipticCurvePrivateKey:
    numbers = [int.from_bytes(decode_base64url(text) or b"", "big") for text in (x, y, d)]
    public = ec.EllipticCurvePublicNumbers(numbers[0], numbers[1], ec.SECP256R1())
    return ec.EllipticCurvePrivateNumbers(numbers[2], public).private_key()


def test_the_agreement_of_rfc_7518_appendix_c() -> None:
    alice = private_key(
        "gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0",
        "SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps",
        "0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo",
    )
    bob = private_key(
        "weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ",
        "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck",
        "VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw",
    )
    for ours, theirs in ((alice, bob), (bob, alice)):
        key = agreed_key(
            ours, theirs.public_key(), algorithm="A128GCM", bits=128, party_u=b"Alice", party_v=b"Bob"
        )
        assert encode_base64url(key) == "VqqN6vgjbSBcIijNcacQGg"


@settings(max_examples=25)
@given(secret=st.binary(max_size=5000))
def test_what_was_wrapped_comes_out(wrap_secret: Wrap, secret: bytes) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    wrapped = wrap_secret(secret, TeePublicKey.from_key(key.public_key()))
    assert unwrap(WrappedSecret.parse(wrapped.to_bytes()), key).value == secret


def refused(wrapped: WrappedSecret, key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(UnwrapError) as caught:
        unwrap(wrapped, key)
    assert str(caught.value) == (
        "wrapped secret: expected one that is wrapped to this enclave's key and unchanged, "
        "got one that does not open"
    )
    assert caught.value.hint == (
        "look for a proxy between enclave and broker, and whether the broker wraps to tee-pubkey"
    )


@pytest.mark.parametrize("part", ["encrypted_key", "iv", "ciphertext", "tag", "party_u", "party_v"])
def test_any_part_that_was_changed_is_refused(wrap_secret: Wrap, part: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    wrapped = wrap_secret(b"a secret", TeePublicKey.from_key(key.public_key()))
    original = getattr(wrapped, part) or b"\0"
    for index in range(len(original)):
        mutant = original[:index] + bytes([original[index] ^ 1]) + original[index + 1 :]
        refused(dataclasses.replace(wrapped, **{part: mutant}), key)


def test_a_header_that_was_written_anew_is_refused(wrap_secret: Wrap) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    wrapped = wrap_secret(b"a secret", TeePublicKey.from_key(key.public_key()))
    header = json.loads(decode_base64url(wrapped.protected) or b"")
    spaced = encode_base64url(json.dumps(header).encode())
    assert spaced != wrapped.protected
    refused(dataclasses.replace(wrapped, protected=spaced), key)


def test_another_ephemeral_key_is_refused(wrap_secret: Wrap) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    wrapped = wrap_secret(b"a secret", TeePublicKey.from_key(key.public_key()))
    other = TeePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key())
    refused(dataclasses.replace(wrapped, ephemeral_key=other), key)


def test_a_secret_for_another_enclave_is_refused(wrap_secret: Wrap) -> None:
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    refused(wrap_secret(b"a secret", TeePublicKey.from_key(other.public_key())), key)


def test_a_secret_in_the_clear_is_not_shown() -> None:
    secret = SecretBytes(b"hush")
    assert f"{secret} {secret!r} {[secret]}" == "<redacted> <redacted> [<redacted>]"


def test_what_another_library_wraps_is_opened() -> None:
    jwe = pytest.importorskip("joserfc.jwe")
    jwk = pytest.importorskip("joserfc.jwk")
    key = ec.generate_private_key(ec.SECP256R1())
    document = TeePublicKey.from_key(key.public_key()).document()
    # Compact, because joserfc puts epk into an unprotected header otherwise.
    compact = jwe.encrypt_compact(
        {"alg": "ECDH-ES+A256KW", "enc": "A256GCM"},
        b"a secret",
        jwk.ECKey.import_key({name: str(value) for name, value in document.items()}),
        algorithms=["ECDH-ES+A256KW", "A256GCM"],
    )
    names = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
    flattened = json.dumps(dict(zip(names, compact.split("."), strict=True))).encode()
    assert unwrap(WrappedSecret.parse(flattened), key).value == b"a secret"


def test_what_we_expect_of_a_broker_is_opened_by_another_library(wrap_secret: Wrap) -> None:
    jwe = pytest.importorskip("joserfc.jwe")
    jwk = pytest.importorskip("joserfc.jwk")
    key = ec.generate_private_key(ec.SECP256R1())
    wrapped = wrap_secret(b"a secret", TeePublicKey.from_key(key.public_key()))
    opened = jwe.decrypt_json(
        json.loads(wrapped.to_bytes()),
        jwk.ECKey.import_key(key),
        algorithms=["ECDH-ES+A256KW", "A256GCM"],
    )
    assert opened.plaintext == b"a secret"
