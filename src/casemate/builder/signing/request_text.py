"""What is to be signed, in words, for the person who holds the key and has OpenSSL or the tool of an HSM."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

from casemate.builder.signing.sigstruct import XFRM_FEATURES, SigningSubject
from casemate.formats.one_line import one_line
from casemate.formats.sgx.report import DEBUG, MrSigner
from casemate.formats.sgx.sigstruct import (
    ATTRIBUTES_IN_SIGNED_BYTES,
    ISVPRODID_IN_SIGNED_BYTES,
    MRENCLAVE_IN_SIGNED_BYTES,
    NO_DATE,
    EnclaveIdentity,
    SigningDate,
)

#: What the bits of XFRM that a manifest can ask for are called.
_NAMES: Final = {"avx": "AVX", "avx512": "AVX-512", "amx": "AMX", "mpx": "MPX", "pkru": "PKRU"}
_EXINFO: Final = 1
_WIDTH: Final = 16
#: Characters of a setting.
_LONGEST: Final = 200

_HOW: Final = """\
HOW TO CHECK IT
  to-be-signed.bin holds the 256 bytes that the signature will cover, and it covers no word of this text.
  All of the bytes count: whether the host may debug the enclave, and its ISVSVN, do not stand in MRENCLAVE.
  Their SHA-256, which an HSM may show, is
    $ openssl dgst -sha256 -r to-be-signed.bin | cut -c -64
    {digest}
  Compare it with what you were told over another way than this file, for example with the request that a
  second machine has prepared, with the same date, from the same sources. Who is told MRENCLAVE alone finds
  it with the first of these commands, and has to look at what the other two print as well: ATTRIBUTES with
  their mask, which begin with 04 (06 is a debug enclave) and have ff in the bytes 17 to 24 (what is not ff
  is not enforced); and ISVPRODID with ISVSVN.
    $ tail -c +{first} to-be-signed.bin | head -c 32 | od -A n -v -t x1 | tr -d ' \\n'
    {mrenclave}
    $ tail -c +{attributes_first} to-be-signed.bin | head -c 32 | od -A n -v -t x1 | tr -d ' \\n'
    {attributes}
    $ tail -c +{numbers_first} to-be-signed.bin | head -c 4 | od -A n -v -t u2
    {numbers}

HOW TO SIGN IT
  The key is RSA with 3072 bits and the exponent 3; the signature is PKCS#1 v1.5 with SHA-256.
  With a key in a file:
    $ openssl dgst -sha256 -sign KEY.pem -out signature.bin to-be-signed.bin
  With a key on a token:
    $ pkcs11-tool --module MODULE.so --login --sign --mechanism SHA256-RSA-PKCS --label KEY \\
        --input-file to-be-signed.bin --output-file signature.bin
  Check the signature with the public key:
    $ openssl dgst -sha256 -verify PUBLIC.pem -signature signature.bin to-be-signed.bin

WHAT TO GIVE BACK
  signature.bin, 384 bytes, as it is: no base64, no PEM. And, once, the public key or its certificate.
"""


def request_text(subject: SigningSubject, date: SigningDate, mrsigner: MrSigner | None, signed: bytes) -> str:
    """The request for a person.

    Args:
        subject: What is to be signed.
        date: What the signature will say of when.
        mrsigner: The key that has to sign; ``None`` where it is not known.
        signed: The 256 bytes.
    """
    enclave = subject.enclave
    how = _HOW.format(
        digest=hashlib.sha256(signed).hexdigest(),
        first=MRENCLAVE_IN_SIGNED_BYTES + 1,
        mrenclave=enclave.mrenclave.hex(),
        attributes_first=ATTRIBUTES_IN_SIGNED_BYTES + 1,
        attributes=enclave.attributes.to_bytes().hex() + enclave.attributes_mask.to_bytes().hex(),
        numbers_first=ISVPRODID_IN_SIGNED_BYTES + 1,
        numbers=f"{enclave.isvprodid:6}{enclave.isvsvn:6}",
    )
    return (
        "REQUEST FOR A SIGNATURE OVER AN SGX ENCLAVE\n\n"
        "WHAT THE SIGNATURE SAYS\n"
        f"{_lines(_statement(enclave, date, mrsigner))}\n"
        "WHAT IT IS ABOUT\n"
        f"{_lines(_origin(subject))}\n"
        f"{how}"
    )


def _statement(
    enclave: EnclaveIdentity, date: SigningDate, mrsigner: MrSigner | None
) -> Iterator[tuple[str, str]]:
    debug = enclave.attributes.flags & DEBUG
    yield "MRENCLAVE", f"{enclave.mrenclave.hex()}"
    yield "", "the measurement: what the enclave is made of when it starts"
    yield "MRSIGNER", mrsigner.hex() if mrsigner else "that of the key which signs; none was named"
    yield "", "the digest of the key's modulus: who vouches for the enclave"
    yield "ISVPRODID", f"{enclave.isvprodid}, the product among those of this key"
    yield "ISVSVN", f"{enclave.isvsvn}, its security version; it never goes down"
    yield "date", "none (0000-00-00)" if date == NO_DATE else str(date)
    yield (
        "debug",
        "YES: THE HOST CAN READ AND CHANGE ITS MEMORY. For tests only."
        if debug
        else "no: the host can neither read nor change its memory",
    )
    yield from _features(enclave)
    faults = enclave.misc_select[0] & _EXINFO
    yield (
        "page faults",
        "the processor tells the enclave their addresses (EXINFO)"
        if faults
        else "the processor does not tell the enclave their addresses",
    )
    yield "ATTRIBUTES", f"{enclave.attributes.to_bytes().hex()}"
    yield "  mask", f"{enclave.attributes_mask.to_bytes().hex()}"
    yield "MISCSELECT", f"{enclave.misc_select.hex()}, mask {enclave.misc_mask.hex()}"
    yield "", "what more the processor saves when it interrupts the enclave; 01000000 is EXINFO"


def _features(enclave: EnclaveIdentity) -> Iterator[tuple[str, str]]:
    """The features of the processor, by what the signature says of them."""
    xfrm, mask = enclave.attributes.xfrm, enclave.attributes_mask.xfrm
    required, free, off = [], [], []
    for name, bits in XFRM_FEATURES:
        if xfrm & bits == bits:
            required.append(_NAMES[name])
        elif mask & bits == bits:
            off.append(_NAMES[name])
        else:
            free.append(_NAMES[name])
    yield "processor", f"needs {_listed(required) or 'nothing beyond x87 and SSE'}"
    if free:
        yield "", f"may use {_listed(free)}"
    if off:
        yield "", f"leaves {_listed(off)} off"


def _origin(subject: SigningSubject) -> Iterator[tuple[str, str]]:
    if subject.name is not None:
        yield "workload", subject.name
    yield (
        "platform",
        "SIMULATED: the signature holds on no SGX machine"
        if subject.gramine_version is None
        else f"Gramine {subject.gramine_version}",
    )
    yield "  libpal.so", f"SHA-256 {subject.platform_image_sha256}"
    yield "manifest", f"SHA-256 {subject.manifest_sha256}"
    for weakness in subject.weaknesses:
        yield "  WEAKNESS", _line(weakness)
    if not subject.weaknesses:
        yield "  weaknesses", "none that Gramine or casemate lint knows"
    if subject.image_digest is not None:
        yield "image", f"{subject.image_digest}, before the signature is in it"


def _line(text: str) -> str:
    return one_line(text, _LONGEST)


def _listed(names: list[str]) -> str:
    return ", ".join(names)


def _lines(pairs: Iterable[tuple[str, str]]) -> str:
    return "".join(f"  {label:<{_WIDTH}}{text}\n" for label, text in pairs)
