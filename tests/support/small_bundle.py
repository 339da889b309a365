"""Bundles of a very small application, made in a moment by the builder's own parts, with no interpreter."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.image_files import image_file
from tests.support.projects import project

from casemate.adapters.file_keys import FileSigner
from casemate.builder.bundle import Bundle, new_bundle
from casemate.builder.bundle_signing import sign_bundle
from casemate.builder.contents import Considered
from casemate.builder.image import ImageContents, write_image
from casemate.builder.layers import LayerFile
from casemate.builder.manifest import LibOs, make_manifest
from casemate.builder.measurement import measure
from casemate.builder.measurement_record import MeasurementRecord
from casemate.builder.reference_values import make_reference_values
from casemate.builder.sbom import is_metadata, make_sbom
from casemate.builder.signing import enclave_attributes
from casemate.builder.tcb import Tcb, TrustedContent
from casemate.builder.writing import write_files
from casemate.formats.deployment import Deployment
from casemate.formats.manifest import EnclaveSettings, dump_manifest, load_manifest
from casemate.formats.sgx.sigstruct import NO_DATE
from casemate.simulator.platform_image import platform_image

VECTORS = Path(__file__).parents[1] / "vectors/measurement"
KEY = VECTORS / "signing-key.pem"
PAL = (VECTORS / "pal/aligned.so").read_bytes()
LIBOS = b"libos"
WORKLOAD = b"""{"version":1,"application":{"interface":"wsgi","target":"notes:app","path":["/app"]},
"listen":{"host":"0.0.0.0","port":8443,"threads":8},"broker":null,"secrets":[]}"""
METADATA = b"""Metadata-Version: 2.4
Name: Zope_Thing
Version: 1!2.0+local
License-Expression: MIT OR Apache-2.0

A thing.
"""
FILES = {
    "/opt/python/lib/python3.11/site-packages/Zope_Thing-2.dist-info/METADATA": METADATA,
    "/app/notes.pyc": b"notes",
    "/etc/hosts": b"hosts",
    "/etc/casemate/workload.json": WORKLOAD,
}


@dataclass(frozen=True, kw_only=True)
class Small:
    """What may differ between small bundles."""

    simulated: bool = False
    files: Mapping[str, bytes] = field(default_factory=lambda: FILES)
    reasons: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    pal: bytes = PAL
    version: str = "1.9"
    sources: Mapping[str, str] = field(default_factory=lambda: {"python": "3.11.9"})


def small_bundle(path: Path, small: Small | None = None) -> Bundle:
    """A bundle at ``path`` that is as a build would have made it."""
    small = small or Small()
    application = project('[enclave]\nsize = "64M"\n' + small.settings)
    contents = tuple(
        TrustedContent.of(image_file(name, content, of=small.reasons.get(name)))
        for name, content in sorted(small.files.items())
    )
    libos = LibOs.absent() if small.simulated else LibOs.of(LIBOS)
    manifest = dump_manifest(make_manifest(application, contents, python="3.11", libos=libos))
    platform = platform_image() if small.simulated else small.pal
    outside = {} if small.simulated else {"/gramine/libpal.so": small.pal, "/gramine/libsysdb.so": LIBOS}
    with new_bundle(path) as bundle:
        image = write_image(
            bundle.image.path,
            ImageContents(
                name="notes",
                port=8443,
                trusted=contents,
                outside=tuple(LayerFile(path=name, content=held) for name, held in outside.items()),
                manifest=manifest,
                mrenclave=measure(manifest, platform).hex(),
                simulated=small.simulated,
                epoch=0,
            ),
        )
        record = _record(small, manifest, platform, image.digest)
        tcb = Tcb.of("3.11", contents, Considered(files=len(contents), size=10, left_out=()))
        metadata = {name: content for name, content in small.files.items() if is_metadata(name)}
        write_files(
            {
                bundle.manifest_path: manifest,
                bundle.measurement_path: record.to_bytes(),
                bundle.tcb_path: tcb.to_bytes(),
                bundle.sbom_path: make_sbom("notes", tcb, metadata, small.sources),
                bundle.reference_values_path: make_reference_values("notes", record, small.sources),
                bundle.deployment_path: Deployment.of(application).to_bytes(),
            }
        )
    return Bundle.open(path)


def _record(small: Small, manifest: bytes, platform: bytes, image_digest: str) -> MeasurementRecord:
    settings = EnclaveSettings.from_manifest(load_manifest(manifest))
    attributes = enclave_attributes(settings)
    return MeasurementRecord(
        simulated=small.simulated,
        mrenclave=measure(manifest, platform),
        mrsigner=None,
        isvprodid=settings.isvprodid,
        isvsvn=settings.isvsvn,
        attributes=attributes.attributes,
        attributes_mask=attributes.attributes_mask,
        misc_select=attributes.misc_select,
        gramine_version=None if small.simulated else small.version,
        platform_image_sha256=hashlib.sha256(platform).hexdigest(),
        manifest_sha256=hashlib.sha256(manifest).hexdigest(),
        image_digest=image_digest,
    )


def sign_small(bundle: Bundle, key: Path = KEY) -> Bundle:
    """The bundle, signed."""
    sign_bundle(
        bundle,
        FileSigner.open(key),
        date=NO_DATE,
        allow_debug=False,
        simulated_platform_image=platform_image(),
    )
    return bundle
