"""From a bundle to what a rehearsal runs: the image on disk, and the enclave that its manifest would become.

The measurement is computed here from the manifest and the platform image, never taken from a document, and
the signature is looked at as EINIT would: a bundle that no processor would start is not rehearsed either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

from casemate.builder.bundles.bundle import Bundle
from casemate.builder.bundles.measurement_record import MeasurementRecord
from casemate.builder.enclave.measurement import DEFAULT_GRAMINE_VERSION, measure
from casemate.builder.layout import ENCLAVE_ROOT, GLIBC_ROOT, GRAMINE_ROOT
from casemate.builder.packing.image import unpack_image
from casemate.errors import RehearsalError
from casemate.formats.sgx.report import INIT, MrEnclave, MrSigner
from casemate.formats.sgx.sigstruct import SigStruct
from casemate.rehearsal.c_library import stand_ins
from casemate.rehearsal.run import Stage
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.platform import SimulatedPlatform
from casemate.simulator.platform_image import platform_image

_REBUILD: Final = "build and sign the bundle again; nothing in it may be changed by hand"
_UNSIGNED: Final = MrSigner(bytes(32))
_UNSIGNED_NOTE: Final = (
    "the bundle is not signed: no processor would start it, and its quotes name a signer that is all zeros"
)
_C_LIBRARY_NOTE: Final = "the C library of this machine stood in for Gramine's, which runs in Gramine only"
_SIMULATED_NOTE: Final = "MRENCLAVE is that of a simulated platform image, not of an installed Gramine"


def stage_of(bundle: Bundle, platform: SimulatedPlatform, rootfs: Path | None) -> Callable[[Path], Stage]:
    """What rehearses a bundle.

    Args:
        bundle: The bundle.
        platform: Where its enclave runs.
        rootfs: The image's root file system as a node presents it; ``None`` unpacks the bundle's image.

    Returns:
        A function that makes the stage, given a private empty folder; it raises :class:`RehearsalError` for a
        bundle whose parts do not belong together and :class:`FormatError` for one that cannot be read.
    """

    def make(private: Path) -> Stage:
        root = rootfs
        if root is None:
            root = private / "image"
            root.mkdir()
            unpack_image(bundle.image, root)
        tcb = bundle.tcb
        enclave = start_enclave(bundle, platform, root)
        notes = (_UNSIGNED_NOTE,) if enclave.mrsigner == _UNSIGNED else ()
        record = bundle.measurement
        instead = {} if record.simulated else _own_c_library(root)
        return Stage(
            manifest=bundle.manifest,
            rootfs=root,
            enclave=enclave,
            left_out=tcb.considered.left_out,
            reasons={file.path: file.reason.detail for file in tcb.files},
            notes=(_SIMULATED_NOTE if record.simulated else _C_LIBRARY_NOTE, *notes),
            instead=instead,
            gramine=record.gramine_version or DEFAULT_GRAMINE_VERSION,
        )

    return make


def _own_c_library(rootfs: Path) -> dict[str, Path]:
    folder = rootfs / f"{ENCLAVE_ROOT}{GLIBC_ROOT}".lstrip("/")
    names = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else ()
    return stand_ins(names, Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace"))


def start_enclave(bundle: Bundle, platform: SimulatedPlatform, rootfs: Path) -> SimulatedEnclave:
    """Load and initialise the enclave on a simulated platform.

    Raises:
        RehearsalError: The manifest, the platform image, the measurement and the signature do not belong
            together.
    """
    record = bundle.measurement
    manifest = bundle.manifest
    # 1. ECREATE, EADD, EEXTEND: what is loaded is what the documents of the bundle speak of.
    _require("manifest of the bundle", record.manifest_sha256, hashlib.sha256(manifest).hexdigest())
    image = _platform_image(record, rootfs)
    _require("platform image", record.platform_image_sha256, hashlib.sha256(image).hexdigest())
    mrenclave = measure(manifest, image, record.gramine_version or DEFAULT_GRAMINE_VERSION)
    _require("MRENCLAVE of the bundle", record.mrenclave.hex(), mrenclave.hex())
    # 2. EINIT: the signature is valid, and speaks of this enclave.
    mrsigner = _UNSIGNED if bundle.signature is None else _initialise(bundle.signature, mrenclave)
    _require("MRSIGNER of the bundle", (record.mrsigner or _UNSIGNED).hex(), mrsigner.hex())
    return SimulatedEnclave(
        platform=platform,
        mrenclave=mrenclave,
        mrsigner=mrsigner,
        isvprodid=record.isvprodid,
        isvsvn=record.isvsvn,
        attributes=record.attributes._replace(flags=record.attributes.flags | INIT),
        misc_select=record.misc_select,
    )


def _platform_image(record: MeasurementRecord, rootfs: Path) -> bytes:
    if record.simulated:
        return platform_image()
    path = rootfs / f"{GRAMINE_ROOT}/libpal.so".lstrip("/")
    try:
        return path.read_bytes()
    except OSError as failure:
        raise RehearsalError(
            "platform image", expected="Gramine's, in the image", got=failure.strerror, where=str(path)
        ) from failure


def _initialise(signature: bytes, mrenclave: MrEnclave) -> MrSigner:
    """What EINIT checks of a SIGSTRUCT."""
    sigstruct = SigStruct.parse(signature)
    key = RSAPublicNumbers(3, sigstruct.modulus).public_key()
    try:
        number = sigstruct.signature.to_bytes(384, "big")
        key.verify(number, sigstruct.signed_bytes, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise RehearsalError("SIGSTRUCT of the bundle", got="a wrong signature", hint=_REBUILD) from None
    _require("SIGSTRUCT of the bundle", mrenclave.hex(), sigstruct.enclave.mrenclave.hex())
    return sigstruct.mrsigner


def _require(subject: str, expected: str, got: str) -> None:
    if expected != got:
        raise RehearsalError(subject, expected=expected, got=got, hint=_REBUILD)
