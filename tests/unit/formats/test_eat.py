"""Evidence in certificates: one shape is read, and a certificate without a bound key is refused."""

import hashlib

import pytest

from casemate.errors import FormatError
from casemate.formats import der
from casemate.formats.eat import AttestedCertificate, TaggedEvidence

HASH = hashlib.sha256(b"key").digest()


def bstr(value: bytes) -> bytes:
    head = bytes([0x40 + len(value)]) if len(value) < 24 else bytes([0x58, len(value)])
    return head + value


def claims(wrapped: bytes) -> bytes:
    return b"\xa1\x6b" + b"pubkey-hash" + bstr(wrapped)


def extension(claims_bytes: bytes, *, tag: bytes = b"\xd9\xea\x60") -> bytes:
    return tag + b"\x82" + bstr(b"QUOTE") + bstr(claims_bytes)


def test_quote_claims_and_key_hash_are_read() -> None:
    wanted = claims(b"\x82\x01" + bstr(HASH))
    evidence = TaggedEvidence.parse(extension(wanted))
    assert evidence == TaggedEvidence(
        quote=b"QUOTE", claims=wanted, key_hash_algorithm="sha256", key_hash=HASH
    )


def test_other_claims_are_let_through_unread() -> None:
    two = b"\xa2\x65nonce" + bstr(b"n") + claims(b"\x82\x01" + bstr(HASH))[1:]
    assert TaggedEvidence.parse(extension(two)).key_hash == HASH


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(
            extension(claims(b"\x82\x01" + bstr(HASH)), tag=b"\xd9\xea\x61"),
            "evidence extension: expected CBOR tag 60000 (an SGX or TDX quote), got tag 60001",
            id="another-kind-of-evidence",
        ),
        pytest.param(
            b"\x00",
            "evidence extension: expected CBOR tag 60000 (an SGX or TDX quote), got no tag",
            id="untagged",
        ),
        pytest.param(
            b"\xd9\xea\x60\x81" + bstr(b"QUOTE"),
            "evidence extension: expected two byte strings: quote and claims",
            id="no-claims",
        ),
        pytest.param(
            extension(b"\xa0"),
            'evidence claims: expected the claim "pubkey-hash", got none',
            id="no-key-hash",
        ),
        pytest.param(
            extension(claims(b"\x82\x05" + bstr(HASH))),
            "public key hash: expected [algorithm, hash] with algorithm 1, 7, 8",
            id="unknown-algorithm",
        ),
        pytest.param(
            extension(claims(b"\x82\x01" + bstr(HASH[:31]))),
            "public key hash: expected 32 bytes of sha256, got 31 bytes",
            id="short-hash",
        ),
    ],
)
def test_any_other_shape_is_refused(value: bytes, message: str) -> None:
    with pytest.raises(FormatError) as refused:
        TaggedEvidence.parse(value)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "certificate",
    [der.encode(der.SEQUENCE), der.encode(der.SEQUENCE, *[der.encode(der.SEQUENCE)] * 3)],
    ids=["empty", "without a version"],
)
def test_only_certificates_of_version_3_carry_evidence(certificate: bytes) -> None:
    with pytest.raises(FormatError) as refused:
        AttestedCertificate.parse(certificate)
    assert str(refused.value) == "certificate: expected X.509 version 3, got other fields"
