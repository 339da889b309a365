"""The two identities of an enclave, as types of their own (Intel SDM volume 3D, section 37.4)."""

from __future__ import annotations

from typing import Self

from casemate.errors import FormatError

#: Both are SHA-256 digests.
IDENTITY_SIZE = 32


class _Identity(bytes):
    """32 bytes that stand for one thing; compares and prints as bytes do."""

    __slots__ = ()

    def __new__(cls, value: bytes) -> Self:
        if len(value) != IDENTITY_SIZE:
            raise FormatError(cls.__name__, expected=f"{IDENTITY_SIZE} bytes", got=f"{len(value)}")
        return super().__new__(cls, value)


class MrEnclave(_Identity):
    """The measurement of what was loaded into an enclave, in which order, at which addresses."""

    __slots__ = ()


class MrSigner(_Identity):
    """SHA-256 of the modulus (little-endian) of the key that signed an enclave."""

    __slots__ = ()
