"""Whether everything in a bundle agrees with everything else: every check, made offline, as a value.

The measured manifest is what the enclave will be held to, so the rest is held against it, and the measurement
is made again. Reference values and provenance have to be signed as soon as the enclave is. First every part
is read; what is compared is compared only when all could be read.

Not checked here: that the bundle was made from its sources, which a rebuild shows; that the digests of
sources in ``reference-values.json`` are right; what ``deployment.json`` says of replicas, which nothing else
in a bundle knows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from casemate.builder.bundle import Bundle
from casemate.builder.bundle_parts import (
    IMAGE_LIBOS,
    IMAGE_MANIFEST,
    IMAGE_PLATFORM,
    IMAGE_SIGNATURE,
    IMAGE_WORKLOAD,
    BundleCheck,
    BundleParts,
    read_parts,
)
from casemate.builder.image import USER, image_labels
from casemate.builder.layout import ENCLAVE_ROOT, GRAMINE_ROOT, MANIFEST_PREFIX
from casemate.builder.manifest import LibOs, foreign_settings
from casemate.builder.measurement import DEFAULT_GRAMINE_VERSION, measure
from casemate.builder.sbom import is_metadata, make_sbom
from casemate.builder.signing import EnclaveAttributes, enclave_attributes
from casemate.errors import CasemateError, KeyUnfitError, RefusedError
from casemate.formats.dsse import IN_TOTO_TYPE, Envelope, is_envelope
from casemate.formats.sgx.sigstruct import EXPONENT, SigStruct
from casemate.formats.slsa import provenance
from casemate.keys import RsaPublicKey, require_signature
from casemate_attester.configuration import Workload
from casemate_attester.errors import ExplainedError

#: As many differences as a reader looks through in one line.
_MOST_NAMED: Final = 5
_NONE: Final = "none"
_UNSIGNED: Final = "none, as the bundle has none"
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
    """

    checks: tuple[BundleCheck, ...]
    complete: bool
    name: str | None = None
    image_digest: str | None = None
    mrenclave: str | None = None
    mrsigner: str | None = None
    simulated: bool | None = None

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
            "checks": [asdict(check) for check in self.checks],
        }


def verify_bundle(
    bundle: Bundle,
    *,
    simulated_platform_image: bytes,
    key: RsaPublicKey | None = None,
    provenance_key: RsaPublicKey | None = None,
) -> BundleVerification:
    """Check everything in a bundle against everything else.

    Args:
        bundle: Where it lies.
        simulated_platform_image: What a simulated bundle was measured with; a real one holds its own.
        key: Whose signature it must have; ``None`` accepts any signer, and none.
        provenance_key: Who must have signed reference values and provenance; ``None`` takes the key of the
            enclave's signature.

    Returns:
        Every check. Nothing is raised for a bundle that is not as it should be.
    """
    parts, reading = read_parts(bundle)
    if parts is None:
        return BundleVerification(checks=reading, complete=False)
    simulated = parts.record.simulated
    platform = simulated_platform_image if simulated else parts.holdings.kept.get(IMAGE_PLATFORM)
    checks = (
        *reading,
        *_folder(parts),
        *_image(parts),
        *_files(parts),
        *_manifest(parts),
        *_measurement(parts, platform),
        *_signature(parts, key),
        *_reference_values(parts),
        *_envelopes(parts, provenance_key),
        *_sbom(parts),
        *_deployment(parts),
    )
    signer = parts.record.mrsigner
    return BundleVerification(
        checks=checks,
        complete=True,
        name=parts.deployment.name,
        image_digest=parts.image.digest,
        mrenclave=parts.record.mrenclave.hex(),
        mrsigner=None if signer is None else signer.hex(),
        simulated=simulated,
    )


def require_sound(result: BundleVerification) -> None:
    """Let only a bundle pass in which everything agrees.

    Raises:
        RefusedError: With the first difference, and the names of the others as a hint.
    """
    if not result.refusals:
        return
    first, *others = result.refusals
    raise RefusedError(
        f"bundle: {first.name}",
        expected=first.expected,
        got=first.got,
        where=first.part,
        hint="Also refused: " + ", ".join(f"{check.name} ({check.part})" for check in others) + "."
        if others
        else None,
    )


def _same(part: str, name: str, expected: object, got: object) -> BundleCheck:
    return BundleCheck.of(part, name, passed=expected == got, expected=str(expected), got=str(got))


def _nothing(part: str, name: str, found: Iterable[str]) -> BundleCheck:
    """That ``found``, a list of what should not be, is empty."""
    places = sorted(found)
    more = f" and {len(places) - _MOST_NAMED} more" if len(places) > _MOST_NAMED else ""
    got = (", ".join(places[:_MOST_NAMED]) + more) or _NONE
    return BundleCheck.of(part, name, passed=not places, expected=_NONE, got=got)


def _folder(parts: BundleParts) -> Iterator[BundleCheck]:
    image = parts.image
    blobs = (image.index.manifest, image.manifest.config, *image.manifest.layers)
    known = _DOCUMENTS | {f"image/blobs/sha256/{blob.hex}" for blob in blobs}
    yield _nothing("folder", "files that no step writes", set(parts.paths) - known)


def _image(parts: BundleParts) -> Iterator[BundleCheck]:
    """The image starts the enclave of which the bundle speaks, and says so."""
    image, record, name = parts.image, parts.record, parts.deployment.name
    config = image.config
    layers = tuple(layer.digest for layer in image.manifest.layers)
    labels = image_labels(name=name, mrenclave=record.mrenclave.hex(), simulated=record.simulated)
    loader = (f"{GRAMINE_ROOT}/loader", IMAGE_PLATFORM, "init", MANIFEST_PREFIX)
    yield _same("image", "digest", record.image_digest, image.digest)
    yield _same("image", "layers of the configuration", _words(layers), _words(config.layers))
    yield _same("image", "name", name, image.index.name)
    yield _same("image", "labels", _pairs(labels), _pairs(config.labels))
    yield _same("image", "program", _words(() if record.simulated else loader), _words(config.entrypoint))
    yield _same("image", "user", USER, config.user)
    yield _same("image", "port", parts.deployment.port, config.port)
    yield _nothing("image", "files that are there twice", parts.holdings.repeated)
    yield _same("image", "manifest", parts.record.manifest_sha256, _held_digest(parts, IMAGE_MANIFEST))
    signature = _NONE if parts.signature is None else hashlib.sha256(parts.signature).hexdigest()
    yield _same("image", "signature", signature, _held_digest(parts, IMAGE_SIGNATURE))


def _held_digest(parts: BundleParts, path: str) -> str:
    held = parts.holdings.files.get(path)
    return _NONE if held is None else held.sha256


def _files(parts: BundleParts) -> Iterator[BundleCheck]:
    """Manifest, ``tcb.json`` and image have the same files."""
    trusted = {file.uri: file.sha256 for file in parts.trusted}
    listed = {f"file:{ENCLAVE_ROOT}{file.path}": file for file in parts.tcb.files}
    held = {
        f"file:{path}": file
        for path, file in parts.holdings.files.items()
        if path.startswith(f"{ENCLAVE_ROOT}/")
    }
    yield _nothing(
        "image",
        "trusted files that differ in the image",
        _differing(trusted, {uri: file.sha256 for uri, file in held.items()}),
    )
    yield _nothing(
        "tcb.json",
        "trusted files that it does not list rightly",
        _differing(trusted, {uri: file.sha256 for uri, file in listed.items()}),
    )
    sizes = {uri: str(file.size) for uri, file in listed.items()}
    real = {uri: str(file.size) for uri, file in held.items()}
    yield _nothing("tcb.json", "sizes that differ in the image", _differing(sizes, real))
    yield _nothing(
        "tcb.json", "files that are listed twice", _repeated(file.path for file in parts.tcb.files)
    )
    yield _nothing(
        "app.manifest.sgx", "files that are trusted twice", _repeated(file.uri for file in parts.trusted)
    )
    paths = {file.path for file in parts.tcb.files}
    yield _nothing(
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
        )
    except CasemateError as error:
        foreign = (str(error),)
    yield _nothing("app.manifest.sgx", "settings that no build writes", foreign)


def _measurement(parts: BundleParts, platform: bytes | None) -> Iterator[BundleCheck]:
    """``measurement.json`` says what manifest and platform image come to."""
    record, part = parts.record, "measurement.json"
    enclave = parts.enclave
    version = record.gramine_version
    yield _same(part, "version of Gramine", record.simulated, version is None)
    yield _same(
        part, "digest of the manifest", hashlib.sha256(parts.manifest).hexdigest(), record.manifest_sha256
    )
    image = _NONE if platform is None else hashlib.sha256(platform).hexdigest()
    yield _same(part, "platform image", image, record.platform_image_sha256)
    yield _same(
        part,
        "MRENCLAVE",
        _measured(parts.manifest, platform, version or DEFAULT_GRAMINE_VERSION),
        record.mrenclave.hex(),
    )
    yield _same(part, "ISVPRODID", enclave.isvprodid, record.isvprodid)
    yield _same(part, "ISVSVN", enclave.isvsvn, record.isvsvn)
    recorded = EnclaveAttributes(
        attributes=record.attributes, attributes_mask=record.attributes_mask, misc_select=record.misc_select
    )
    yield _same(part, "attributes", _hex(enclave_attributes(enclave)), _hex(recorded))


def _measured(manifest: bytes, platform: bytes | None, version: str) -> str:
    if platform is None:
        return "nothing, as the image has no platform image"
    try:
        return measure(manifest, platform, version).hex()
    except CasemateError as error:
        return f"what can be measured: {error}"


def _hex(attributes: EnclaveAttributes) -> str:
    return " ".join(
        (
            attributes.attributes.to_bytes().hex(),
            attributes.attributes_mask.to_bytes().hex(),
            attributes.misc_select.hex(),
        )
    )


def _signature(parts: BundleParts, key: RsaPublicKey | None) -> Iterator[BundleCheck]:
    """The SIGSTRUCT signs this enclave, with the key that the documents name."""
    sigstruct, record, part = parts.sigstruct, parts.record, "app.sig"
    recorded = _NONE if record.mrsigner is None else record.mrsigner.hex()
    signer = _NONE if sigstruct is None else sigstruct.mrsigner.hex()
    yield _same("measurement.json", "MRSIGNER", signer, recorded)
    if key is not None:
        wanted, got = _key_text(key), _NONE
        if sigstruct is not None:
            got = _key_text(RsaPublicKey(modulus=sigstruct.modulus, exponent=EXPONENT))
        yield _same(part, "key", wanted, got)
    if sigstruct is None:
        return
    enclave = sigstruct.enclave
    signed = EnclaveAttributes(
        attributes=enclave.attributes,
        attributes_mask=enclave.attributes_mask,
        misc_select=enclave.misc_select,
    )
    yield _same(part, "MRENCLAVE", record.mrenclave.hex(), enclave.mrenclave.hex())
    yield _same(part, "ISVPRODID", parts.enclave.isvprodid, enclave.isvprodid)
    yield _same(part, "ISVSVN", parts.enclave.isvsvn, enclave.isvsvn)
    yield _same(part, "attributes", _hex(enclave_attributes(parts.enclave)), _hex(signed))
    yield _same(part, "mask of MISCSELECT", "ffffffff", enclave.misc_mask.hex())
    yield _same(part, "signature", "one that its key confirms", _signature_state(sigstruct))
    yield _same(part, "quotients of the signature", "those of the signature", _quotients_state(sigstruct))


def _key_text(key: RsaPublicKey) -> str:
    modulus = key.modulus.to_bytes((key.modulus.bit_length() + 7) // 8, "little")
    return f"exponent {key.exponent}, SHA-256 of the modulus {hashlib.sha256(modulus).hexdigest()}"


def _signature_state(sigstruct: SigStruct) -> str:
    key = RsaPublicKey(modulus=sigstruct.modulus, exponent=EXPONENT)
    size = (key.modulus.bit_length() + 7) // 8
    try:
        require_signature(sigstruct.signed_bytes, sigstruct.signature.to_bytes(size, "big"), key)
    except (KeyUnfitError, OverflowError):
        return "another"
    return "one that its key confirms"


def _quotients_state(sigstruct: SigStruct) -> str:
    modulus = sigstruct.modulus
    square = sigstruct.signature * sigstruct.signature
    right = modulus > 0 and (sigstruct.q1, sigstruct.q2) == (
        square // modulus,
        square % modulus * sigstruct.signature // modulus,
    )
    return "those of the signature" if right else "others"


def _reference_values(parts: BundleParts) -> Iterator[BundleCheck]:
    """What brokers and verifiers will hold evidence against is this bundle."""
    statement, record, part = parts.statement, parts.record, "reference-values.json"
    subject, predicate = statement.subject[0], statement.predicate
    yield _same(part, "name", parts.deployment.name, subject.name)
    yield _same(part, "image", parts.image.digest, f"sha256:{subject.digest.sha256}")
    yield _same(part, "simulated", record.simulated, predicate.simulated)
    for name, expected in record.sgx().items():
        yield _same(part, name, expected, getattr(predicate.sgx, name))
    yield _same(part, "Gramine", _pairs(record.gramine().items()), _pairs(predicate.gramine.items()))


def _envelopes(parts: BundleParts, provenance_key: RsaPublicKey | None) -> Iterator[BundleCheck]:
    """Reference values and provenance are signed with the enclave, and not before."""
    statement = parts.statement
    origin = provenance(statement, parts.record.manifest_sha256)
    key = provenance_key
    if key is None and parts.sigstruct is not None:
        key = RsaPublicKey(modulus=parts.sigstruct.modulus, exponent=EXPONENT)
    documents = (
        ("reference-values.json", parts.reference_values, statement.to_bytes()),
        ("provenance.json", parts.provenance, origin),
    )
    for part, data, payload in documents:
        if key is None:
            bare = data is None or not is_envelope(data)
            yield _same(part, "signature", _UNSIGNED, _UNSIGNED if bare else "one")
        else:
            got = _signed_payload(data, key, part)
            yield _same(
                part, "signature", "one of the key", "one of the key" if isinstance(got, bytes) else got
            )
            if part == "provenance.json" and isinstance(got, bytes):
                expected = hashlib.sha256(payload).hexdigest()
                yield _same(part, "what follows from the bundle", expected, hashlib.sha256(got).hexdigest())


def _signed_payload(data: bytes | None, key: RsaPublicKey, part: str) -> bytes | str:
    """The payload of a document that ``key`` has signed, or why it is none."""
    if data is None:
        return "no such file"
    try:
        return Envelope.parse(data, part).verified(IN_TOTO_TYPE, (key,), part)
    except CasemateError as error:
        return str(error)


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
    yield _same(
        "sbom.cdx.json", "what follows from the image", expected, hashlib.sha256(parts.sbom).hexdigest()
    )


def _deployment(parts: BundleParts) -> Iterator[BundleCheck]:
    """What a cluster is told is what the measured configuration of the attester says."""
    part = "deployment.json"
    try:
        workload = Workload.parse(parts.holdings.kept.get(IMAGE_WORKLOAD, b""))
    except ExplainedError as error:
        yield _same("image", "configuration of the attester", "one that it reads", str(error))
        return
    broker = parts.deployment.broker
    told = _NONE if broker is None else f"{broker.host} port {broker.port}"
    yield _same(part, "port", workload.listen.port, parts.deployment.port)
    measured = _NONE if workload.broker is None else _place(workload.broker.url)
    yield _same(part, "broker", measured, told)


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.hostname} port {parts.port or 443}"


def _words(words: Iterable[str]) -> str:
    return " ".join(words) or _NONE


def _pairs(pairs: Iterable[tuple[str, object]]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(pairs))
