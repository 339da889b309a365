"""The parts of a bundle, each read once and for itself, so that a part that cannot be read hides no other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from casemate.builder.bundles.bundle import Bundle
from casemate.builder.bundles.measurement_record import MeasurementRecord
from casemate.builder.bundles.sbom import is_metadata
from casemate.builder.bundles.tcb import Tcb
from casemate.builder.layout import ENCLAVE_ROOT, GRAMINE_ROOT, MANIFEST_PREFIX, WORKLOAD_CONFIGURATION
from casemate.builder.packing.image import ImageDocuments
from casemate.builder.packing.image_contents import ImageHoldings, image_holdings
from casemate.builder.reading import read_regular
from casemate.errors import CasemateError, FormatError, UsageError
from casemate.formats.deployment import Deployment
from casemate.formats.manifest import EnclaveSettings, TrustedFile, load_measured_manifest, trusted_files
from casemate.formats.oci import LAYOUT_FILE
from casemate.formats.one_line import one_line
from casemate.formats.reference_values import Statement, read_statement
from casemate.formats.sgx.sigstruct import SigStruct

IMAGE_MANIFEST: Final = f"{MANIFEST_PREFIX}.manifest.sgx"
IMAGE_SIGNATURE: Final = f"{MANIFEST_PREFIX}.sig"
IMAGE_PLATFORM: Final = f"{GRAMINE_ROOT}/libpal.so"
IMAGE_LIBOS: Final = f"{GRAMINE_ROOT}/libsysdb.so"
IMAGE_WORKLOAD: Final = f"{ENCLAVE_ROOT}{WORKLOAD_CONFIGURATION}"
_KEPT: Final = frozenset({IMAGE_MANIFEST, IMAGE_SIGNATURE, IMAGE_PLATFORM, IMAGE_LIBOS, IMAGE_WORKLOAD})
#: As many differences as a reader looks through in one line.
_MOST_NAMED: Final = 5
NONE: Final = "none"
#: Characters of what a check says: a line that a person reads.
_LINE_LIMIT: Final = 1000

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleCheck:
    """One check that was made.

    Attributes:
        part: The file of the bundle that was looked at.
        name: What was checked.
        passed: Whether it was as it should be.
        expected: What would have been right: one printable line.
        got: What was found, likewise.
    """

    part: str
    name: str
    passed: bool
    expected: str
    got: str

    @classmethod
    def of(cls, part: str, name: str, *, passed: bool, expected: str, got: str) -> BundleCheck:
        """A check whose texts a stranger may have had a hand in."""
        return cls(
            part=part,
            name=name,
            passed=passed,
            expected=one_line(expected, _LINE_LIMIT),
            got=one_line(got, _LINE_LIMIT),
        )

    @classmethod
    def same(cls, part: str, name: str, expected: object, got: object) -> BundleCheck:
        """That two values are the same."""
        return cls.of(part, name, passed=expected == got, expected=str(expected), got=str(got))

    @classmethod
    def nothing(cls, part: str, name: str, found: Iterable[str]) -> BundleCheck:
        """That ``found``, a list of what should not be, is empty."""
        places = sorted(found)
        more = f" and {len(places) - _MOST_NAMED} more" if len(places) > _MOST_NAMED else ""
        got = (", ".join(places[:_MOST_NAMED]) + more) or NONE
        return cls.of(part, name, passed=not places, expected=NONE, got=got)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleParts:
    """A bundle of which everything could be read.

    Attributes:
        manifest: Bytes of the measured manifest.
        settings: What it says.
        enclave: What it says of the enclave.
        trusted: The files that it trusts.
        tcb: ``tcb.json``.
        record: ``measurement.json``.
        reference_values: Bytes of ``reference-values.json``.
        statement: What they say; who has signed them has not been looked at.
        sbom: Bytes of ``sbom.cdx.json``.
        provenance: Bytes of ``provenance.json``; ``None`` before signing.
        deployment: ``deployment.json``.
        documents: Digests of ``tcb.json``, ``sbom.cdx.json`` and ``deployment.json``, which are bound by
            nothing but the provenance.
        image: What the image says of itself.
        holdings: What is in its layers.
        signature: Bytes of ``app.sig``; ``None`` before signing.
        sigstruct: What they say.
        paths: Every file of the folder, relative to it, sorted.
    """

    manifest: bytes
    settings: Mapping[str, Any]
    enclave: EnclaveSettings
    trusted: tuple[TrustedFile, ...]
    tcb: Tcb
    record: MeasurementRecord
    reference_values: bytes
    statement: Statement
    provenance: bytes | None
    sbom: bytes
    deployment: Deployment
    documents: Mapping[str, str]
    image: ImageDocuments
    holdings: ImageHoldings
    signature: bytes | None
    sigstruct: SigStruct | None
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Read(Generic[_Value]):
    """The outcome of reading a part: its value, or the error that reading has met."""

    outcome: _Value | CasemateError

    @property
    def value(self) -> _Value:
        if isinstance(self.outcome, CasemateError):
            raise self.outcome
        return self.outcome


def read_parts(bundle: Bundle) -> tuple[BundleParts | None, tuple[BundleCheck, ...]]:
    """Read all parts of a bundle.

    Returns:
        The parts, ``None`` when one of them cannot be read; and a check for each.
    """
    checks: dict[str, BundleCheck] = {}

    def read(part: str, reader: Callable[[], _Value]) -> _Read[_Value]:
        try:
            outcome: _Read[_Value] = _Read(reader())
        except CasemateError as error:
            outcome = _Read(error)
        known = checks.get(part)
        if known is None or known.passed:
            checks[part] = _readable(part, outcome.outcome)
        return outcome

    manifest = read("app.manifest.sgx", lambda: bundle.manifest)
    settings = read("app.manifest.sgx", lambda: load_measured_manifest(manifest.value))
    enclave = read("app.manifest.sgx", lambda: EnclaveSettings.from_manifest(settings.value))
    trusted = read("app.manifest.sgx", lambda: trusted_files(settings.value))
    listing = read("tcb.json", lambda: bundle.read(bundle.tcb_path))
    tcb = read("tcb.json", lambda: Tcb.parse(listing.value))
    record = read("measurement.json", lambda: bundle.measurement)
    reference_values = read("reference-values.json", lambda: bundle.reference_values)
    statement = read(
        "reference-values.json", lambda: read_statement(reference_values.value, "reference-values.json")
    )
    sbom = read("sbom.cdx.json", lambda: bundle.sbom)
    provenance = read("provenance.json", lambda: bundle.provenance)
    told = read("deployment.json", lambda: bundle.read(bundle.deployment_path))
    deployment = read("deployment.json", lambda: Deployment.parse(told.value))
    image = read("image", lambda: _image(bundle))
    holdings = read("image", lambda: image_holdings(bundle.image, image.value.manifest, _is_kept))
    signature = read("app.sig", lambda: bundle.signature)
    sigstruct = read("app.sig", lambda: None if signature.value is None else SigStruct.parse(signature.value))
    paths = read("folder", lambda: _paths(bundle.path))
    made = tuple(checks.values())
    if not all(check.passed for check in made):
        return None, made
    return BundleParts(
        manifest=manifest.value,
        settings=settings.value,
        enclave=enclave.value,
        trusted=trusted.value,
        tcb=tcb.value,
        record=record.value,
        reference_values=reference_values.value,
        statement=statement.value,
        provenance=provenance.value,
        sbom=sbom.value,
        deployment=deployment.value,
        documents={
            "tcb.json": hashlib.sha256(listing.value).hexdigest(),
            "sbom.cdx.json": hashlib.sha256(sbom.value).hexdigest(),
            "deployment.json": hashlib.sha256(told.value).hexdigest(),
        },
        image=image.value,
        holdings=holdings.value,
        signature=signature.value,
        sigstruct=sigstruct.value,
        paths=paths.value,
    ), made


def _is_kept(path: str) -> bool:
    return path in _KEPT or is_metadata(path)


def _image(bundle: Bundle) -> ImageDocuments:
    path = bundle.image.path / "oci-layout"
    try:
        layout = read_regular(path)
    except OSError as error:
        raise FormatError("OCI layout", expected="a file", got=error.strerror, where=str(path)) from error
    if layout != LAYOUT_FILE:
        raise FormatError("OCI layout", expected=LAYOUT_FILE.decode(), got=ascii(layout), where=str(path))
    return bundle.image.documents()


def _readable(part: str, outcome: object) -> BundleCheck:
    failed = isinstance(outcome, CasemateError)
    return BundleCheck.of(
        part,
        "readable",
        passed=not failed,
        expected="what casemate writes" if failed else "yes",
        got=str(outcome) if failed else "yes",
    )


def require_parts(bundle: Bundle) -> BundleParts:
    """All parts of a bundle.

    Raises:
        UsageError: There is a part that cannot be read.
    """
    parts, checks = read_parts(bundle)
    if parts is None:
        first = next(check for check in checks if not check.passed)
        raise UsageError(
            f"{first.part} of the bundle", expected=first.expected, got=first.got, where=str(bundle.path)
        )
    return parts


def _paths(folder: Path) -> tuple[str, ...]:
    try:
        found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not _is_folder(path))
    except OSError as error:
        raise FormatError("folder", expected="one to read", got=error.strerror, where=str(folder)) from error
    return tuple(found)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
