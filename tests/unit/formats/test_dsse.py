"""DSSE envelopes: the specification's example, every change refused, nothing but our errors let out."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from casemate.adapters.file_keys import FileSigner
from casemate.errors import FormatError, KeyUnfitError, RefusedError
from casemate.formats.dsse import (
    IN_TOTO_TYPE,
    MAX_ENVELOPE_SIZE,
    Envelope,
    EnvelopeSignature,
    is_envelope,
    key_id,
    pre_authentication_encoding,
)
from casemate.keys import RsaPublicKey

VECTORS = Path(__file__).parents[2] / "vectors/measurement"
SIGNER = FileSigner.open(VECTORS / "signing-key.pem")
KEY = SIGNER.public_key
OTHER = RsaPublicKey(modulus=KEY.modulus - 2, exponent=3)
PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'
SIGNED = Envelope.sign(IN_TOTO_TYPE, PAYLOAD, SIGNER)
#: DSSE protocol 1.0.0, "Test Vectors": an envelope that another implementation signed with ECDSA.
FOREIGN = (
    b'{"payload": "aGVsbG8gd29ybGQ=", "payloadType": "http://example.com/HelloWorld", "signatures": [{"sig": '
    b'"A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="}]}'
)


def test_what_is_signed_is_that_of_the_specification() -> None:
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")

    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_lengths_are_those_of_bytes() -> None:
    assert pre_authentication_encoding("ä", b"") == b"DSSEv1 2 \xc3\xa4 0 "


def test_the_envelope_of_the_specification_is_read_and_its_signature_is_none_of_ours() -> None:
    envelope = Envelope.parse(FOREIGN, "vector")

    assert envelope.unverified == b"hello world"
    assert [one.key_id for one in envelope.signatures] == [""]
    with pytest.raises(RefusedError) as refused:
        envelope.verified(envelope.payload_type, (KEY,), "vector")
    assert str(refused.value) == (
        f"signature of an envelope: expected one of a key that is trusted: {key_id(KEY)}, "
        "got signatures of ? (vector)"
    )


def test_a_signed_payload_is_given_out() -> None:
    again = Envelope.parse(SIGNED.to_bytes(), "x")

    assert again == SIGNED
    assert again.verified(IN_TOTO_TYPE, (OTHER, KEY), "x") == PAYLOAD
    assert [one.key_id for one in again.signatures] == [key_id(KEY)]


def test_the_same_payload_gives_the_same_bytes() -> None:
    assert Envelope.sign(IN_TOTO_TYPE, PAYLOAD, SIGNER).to_bytes() == SIGNED.to_bytes()


def test_either_alphabet_of_base64_is_read() -> None:
    document = json.loads(SIGNED.to_bytes())
    signature = document["signatures"][0]
    signature["sig"] = base64.urlsafe_b64encode(base64.b64decode(signature["sig"])).decode()

    assert Envelope.parse(json.dumps(document).encode(), "x") == SIGNED


def test_a_name_of_a_key_decides_nothing() -> None:
    (signature,) = SIGNED.signatures
    renamed = replace(SIGNED, signatures=(replace(signature, key_id="another"),))

    assert renamed.verified(IN_TOTO_TYPE, (KEY,), "x") == PAYLOAD


def test_one_signature_of_a_trusted_key_is_enough() -> None:
    bad = EnvelopeSignature(key_id="bad", signature=b"\1" * 384)

    assert (
        replace(SIGNED, signatures=(bad, *SIGNED.signatures)).verified(IN_TOTO_TYPE, (KEY,), "x") == PAYLOAD
    )


@pytest.mark.parametrize(
    "changed",
    [
        replace(SIGNED, unverified=PAYLOAD + b" "),
        replace(SIGNED, payload_type="application/json"),
        replace(
            SIGNED,
            signatures=(
                EnvelopeSignature(key_id=key_id(KEY), signature=SIGNED.signatures[0].signature[:-1] + b"\0"),
            ),
        ),
        replace(SIGNED, signatures=(EnvelopeSignature(key_id=key_id(KEY), signature=b""),)),
    ],
    ids=["payload", "type", "signature", "no bytes"],
)
def test_what_is_changed_is_refused(changed: Envelope) -> None:
    with pytest.raises(RefusedError):
        changed.verified(changed.payload_type, (KEY,), "x")


@pytest.mark.parametrize("keys", [(), (OTHER,)])
def test_no_key_and_another_key_confirm_nothing(keys: tuple[RsaPublicKey, ...]) -> None:
    with pytest.raises(RefusedError):
        SIGNED.verified(IN_TOTO_TYPE, keys, "x")


def test_a_payload_of_another_type_is_refused() -> None:
    with pytest.raises(FormatError) as refused:
        SIGNED.verified("text/plain", (KEY,), "x")

    assert str(refused.value) == (f"payload of an envelope: expected text/plain, got '{IN_TOTO_TYPE}' (x)")


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"signatures": []}, "Expected `array` of length >= 1"),
        ({"signatures": [{"sig": ""}] * 17}, "length <= 16"),
        ({"payload": 1}, "Expected `str`, got `int`"),
        ({"payloadType": ""}, "length >= 1"),
        ({"more": 1}, "unknown field `more`"),
        ({"payload": "a"}, "cannot be 1 more than a multiple of 4"),
        ({"payload": "a\n=="}, "Only base64 data is allowed"),
        ({"signatures": [{"sig": "ä"}]}, "string argument should contain only ASCII characters"),
    ],
)
def test_what_is_no_envelope_is_refused(change: dict[str, Any], got: str) -> None:
    document = json.loads(SIGNED.to_bytes()) | change

    with pytest.raises(FormatError) as refused:
        Envelope.parse(json.dumps(document).encode(), "x")

    assert got in (refused.value.got or "")
    assert refused.value.where == "x"


def test_an_envelope_at_the_limit_is_read_and_one_past_it_is_not() -> None:
    Envelope.parse(SIGNED.to_bytes().ljust(MAX_ENVELOPE_SIZE), "x")
    with pytest.raises(FormatError):
        Envelope.parse(SIGNED.to_bytes().ljust(MAX_ENVELOPE_SIZE + 1), "x")


@pytest.mark.parametrize(
    ("data", "meant"),
    [
        (SIGNED.to_bytes(), True),
        (b'{"payloadType":1}', True),
        (PAYLOAD, False),
        (b"[]", False),
        (b"\xff", False),
        (b"[" * 100_000, False),
        (SIGNED.to_bytes().ljust(MAX_ENVELOPE_SIZE + 1), False),
    ],
)
def test_an_envelope_is_told_from_a_statement(data: bytes, *, meant: bool) -> None:
    assert is_envelope(data) is meant


def test_numbers_that_are_no_key_have_no_name() -> None:
    with pytest.raises(KeyUnfitError):
        key_id(RsaPublicKey(modulus=0, exponent=3))
