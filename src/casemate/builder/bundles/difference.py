"""What differs between two bundles, and which of it has moved MRENCLAVE.

MRENCLAVE covers the text of the manifest and the platform image, laid out by the rules of one version of
Gramine; the manifest covers every trusted file by its digest. So one of these inputs has moved it, or
several, and nothing else has.

Not checked here: that the bundles are what their documents say, which ``verify bundle`` does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from casemate.builder.bundles.bundle import BundleDocuments
from casemate.builder.bundles.explanation import reason_chain
from casemate.builder.bundles.tcb import TcbFile
from casemate.builder.layout import ENCLAVE_ROOT
from casemate.formats.manifest import load_measured_manifest, trusted_files

_TRUSTED: Final = "sgx.trusted_files"


class Input(Enum):
    """What can differ; the value is the word in documents and tables."""

    TRUSTED_FILE = "trusted file"
    SETTING = "setting"
    MANIFEST_TEXT = "text of the manifest"
    PLATFORM_IMAGE = "platform image"
    GRAMINE_VERSION = "Gramine"
    SOURCE = "source"
    SIGNER = "signer"
    IMAGE = "image"
    DEPLOYMENT = "deployment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One input that is not the same in both bundles.

    Attributes:
        kind: What it is.
        name: Which one: a path in the enclave, a key of the manifest.
        old: In the first bundle: a digest, a value as JSON; ``None`` where it is not there.
        new: Likewise in the second.
        chain: Why a trusted file is there, in the second bundle, or in the first where it was removed: itself
            first. Empty for other inputs.
    """

    kind: Input
    name: str
    old: str | None
    new: str | None
    chain: tuple[TcbFile, ...] = ()

    @property
    def change(self) -> str:
        """``added``, ``removed`` or ``changed``."""
        return "added" if self.old is None else "removed" if self.new is None else "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What is not the same in two bundles.

    Attributes:
        old: MRENCLAVE of the first, hexadecimal.
        new: MRENCLAVE of the second.
        measured: The inputs that have moved it.
        unmeasured: What else differs.
    """

    old: str
    new: str
    measured: tuple[Moved, ...]
    unmeasured: tuple[Moved, ...]

    def to_dict(self) -> dict[str, Any]:
        """In terms of JSON, with its version."""
        return {
            "version": 1,
            "mrenclave": {"old": self.old, "new": self.new},
            "measured": [_moved(one) for one in self.measured],
            "unmeasured": [_moved(one) for one in self.unmeasured],
        }


def compare(old: BundleDocuments, new: BundleDocuments) -> Difference:
    """What differs between two bundles.

    Raises:
        FormatError: A manifest that cannot be read.
    """
    return Difference(
        old=old.measurement.mrenclave.hex(),
        new=new.measurement.mrenclave.hex(),
        measured=(*_manifest(old, new), *_platform(old, new)),
        unmeasured=tuple(_unmeasured(old, new)),
    )


def _manifest(old: BundleDocuments, new: BundleDocuments) -> Iterator[Moved]:
    if old.manifest == new.manifest:
        return
    before, after = (load_measured_manifest(one.manifest) for one in (old, new))
    found = (*_files((old, before), (new, after)), *_settings(before, after))
    yield from found
    if not found:
        # The same values in another order or notation: MRENCLAVE covers the bytes.
        yield Moved(
            kind=Input.MANIFEST_TEXT,
            name="order or notation",
            old=old.measurement.manifest_sha256,
            new=new.measurement.manifest_sha256,
        )


def _files(
    old: tuple[BundleDocuments, Mapping[str, Any]], new: tuple[BundleDocuments, Mapping[str, Any]]
) -> Iterator[Moved]:
    before, after = (
        {_path(file.uri): file.sha256 for file in trusted_files(manifest)} for _, manifest in (old, new)
    )
    old_files, new_files = ({file.path: file for file in one.tcb.files} for one, _ in (old, new))
    for path in _differing(before, after):
        reasons = new_files if path in after else old_files
        yield Moved(
            kind=Input.TRUSTED_FILE,
            name=path,
            old=before.get(path),
            new=after.get(path),
            chain=reason_chain(reasons, path),
        )


def _path(uri: str) -> str:
    """Where the enclave sees a trusted file."""
    return uri.removeprefix("file:").removeprefix(ENCLAVE_ROOT)


def _settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Moved]:
    old, new = dict(_leaves("", before)), dict(_leaves("", after))
    for place in _differing(old, new):
        yield Moved(kind=Input.SETTING, name=place, old=old.get(place), new=new.get(place))


def _leaves(place: str, value: object) -> Iterator[tuple[str, str]]:
    """Every setting but the trusted files, as JSON; an array is one setting."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{place}.{key}" if place else str(key), inner)
    elif place != _TRUSTED:
        yield place, json.dumps(value, ensure_ascii=False)


def _platform(old: BundleDocuments, new: BundleDocuments) -> Iterator[Moved]:
    before, after = old.measurement, new.measurement
    if before.platform_image_sha256 != after.platform_image_sha256:
        yield Moved(
            kind=Input.PLATFORM_IMAGE,
            name="libpal.so",
            old=before.platform_image_sha256,
            new=after.platform_image_sha256,
        )
    versions = [one.gramine_version or "simulated" for one in (before, after)]
    if versions[0] != versions[1]:
        yield Moved(kind=Input.GRAMINE_VERSION, name="version", old=versions[0], new=versions[1])


def _unmeasured(old: BundleDocuments, new: BundleDocuments) -> Iterator[Moved]:
    for kind, before, after in (
        (Input.SOURCE, _sources(old), _sources(new)),
        (Input.SIGNER, _signer(old), _signer(new)),
        (Input.IMAGE, {"digest": old.image.digest}, {"digest": new.image.digest}),
        (Input.DEPLOYMENT, _deployment(old), _deployment(new)),
    ):
        for name in _differing(before, after):
            yield Moved(kind=kind, name=name, old=before.get(name), new=after.get(name))


def _sources(documents: BundleDocuments) -> dict[str, str]:
    return {name: str(value) for name, value in documents.reference_values.predicate.sources.items()}


def _signer(documents: BundleDocuments) -> dict[str, str]:
    signer = documents.measurement.mrsigner
    return {} if signer is None else {"MRSIGNER": signer.hex()}


def _deployment(documents: BundleDocuments) -> dict[str, str]:
    return dict(_leaves("", json.loads(documents.deployment.to_bytes())))


def _differing(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    """Names that only one has, or under which both have something else; sorted."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def _moved(moved: Moved) -> dict[str, Any]:
    return {
        "kind": moved.kind.value,
        "name": moved.name,
        "change": moved.change,
        "old": moved.old,
        "new": moved.new,
        "chain": [
            {"path": file.path, "rule": file.reason.rule.value, "detail": file.reason.detail}
            for file in moved.chain
        ],
    }
