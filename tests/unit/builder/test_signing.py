"""Signing: attributes, fitness of keys, and that no signature is given away that does not hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from math import gcd, prod
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicNumbers,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256

from casemate.adapters.file_keys import FileSigner
from casemate.builder.signing.sigstruct import (
    enclave_attributes,
    enclave_identity,
    make_sigstruct,
    require_enclave_key,
)
from casemate.errors import KeyUnfitError
from casemate.formats.manifest import CpuFeature, CpuFeatures, EnclaveSettings
from casemate.formats.sgx.report import MrEnclave
from casemate.formats.sgx.sigstruct import NO_DATE
from casemate.keys import RsaPublicKey

VECTORS = Path(__file__).parents[2] / "vectors/measurement"
SETTINGS = EnclaveSettings(size=1 << 28)
ENCLAVE = enclave_identity(MrEnclave(bytes(range(32))), SETTINGS)
HINT = "make one with: openssl genrsa -3 -out KEY.pem 3072"


@cache
def signer() -> FileSigner:
    return FileSigner.open(VECTORS / "signing-key.pem")


@dataclass
class WrongSigner:
    """Gives the public key of one, and signatures that are not its."""

    public_key: RsaPublicKey
    signature: bytes

    def sign(self, data: bytes) -> bytes:
        return self.signature if data else b""


def test_a_signature_holds_and_its_quotients_are_those_of_the_architecture() -> None:
    signed = make_sigstruct(ENCLAVE, date=NO_DATE, signer=signer())
    numbers = RSAPublicNumbers(3, signed.modulus)
    numbers.public_key().verify(
        signed.signature.to_bytes(384, "big"), signed.signed_bytes, PKCS1v15(), SHA256()
    )
    assert signed.q1 == signed.signature**2 // signed.modulus
    assert (
        signed.q2 == (signed.signature**3 - signed.q1 * signed.signature * signed.modulus) // signed.modulus
    )


def test_a_signature_that_the_public_key_does_not_confirm_is_refused() -> None:
    good = make_sigstruct(ENCLAVE, date=NO_DATE, signer=signer())
    for signature in (bytes(384), good.modulus.to_bytes(384, "big"), b"\xff" * 384):
        wrong = WrongSigner(signer().public_key, signature)
        with pytest.raises(KeyUnfitError) as refused:
            make_sigstruct(ENCLAVE, date=NO_DATE, signer=wrong)
        assert str(refused.value) == "signature: expected one that the public key confirms, got another"


def test_a_signature_over_another_enclave_is_refused() -> None:
    other = make_sigstruct(replace(ENCLAVE, isvsvn=1), date=NO_DATE, signer=signer())
    wrong = WrongSigner(signer().public_key, other.signature.to_bytes(384, "big"))
    with pytest.raises(KeyUnfitError):
        make_sigstruct(ENCLAVE, date=NO_DATE, signer=wrong)


def numbers_of(key: RSAPrivateKey) -> RsaPublicKey:
    numbers = key.public_key().public_numbers()
    return RsaPublicKey(modulus=numbers.n, exponent=numbers.e)


def test_a_key_with_exponent_65537_is_refused() -> None:
    with pytest.raises(KeyUnfitError) as refused:
        require_enclave_key(RsaPublicKey(modulus=signer().public_key.modulus, exponent=65537))
    assert str(refused.value) == "public exponent of the signing key: expected 3, got 65537"
    assert refused.value.hint == HINT


def test_a_key_of_2048_bits_is_refused() -> None:
    with pytest.raises(KeyUnfitError) as refused:
        require_enclave_key(numbers_of(generate_private_key(3, 2048)))
    assert str(refused.value) == "length of the signing key: expected 3072 bits, got 2048"
    assert refused.value.hint == HINT


@pytest.mark.parametrize("bits", [3071, 3073])
def test_a_key_one_bit_off_is_refused(bits: int) -> None:
    with pytest.raises(KeyUnfitError, match="length of the signing key"):
        require_enclave_key(RsaPublicKey(modulus=(1 << bits) - 1, exponent=3))


@pytest.mark.parametrize("factor", [2, 3, 997])
def test_a_modulus_with_a_small_factor_is_refused(factor: int) -> None:
    modulus = (1 << 3072) - (1 << 3072) % factor - factor
    with pytest.raises(KeyUnfitError) as refused:
        require_enclave_key(RsaPublicKey(modulus=modulus, exponent=3), where="public.pem")
    assert str(refused.value) == (
        "modulus of the signing key: expected two large primes, far from each other, "
        "got a modulus with a factor below 1000 (public.pem)"
    )
    assert refused.value.hint == HINT


def test_a_modulus_of_two_factors_that_are_close_is_refused() -> None:
    one = generate_private_key(3, 3072).private_numbers().p
    small = prod(range(3, 1000, 2))
    other = next(number for number in range(one + 2, one + 20_000, 2) if gcd(number, small) == 1)
    with pytest.raises(KeyUnfitError) as refused:
        require_enclave_key(RsaPublicKey(modulus=one * other, exponent=3))
    assert str(refused.value) == (
        "modulus of the signing key: expected two large primes, far from each other, "
        "got two factors that are close to each other"
    )


@pytest.mark.parametrize(
    ("features", "xfrm", "mask"),
    [
        pytest.param(CpuFeatures(), 0x3, 0xFFFFFFFFFFF9FF1B, id="defaults"),
        pytest.param(
            CpuFeatures(avx=CpuFeature.REQUIRED, avx512=CpuFeature.DISABLED),
            0x3,
            0xFFFFFFFFFFF9FFFF,
            id="AVX-512 disabled takes AVX with it",
        ),
        pytest.param(
            CpuFeatures(
                avx512=CpuFeature.REQUIRED,
                amx=CpuFeature.REQUIRED,
                mpx=CpuFeature.REQUIRED,
                pkru=CpuFeature.REQUIRED,
            ),
            0x602FF,
            0xFFFFFFFFFFFFFFFF,
            id="everything",
        ),
    ],
)
def test_features_decide_which_extended_states_there_are(features: CpuFeatures, xfrm: int, mask: int) -> None:
    attributes = enclave_attributes(replace(SETTINGS, cpu_features=features))
    assert (attributes.attributes.xfrm, attributes.attributes_mask.xfrm) == (xfrm, mask)


@pytest.mark.parametrize(
    ("features", "xfrm"),
    [((), 0x3), (("avx", "amx"), 0x60007), (("mpx", "avx512"), 0xFF), (("pkru",), 0x203)],
)
def test_features_that_were_asked_for_in_the_old_way_are_not_enforced(
    features: tuple[str, ...], xfrm: int
) -> None:
    attributes = enclave_attributes(EnclaveSettings(size=1 << 28, old_features=features))

    assert attributes.attributes.xfrm == xfrm
    assert attributes.attributes_mask.xfrm == 0xFFFF_FFFF_FFF9_FF1B


def test_debug_and_exinfo_are_bits_of_their_fields() -> None:
    assert enclave_attributes(SETTINGS).attributes.flags == 4
    assert enclave_attributes(SETTINGS).misc_select == bytes(4)
    assert enclave_attributes(replace(SETTINGS, debug=True)).attributes.flags == 6
    assert enclave_attributes(replace(SETTINGS, exinfo=True)).misc_select == b"\x01\0\0\0"
