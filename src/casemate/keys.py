"""What can sign: the seam between the builder and every place where a key may be kept.

A key may never leave a token or a service, so a signer is asked for its public half and for signatures, and
for nothing else. URIs such as ``file:KEY.pem`` are resolved by the command line, through an adapter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


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
