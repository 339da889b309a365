"""DSSE envelopes: bytes together with signatures over them and over what kind of bytes they are.

Dead Simple Signing Envelope, protocol 1.0.0 and envelope 0.1.0. The algorithm, which DSSE leaves to those
who use it, is RSASSA-PKCS1-v1_5 with SHA-256: what a key of an enclave's signer can do.

Not checked here: what the payload says. A key's name in an envelope is a hint and decides nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from casemate.errors import FormatError, KeyUnfitError, RefusedError
from casemate.formats.documents import Document, read_document
from casemate.keys import RsaPublicKey, Signer, require_signature
from casemate_attester.strict_json import canonical_json

IN_TOTO_TYPE: Final = "application/vnd.in-toto+json"
#: Bytes of an envelope with a statement and its signatures.
MAX_ENVELOPE_SIZE: Final = 256 * 1024
_MOST_SIGNATURES: Final = 16


class _Signature(Document, frozen=True):
    sig: str
    keyid: Annotated[str, msgspec.Meta(max_length=1024)] = ""


class _Envelope(Document, frozen=True):
    payload: str
    payload_type: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)] = msgspec.field(
        name="payloadType"
    )
    signatures: Annotated[tuple[_Signature, ...], msgspec.Meta(min_length=1, max_length=_MOST_SIGNATURES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeSignature:
    """One signature of an envelope.

    Attributes:
        key_id: What its signer calls the key; a hint, empty when there is none.
        signature: Its bytes.
    """

    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload with its signatures, none of which has been checked.

    Attributes:
        payload_type: What the payload is.
        unverified: The payload.
        signatures: At least one.
    """

    payload_type: str
    unverified: bytes
    signatures: tuple[EnvelopeSignature, ...]

    @classmethod
    def sign(cls, payload_type: str, payload: bytes, signer: Signer) -> Envelope:
        """An envelope with one signature, which is verified.

        Raises:
            KeyUnfitError: The key cannot be reached, or its signature does not hold.
        """
        key, data = signer.public_key, pre_authentication_encoding(payload_type, payload)
        signature = signer.sign(data)
        require_signature(data, signature, key)
        return cls(
            payload_type=payload_type,
            unverified=payload,
            signatures=(EnvelopeSignature(key_id=key_id(key), signature=signature),),
        )

    @classmethod
    def parse(cls, data: bytes, where: str) -> Envelope:
        """Read an envelope.

        Args:
            data: JSON text.
            where: Name of the file, for errors.

        Raises:
            FormatError: Too large, not JSON, not an envelope, no base64, or without signatures.
        """
        read = read_document(
            data,
            _Envelope,
            name="envelope",
            limit=MAX_ENVELOPE_SIZE,
            expected="a DSSE envelope with signatures",
            where=where,
        )
        return cls(
            payload_type=read.payload_type,
            unverified=_decode(read.payload, where),
            signatures=tuple(
                EnvelopeSignature(key_id=one.keyid, signature=_decode(one.sig, where))
                for one in read.signatures
            ),
        )

    def to_bytes(self) -> bytes:
        """Canonical JSON, with base64 in the standard alphabet."""
        return canonical_json(
            {
                "payload": base64.b64encode(self.unverified).decode(),
                "payloadType": self.payload_type,
                "signatures": [
                    {"keyid": one.key_id, "sig": base64.b64encode(one.signature).decode()}
                    for one in self.signatures
                ],
            }
        )

    def verified(self, payload_type: str, keys: Sequence[RsaPublicKey], where: str) -> bytes:
        """The payload, of which one of ``keys`` has vouched that it is of ``payload_type``.

        Args:
            payload_type: What it has to be.
            keys: Those that are trusted; none of them never confirms anything.
            where: Name of the file, for errors.

        Raises:
            RefusedError: No signature is one of these keys.
            FormatError: The payload is of another type.
        """
        data = pre_authentication_encoding(self.payload_type, self.unverified)
        if not any(_confirms(key, data, one.signature) for key in keys for one in self.signatures):
            raise RefusedError(
                "signature of an envelope",
                expected="one of a key that is trusted: " + (", ".join(map(key_id, keys)) or "none is named"),
                got="signatures of " + ", ".join(ascii(one.key_id)[1:-1] or "?" for one in self.signatures),
                where=where,
            )
        if self.payload_type != payload_type:
            raise FormatError(
                "payload of an envelope", expected=payload_type, got=ascii(self.payload_type), where=where
            )
        return self.unverified


def _confirms(key: RsaPublicKey, data: bytes, signature: bytes) -> bool:
    try:
        require_signature(data, signature, key)
    except KeyUnfitError:
        return False
    return True


def is_envelope(data: bytes) -> bool:
    """Whether ``data`` is meant to be an envelope rather than a bare statement; says nothing of its form."""
    if len(data) > MAX_ENVELOPE_SIZE:
        return False
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "payloadType" in value


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """What is signed: DSSE protocol, "Signature Definition", PAE."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_id(key: RsaPublicKey) -> str:
    """SHA-256 of the key as SubjectPublicKeyInfo in DER, hexadecimal.

    Raises:
        KeyUnfitError: Numbers that no RSA key has.
    """
    try:
        public = RSAPublicNumbers(e=key.exponent, n=key.modulus).public_key()
    except ValueError as error:
        raise KeyUnfitError(
            "public key", expected="modulus and exponent of RSA", got="other numbers"
        ) from error
    encoded = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()


def _decode(text: str, where: str) -> bytes:
    """Base64 in either alphabet, as verifiers have to accept (DSSE protocol, "Protocol")."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError("envelope", expected="base64", got=str(error), where=where) from error
