"""Encryption of notes at rest: AES-256-GCM, a fresh nonce for each note, the note's identity authenticated with it."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12


class SealBrokenError(Exception):
    """What was stored does not open: another key, or the row was changed."""


class NoteCipher:
    """Seals and opens notes with one key."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, plaintext: bytes, identity: str) -> bytes:
        """Encrypt ``plaintext`` so that it opens only together with ``identity``."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, plaintext, identity.encode())

    def open(self, sealed: bytes, identity: str) -> bytes:
        """Decrypt what ``seal`` made; raises SealBrokenError for anything else."""
        nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return self._aead.decrypt(nonce, ciphertext, identity.encode())
        except (InvalidTag, ValueError) as error:
            raise SealBrokenError(identity) from error
