"""ECDSA with P-256 and SHA-256, in the two spellings of DCAP.

A signature with a high s is accepted: Intel's hardware makes them (half of all genuine quotes have one), so
that a second valid signature over the same content always exists. Nothing may take a signature, or a hash
over one, for an identity; :attr:`casemate.verifier.result.AttestationResult.evidence_digest` is one.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

_ALGORITHM = ec.ECDSA(hashes.SHA256())


def signed_by(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    """Whether ``signature``, DER, is one of ``key`` over ``data``."""
    try:
        key.verify(signature, data, _ALGORITHM)
    except InvalidSignature:
        return False
    return True


def raw_signed_by(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> bool:
    """Whether ``signature``, r and s in 64 bytes, is one of ``key`` over ``data``."""
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    return signed_by(key, encode_dss_signature(r, s), data)


def point_key(coordinates: bytes) -> ec.EllipticCurvePublicKey | None:
    """The key with these coordinates x and y, 64 bytes; ``None`` when no point of P-256 has them."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + coordinates)
    except ValueError:
        return None
