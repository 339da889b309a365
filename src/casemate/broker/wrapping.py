"""Wraps a secret for one public key: JWE (RFC 7516) with ECDH-ES+A256KW (RFC 7518 section 4.6) and A256GCM.

The clients of Confidential Containers rebuild the authenticated header from what they parsed, so it is
compact JSON with ``alg``, ``enc`` and ``epk`` in this order, and ``epk`` is inside it. JOSE libraries put
``epk`` elsewhere when they write JSON, which is why the few lines of RFC 7518 stand here.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from casemate.broker.resource import Secret
from casemate_attester.messages import (
    CONTENT_ENCRYPTION,
    KEY_AGREEMENT,
    TeePublicKey,
    WrappedSecret,
    encode_base64url,
)

_KEY_SIZE = 32
_IV_SIZE = 12
_TAG_SIZE = 16


def wrap(secret: Secret, recipient: TeePublicKey, random: Callable[[int], bytes]) -> WrappedSecret:
    """Encrypt ``secret`` so that only the holder of the private key of ``recipient`` can read it.

    Args:
        secret: What is released.
        recipient: A point on P-256.
        random: Gives that many unpredictable bytes. The ephemeral key comes from OpenSSL.
    """
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    ephemeral_key = TeePublicKey.from_key(ephemeral.public_key())
    protected = _protected_header(ephemeral_key)
    content_key = random(_KEY_SIZE)
    iv = random(_IV_SIZE)
    sealed = AESGCM(content_key).encrypt(iv, secret.value, protected.encode("ascii"))
    wrapping_key = _agreed_key(ephemeral.exchange(ec.ECDH(), recipient.public_key()))
    return WrappedSecret(
        protected=protected,
        ephemeral_key=ephemeral_key,
        encrypted_key=aes_key_wrap(wrapping_key, content_key),
        iv=iv,
        ciphertext=sealed[:-_TAG_SIZE],
        tag=sealed[-_TAG_SIZE:],
    )


def _protected_header(ephemeral_key: TeePublicKey) -> str:
    epk = {
        "crv": "P-256",
        "kty": "EC",
        "x": encode_base64url(ephemeral_key.x),
        "y": encode_base64url(ephemeral_key.y),
    }
    header = {"alg": KEY_AGREEMENT, "enc": CONTENT_ENCRYPTION, "epk": epk}
    return encode_base64url(json.dumps(header, separators=(",", ":")).encode("ascii"))


def _agreed_key(shared_secret: bytes) -> bytes:
    """RFC 7518 section 4.6.2: Concat KDF over Z, with empty PartyUInfo and PartyVInfo."""
    algorithm = KEY_AGREEMENT.encode("ascii")
    lengths = (len(algorithm), 0, 0, _KEY_SIZE * 8)
    size, party_u, party_v, public = (value.to_bytes(4, "big") for value in lengths)
    other_info = size + algorithm + party_u + party_v + public
    return ConcatKDFHash(algorithm=SHA256(), length=_KEY_SIZE, otherinfo=other_info).derive(shared_secret)
