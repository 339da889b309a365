"""A signature that was made elsewhere: whether it holds, and if not, what it probably is instead.

RFC 8017, sections 8.2.2 and 9.2. The reasons are for the person who attaches it; only a signature that holds
is accepted.
"""

from __future__ import annotations

import hashlib

from casemate.builder.signing.sigstruct import SigningSubject, complete_sigstruct, signed_bytes
from casemate.errors import KeyUnfitError, RefusedError
from casemate.formats.sgx.sigstruct import MODULUS_SIZE, SigningDate, SigStruct
from casemate.keys import RsaPublicKey, sha256_digest_info

_DIGEST_SIZE = 32
_HINT = (
    "sign to-be-signed.bin of this request with the key that is named: openssl dgst -sha256 -sign KEY.pem "
    "-out signature.bin to-be-signed.bin"
)


def attached_sigstruct(
    subject: SigningSubject, signature: bytes, *, date: SigningDate, key: RsaPublicKey, where: str
) -> SigStruct:
    """The SIGSTRUCT with ``signature``, which is verified.

    Args:
        subject: What was signed.
        signature: As OpenSSL and tokens give it: big-endian, as long as the modulus.
        date: What was signed of when.
        key: Whose signature it has to be; fit for enclaves.
        where: The file, for errors.

    Raises:
        RefusedError: It is not the key's signature over this enclave.
    """
    try:
        return complete_sigstruct(subject.enclave, date=date, key=key, signature=signature)
    except KeyUnfitError as error:
        raise RefusedError(
            "attached signature",
            expected="one of the key that is named, over the 256 bytes of the request",
            got=_kind(signature, signed_bytes(subject.enclave, date), key),
            where=where,
            hint=_HINT,
        ) from error


def _kind(signature: bytes, data: bytes, key: RsaPublicKey) -> str:
    """What a signature that does not hold is, as far as its public key can tell."""
    if len(signature) != MODULUS_SIZE:
        return f"{len(signature)} bytes in place of {MODULUS_SIZE}"
    found = _padded(signature, key)
    if found is None:
        backwards = _padded(signature[::-1], key)
        return "one of another key, or another padding" if backwards is None else "one in reverse byte order"
    right = sha256_digest_info(data)
    if found == right[-_DIGEST_SIZE:]:
        return "one over the bare digest, without the name of its algorithm"
    if found[:-_DIGEST_SIZE] != right[:-_DIGEST_SIZE]:
        return "one of this key with another hash than SHA-256"
    digest = found[-_DIGEST_SIZE:]
    if digest == hashlib.sha256(right[-_DIGEST_SIZE:]).digest():
        return "one over the digest of the bytes, which was hashed once more"
    return f"one of this key over other bytes, whose SHA-256 is {digest.hex()}"


def _padded(signature: bytes, key: RsaPublicKey) -> bytes | None:
    """What stands behind the padding of PKCS#1 v1.5; ``None`` where there is no such padding."""
    number = int.from_bytes(signature, "big")
    if number >= key.modulus:
        return None
    block = pow(number, key.exponent, key.modulus).to_bytes(MODULUS_SIZE, "big")
    padding, separator, rest = block[2:].partition(b"\x00")
    # The rest may hold zeros, the padding cannot.
    right = block[:2] == b"\x00\x01" and separator and not padding.strip(b"\xff")
    return rest if right else None
