"""Signing a bundle: only what can be measured again from it, so that no document has to be believed."""

from __future__ import annotations

from dataclasses import dataclass

from casemate.builder.bundle import Bundle
from casemate.builder.bundle_agreement import require_agreement
from casemate.builder.hardening import require_secure
from casemate.builder.measurement_record import MeasurementRecord
from casemate.builder.signing import make_sigstruct, require_enclave_key
from casemate.formats.manifest import EnclaveSettings, load_measured_manifest
from casemate.formats.sgx.sigstruct import SigningDate
from casemate.keys import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBundle:
    """What was signed.

    Attributes:
        name: Name of the workload, by which a broker will know the reference values.
        record: The measurement of the bundle.
    """

    name: str
    record: MeasurementRecord


def sign_bundle(
    bundle: Bundle,
    signer: Signer,
    *,
    date: SigningDate,
    allow_debug: bool,
    simulated_platform_image: bytes,
    provenance_signer: Signer | None = None,
) -> SignedBundle:
    """Measure the enclave of ``bundle`` again, sign it, and put the signature into bundle and image.

    Args:
        bundle: What ``casemate build`` made; a signature that it has is replaced.
        signer: The key.
        date: What the SIGSTRUCT says of when.
        allow_debug: Whether to sign settings that Gramine calls insecure.
        simulated_platform_image: What a simulated bundle was measured with; a real one holds its own.
        provenance_signer: The key for reference values and provenance; ``None`` takes ``signer``.

    Returns:
        Whose bundle it is, and its measurement with its signer and the new digest of its image.

    Raises:
        FormatError: The bundle cannot be read.
        RefusedError: Its documents and its contents do not agree, or it has insecure settings without
            ``allow_debug``.
        KeyUnfitError: A key that cannot sign enclaves.
        ToolchainError: It cannot be written.
    """
    require_enclave_key(signer.public_key)
    documents = bundle.documents()
    value = load_measured_manifest(documents.manifest)
    if not allow_debug:
        require_secure(value, where=str(bundle.manifest_path))
    require_agreement(bundle, documents, value, simulated_platform_image)
    settings = EnclaveSettings.from_manifest(value)
    sigstruct = make_sigstruct(
        mrenclave=documents.measurement.mrenclave, settings=settings, date=date, signer=signer
    )
    record = bundle.add_signature(
        documents, sigstruct.to_bytes(), sigstruct.mrsigner, signer=provenance_signer or signer
    )
    return SignedBundle(name=documents.deployment.name, record=record)
