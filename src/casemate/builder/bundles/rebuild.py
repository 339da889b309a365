"""Whether a bundle is what a rebuild from its source gives, bit for bit, and which file is not.

Signing adds a layer, a signature and a signer, so a bundle is compared as it was before. Not checked here:
that either bundle agrees with itself, which the verification of a bundle does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace

from casemate.builder.bundles.measurement_record import MeasurementRecord
from casemate.builder.bundles.parts import IMAGE_SIGNATURE, BundleCheck, BundleParts
from casemate.builder.bundles.tcb import Tcb, TcbFile
from casemate.builder.layout import APPLICATION_ROOT, ENCLAVE_ROOT
from casemate.builder.packing.image import unsigned
from casemate.formats.oci import ImageConfig

_PART = "rebuild"


def compare_rebuild(given: BundleParts, rebuilt: BundleParts) -> tuple[BundleCheck, ...]:
    """Hold a bundle against its rebuild.

    Args:
        given: The bundle, signed or not.
        rebuilt: The rebuild, not signed.

    Returns:
        What it was made from, then every file that differs, then the documents.
    """
    return (*_inputs(given, rebuilt), *_files(given, rebuilt), *_documents(given, rebuilt))


def _inputs(given: BundleParts, rebuilt: BundleParts) -> Iterator[BundleCheck]:
    """What explains differences comes first."""
    before, after = (one.record.gramine_version or "simulated" for one in (rebuilt, given))
    yield _same("Gramine", before, after)
    expected, got = (one.statement.predicate.sources for one in (rebuilt, given))
    for name in sorted(expected.keys() | got.keys()):
        yield _same(f"source {name}", expected.get(name, "none"), got.get(name, "none"))


def _files(given: BundleParts, rebuilt: BundleParts) -> Iterator[BundleCheck]:
    """One check for every file that differs; one for all when none does."""
    reasons = {f"{ENCLAVE_ROOT}{file.path}": file for one in (given, rebuilt) for file in one.tcb.files}
    expected, got = (_digests(one) for one in (rebuilt, given))
    differing = sorted(path for path in expected.keys() | got.keys() if expected.get(path) != got.get(path))
    for path in differing:
        found = got.get(path, "no such file")
        yield _same(f"file {path}", expected.get(path, "no such file"), found + _reason(reasons, path))
    if not differing:
        yield _same("files of the image", len(expected), len(got))


def _digests(parts: BundleParts) -> dict[str, str]:
    files = parts.holdings.files
    return {path: file.sha256 for path, file in files.items() if path != IMAGE_SIGNATURE}


def _reason(reasons: Mapping[str, TcbFile], path: str) -> str:
    file = reasons.get(path)
    return "" if file is None else f", there by {file.reason.rule.value}: {file.reason.detail}"


def _documents(given: BundleParts, rebuilt: BundleParts) -> Iterator[BundleCheck]:
    yield _same("MRENCLAVE", rebuilt.record.mrenclave.hex(), given.record.mrenclave.hex())
    for name, expected, got in (
        ("app.manifest.sgx", rebuilt.manifest, given.manifest),
        ("tcb.json", _listing(rebuilt.tcb), _listing(given.tcb)),
        ("deployment.json", rebuilt.deployment.to_bytes(), given.deployment.to_bytes()),
        ("sbom.cdx.json", rebuilt.sbom, given.sbom),
        ("measurement.json", _unsigned_record(rebuilt.record), _unsigned_record(given.record)),
    ):
        yield _same(name, "the same bytes", "the same bytes" if expected == got else "other bytes")
    expected_config, got_config = (_fields(unsigned(one.image.config)) for one in (rebuilt, given))
    for name, value in expected_config.items():
        yield _same(f"{name} of the image", value, got_config[name])


def _listing(tcb: Tcb) -> bytes:
    """Without the application's modules that were left out: a working copy may have more than a release."""
    names = (name for name in tcb.considered.left_out if not name.startswith(f"{APPLICATION_ROOT}/"))
    return replace(tcb, considered=replace(tcb.considered, left_out=tuple(names))).to_bytes()


def _unsigned_record(record: MeasurementRecord) -> bytes:
    """Without what signing changes; the image is compared by its layers and its configuration."""
    return replace(record, mrsigner=None, image_digest="").to_bytes()


def _fields(config: ImageConfig) -> dict[str, str]:
    return {name: json.dumps(value) for name, value in asdict(config).items()}


def _same(name: str, expected: object, got: object) -> BundleCheck:
    return BundleCheck.of(_PART, name, passed=expected == got, expected=str(expected), got=str(got))
