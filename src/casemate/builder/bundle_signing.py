"""Signing a bundle: only what can be measured again from it, so that no document has to be believed."""

from __future__ import annotations

import hashlib
from typing import Final

from casemate.builder.bundle import Bundle, BundleDocuments
from casemate.builder.hardening import require_secure
from casemate.builder.image import image_files
from casemate.builder.layout import GRAMINE_ROOT
from casemate.builder.measurement import DEFAULT_GRAMINE_VERSION, measure
from casemate.builder.measurement_record import MeasurementRecord
from casemate.builder.signing import enclave_attributes, make_sigstruct, require_enclave_key
from casemate.errors import FormatError, RefusedError
from casemate.formats.manifest import EnclaveSettings, load_measured_manifest
from casemate.formats.sgx.sigstruct import SigningDate
from casemate.keys import Signer

_PLATFORM_IMAGE: Final = f"{GRAMINE_ROOT}/libpal.so"


def sign_bundle(
    bundle: Bundle,
    signer: Signer,
    *,
    date: SigningDate,
    allow_debug: bool,
    simulated_platform_image: bytes,
) -> MeasurementRecord:
    """Measure the enclave of ``bundle`` again, sign it, and put the signature into bundle and image.

    Args:
        bundle: What ``casemate build`` made; a signature that it has is replaced.
        signer: The key.
        date: What the SIGSTRUCT says of when.
        allow_debug: Whether to sign settings that Gramine calls insecure.
        simulated_platform_image: What a simulated bundle was measured with; a real one holds its own.

    Returns:
        The measurement of the bundle, with its signer and the new digest of its image.

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
    record = documents.measurement
    image = simulated_platform_image if record.simulated else _platform_image(bundle, documents)
    settings = EnclaveSettings.from_manifest(value)
    _require_agreement(bundle, documents, settings, image)
    sigstruct = make_sigstruct(mrenclave=record.mrenclave, settings=settings, date=date, signer=signer)
    return bundle.add_signature(documents, sigstruct.to_bytes(), sigstruct.mrsigner)


def _platform_image(bundle: Bundle, documents: BundleDocuments) -> bytes:
    """Gramine's platform image in the image of a bundle."""
    found = image_files(bundle.image, documents.image.manifest, (_PLATFORM_IMAGE,))
    if _PLATFORM_IMAGE not in found:
        raise FormatError(
            "image of the bundle",
            expected=_PLATFORM_IMAGE,
            got="no such file",
            where=str(bundle.image.path),
            hint="build the bundle again",
        )
    return found[_PLATFORM_IMAGE]


def _require_agreement(
    bundle: Bundle, documents: BundleDocuments, settings: EnclaveSettings, image: bytes
) -> None:
    """Refuse a bundle whose ``measurement.json`` says something else than its manifest and image do."""
    record, manifest = documents.measurement, documents.manifest
    attributes = enclave_attributes(settings)
    version = record.gramine_version or DEFAULT_GRAMINE_VERSION
    measured = (
        ("manifest", record.manifest_sha256, hashlib.sha256(manifest).hexdigest()),
        ("platform image", record.platform_image_sha256, hashlib.sha256(image).hexdigest()),
        ("MRENCLAVE", record.mrenclave.hex(), measure(manifest, image, version).hex()),
        ("ISVPRODID", str(record.isvprodid), str(settings.isvprodid)),
        ("ISVSVN", str(record.isvsvn), str(settings.isvsvn)),
        (
            "attributes",
            (record.attributes.to_bytes() + record.attributes_mask.to_bytes() + record.misc_select).hex(),
            (
                attributes.attributes.to_bytes()
                + attributes.attributes_mask.to_bytes()
                + attributes.misc_select
            ).hex(),
        ),
        ("image", record.image_digest, documents.image.digest),
    )
    for name, expected, got in measured:
        if expected != got:
            raise RefusedError(
                f"signature over a bundle whose {name} has changed",
                expected=expected,
                got=got,
                where=str(bundle.measurement_path),
                hint="build the bundle again",
            )
