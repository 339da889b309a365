"""Bundles of a very small application, made in a moment by the builder's own parts, with no interpreter."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.image_files import image_file
from tests.support.projects import project

from casemate.adapters.file_keys import FileSigner
from casemate.builder.bundles.bundle import Bundle, new_bundle
from casemate.builder.bundles.measurement_record import MeasurementRecord
from casemate.builder.bundles.reference_values import make_reference_values
from casemate.builder.bundles.sbom import is_metadata, make_sbom
from casemate.builder.bundles.signing import put_signature, signable_bundle
from casemate.builder.bundles.tcb import Tcb, TrustedContent
from casemate.builder.contents import Considered
from casemate.builder.enclave.manifest import LibOs, make_manifest
from casemate.builder.enclave.measurement import measure
from casemate.builder.native.system_files import workload
from casemate.builder.packing.image import ImageContents, write_image
from casemate.builder.packing.layers import LayerFile
from casemate.builder.signing.policy import SigningPolicy
from casemate.builder.signing.sigstruct import enclave_attributes, make_sigstruct
from casemate.builder.writing import write_files
from casemate.formats.deployment import Deployment
from casemate.formats.gramine_versions import gramine_version
from casemate.formats.manifest import EnclaveSettings, dump_manifest, load_manifest
from casemate.formats.sgx.sigstruct import NO_DATE
from casemate.keys import Signer
from casemate.project import Interface, Project
from casemate.simulator.platform_image import platform_image

VECTORS = Path(__file__).parents[1] / "vectors/measurement"
KEY = VECTORS / "signing-key.pem"
PAL = (VECTORS / "pal/aligned.so").read_bytes()
LIBOS = b"libos"
WORKLOAD = "/etc/casemate/workload.json"
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
}


@dataclass(frozen=True, kw_only=True)
class Small:
    """What may differ between small bundles."""

    simulated: bool = False
    files: Mapping[str, bytes] = field(default_factory=lambda: FILES)
    reasons: Mapping[str, str] = field(default_factory=dict)
    settings: str = ""
    manifest: Mapping[str, Any] | None = None
    pal: bytes | None = PAL
    version: str = "1.9"
    sources: Mapping[str, str] = field(default_factory=lambda: {"python": "3.11.9"})

    @property
    def project(self) -> Project:
        """What its ``casemate.toml`` says."""
        return project('[enclave]\nsize = "64M"\n' + self.settings)

    @property
    def contents(self) -> tuple[TrustedContent, ...]:
        """The files of its enclave."""
        files = {WORKLOAD: workload(self.project, Interface.WSGI).to_bytes(), **self.files}
        return tuple(
            TrustedContent.of(image_file(name, content, of=self.reasons.get(name)))
            for name, content in sorted(files.items())
        )


def small_manifest(small: Small) -> dict[str, Any]:
    """The manifest that a build would make."""
    libos = LibOs.absent() if small.simulated else LibOs.of(LIBOS)
    gramine = gramine_version(small.version)
    return make_manifest(small.project, small.contents, python="3.11", libos=libos, gramine=gramine)


def small_bundle(path: Path, small: Small | None = None) -> Bundle:
    """A bundle at ``path`` that is as a build would have made it, but for a manifest that is given."""
    small = small or Small()
    contents = small.contents
    manifest = dump_manifest(small.manifest or small_manifest(small))
    platform = platform_image() if small.simulated else small.pal or PAL
    outside = {} if small.simulated else {"/gramine/libpal.so": small.pal, "/gramine/libsysdb.so": LIBOS}
    held = {name: content for name, content in outside.items() if content is not None}
    with new_bundle(path) as bundle:
        image = write_image(
            bundle.image.path,
            ImageContents(
                name="notes",
                port=8443,
                trusted=contents,
                outside=tuple(LayerFile(path=name, content=content) for name, content in held.items()),
                manifest=manifest,
                mrenclave=measure(manifest, platform, small.version).hex(),
                simulated=small.simulated,
                epoch=0,
                sources=small.sources,
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
                bundle.deployment_path: Deployment.of(small.project).to_bytes(),
            }
        )
    return Bundle.open(path)


def _record(small: Small, manifest: bytes, platform: bytes, image_digest: str) -> MeasurementRecord:
    settings = EnclaveSettings.from_manifest(load_manifest(manifest))
    attributes = enclave_attributes(settings)
    return MeasurementRecord(
        simulated=small.simulated,
        mrenclave=measure(manifest, platform, small.version),
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


def sign_small(bundle: Bundle, key: Path = KEY, *, statements: bool = True) -> Bundle:
    """The bundle, signed; its statements are in envelopes, or are left bare."""
    sign_with(bundle, FileSigner.open(key), statements=statements)
    return bundle


def sign_with(
    bundle: Bundle, signer: Signer, policy: SigningPolicy | None = None, *, statements: bool = True
) -> MeasurementRecord:
    """Sign ``bundle`` with a key that is at hand, as the command does."""
    signable = signable_bundle(
        bundle, policy=policy or SigningPolicy(), simulated_platform_image=platform_image()
    )
    sigstruct = make_sigstruct(signable.subject.enclave, date=NO_DATE, signer=signer)
    return put_signature(signable, sigstruct, statement_signer=signer if statements else None)
