"""What can sign: the seam between the builder and every place where a key may be kept.

A key may never leave a token or a service, so a signer is asked for its public half and for signatures, and
for nothing else. URIs such as ``file:KEY.pem`` are resolved by the command line, through an adapter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from casemate.errors import KeyUnfitError

# DigestInfo of SHA-256, RFC 8017, section 9.2, note 1.
_SHA256_PREFIX: Final = bytes.fromhex("3031300d060960864801650304020105000420")


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaPublicKey:
    """The public half of an RSA key (RFC 8017, section 3.1)."""

    modulus: int
    exponent: int


class Signer(Protocol):
    """Something that holds an RSA key and signs with it."""

    @property
    def public_key(self) -> RsaPublicKey:
        """The public half of the key that :meth:`sign` uses."""
        ...

    def sign(self, data: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256 over ``data`` (RFC 8017, section 8.2).

        Returns:
            The signature, big-endian, as long as the modulus.

        Raises:
            KeyUnfitError: The key cannot be reached, or refuses.
        """
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Passphrase:
    """What opens a key: the passphrase of a file, the PIN of a token. It shows nowhere."""

    value: bytes

    def __repr__(self) -> str:
        return "<redacted>"


#: Asks for what is named, for example ``PIN of token release``. Each call asks once; whoever is told
#: something wrong does not ask again, because tokens lock themselves after a few attempts.
AskPassphrase: TypeAlias = Callable[[str], Passphrase]


def sha256_digest_info(data: bytes) -> bytes:
    """What RSASSA-PKCS1-v1_5 pads: the DER of DigestInfo (RFC 8017, section 9.2, step 2)."""
    return _SHA256_PREFIX + hashlib.sha256(data).digest()


def require_signature(data: bytes, signature: bytes, key: RsaPublicKey) -> None:
    """RSASSA-PKCS1-v1_5 verification with SHA-256 (RFC 8017, section 8.2.2).

    Raises:
        KeyUnfitError: The signature is not as long as the modulus, or is not one of ``key`` over ``data``.
    """
    size = (key.modulus.bit_length() + 7) // 8
    if len(signature) != size:
        raise KeyUnfitError("signature", expected=f"{size} bytes", got=f"{len(signature)} bytes")
    digest_info = sha256_digest_info(data)
    padding = b"\xff" * (size - len(digest_info) - 3)
    expected = int.from_bytes(b"\x00\x01" + padding + b"\x00" + digest_info, "big")
    number = int.from_bytes(signature, "big")
    if number >= key.modulus or pow(number, key.exponent, key.modulus) != expected:
        raise KeyUnfitError(
            "signature",
            expected="one that the public key confirms",
            got="another",
            hint="the key's two halves do not belong together, or its token does not sign RSA PKCS#1 v1.5",
        )
