"""The messages of the key broker protocol RCAR, version 0.4.0, as Trustee's key broker speaks it.

::

    attester                                   key broker
       Request          POST /kbs/v0/auth   →
                                            ←  Challenge
       Attestation      POST /kbs/v0/attest →
                                            ←  AttestResponse
                  GET /kbs/v0/resource/R/T/G →
                                            ←  WrappedSecret (JWE, RFC 7516 section 7.2.2)
                                            ←  ErrorInformation, instead of any of the answers

Both roles are here: the attester writes what the broker reads. What a client sends is read strictly, unknown
fields are refused. In a broker's answers unknown fields are ignored, because later Trustee releases may add
some and nothing here acts on them; the one exception is a wrapped secret, where every field takes part in the
cryptography.

This module checks form only. Whether a nonce is the right one, a token is genuine or a secret opens is
decided elsewhere.
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import NewType, Self

from cryptography.hazmat.primitives.asymmetric import ec

from casemate_attester.errors import MessageError
from casemate_attester.strict_json import Fields, canonical_json, read_object

__all__ = [
    "CONTENT_ENCRYPTION",
    "KEY_AGREEMENT",
    "MAX_MESSAGE_BYTES",
    "MAX_QUOTE_BYTES",
    "MAX_WRAPPED_SECRET_BYTES",
    "PROTOCOL_VERSION",
    "AttestResponse",
    "Attestation",
    "Challenge",
    "ErrorInformation",
    "HashAlgorithm",
    "Nonce",
    "Request",
    "TeePublicKey",
    "Token",
    "WrappedSecret",
    "decode_base64url",
    "encode_base64url",
]

PROTOCOL_VERSION = "0.4.0"
KEY_AGREEMENT = "ECDH-ES+A256KW"
CONTENT_ENCRYPTION = "A256GCM"

#: Largest protocol message. A quote with its certificates has about 5 KB, a token about 10 KB.
MAX_MESSAGE_BYTES = 128 * 1024
#: Largest wrapped secret, as text; the secret itself has less than three quarters of it.
MAX_WRAPPED_SECRET_BYTES = 2 * 1024 * 1024
#: A DCAP quote of version 3 with its certificate chain has less than 8 KB.
MAX_QUOTE_BYTES = 64 * 1024

#: The nonce of a session: text that is echoed and hashed as it came, never decoded.
Nonce = NewType("Nonce", str)
_NONCE = r"[\x21-\x7e]{16,1024}"
_JWT = r"[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]*"
_COORDINATE_BYTES = 32


class HashAlgorithm(Enum):
    """Hash for the report data; the value is the name on the wire and the one that hashlib knows."""

    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"


def encode_base64url(data: bytes) -> str:
    """Base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64url(text: str) -> bytes | None:
    """The bytes, or ``None`` when ``text`` is not the one way in which they are written.

    Padding, other alphabets and set bits behind the last byte are refused, so no two texts mean the same.
    """
    if re.fullmatch(r"[A-Za-z0-9_\-]*", text) is None or len(text) % 4 == 1:
        return None
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return data if encode_base64url(data) == text else None


def _base64url_field(fields: Fields, name: str, size: int | None = None) -> bytes:
    """A base64url field, of exactly ``size`` bytes when that is given."""
    expected = "base64url" if size is None else f"base64url of {size} bytes"
    text = fields.text(name, expected=expected)
    data = decode_base64url(text)
    if data is None or (size is not None and len(data) != size):
        fields.refuse(name, expected=expected, got=f"text of {len(text)} characters")
    return data


def _read(data: bytes, document: str, limit: int = MAX_MESSAGE_BYTES) -> Fields:
    return read_object(data, document=document, error=MessageError, limit=limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeePublicKey:
    """The enclave's public key for receiving secrets: a JWK with exactly five fields.

    The broker drops any further field before it hashes the key, so none is sent and none is accepted.

    Attributes:
        x: Affine coordinate on P-256, 32 bytes, big-endian.
        y: The other one.
    """

    x: bytes
    y: bytes

    @classmethod
    def from_key(cls, key: ec.EllipticCurvePublicKey) -> Self:
        """The JWK of a P-256 key."""
        numbers = key.public_numbers()
        return cls(
            x=numbers.x.to_bytes(_COORDINATE_BYTES, "big"), y=numbers.y.to_bytes(_COORDINATE_BYTES, "big")
        )

    @classmethod
    def from_fields(cls, fields: Fields, *, alg: bool = True) -> Self:
        """Reads a JWK.

        Args:
            fields: The object.
            alg: Whether the field ``alg`` belongs to it; in an ephemeral key it does not.
        """
        fields.text("kty", pattern="EC", expected="EC")
        fields.text("crv", pattern="P-256", expected="P-256")
        if alg:
            fields.text("alg", pattern=re.escape(KEY_AGREEMENT), expected=KEY_AGREEMENT)
        result = cls(
            x=_base64url_field(fields, "x", _COORDINATE_BYTES),
            y=_base64url_field(fields, "y", _COORDINATE_BYTES),
        )
        fields.done()
        if result._point() is None:
            fields.refuse("x", expected="a point on P-256", got="a point that is not on the curve")
        return result

    def document(self) -> dict[str, object]:
        """The JSON value."""
        return {
            "alg": KEY_AGREEMENT,
            "crv": "P-256",
            "kty": "EC",
            "x": encode_base64url(self.x),
            "y": encode_base64url(self.y),
        }

    def _point(self) -> ec.EllipticCurvePublicKey | None:
        numbers = ec.EllipticCurvePublicNumbers(
            int.from_bytes(self.x, "big"), int.from_bytes(self.y, "big"), ec.SECP256R1()
        )
        try:
            return numbers.public_key()
        except ValueError:
            return None

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The key for computing.

        Raises:
            MessageError: When the coordinates are not those of a point on the curve.
        """
        key = self._point()
        if key is None:
            raise MessageError("tee-pubkey", expected="a point on P-256", got="other coordinates")
        return key


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Opens a session.

    Attributes:
        version: Protocol version; a broker decides which ones it takes.
        tee: Kind of the trusted execution environment, ``"sgx"`` here.
        supported_hash_algorithms: Names of the hashes that the client can put into its report data. A broker
            passes over names that it does not know.
    """

    version: str = PROTOCOL_VERSION
    tee: str = "sgx"
    supported_hash_algorithms: tuple[str, ...] = tuple(item.value for item in HashAlgorithm)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The request that a client has sent."""
        fields = _read(data, "Request")
        version = fields.text("version", pattern=r"[0-9]{1,5}(\.[0-9]{1,5}){2}", expected="X.Y.Z")
        tee = fields.text("tee", pattern="[a-z0-9-]{1,32}", expected="the name of a TEE")
        algorithms: tuple[str, ...] = ()
        extra = fields.object_or_empty("extra-params")
        if extra is not None and "supported-hash-algorithms" in extra:
            algorithms = extra.texts("supported-hash-algorithms")
        fields.done()
        return cls(version=version, tee=tee, supported_hash_algorithms=algorithms)

    def to_bytes(self) -> bytes:
        """The body of ``POST /kbs/v0/auth``."""
        extra = {"supported-hash-algorithms": list(self.supported_hash_algorithms)}
        return canonical_json({"version": self.version, "tee": self.tee, "extra-params": extra})


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """The broker's answer to a request.

    Attributes:
        nonce: To be bound into the evidence.
        selected_hash_algorithm: Hash for the report data. ``None`` when the broker leaves it to the protocol,
            which means SHA-384 for SGX.
    """

    nonce: Nonce
    selected_hash_algorithm: HashAlgorithm | None = None

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The challenge that a broker has sent."""
        fields = _read(data, "Challenge")
        nonce = fields.text("nonce", pattern=_NONCE, expected="16 to 1024 printable characters")
        extra = fields.object_or_empty("extra-params")
        selected = None
        if extra is not None and "selected-hash-algorithm" in extra:
            names = "|".join(item.value for item in HashAlgorithm)
            selected = HashAlgorithm(extra.text("selected-hash-algorithm", pattern=names, expected=names))
        return cls(nonce=Nonce(nonce), selected_hash_algorithm=selected)

    def to_bytes(self) -> bytes:
        """The answer to ``POST /kbs/v0/auth``."""
        selected = self.selected_hash_algorithm
        extra = {"selected-hash-algorithm": selected.value} if selected else ""
        return canonical_json({"nonce": self.nonce, "extra-params": extra})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """Evidence for a nonce and a key.

    There is no init-data: Trustee compares it with CONFIGID, which is always zero under Gramine. There is no
    additional evidence: no device is attested.

    Attributes:
        nonce: Echo of the challenge's.
        tee_public_key: The key to which secrets are to be wrapped.
        quote: The DCAP quote, opaque here.
    """

    nonce: Nonce
    tee_public_key: TeePublicKey
    quote: bytes = field(repr=False)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The attestation that a client has sent."""
        fields = _read(data, "Attestation")
        fields.nothing("init-data")
        runtime = fields.object("runtime-data")
        nonce = runtime.text("nonce", pattern=_NONCE, expected="16 to 1024 printable characters")
        key = TeePublicKey.from_fields(runtime.object("tee-pubkey"))
        runtime.done()
        evidence = fields.object("tee-evidence")
        fields.done()
        evidence.text("additional_evidence", pattern="", expected="empty text, as no device is attested")
        primary = evidence.object("primary_evidence")
        evidence.done()
        text = primary.text("quote", expected="base64")
        primary.done()
        quote = _decode_base64(text)
        if quote is None or not 0 < len(quote) <= MAX_QUOTE_BYTES:
            expected = f"base64 of 1 to {MAX_QUOTE_BYTES} bytes"
            primary.refuse("quote", expected=expected, got=f"text of {len(text)} characters")
        return cls(nonce=Nonce(nonce), tee_public_key=key, quote=quote)

    def to_bytes(self) -> bytes:
        """The body of ``POST /kbs/v0/attest``."""
        quote = base64.b64encode(self.quote).decode("ascii")
        return canonical_json(
            {
                "init-data": None,
                "runtime-data": {"nonce": self.nonce, "tee-pubkey": self.tee_public_key.document()},
                "tee-evidence": {"primary_evidence": {"quote": quote}, "additional_evidence": ""},
            }
        )


def _decode_base64(text: str) -> bytes | None:
    """Standard base64 with padding, or ``None`` when it is not."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode("ascii") == text else None


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token. It opens what its session may open, so it prints as ``<redacted>``."""

    value: str = field(repr=False)

    def __str__(self) -> str:
        return "<redacted>"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestResponse:
    """The broker's answer to good evidence; the token is not verified here, the broker's certificate was."""

    token: Token

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The answer that a broker has sent."""
        fields = _read(data, "AttestResponse")
        return cls(token=Token(fields.text("token", pattern=_JWT, expected="a JSON Web Token")))

    def to_bytes(self) -> bytes:
        """The answer to ``POST /kbs/v0/attest``."""
        return canonical_json({"token": self.token.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorInformation:
    """Why a broker says no (after RFC 7807).

    Attributes:
        type: A URI whose last segment is the kind of error.
        detail: The reason in words.
    """

    type: str
    detail: str

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The refusal that a broker has sent."""
        fields = _read(data, "ErrorInformation")
        return cls(type=fields.text("type"), detail=fields.text("detail"))

    def to_bytes(self) -> bytes:
        """The body of an answer with a status from 400 on."""
        return canonical_json({"type": self.type, "detail": self.detail})


@dataclass(frozen=True, slots=True, kw_only=True)
class WrappedSecret:
    """A secret under the enclave's key: a flattened JWE (RFC 7516, section 7.2.2).

    Header parameters other than those below are refused, ``crit`` and ``zip`` among them; so are unprotected
    headers.

    Attributes:
        protected: The protected header exactly as it came; it is authenticated in this form.
        ephemeral_key: ``epk``, the sender's half of the key agreement.
        party_u: ``apu`` (RFC 7518, section 4.6.1.2), mostly empty.
        party_v: ``apv``, mostly empty.
        encrypted_key: The content encryption key, wrapped.
        iv: 12 bytes.
        ciphertext: As long as the secret.
        tag: 16 bytes.
    """

    protected: str
    ephemeral_key: TeePublicKey
    party_u: bytes = b""
    party_v: bytes = b""
    encrypted_key: bytes
    iv: bytes
    ciphertext: bytes
    tag: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The wrapped secret that a broker has sent."""
        fields = _read(data, "JWE", MAX_WRAPPED_SECRET_BYTES)
        protected = fields.text("protected", expected="base64url")
        encrypted_key = _base64url_field(fields, "encrypted_key", 40)
        iv = _base64url_field(fields, "iv", 12)
        ciphertext = _base64url_field(fields, "ciphertext")
        tag = _base64url_field(fields, "tag", 16)
        fields.done()
        header_bytes = decode_base64url(protected)
        if header_bytes is None:
            fields.refuse("protected", expected="base64url", got=f"text of {len(protected)} characters")
        header = _read(header_bytes, "JWE protected header")
        header.text("alg", pattern=re.escape(KEY_AGREEMENT), expected=KEY_AGREEMENT)
        header.text("enc", pattern=CONTENT_ENCRYPTION, expected=CONTENT_ENCRYPTION)
        ephemeral_key = TeePublicKey.from_fields(header.object("epk"), alg=False)
        party_u, party_v = (
            _base64url_field(header, name) if name in header else b"" for name in ("apu", "apv")
        )
        header.done()
        return cls(
            protected=protected,
            ephemeral_key=ephemeral_key,
            party_u=party_u,
            party_v=party_v,
            encrypted_key=encrypted_key,
            iv=iv,
            ciphertext=ciphertext,
            tag=tag,
        )

    def to_bytes(self) -> bytes:
        """The answer to ``GET /kbs/v0/resource/…``."""
        return canonical_json(
            {
                "protected": self.protected,
                "encrypted_key": encode_base64url(self.encrypted_key),
                "iv": encode_base64url(self.iv),
                "ciphertext": encode_base64url(self.ciphertext),
                "tag": encode_base64url(self.tag),
            }
        )
