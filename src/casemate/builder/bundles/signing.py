"""Signing a bundle: only what can be measured again from it, so that no document has to be believed.

First the bundle is judged, without any key; then somebody signs; then the signature goes into bundle and
image, and the documents follow. What was judged is what is signed and published, whatever the files are by
then: each part is read once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from casemate.builder.bundles.bundle import Bundle
from casemate.builder.bundles.measurement_record import MeasurementRecord
from casemate.builder.bundles.parts import BundleCheck, BundleParts, read_parts
from casemate.builder.bundles.reference_values import renew_reference_values
from casemate.builder.bundles.verification import content_checks
from casemate.builder.packing.image import signed_image, unsigned_digest, write_signed_image
from casemate.builder.signing.policy import (
    SigningPolicy,
    accepted_weaknesses,
    require_allowed,
    require_no_step_back,
)
from casemate.builder.signing.sigstruct import SigningSubject, enclave_identity
from casemate.errors import RefusedError
from casemate.formats.dsse import IN_TOTO_TYPE, Envelope
from casemate.formats.reference_values import Statement
from casemate.formats.sgx.sigstruct import SigStruct
from casemate.formats.slsa import provenance
from casemate.keys import Signer

#: As many other refusals as a hint names.
_MOST_NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SignableBundle:
    """A bundle in which everything agrees and that the policy lets be signed.

    Attributes:
        bundle: Where it lies.
        parts: What it said when it was judged.
        subject: What may be signed.
    """

    bundle: Bundle
    parts: BundleParts
    subject: SigningSubject


def signable_bundle(
    bundle: Bundle, *, policy: SigningPolicy, simulated_platform_image: bytes
) -> SignableBundle:
    """Measure the enclave of ``bundle`` again, and judge whether it may be signed; no key is needed yet.

    Args:
        bundle: What ``casemate build`` made; a signature that it has will be replaced.
        policy: What may be signed.
        simulated_platform_image: What a simulated bundle was measured with; a real one holds its own.

    Raises:
        RefusedError: A part cannot be read, two parts do not agree, or the policy says no.
    """
    parts, reading = read_parts(bundle)
    if parts is None:
        raise _refusal(bundle, reading)
    where = str(bundle.manifest_path)
    checks = content_checks(parts, simulated_platform_image)
    if not all(check.passed for check in checks):
        raise _refusal(bundle, checks)
    record = parts.record
    weaknesses = accepted_weaknesses(
        parts.manifest, parts.settings, policy, where=where, gramine_version=record.gramine_version
    )
    enclave = enclave_identity(record.mrenclave, parts.enclave)
    require_allowed(enclave, policy, where=where)
    if parts.sigstruct is not None:
        require_no_step_back(parts.sigstruct.enclave, enclave, policy, where=where)
    subject = SigningSubject(
        enclave=enclave,
        manifest_sha256=record.manifest_sha256,
        platform_image_sha256=record.platform_image_sha256,
        gramine_version=record.gramine_version,
        weaknesses=weaknesses,
        name=parts.deployment.name,
        image_digest=unsigned_digest(parts.image),
    )
    return SignableBundle(bundle=bundle, parts=parts, subject=subject)


def put_signature(
    signable: SignableBundle, sigstruct: SigStruct, *, statement_signer: Signer | None
) -> MeasurementRecord:
    """Put a SIGSTRUCT beside the manifest and into the image; the documents follow.

    Args:
        signable: For what it was made; nothing is read again.
        sigstruct: The signature, verified.
        statement_signer: The key that signs reference values and provenance; ``None`` leaves them bare.

    Returns:
        The measurement with the signer and the new digest of the image.

    Raises:
        KeyUnfitError: ``statement_signer`` cannot be reached; nothing has been written then.
        ToolchainError: A file cannot be written; likewise.
    """
    bundle, parts = signable.bundle, signable.parts
    data = sigstruct.to_bytes()
    image = signed_image(parts.image, data)
    record = replace(parts.record, mrsigner=sigstruct.mrsigner, image_digest=image.digest)
    statement = renew_reference_values(parts.statement, record)
    origin = provenance(
        Statement.parse(statement, "reference values"), record.manifest_sha256, parts.documents
    )
    documents = {
        bundle.signature_path: data,
        bundle.measurement_path: record.to_bytes(),
        bundle.reference_values_path: _signed(statement, statement_signer),
        bundle.provenance_path: _signed(origin, statement_signer),
    }
    write_signed_image(bundle.image, parts.image, image, documents)
    return record


def _signed(statement: bytes, signer: Signer | None) -> bytes:
    return statement if signer is None else Envelope.sign(IN_TOTO_TYPE, statement, signer).to_bytes()


def _refusal(bundle: Bundle, checks: tuple[BundleCheck, ...]) -> RefusedError:
    """The first of ``checks`` that was refused, with the names of the others and what to do."""
    first, *others = (check for check in checks if not check.passed)
    hint = f"build the bundle again; casemate verify bundle {bundle.path} shows every difference"
    if first.part == "app.manifest.sgx":
        hint += "; a manifest of another make is signed with --manifest and --pal"
    if others:
        named = ", ".join(f"{check.name} ({check.part})" for check in others[:_MOST_NAMED])
        more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        hint += f". Also refused: {named}{more}"
    return RefusedError(
        f"bundle to sign: {first.name}",
        expected=first.expected,
        got=first.got,
        where=str(bundle.path / first.part) if first.part != "folder" else str(bundle.path),
        hint=hint,
    )
