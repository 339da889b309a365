"""Whether everything in a bundle agrees with everything else: every check, made offline, as a value.

The measured manifest is what the enclave will be held to, so the rest is held against it, and the measurement
is made again. Reference values and provenance have to be signed as soon as the enclave is. First every part
is read; what is compared is compared only when all could be read.

Not checked here: that the bundle was made from its sources, which a rebuild shows; that the digests of
sources in ``reference-values.json`` are right. Before signing, nothing else in a bundle knows what
``deployment.json`` says of replicas, and in which words ``tcb.json`` gives its reasons.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from casemate.builder.bundles.bundle import Bundle
from casemate.builder.bundles.parts import (
    IMAGE_LIBOS,
    IMAGE_MANIFEST,
    IMAGE_PLATFORM,
    IMAGE_WORKLOAD,
    NONE,
    BundleCheck,
    BundleParts,
    read_parts,
)
from casemate.builder.bundles.sbom import is_metadata, make_sbom
from casemate.builder.bundles.signatures import (
    OF_ANOTHER,
    UNSIGNED,
    attributes_text,
    enclave_signature,
    statement_signatures,
    statements_are_signed,
)
from casemate.builder.enclave.manifest import LibOs, foreign_settings, passed_variables
from casemate.builder.enclave.measurement import DEFAULT_GRAMINE_VERSION, measure
from casemate.builder.layout import ENCLAVE_ROOT, GRAMINE_ROOT, MANIFEST_PREFIX
from casemate.builder.packing.image import USER, image_labels
from casemate.builder.signing.sigstruct import EnclaveAttributes, enclave_attributes
from casemate.errors import CasemateError, RefusedError
from casemate.formats.gramine_versions import gramine_version
from casemate.keys import RsaPublicKey
from casemate_attester.configuration import Workload
from casemate_attester.errors import ExplainedError
from casemate_attester.strict_json import canonical_json
from casemate_attester.variables import Variable

_DOCUMENTS: Final = frozenset(
    {
        *("app.manifest.sgx", "app.sig", "tcb.json", "measurement.json"),
        *("reference-values.json", "provenance.json", "deployment.json", "sbom.cdx.json"),
        *("image/index.json", "image/oci-layout"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleVerification:
    """What was found.

    Attributes:
        checks: Every check that was made, in order.
        complete: Whether all parts could be read, so that all checks were made.
        name: The workload; ``None`` when not complete.
        image_digest: ``sha256:…`` of its image; likewise.
        mrenclave: Its measurement in hexadecimal; likewise.
        mrsigner: Its signer in hexadecimal; also ``None`` for a bundle that is not signed.
        simulated: Whether the measurement holds on a simulated platform only.
        statements_signed: Whether reference values and provenance are in envelopes; ``None`` when not
            complete, and for a bundle that is not signed.
    """

    checks: tuple[BundleCheck, ...]
    complete: bool
    name: str | None = None
    image_digest: str | None = None
    mrenclave: str | None = None
    mrsigner: str | None = None
    simulated: bool | None = None
    statements_signed: bool | None = None

    @property
    def refusals(self) -> tuple[BundleCheck, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    def to_dict(self) -> dict[str, Any]:
        """In terms of JSON, with its version."""
        return {
            "version": 1,
            "sound": self.complete and not self.refusals,
            "complete": self.complete,
            "name": self.name,
            "image_digest": self.image_digest,
            "mrenclave": self.mrenclave,
            "mrsigner": self.mrsigner,
            "simulated": self.simulated,
            "statements_signed": self.statements_signed,
            "checks": [asdict(check) for check in self.checks],
        }


def verify_bundle(
    bundle: Bundle,
    *,
    simulated_platform_image: bytes,
    key: RsaPublicKey | None = None,
    provenance_key: RsaPublicKey | None = None,
    accept_unsigned_statements: bool = False,
) -> BundleVerification:
    """Check everything in a bundle against everything else.

    Args:
        bundle: Where it lies.
        simulated_platform_image: What a simulated bundle was measured with; a real one holds its own.
        key: Whose signature it must have; ``None`` accepts any signer, and none.
        provenance_key: Who must have signed reference values and provenance; ``None`` takes the key of the
            enclave's signature.
        accept_unsigned_statements: Whether these may be bare, as an attached signature leaves them. Never
            accepted where a key is named.

    Returns:
        Every check. Nothing is raised for a bundle that is not as it should be.
    """
    parts, reading = read_parts(bundle)
    if parts is None:
        return BundleVerification(checks=reading, complete=False)
    accept = accept_unsigned_statements and key is None and provenance_key is None
    checks = (
        *reading,
        *content_checks(parts, simulated_platform_image),
        *enclave_signature(parts, key),
        *statement_signatures(parts, provenance_key, accept_unsigned=accept),
    )
    signer = parts.record.mrsigner
    return BundleVerification(
        checks=checks,
        complete=True,
        name=parts.deployment.name,
        image_digest=parts.image.digest,
        mrenclave=parts.record.mrenclave.hex(),
        mrsigner=None if signer is None else signer.hex(),
        simulated=parts.record.simulated,
        statements_signed=statements_are_signed(parts),
    )


def content_checks(parts: BundleParts, simulated_platform_image: bytes) -> tuple[BundleCheck, ...]:
    """Everything but the signatures: what has to hold before a bundle is signed, and after.

    Args:
        parts: The bundle.
        simulated_platform_image: What a simulated bundle was measured with; a real one holds its own.
    """
    simulated = parts.record.simulated
    platform = simulated_platform_image if simulated else parts.holdings.kept.get(IMAGE_PLATFORM)
    return (
        *_folder(parts),
        *_image(parts),
        *_files(parts),
        *_manifest(parts),
        *_measurement(parts, platform),
        *_reference_values(parts),
        *_sbom(parts),
        *_deployment(parts),
    )


def require_sound(result: BundleVerification) -> None:
    """Let only a bundle pass in which everything agrees.

    Raises:
        RefusedError: With the first difference, and the names of the others as a hint.
    """
    if not result.refusals:
        return
    first, *others = result.refusals
    hints = []
    if first.got == UNSIGNED:
        hints.append(
            "casemate sign --attach leaves statements so unless --provenance-key signs them; "
            "--accept-unsigned-statements accepts them where no key is named."
        )
    if first.got.startswith(OF_ANOTHER):
        hints.append(
            "A release whose statements have a signer of their own is verified with that key, too: "
            "--provenance-key PUB.pem."
        )
    if others:
        hints.append("Also refused: " + ", ".join(f"{check.name} ({check.part})" for check in others) + ".")
    raise RefusedError(
        f"bundle: {first.name}",
        expected=first.expected,
        got=first.got,
        where=first.part,
        hint=" ".join(hints) or None,
    )


def _folder(parts: BundleParts) -> Iterator[BundleCheck]:
    image = parts.image
    blobs = (image.index.manifest, image.manifest.config, *image.manifest.layers)
    known = _DOCUMENTS | {f"image/blobs/sha256/{blob.hex}" for blob in blobs}
    yield BundleCheck.nothing("folder", "files that no step writes", set(parts.paths) - known)


def _image(parts: BundleParts) -> Iterator[BundleCheck]:
    """The image starts the enclave of which the bundle speaks, and says so."""
    image, record, name = parts.image, parts.record, parts.deployment.name
    config = image.config
    layers = tuple(layer.digest for layer in image.manifest.layers)
    labels = image_labels(
        name=name,
        mrenclave=record.mrenclave.hex(),
        simulated=record.simulated,
        created=config.created,
        sources=parts.statement.predicate.sources,
    )
    loader = (f"{GRAMINE_ROOT}/loader", IMAGE_PLATFORM, "init", MANIFEST_PREFIX)
    yield BundleCheck.same("image", "digest", record.image_digest, image.digest)
    yield BundleCheck.same("image", "layers of the configuration", _words(layers), _words(config.layers))
    yield BundleCheck.same("image", "name", name, image.index.name)
    yield BundleCheck.same("image", "labels", _pairs(labels), _pairs(config.labels))
    yield BundleCheck.same(
        "image", "program", _words(() if record.simulated else loader), _words(config.entrypoint)
    )
    yield BundleCheck.same("image", "user", USER, config.user)
    yield BundleCheck.same("image", "port", parts.deployment.port, config.port)
    yield BundleCheck.nothing("image", "files that are there twice", parts.holdings.repeated)
    manifest = parts.holdings.digest_of(IMAGE_MANIFEST) or NONE
    yield BundleCheck.same("image", "manifest", record.manifest_sha256, manifest)


def _files(parts: BundleParts) -> Iterator[BundleCheck]:
    """Manifest, ``tcb.json`` and image have the same files."""
    # Before Gramine 1.8 its LibOS is among them: which one, is checked with the rest of the manifest.
    trusted = {file.uri: file.sha256 for file in parts.trusted if file.uri != f"file:{IMAGE_LIBOS}"}
    listed = {f"file:{ENCLAVE_ROOT}{file.path}": file for file in parts.tcb.files}
    held = {
        f"file:{path}": file
        for path, file in parts.holdings.files.items()
        if path.startswith(f"{ENCLAVE_ROOT}/")
    }
    yield BundleCheck.nothing(
        "image",
        "trusted files that differ in the image",
        _differing(trusted, {uri: file.sha256 for uri, file in held.items()}),
    )
    yield BundleCheck.nothing(
        "tcb.json",
        "trusted files that it does not list rightly",
        _differing(trusted, {uri: file.sha256 for uri, file in listed.items()}),
    )
    sizes = {uri: str(file.size) for uri, file in listed.items()}
    real = {uri: str(file.size) for uri, file in held.items()}
    yield BundleCheck.nothing("tcb.json", "sizes that differ in the image", _differing(sizes, real))
    yield BundleCheck.nothing(
        "tcb.json", "files that are listed twice", _repeated(file.path for file in parts.tcb.files)
    )
    yield BundleCheck.nothing(
        "app.manifest.sgx", "files that are trusted twice", _repeated(file.uri for file in parts.trusted)
    )
    paths = {file.path for file in parts.tcb.files}
    yield BundleCheck.nothing(
        "tcb.json",
        "reasons that lead to no file",
        (
            f"{file.path} (of {file.reason.of})"
            for file in parts.tcb.files
            if file.reason.of is not None and file.reason.of not in paths
        ),
    )


def _differing(one: Mapping[str, str | None], other: Mapping[str, str | None]) -> Iterator[str]:
    """Paths that only one has, or for which both have something else."""
    for uri in one.keys() | other.keys():
        path = uri.removeprefix("file:")
        if uri not in other:
            yield f"{path} (missing)"
        elif uri not in one:
            yield f"{path} (one more)"
        elif one[uri] != other[uri]:
            yield f"{path} ({one[uri]} became {other[uri]})"


def _repeated(names: Iterable[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def _manifest(parts: BundleParts) -> Iterator[BundleCheck]:
    """The manifest is one that a build generates from some ``casemate.toml``."""
    libos = parts.holdings.kept.get(IMAGE_LIBOS)
    try:
        foreign = foreign_settings(
            parts.settings,
            {file.path: file.sha256 for file in parts.tcb.files},
            python=parts.tcb.interpreter,
            libos=LibOs.absent() if libos is None else LibOs.of(libos),
            gramine=gramine_version(parts.record.gramine_version or DEFAULT_GRAMINE_VERSION),
        )
    except CasemateError as error:
        foreign = (str(error),)
    yield BundleCheck.nothing("app.manifest.sgx", "settings that no build writes", foreign)
    yield BundleCheck.nothing("image", "variables of the host's without a rule", _unruled(parts))


def _unruled(parts: BundleParts) -> set[str]:
    """Variables that the manifest lets pass and the attester does not judge."""
    try:
        workload = Workload.parse(parts.holdings.kept.get(IMAGE_WORKLOAD, b""))
    except ExplainedError:  # told with the deployment
        return set()
    return set(passed_variables(parts.settings)) - {variable.name for variable in workload.variables}


def _measurement(parts: BundleParts, platform: bytes | None) -> Iterator[BundleCheck]:
    """``measurement.json`` says what manifest and platform image come to."""
    record, part = parts.record, "measurement.json"
    enclave = parts.enclave
    version = record.gramine_version
    right = NONE if record.simulated else version or "that which was measured"
    yield BundleCheck.same(part, "version of Gramine", right, version or NONE)
    yield BundleCheck.same(
        part, "digest of the manifest", hashlib.sha256(parts.manifest).hexdigest(), record.manifest_sha256
    )
    image = NONE if platform is None else hashlib.sha256(platform).hexdigest()
    yield BundleCheck.same(part, "platform image", image, record.platform_image_sha256)
    yield BundleCheck.same(
        part,
        "MRENCLAVE",
        _measured(parts.manifest, platform, version or DEFAULT_GRAMINE_VERSION),
        record.mrenclave.hex(),
    )
    yield BundleCheck.same(part, "ISVPRODID", enclave.isvprodid, record.isvprodid)
    yield BundleCheck.same(part, "ISVSVN", enclave.isvsvn, record.isvsvn)
    recorded = EnclaveAttributes(
        attributes=record.attributes, attributes_mask=record.attributes_mask, misc_select=record.misc_select
    )
    wanted = attributes_text(enclave_attributes(enclave))
    yield BundleCheck.same(part, "attributes", wanted, attributes_text(recorded))


def _measured(manifest: bytes, platform: bytes | None, version: str) -> str:
    if platform is None:
        return "nothing, as the image has no platform image"
    try:
        return measure(manifest, platform, version).hex()
    except CasemateError as error:
        return f"what can be measured: {error}"


def _reference_values(parts: BundleParts) -> Iterator[BundleCheck]:
    """What brokers and verifiers will hold evidence against is this bundle."""
    statement, record, part = parts.statement, parts.record, "reference-values.json"
    subject, predicate = statement.subject[0], statement.predicate
    yield BundleCheck.same(part, "name", parts.deployment.name, subject.name)
    yield BundleCheck.same(part, "image", parts.image.digest, f"sha256:{subject.digest.sha256}")
    yield BundleCheck.same(part, "simulated", record.simulated, predicate.simulated)
    for name, expected in record.sgx().items():
        yield BundleCheck.same(part, name, expected, getattr(predicate.sgx, name))
    yield BundleCheck.same(
        part, "Gramine", _pairs(record.gramine().items()), _pairs(predicate.gramine.items())
    )


def _sbom(parts: BundleParts) -> Iterator[BundleCheck]:
    """The bill of materials is the one that follows from the files of the image."""
    metadata = {
        path.removeprefix(ENCLAVE_ROOT): data
        for path, data in parts.holdings.kept.items()
        if path.startswith(ENCLAVE_ROOT) and is_metadata(path)
    }
    try:
        sbom = make_sbom(parts.deployment.name, parts.tcb, metadata, parts.statement.predicate.sources)
        expected = hashlib.sha256(sbom).hexdigest()
    except CasemateError as error:
        expected = str(error)
    yield BundleCheck.same(
        "sbom.cdx.json", "what follows from the image", expected, hashlib.sha256(parts.sbom).hexdigest()
    )


def _deployment(parts: BundleParts) -> Iterator[BundleCheck]:
    """What a cluster is told is what the measured configuration of the attester says."""
    part = "deployment.json"
    try:
        workload = Workload.parse(parts.holdings.kept.get(IMAGE_WORKLOAD, b""))
    except ExplainedError as error:
        yield BundleCheck.same("image", "configuration of the attester", "one that it reads", str(error))
        return
    broker = parts.deployment.broker
    told = NONE if broker is None else f"{broker.host} port {broker.port}"
    yield BundleCheck.same(part, "port", workload.listen.port, parts.deployment.port)
    measured = NONE if workload.broker is None else _place(workload.broker.url)
    yield BundleCheck.same(part, "broker", measured, told)
    rules = (_rules(workload.variables), _rules(parts.deployment.variables))
    yield BundleCheck.same(part, "variables of the host's", *rules)


def _rules(variables: Iterable[Variable]) -> str:
    return canonical_json([variable.to_json() for variable in variables]).decode()


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname} port {parts.port or 443}"


def _words(words: Iterable[str]) -> str:
    return " ".join(words) or NONE


def _pairs(pairs: Iterable[tuple[str, object]]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(pairs))
