"""What may be signed, decided before any key is asked for.

Refused are settings that give up what an enclave is for, whatever else ``casemate lint`` calls an error, a
measurement that is not the expected one, and a step back behind the release before: another product, another
signer, a lower security version. Each can be accepted by its name and by nothing else, but for the
measurement.

Two enclaves are the same product when MRSIGNER and ISVPRODID are the same (Intel SDM volume 3D, section
"EGETKEY"): what one of them has sealed, another with the same or a higher ISVSVN can open. A lower ISVSVN is
therefore a way back to a version that may have been broken, and verifiers that ask for a least version refuse
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from casemate.builder.enclave.hardening import insecure_settings
from casemate.builder.lint import BY_ID, Finding, Severity, lint_manifest
from casemate.builder.lint.schema import LATEST
from casemate.builder.nearest import nearest
from casemate.errors import FormatError, KeyUnfitError, RefusedError, UsageError
from casemate.formats.gramine_versions import VERSIONS
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.formats.sgx.sigstruct import EXPONENT, MODULUS_SIZE, EnclaveIdentity, SigStruct
from casemate.keys import RsaPublicKey, require_signature

LOWER_ISVSVN: Final = "lower-isvsvn"
OTHER_PRODUCT: Final = "other-product"
OTHER_SIGNER: Final = "other-signer"
_RULES: Final = (LOWER_ISVSVN, OTHER_PRODUCT, OTHER_SIGNER)


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
        accepted: Names that are accepted: keys of insecure settings, rules of ``casemate lint``, and
            :data:`LOWER_ISVSVN`, :data:`OTHER_PRODUCT` and :data:`OTHER_SIGNER`.
        expected_mrenclave: The only measurement that is signed; ``None`` signs any.
        last: The release before; ``None`` compares with none.
    """

    allow_insecure: bool = False
    accepted: frozenset[str] = frozenset()
    expected_mrenclave: MrEnclave | None = None
    last: LastRelease | None = None


def require_known_names(names: Iterable[str]) -> None:
    """Refuse names by which nothing can be accepted: a slip in one of them would accept nothing.

    Raises:
        UsageError: With the nearest name.
    """
    for name in names:
        if "." in name or name in BY_ID or name in _RULES:  # with a dot it is the key of a setting
            continue
        near = nearest(name, (*_RULES, *BY_ID))
        raise UsageError(
            "--accept",
            expected=f"the key of a setting, a rule of casemate lint, {', '.join(_RULES)}",
            got=ascii(name)[1:-1],
            hint=f"did you mean {near}?" if near else None,
        )


def accepted_weaknesses(
    data: bytes,
    manifest: Mapping[str, Any],
    policy: SigningPolicy,
    *,
    where: str,
    gramine_version: str | None = None,
) -> tuple[str, ...]:
    """What a manifest gives up with the consent of the policy; one that gives up more is refused.

    Args:
        data: Its bytes.
        manifest: What they say.
        policy: What may be signed.
        where: Its name, for errors.
        gramine_version: Whose keys are known; ``None`` takes those of the latest.

    Returns:
        Each setting that Gramine calls insecure, or that is for debugging, as ``key = value``; each other
        finding of severity error, with the name of its rule.

    Raises:
        RefusedError: It has such settings, all of which are named, or such findings, that are not accepted.
    """
    insecure = insecure_settings(manifest)
    refused = [
        shown for key, shown in insecure.items() if not policy.allow_insecure and key not in policy.accepted
    ]
    if refused:
        raise RefusedError(
            "signature over insecure settings",
            expected="none",
            got=", ".join(refused),
            where=where,
            hint="remove them, accept one by its name with --accept KEY, or sign for tests only with "
            "--allow-debug",
        )
    # A version that the linter does not know is refused when it is measured.
    version = gramine_version if gramine_version in VERSIONS else LATEST
    findings = [
        finding
        for finding in lint_manifest(data, where, manifest=manifest, version=version, least=Severity.ERROR)
        if not any(_is_about(finding, key) for key in insecure)
    ]
    _require_accepted(findings, policy, where=where)
    return (*insecure.values(), *(f"{finding.rule}: {finding.message}" for finding in findings))


def _is_about(finding: Finding, key: str) -> bool:
    """Whether it is about a setting, or about a part of its value."""
    return finding.subject == key or finding.subject.startswith((f"{key}.", f"{key}["))


def _require_accepted(findings: Sequence[Finding], policy: SigningPolicy, *, where: str) -> None:
    refused = [finding for finding in findings if finding.rule not in policy.accepted]
    if not refused:
        return
    first, *others = refused
    hint = f"{first.mend} Or accept it by its name: --accept {first.rule}."
    if others:
        hint += " Also refused: " + ", ".join(f"{one.subject} ({one.rule})" for one in others) + "."
    raise RefusedError(
        f"signature over a weak manifest: {first.subject}",
        expected=first.expected,
        got=first.found,
        where=where,
        hint=hint,
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
