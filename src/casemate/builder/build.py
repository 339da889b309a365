"""The build: from a closure to a bundle. What it needs of this machine is handed to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from casemate.builder.bundles.bundle import Bundle, new_bundle
from casemate.builder.bundles.measurement_record import MeasurementRecord
from casemate.builder.bundles.reference_values import make_reference_values
from casemate.builder.bundles.sbom import is_metadata, make_sbom
from casemate.builder.bundles.tcb import Tcb, TrustedContent
from casemate.builder.closure import Interpreter, PythonClosure
from casemate.builder.contents import Considered, ImageFile
from casemate.builder.enclave.manifest import LibOs, make_manifest
from casemate.builder.enclave.measurement import measure
from casemate.builder.layout import PYTHON_HOME, interpreter_path
from casemate.builder.native.asked_files import asked_files
from casemate.builder.native.find_library import with_find_library
from casemate.builder.native.libraries import LibrarySources, check_libraries, find_libraries
from casemate.builder.native.openssl import openssl_files
from casemate.builder.native.psycopg_connects import with_psycopg_that_waits
from casemate.builder.native.system_files import HostSystem, system_files
from casemate.builder.packing.image import ImageContents, write_image
from casemate.builder.packing.layers import LayerFile
from casemate.builder.packing.slimming import slim
from casemate.builder.preflight import (
    Finding,
    Subject,
    check_application,
    check_native,
    joined,
    require_acceptable,
)
from casemate.builder.signing.sigstruct import enclave_attributes
from casemate.builder.writing import write_files
from casemate.errors import ClosureError
from casemate.formats.deployment import Deployment
from casemate.formats.gramine_versions import LATEST, gramine_version
from casemate.formats.manifest import EnclaveSettings, dump_manifest
from casemate.formats.sgx.report import MrEnclave
from casemate.project import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """The Gramine for which a bundle is built, or its simulation.

    Attributes:
        image: The platform image that is measured.
        version: Version of Gramine; ``None`` when simulated.
        libos: The LibOS that the manifest names.
        outside: Gramine's own files and those that its loader needs, by their paths in the image.
    """

    image: bytes
    version: str | None
    libos: LibOs
    outside: tuple[LayerFile, ...]

    @property
    def simulated(self) -> bool:
        """Whether there is no Gramine, so that the measurement holds on no SGX machine."""
        return self.version is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What is built.

    Attributes:
        project: Its ``casemate.toml``.
        folder: Where that lies.
        interpreter: The Python that runs it.
        closure: The Python part of the image.
        sources: Digests of what it was made from.
    """

    project: Project
    folder: Path
    interpreter: Interpreter
    closure: PythonClosure
    sources: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is taken from the build host, besides Python.

    Attributes:
        libraries: Where shared libraries come from.
        system: Authorities and time zones.
        platform: Gramine, or its simulation.
        epoch: Seconds since 1970 that everything in the image carries.
    """

    libraries: LibrarySources
    system: HostSystem
    platform: Platform
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build has made.

    Attributes:
        record: What was measured.
        tcb: What is trusted.
        findings: What works otherwise in Gramine.
    """

    record: MeasurementRecord
    tcb: Tcb
    findings: tuple[Finding, ...]


def build(application: Application, machine: Machine, path: Path, progress: Callable[[str], None]) -> Built:
    """Build a bundle at ``path``; it appears there whole or not at all.

    Args:
        application: What is built.
        machine: What it is built from.
        path: Where the bundle goes.
        progress: Is told what happens next.

    Raises:
        ClosureError: A library is missing or ambiguous.
        PreflightError: Something of the application does not run in Gramine.
        ProjectError: ``casemate.toml`` cannot be followed.
        ToolchainError: This machine lacks something, or a file cannot be read or written.
        UsageError: ``path`` is something other than a bundle.
    """
    with new_bundle(path) as bundle:
        progress("Finding shared libraries")
        found, findings = _found(application, machine)
        require_acceptable(findings)
        files = _files(application, machine, found)
        progress("Hashing files")
        contents = tuple(TrustedContent.of(file) for file in files)
        record, tcb = _write(bundle, application, machine, contents, progress)
    return Built(record=record, tcb=tcb, findings=findings)


def preflight(application: Application, machine: Machine) -> tuple[Finding, ...]:
    """What of the application does not run in Gramine, or runs otherwise; nothing is written.

    Raises:
        ClosureError: A library is missing or ambiguous.
        ProjectError: ``casemate.toml`` cannot be followed.
        ToolchainError: This machine lacks something, or a file cannot be read.
    """
    return _found(application, machine)[1]


def _found(application: Application, machine: Machine) -> tuple[tuple[ImageFile, ...], tuple[Finding, ...]]:
    """Every trusted file as it was found, and what preflight says of the application with them."""
    closure = application.closure
    system = system_files(application.project, application.folder, closure.interface, machine.system)
    files = (*closure.files, *system)
    paths = (file.path for file in files)
    files += asked_files(application.project, closure, machine.system.zones, machine.libraries.places, paths)
    subject = Subject(
        project=application.project,
        modules=closure.modules,
        python=application.interpreter.release,
        gramine=machine.platform.version,
    )
    findings = check_application(subject, files)
    try:
        libraries = _libraries(files, application, machine)
    except ClosureError:
        require_acceptable(findings)  # which may say why: a library of another system has none of its own
        raise
    version = application.interpreter.version
    found = with_psycopg_that_waits(with_find_library((*files, *libraries), version), version)
    return found, joined(findings, check_native(subject, libraries))


def _libraries(
    files: tuple[ImageFile, ...], application: Application, machine: Machine
) -> tuple[ImageFile, ...]:
    """Libraries, and what OpenSSL opens when it is among them."""
    program, sources = interpreter_path(application.interpreter.version), machine.libraries
    named = application.closure.libraries
    libraries = find_libraries(files, executable=program, sources=sources, named=named)
    opened = openssl_files((*files, *libraries), sources.places)
    if not any(file.path.endswith(".so") for file in opened):
        return (*libraries, *opened)
    return (
        *libraries,
        *opened,
        *find_libraries((*files, *libraries, *opened), executable=program, sources=sources),
    )


def _files(application: Application, machine: Machine, found: tuple[ImageFile, ...]) -> tuple[ImageFile, ...]:
    """Every trusted file, sorted by path, after a check that the image can load all of its libraries."""
    program = interpreter_path(application.interpreter.version)
    files = [slim(file) for file in found]
    check_libraries(files, executable=program, machine=machine.libraries.rules.machine)
    return tuple(sorted(files, key=lambda file: file.path))


def _write(
    bundle: Bundle,
    application: Application,
    machine: Machine,
    contents: tuple[TrustedContent, ...],
    progress: Callable[[str], None],
) -> tuple[MeasurementRecord, Tcb]:
    project, platform = application.project, machine.platform
    manifest = make_manifest(
        project,
        contents,
        python=application.interpreter.version,
        libos=platform.libos,
        gramine=LATEST if platform.version is None else gramine_version(platform.version),
    )
    manifest_bytes = dump_manifest(manifest)
    progress("Measuring the enclave")
    version = {} if platform.version is None else {"gramine_version": platform.version}
    mrenclave = measure(manifest_bytes, platform.image, **version)
    progress("Writing the image")
    layout = write_image(
        bundle.image.path,
        ImageContents(
            name=project.app.name,
            port=project.app.port,
            trusted=contents,
            outside=platform.outside,
            manifest=manifest_bytes,
            mrenclave=mrenclave.hex(),
            simulated=platform.simulated,
            epoch=machine.epoch,
            sources=application.sources,
        ),
    )
    settings = EnclaveSettings.from_manifest(manifest)
    record = _record(settings, platform, mrenclave, manifest_bytes, layout.digest)
    tcb = Tcb.of(application.interpreter.version, contents, _considered(application, contents))
    write_files(
        {
            bundle.manifest_path: manifest_bytes,
            bundle.tcb_path: tcb.to_bytes(),
            bundle.measurement_path: record.to_bytes(),
            bundle.reference_values_path: make_reference_values(
                project.app.name, record, application.sources
            ),
            bundle.sbom_path: make_sbom(project.app.name, tcb, _metadata(contents), application.sources),
            bundle.deployment_path: Deployment.of(project).to_bytes(),
        }
    )
    return record, tcb


def _metadata(contents: tuple[TrustedContent, ...]) -> dict[str, bytes]:
    files = (content.file for content in contents)
    return {file.path: file.read() for file in files if is_metadata(file.path)}


def _record(
    settings: EnclaveSettings, platform: Platform, mrenclave: MrEnclave, manifest: bytes, image_digest: str
) -> MeasurementRecord:
    attributes = enclave_attributes(settings)
    return MeasurementRecord(
        simulated=platform.simulated,
        mrenclave=mrenclave,
        mrsigner=None,
        isvprodid=settings.isvprodid,
        isvsvn=settings.isvsvn,
        attributes=attributes.attributes,
        attributes_mask=attributes.attributes_mask,
        misc_select=attributes.misc_select,
        gramine_version=platform.version,
        platform_image_sha256=hashlib.sha256(platform.image).hexdigest(),
        manifest_sha256=hashlib.sha256(manifest).hexdigest(),
        image_digest=image_digest,
    )


def _considered(application: Application, contents: tuple[TrustedContent, ...]) -> Considered:
    """What the closure left out, less the libraries that were added to it."""
    taken = {content.file.path for content in contents}
    libpython = application.interpreter.libpython
    if libpython is not None:
        taken.add(f"{PYTHON_HOME}/lib/{libpython.name}")
    considered = application.closure.considered
    left_out = tuple(path for path in considered.left_out if path not in taken)
    return replace(considered, left_out=left_out)
