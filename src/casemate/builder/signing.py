"""SIGSTRUCT: what is signed, whether the key and the settings are fit for it, and that the signature holds.

Intel SDM volume 3D, sections 37.7 (ATTRIBUTES), 37.14 (SIGSTRUCT); RFC 8017, section 9.2. The private key
is behind a :class:`~casemate.keys.Signer` and is never seen here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from casemate.builder.hardening import require_secure
from casemate.builder.measurement import measure
from casemate.errors import KeyUnfitError
from casemate.formats.manifest import CpuFeature, EnclaveSettings, load_measured_manifest
from casemate.formats.sgx.report import DEBUG, MODE64BIT, Attributes, MrEnclave
from casemate.formats.sgx.sigstruct import (
    EXPONENT,
    MODULUS_SIZE,
    EnclaveIdentity,
    SigningDate,
    SigStruct,
)
from casemate.keys import RsaPublicKey, Signer, require_signature

#: Bits of the modulus; the processor knows no other length.
MODULUS_BITS: Final = MODULUS_SIZE * 8

_FLAGS_MASK: Final = (1 << 64) - 1
_MISC_MASK: Final = b"\xff\xff\xff\xff"
_MISC_EXINFO: Final = b"\x01\x00\x00\x00"
_XFRM_LEGACY: Final = 0x3
#: Everything but the features that a manifest may leave to the machine.
_XFRM_MASK: Final = 0xFFFF_FFFF_FFF9_FF1B
#: In this order, which decides where bits are shared: AVX-512 contains AVX.
_XFRM_FEATURES: Final = (
    ("avx", 0x4),
    ("avx512", 0xE4),
    ("amx", 0x60000),
    ("mpx", 0x18),
    ("pkru", 0x200),
)


class EnclaveAttributes(NamedTuple):
    """What the settings ask the processor for.

    Attributes:
        attributes: ATTRIBUTES.
        attributes_mask: Which of their bits are enforced.
        misc_select: MISCSELECT, 4 bytes as they lie in memory.
    """

    attributes: Attributes
    attributes_mask: Attributes
    misc_select: bytes


def enclave_attributes(settings: EnclaveSettings) -> EnclaveAttributes:
    """ATTRIBUTES with its mask, and MISCSELECT, of an enclave with ``settings``."""
    xfrm, mask = _XFRM_LEGACY, _XFRM_MASK
    for name, bits in _XFRM_FEATURES:
        feature: CpuFeature = getattr(settings.cpu_features, name)
        match feature:
            case CpuFeature.REQUIRED:
                xfrm, mask = xfrm | bits, mask | bits
            case CpuFeature.DISABLED:
                xfrm, mask = xfrm & ~bits, mask | bits
            case CpuFeature.UNSPECIFIED:
                pass
    return EnclaveAttributes(
        attributes=Attributes(flags=MODE64BIT | (DEBUG if settings.debug else 0), xfrm=xfrm),
        attributes_mask=Attributes(flags=_FLAGS_MASK, xfrm=mask),
        misc_select=_MISC_EXINFO if settings.exinfo else bytes(4),
    )


def require_enclave_key(key: RsaPublicKey) -> None:
    """Refuse keys that the processor cannot verify with.

    Raises:
        KeyUnfitError: A modulus that is not 3072 bits long, an exponent that is not 3.
    """
    hint = "make one with: openssl genrsa -3 -out KEY.pem 3072"
    if key.modulus.bit_length() != MODULUS_BITS:
        raise KeyUnfitError(
            "length of the signing key",
            expected=f"{MODULUS_BITS} bits",
            got=f"{key.modulus.bit_length()}",
            hint=hint,
        )
    if key.exponent != EXPONENT:
        raise KeyUnfitError(
            "public exponent of the signing key", expected=str(EXPONENT), got=str(key.exponent), hint=hint
        )


def make_sigstruct(
    *, mrenclave: MrEnclave, settings: EnclaveSettings, date: SigningDate, signer: Signer
) -> SigStruct:
    """Sign the enclave that ``mrenclave`` and ``settings`` describe; the signature is verified.

    Raises:
        KeyUnfitError: A key that cannot sign enclaves, that cannot be reached, or whose signature does not
        hold.
    """
    key = signer.public_key
    require_enclave_key(key)
    attributes = enclave_attributes(settings)
    identity = EnclaveIdentity(
        misc_select=attributes.misc_select,
        misc_mask=_MISC_MASK,
        attributes=attributes.attributes,
        attributes_mask=attributes.attributes_mask,
        mrenclave=mrenclave,
        isvprodid=settings.isvprodid,
        isvsvn=settings.isvsvn,
    )
    draft = SigStruct(date=date, enclave=identity, modulus=key.modulus, signature=0, q1=0, q2=0)
    signed = signer.sign(draft.signed_bytes)
    require_signature(draft.signed_bytes, signed, key)
    signature = int.from_bytes(signed, "big")
    square = signature * signature
    return SigStruct(
        date=date,
        enclave=identity,
        modulus=key.modulus,
        signature=signature,
        q1=square // key.modulus,
        q2=square % key.modulus * signature // key.modulus,
    )


def sign_manifest(
    manifest: bytes,
    platform_image: bytes,
    *,
    signer: Signer,
    date: SigningDate,
    where: str,
    allow_debug: bool,
) -> SigStruct:
    """Sign the enclave of a complete manifest, measured byte for byte as it stands.

    Args:
        manifest: Bytes of ``….manifest.sgx``.
        platform_image: Bytes of ``libpal.so``.
        signer: The key.
        date: What the SIGSTRUCT says of when.
        where: Name of the manifest, for errors.
        allow_debug: Whether to sign settings that Gramine calls insecure.

    Raises:
        FormatError: A manifest or an image that cannot be measured.
        RefusedError: Insecure settings without ``allow_debug``.
        KeyUnfitError: A key that cannot sign enclaves.
    """
    value = load_measured_manifest(manifest)
    require_enclave_key(signer.public_key)
    if not allow_debug:
        require_secure(value, where=where)
    return make_sigstruct(
        mrenclave=measure(manifest, platform_image),
        settings=EnclaveSettings.from_manifest(value),
        date=date,
        signer=signer,
    )
