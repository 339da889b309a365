"""Whether the parts of a bundle say the same, so that a signature vouches for what a reviewer has read.

Everything is held against the measured manifest, and the manifest against what a build generates. Not checked
here: that the files of the image have the digests that the manifest trusts, which the enclave checks when it
opens them; the digests of sources in ``reference-values.json``, which nothing in a bundle confirms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from casemate.builder.bundle import Bundle, BundleDocuments
from casemate.builder.image import image_files, image_labels
from casemate.builder.layout import ENCLAVE_ROOT, GRAMINE_ROOT, MANIFEST_PREFIX
from casemate.builder.manifest import LibOs, foreign_settings
from casemate.builder.measurement import DEFAULT_GRAMINE_VERSION, measure
from casemate.builder.signing import enclave_attributes
from casemate.errors import FormatError, RefusedError
from casemate.formats.manifest import EnclaveSettings, trusted_files

_PLATFORM_IMAGE: Final = f"{GRAMINE_ROOT}/libpal.so"
_LIBOS: Final = f"{GRAMINE_ROOT}/libsysdb.so"
_MANIFEST: Final = f"{MANIFEST_PREFIX}.manifest.sgx"
_REBUILD: Final = "build the bundle again"
#: As many as a reader looks through.
_MOST_NAMED: Final = 5


def require_agreement(
    bundle: Bundle,
    documents: BundleDocuments,
    manifest: Mapping[str, Any],
    simulated_platform_image: bytes,
) -> None:
    """Refuse a bundle of which one part says something else than another.

    Args:
        bundle: Where it lies.
        documents: What it says.
        manifest: What its manifest says.
        simulated_platform_image: What a simulated bundle was measured with; a real one holds its own.

    Raises:
        FormatError: A file is missing in the image, or a layer cannot be read.
        RefusedError: Two parts do not agree, or the manifest is none that a build generates.
    """
    wanted = (_MANIFEST,) if documents.measurement.simulated else (_MANIFEST, _PLATFORM_IMAGE, _LIBOS)
    files = image_files(bundle.image, documents.image.manifest, wanted)
    for path in wanted:
        if path not in files:
            raise FormatError(
                "image of the bundle",
                expected=path,
                got="no such file",
                where=str(bundle.image.path),
                hint=_REBUILD,
            )
    platform_image = files.get(_PLATFORM_IMAGE, simulated_platform_image)
    _require_measured(bundle, documents, EnclaveSettings.from_manifest(manifest), platform_image)
    _require_image(bundle, documents, files[_MANIFEST])
    _require_one_name(bundle, documents)
    _require_listed(bundle, documents, manifest)
    libos = LibOs.of(files[_LIBOS]) if _LIBOS in files else LibOs.absent()
    _require_generated(bundle, documents, manifest, libos)


def _require_measured(
    bundle: Bundle, documents: BundleDocuments, settings: EnclaveSettings, platform_image: bytes
) -> None:
    """``measurement.json`` says what the manifest and the platform image come to."""
    record, manifest = documents.measurement, documents.manifest
    attributes = enclave_attributes(settings)
    version = record.gramine_version or DEFAULT_GRAMINE_VERSION
    measured = (
        ("manifest", record.manifest_sha256, hashlib.sha256(manifest).hexdigest()),
        ("platform image", record.platform_image_sha256, hashlib.sha256(platform_image).hexdigest()),
        ("MRENCLAVE", record.mrenclave.hex(), measure(manifest, platform_image, version).hex()),
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
        _require_same(f"whose {name} has changed", expected, got, str(bundle.measurement_path))


def _require_image(bundle: Bundle, documents: BundleDocuments, manifest: bytes) -> None:
    """The image starts the enclave that the bundle speaks of."""
    record, image = documents.measurement, documents.image
    where = str(bundle.image.path)
    expected = record.manifest_sha256
    _require_same("whose image has another manifest", expected, hashlib.sha256(manifest).hexdigest(), where)
    labels = image_labels(
        name=documents.deployment.name, mrenclave=record.mrenclave.hex(), simulated=record.simulated
    )
    _require_same(
        "whose image has other labels", _shown(dict(labels)), _shown(dict(image.config.labels)), where
    )
    layers = tuple(layer.digest for layer in image.manifest.layers)
    _require_same("whose image has other layers", ", ".join(layers), ", ".join(image.config.layers), where)


def _require_one_name(bundle: Bundle, documents: BundleDocuments) -> None:
    """All documents speak of one workload; brokers go by the name in the reference values."""
    name = documents.deployment.name
    _require_same(
        "with two names",
        name,
        documents.reference_values.subject[0].name,
        str(bundle.reference_values_path),
    )
    _require_same("with two names", name, documents.image.index.name, str(bundle.image.path / "index.json"))


def _require_listed(bundle: Bundle, documents: BundleDocuments, manifest: Mapping[str, Any]) -> None:
    """``tcb.json``, which people read, lists the files that the manifest trusts, and no others."""
    listed = {f"file:{ENCLAVE_ROOT}{file.path}": file.sha256 for file in documents.tcb.files}
    trusted = {file.uri: file.sha256 for file in trusted_files(manifest)}
    differing = sorted(uri for uri in listed.keys() | trusted.keys() if listed.get(uri) != trusted.get(uri))
    if differing:
        raise RefusedError(
            "signature over a bundle whose tcb.json does not list what its manifest trusts",
            expected="the same files with the same digests",
            got=_some(differing),
            where=str(bundle.tcb_path),
            hint=_REBUILD,
        )


def _require_generated(
    bundle: Bundle, documents: BundleDocuments, manifest: Mapping[str, Any], libos: LibOs
) -> None:
    """The manifest is one that a build generates from some ``casemate.toml``."""
    trusted = {file.path: file.sha256 for file in documents.tcb.files}
    foreign = foreign_settings(manifest, trusted, python=documents.tcb.interpreter, libos=libos)
    if foreign:
        raise RefusedError(
            "signature over a bundle with settings that no build writes",
            expected="none",
            got=_some(foreign),
            where=str(bundle.manifest_path),
            hint="build the bundle again; a manifest of another make is signed with --manifest and --pal",
        )


def _require_same(what: str, expected: str, got: str, where: str) -> None:
    if expected != got:
        raise RefusedError(
            f"signature over a bundle {what}", expected=expected, got=got, where=where, hint=_REBUILD
        )


def _shown(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value!a}" for name, value in labels.items())


def _some(places: tuple[str, ...] | list[str]) -> str:
    """The first few, as text that a terminal can show."""
    more = f" and {len(places) - _MOST_NAMED} more" if len(places) > _MOST_NAMED else ""
    return ", ".join(one if one.isprintable() else ascii(one) for one in places[:_MOST_NAMED]) + more
