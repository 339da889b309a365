"""Signing keys in PEM files: for development, and for machines that hold nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from casemate.errors import KeyUnfitError
from casemate.keys import RsaPublicKey


@dataclass(frozen=True, slots=True, repr=False)
class FileSigner:
    """A :class:`~casemate.keys.Signer` whose key was read from a file."""

    _key: RSAPrivateKey

    @classmethod
    def open(cls, path: Path) -> FileSigner:
        """Read an unencrypted RSA key in PEM (PKCS#1 or PKCS#8).

        Raises:
            KeyUnfitError: A file that cannot be read, that holds no private key, an encrypted one, or one
            that is
                not RSA. Length and exponent are not looked at.
        """
        where = str(path)
        try:
            key = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise KeyUnfitError(
                "key file cannot be read",
                got=error.strerror,
                where=where,
                hint="give the path of a PEM file: --key file:KEY.pem",
            ) from error
        except TypeError as error:
            raise KeyUnfitError(
                "key file",
                expected="an unencrypted private key",
                got="an encrypted one",
                where=where,
                hint="decrypt it into a file in memory first: openssl rsa -in KEY.pem -out /dev/shm/KEY.pem",
            ) from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyUnfitError(
                "key file", expected="an RSA private key in PEM", got="something else", where=where
            ) from error
        if not isinstance(key, RSAPrivateKey):
            kind = type(key).__name__.lstrip("_").removesuffix("PrivateKey")
            raise KeyUnfitError("key file", expected="an RSA private key", got=f"{kind}", where=where)
        return cls(key)

    @property
    def public_key(self) -> RsaPublicKey:
        """Modulus and exponent."""
        numbers = self._key.public_key().public_numbers()
        return RsaPublicKey(modulus=numbers.n, exponent=numbers.e)

    def sign(self, data: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256."""
        return self._key.sign(data, PKCS1v15(), SHA256())
