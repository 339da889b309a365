"""What may be signed, decided before any key is asked for.

Refused are settings that give up what an enclave is for, a measurement that is not the expected one, and a
step back behind the release before: another product, another signer, a lower security version. Each of them
can be accepted by its name and by nothing else.

Two enclaves are the same product when MRSIGNER and ISVPRODID are the same (Intel SDM volume 3D, section
"EGETKEY"): what one of them has sealed, another with the same or a higher ISVSVN can open. A lower ISVSVN is
therefore a way back to a version that may have been broken, and verifiers that ask for a least version refuse
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from casemate.builder.hardening import insecure_settings
from casemate.errors import FormatError, KeyUnfitError, RefusedError
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.formats.sgx.sigstruct import EXPONENT, MODULUS_SIZE, EnclaveIdentity, SigStruct
from casemate.keys import RsaPublicKey, require_signature

LOWER_ISVSVN: Final = "lower-isvsvn"
OTHER_PRODUCT: Final = "other-product"
OTHER_SIGNER: Final = "other-signer"
#: What can be accepted besides insecure settings, which have the names of their keys.
RULES: Final = (LOWER_ISVSVN, OTHER_PRODUCT, OTHER_SIGNER)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRelease:
    """The release before the one that is signed.

    Attributes:
        enclave: What was signed.
        mrsigner: By whom.
        where: The file.
    """

    enclave: EnclaveIdentity
    mrsigner: MrSigner
    where: str

    @classmethod
    def parse(cls, data: bytes, *, where: str) -> Self:
        """Read a SIGSTRUCT whose signature holds.

        Raises:
            FormatError: Something else.
        """
        signed = SigStruct.parse(data)
        key = RsaPublicKey(modulus=signed.modulus, exponent=EXPONENT)
        try:
            require_signature(signed.signed_bytes, signed.signature.to_bytes(MODULUS_SIZE, "big"), key)
        except KeyUnfitError as error:
            raise FormatError(
                "signature of the last release",
                expected="one that its key confirms",
                got="another",
                where=where,
            ) from error
        return cls(enclave=signed.enclave, mrsigner=signed.mrsigner, where=where)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningPolicy:
    """What may be signed.

    Attributes:
        allow_insecure: Whether all settings are accepted that Gramine calls insecure.
        accepted: Names of single settings, and of :data:`RULES`, that are accepted.
        expected_mrenclave: The only measurement that is signed; ``None`` signs any.
        last: The release before; ``None`` compares with none.
    """

    allow_insecure: bool = False
    accepted: frozenset[str] = frozenset()
    expected_mrenclave: MrEnclave | None = None
    last: LastRelease | None = None


def require_settings(manifest: Mapping[str, Any], policy: SigningPolicy, *, where: str) -> None:
    """Refuse a manifest that gives up what an enclave is for.

    Raises:
        RefusedError: It has settings that Gramine calls insecure, or debugging aids, that are not accepted;
            all of them are named.
    """
    insecure = () if policy.allow_insecure else insecure_settings(manifest, accepted=policy.accepted)
    if insecure:
        raise RefusedError(
            "signature over insecure settings",
            expected="none",
            got=", ".join(insecure),
            where=where,
            hint="remove them, accept one by its name with --accept KEY, or sign for tests only with "
            "--allow-debug",
        )


def require_allowed(enclave: EnclaveIdentity, policy: SigningPolicy, *, where: str) -> None:
    """Refuse an enclave that is not the expected one, or that steps back behind the last release.

    Raises:
        RefusedError: With what was expected and what was measured.
    """
    expected = policy.expected_mrenclave
    if expected is not None and expected != enclave.mrenclave:
        raise RefusedError(
            "MRENCLAVE",
            expected=expected.hex(),
            got=enclave.mrenclave.hex(),
            where=where,
            hint="this is not the enclave that was meant; casemate diff OLD NEW names what has moved it",
        )
    if policy.last is None:
        return
    last = policy.last.enclave
    if last.isvprodid != enclave.isvprodid and OTHER_PRODUCT not in policy.accepted:
        raise RefusedError(
            "ISVPRODID",
            expected=f"that of the last release, {last.isvprodid}",
            got=str(enclave.isvprodid),
            where=where,
            hint=f"name the last release of this product with --after, or --accept {OTHER_PRODUCT}",
        )
    require_no_step_back(last, enclave, policy, where=where)


def require_no_step_back(
    last: EnclaveIdentity, enclave: EnclaveIdentity, policy: SigningPolicy, *, where: str
) -> None:
    """Refuse a lower security version of a product than ``last`` had.

    Raises:
        RefusedError: It is lower, and that is not accepted.
    """
    same_product = last.isvprodid == enclave.isvprodid
    if same_product and enclave.isvsvn < last.isvsvn and LOWER_ISVSVN not in policy.accepted:
        raise RefusedError(
            "ISVSVN",
            expected=f"at least {last.isvsvn}, which was signed last",
            got=str(enclave.isvsvn),
            where=where,
            hint="raise isvsvn and build again; whoever signs an older version again makes its faults "
            f"usable again, and says so with --accept {LOWER_ISVSVN}",
        )


def require_same_signer(mrsigner: MrSigner, policy: SigningPolicy) -> None:
    """Refuse another key than that of the last release.

    Raises:
        RefusedError: It is another, and that is not accepted.
    """
    last = policy.last
    if last is not None and last.mrsigner != mrsigner and OTHER_SIGNER not in policy.accepted:
        raise RefusedError(
            "MRSIGNER of the signing key",
            expected=f"that of the last release, {last.mrsigner.hex()}",
            got=mrsigner.hex(),
            where=last.where,
            hint="sign with the same key; with another one the enclave cannot open what was sealed before, "
            f"and who means that says so with --accept {OTHER_SIGNER}",
        )
