"""Opens a wrapped secret with the enclave's key: ECDH-ES+A256KW on P-256 with A256GCM (RFC 7518).

Trustee's key broker offers nothing else to an elliptic-curve key. The message has been parsed before:
algorithms, lengths and the point on the curve are right when this module sees it.
"""

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from casemate_attester.errors import UnwrapError
from casemate_attester.messages import KEY_AGREEMENT, WrappedSecret

__all__ = ["SecretBytes", "agreed_key", "unwrap"]

_KEY_ENCRYPTION_BITS = 256


@dataclass(frozen=True, slots=True)
class SecretBytes:
    """A secret in the clear; prints as ``<redacted>``.

    Python cannot erase it: it stays in enclave memory until the allocator reuses the place.
    """

    value: bytes = field(repr=False)

    def __repr__(self) -> str:
        return "<redacted>"


def agreed_key(
    private_key: ec.EllipticCurvePrivateKey,
    public_key: ec.EllipticCurvePublicKey,
    *,
    algorithm: str,
    bits: int,
    party_u: bytes,
    party_v: bytes,
) -> bytes:
    """The key that both sides of an ECDH-ES agreement derive (RFC 7518, section 4.6.2).

    Args:
        private_key: Our half.
        public_key: The other half, on the same curve.
        algorithm: AlgorithmID: the value of ``alg``, or of ``enc`` in direct agreement.
        bits: SuppPubInfo, the length of the key.
        party_u: PartyUInfo, from ``apu``.
        party_v: PartyVInfo, from ``apv``.
    """
    fields = (algorithm.encode("ascii"), party_u, party_v)
    info = b"".join(len(item).to_bytes(4, "big") + item for item in fields) + bits.to_bytes(4, "big")
    shared = private_key.exchange(ec.ECDH(), public_key)
    return ConcatKDFHash(algorithm=SHA256(), length=bits // 8, otherinfo=info).derive(shared)


def unwrap(wrapped: WrappedSecret, private_key: ec.EllipticCurvePrivateKey) -> SecretBytes:
    """The secret inside (RFC 7516, section 5.2).

    Raises:
        UnwrapError: When any part was made for another key or was changed on the way. The message does not
            say which part: nobody who is told can do anything different.
    """
    key_encryption_key = agreed_key(
        private_key,
        wrapped.ephemeral_key.public_key(),
        algorithm=KEY_AGREEMENT,
        bits=_KEY_ENCRYPTION_BITS,
        party_u=wrapped.party_u,
        party_v=wrapped.party_v,
    )
    try:
        content_key = aes_key_unwrap(key_encryption_key, wrapped.encrypted_key)
        # Additional authenticated data is the header as it came, not as we would write it (section 5.2,
        # step 15).
        return SecretBytes(
            AESGCM(content_key).decrypt(
                wrapped.iv, wrapped.ciphertext + wrapped.tag, wrapped.protected.encode("ascii")
            )
        )
    except (InvalidUnwrap, InvalidTag):
        raise UnwrapError(
            "wrapped secret",
            expected="one that is wrapped to this enclave's key and unchanged",
            got="one that does not open",
            hint="look for a proxy between enclave and broker, and whether the broker wraps to tee-pubkey",
        ) from None
