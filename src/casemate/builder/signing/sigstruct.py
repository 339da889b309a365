"""SIGSTRUCT: what is signed, whether the key and the settings are fit for it, and that the signature holds.

Intel SDM volume 3D, sections 37.7 (ATTRIBUTES), 37.14 (SIGSTRUCT); RFC 8017, section 9.2. The private key
is behind a :class:`~casemate.keys.Signer` and is never seen here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import gcd, isqrt, prod
from typing import Final, NamedTuple

from casemate.builder.enclave.measurement import DEFAULT_GRAMINE_VERSION, measure
from casemate.builder.signing.policy import SigningPolicy, accepted_weaknesses, require_allowed
from casemate.errors import KeyUnfitError
from casemate.formats.gramine_versions import gramine_version as known_version
from casemate.formats.manifest import CpuFeature, EnclaveSettings, MeasuredManifest
from casemate.formats.sgx.report import DEBUG, MODE64BIT, Attributes, MrEnclave
from casemate.formats.sgx.sigstruct import (
    EXPONENT,
    MODULUS_SIZE,
    EnclaveIdentity,
    SigningDate,
    SigStruct,
)
from casemate.keys import RsaPublicKey, Signer, require_signature

#: The product of all primes below 1000.
_SMALL_PRIMES: Final = prod(
    number for number in range(2, 1000) if all(number % divisor for divisor in range(2, isqrt(number) + 1))
)
#: Steps of Fermat's method. Primes of 1536 bits that differ only in their lower half are found in the first.
_FERMAT_STEPS: Final = 100
#: Bits of the modulus; the processor knows no other length.
MODULUS_BITS: Final = MODULUS_SIZE * 8

_FLAGS_MASK: Final = (1 << 64) - 1
_MISC_MASK: Final = b"\xff\xff\xff\xff"
_MISC_EXINFO: Final = b"\x01\x00\x00\x00"
_XFRM_LEGACY: Final = 0x3
#: Everything but the features that a manifest may leave to the machine.
_XFRM_MASK: Final = 0xFFFF_FFFF_FFF9_FF1B
#: In this order, which decides where bits are shared: AVX-512 contains AVX.
XFRM_FEATURES: Final = (
    ("avx", 0x4),
    ("avx512", 0xE4),
    ("amx", 0x60000),
    ("mpx", 0x18),
    ("pkru", 0x200),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningSubject:
    """An enclave that was measured and that the policy lets be signed, and where it comes from.

    Attributes:
        enclave: What the signature will say.
        manifest_sha256: Digest of the measured manifest, hexadecimal.
        platform_image_sha256: Digest of the platform image, likewise.
        gramine_version: The Gramine whose layout was measured; ``None`` for a simulated platform.
        weaknesses: What the manifest gives up and the policy has accepted, each in one line.
        name: The workload; ``None`` for a manifest that is signed by itself.
        image_digest: ``sha256:…`` of its image without a signature; likewise.
    """

    enclave: EnclaveIdentity
    manifest_sha256: str
    platform_image_sha256: str
    gramine_version: str | None
    weaknesses: tuple[str, ...] = ()
    name: str | None = None
    image_digest: str | None = None


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
    for name, bits in XFRM_FEATURES:
        if settings.old_features is not None:
            xfrm |= bits if name in settings.old_features else 0
            continue
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


def require_enclave_key(key: RsaPublicKey, *, where: str | None = None) -> None:
    """Refuse keys that the processor cannot verify with, and those that anybody can take apart.

    Not checked: that the modulus is a product of two primes that nobody can guess; only its maker knows.

    Args:
        key: Its public half.
        where: What the user calls it, for errors.

    Raises:
        KeyUnfitError: A modulus that is not 3072 bits long, an exponent that is not 3, a modulus with a small
            factor or with two factors close to each other.
    """
    hint = "make one with: openssl genrsa -3 -out KEY.pem 3072"
    if key.modulus.bit_length() != MODULUS_BITS:
        raise KeyUnfitError(
            "length of the signing key",
            expected=f"{MODULUS_BITS} bits",
            got=f"{key.modulus.bit_length()}",
            where=where,
            hint=hint,
        )
    if key.exponent != EXPONENT:
        raise KeyUnfitError(
            "public exponent of the signing key",
            expected=str(EXPONENT),
            got=str(key.exponent),
            where=where,
            hint=hint,
        )
    weakness = _weakness(key.modulus)
    if weakness is not None:
        raise KeyUnfitError(
            "modulus of the signing key",
            expected="two large primes, far from each other",
            got=weakness,
            where=where,
            hint=hint,
        )


def _weakness(modulus: int) -> str | None:
    """Why anybody can find the factors of ``modulus``, if it is that easy (FIPS 186-5, appendix A.1)."""
    if gcd(modulus, _SMALL_PRIMES) != 1:
        return "a modulus with a factor below 1000"
    root = isqrt(modulus) + 1
    for middle in range(root, root + _FERMAT_STEPS):
        square = middle * middle - modulus
        if isqrt(square) ** 2 == square:
            return "two factors that are close to each other"
    return None


def enclave_identity(mrenclave: MrEnclave, settings: EnclaveSettings) -> EnclaveIdentity:
    """What a SIGSTRUCT says of the enclave that ``mrenclave`` and ``settings`` describe."""
    attributes = enclave_attributes(settings)
    return EnclaveIdentity(
        misc_select=attributes.misc_select,
        misc_mask=_MISC_MASK,
        attributes=attributes.attributes,
        attributes_mask=attributes.attributes_mask,
        mrenclave=mrenclave,
        isvprodid=settings.isvprodid,
        isvsvn=settings.isvsvn,
    )


def signed_bytes(enclave: EnclaveIdentity, date: SigningDate) -> bytes:
    """The 256 bytes that a signature covers; they say nothing of the key."""
    return SigStruct(date=date, enclave=enclave, modulus=0, signature=0, q1=0, q2=0).signed_bytes


def make_sigstruct(enclave: EnclaveIdentity, *, date: SigningDate, signer: Signer) -> SigStruct:
    """Have an enclave signed; the signature is verified.

    Raises:
        KeyUnfitError: A key that cannot sign enclaves, that cannot be reached, or whose signature does not
        hold.
    """
    key = signer.public_key
    require_enclave_key(key)
    return complete_sigstruct(enclave, date=date, key=key, signature=signer.sign(signed_bytes(enclave, date)))


def complete_sigstruct(
    enclave: EnclaveIdentity, *, date: SigningDate, key: RsaPublicKey, signature: bytes
) -> SigStruct:
    """The SIGSTRUCT with a signature that was made elsewhere, which is verified.

    Args:
        enclave: What was signed.
        date: Likewise.
        key: Whose signature it is; fit for enclaves.
        signature: Big-endian, as long as the modulus.

    Raises:
        KeyUnfitError: The signature does not hold.
    """
    require_signature(signed_bytes(enclave, date), signature, key)
    number = int.from_bytes(signature, "big")
    square = number * number
    return SigStruct(
        date=date,
        enclave=enclave,
        modulus=key.modulus,
        signature=number,
        q1=square // key.modulus,
        q2=square % key.modulus * number // key.modulus,
    )


def measured_subject(
    manifest: bytes | MeasuredManifest,
    platform_image: bytes,
    *,
    policy: SigningPolicy,
    where: str,
    gramine_version: str = DEFAULT_GRAMINE_VERSION,
) -> SigningSubject:
    """The enclave of a complete manifest, measured byte for byte as it stands; no key is needed yet.

    Args:
        manifest: ``….manifest.sgx``: its bytes, or what was read from them.
        platform_image: Bytes of ``libpal.so``.
        policy: What may be signed.
        where: Name of the manifest, for errors.
        gramine_version: Whose layout is measured.

    Raises:
        FormatError: A manifest or an image that cannot be measured.
        RefusedError: The policy says no.
    """
    version = known_version(gramine_version)
    measured = MeasuredManifest.parse(manifest, version) if isinstance(manifest, bytes) else manifest
    mrenclave = measure(measured, platform_image, gramine_version)
    enclave = enclave_identity(mrenclave, EnclaveSettings.from_manifest(measured.value, version))
    weaknesses = accepted_weaknesses(
        measured.data, measured.value, policy, where=where, gramine_version=gramine_version
    )
    require_allowed(enclave, policy, where=where)
    return SigningSubject(
        enclave=enclave,
        manifest_sha256=hashlib.sha256(measured.data).hexdigest(),
        platform_image_sha256=hashlib.sha256(platform_image).hexdigest(),
        gramine_version=gramine_version,
        weaknesses=weaknesses,
    )
