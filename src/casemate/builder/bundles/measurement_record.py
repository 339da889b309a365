"""``measurement.json``: what the enclave of a bundle measures to, and with which Gramine that was found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

import msgspec

from casemate.formats.documents import Document, Hex4, Hex16, Hex32, Sha256, UInt16, read_document
from casemate.formats.sgx.report import Attributes, MrEnclave, MrSigner

_SIZE_LIMIT: Final = 64 * 1024
_REBUILD: Final = "build the bundle again with this version of casemate"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurementRecord:
    """The measurement of a bundle.

    Attributes:
        simulated: It was made with the simulator's platform image, and holds on no SGX machine.
        mrenclave: MRENCLAVE.
        mrsigner: MRSIGNER; ``None`` before the bundle is signed.
        isvprodid: Product number.
        isvsvn: Security version.
        attributes: ATTRIBUTES of the enclave.
        attributes_mask: Those bits of them that the signature holds fast.
        misc_select: MISCSELECT, 4 bytes.
        gramine_version: Version of the Gramine that was measured; ``None`` when simulated.
        platform_image_sha256: Digest of the platform image, hexadecimal.
        manifest_sha256: Digest of the measured manifest, hexadecimal.
        image_digest: ``sha256:…`` of the image manifest; signing changes it.
    """

    simulated: bool
    mrenclave: MrEnclave
    mrsigner: MrSigner | None
    isvprodid: int
    isvsvn: int
    attributes: Attributes
    attributes_mask: Attributes
    misc_select: bytes
    gramine_version: str | None
    platform_image_sha256: str
    manifest_sha256: str
    image_digest: str

    def sgx(self) -> dict[str, Any]:
        """What evidence is compared with, as documents have it."""
        return {
            "mrenclave": self.mrenclave.hex(),
            "mrsigner": None if self.mrsigner is None else self.mrsigner.hex(),
            "isvprodid": self.isvprodid,
            "isvsvn": self.isvsvn,
            "attributes": self.attributes.to_bytes().hex(),
            "attributes_mask": self.attributes_mask.to_bytes().hex(),
            "misc_select": self.misc_select.hex(),
        }

    def gramine(self) -> dict[str, Any]:
        """With what was measured, as documents have it."""
        return {"version": self.gramine_version, "platform_image_sha256": self.platform_image_sha256}

    def to_bytes(self) -> bytes:
        """JSON, indented for people."""
        document = {
            "version": 1,
            "kind": "casemate.measurement",
            "simulated": self.simulated,
            **self.sgx(),
            "gramine": self.gramine(),
            "manifest_sha256": self.manifest_sha256,
            "image_digest": self.image_digest,
        }
        return (json.dumps(document, indent=2) + "\n").encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read what :meth:`to_bytes` wrote.

        Raises:
            FormatError: Anything else.
        """
        read = read_document(data, _Record, name="measurement.json", limit=_SIZE_LIMIT, hint=_REBUILD)
        return cls(
            simulated=read.simulated,
            mrenclave=MrEnclave(bytes.fromhex(read.mrenclave)),
            mrsigner=None if read.mrsigner is None else MrSigner(bytes.fromhex(read.mrsigner)),
            isvprodid=read.isvprodid,
            isvsvn=read.isvsvn,
            attributes=Attributes.parse(bytes.fromhex(read.attributes)),
            attributes_mask=Attributes.parse(bytes.fromhex(read.attributes_mask)),
            misc_select=bytes.fromhex(read.misc_select),
            gramine_version=read.gramine.version,
            platform_image_sha256=read.gramine.platform_image_sha256,
            manifest_sha256=read.manifest_sha256,
            image_digest=read.image_digest,
        )


class _Gramine(Document, frozen=True):
    version: Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Za-z.+~-]{1,40}\Z")] | None
    platform_image_sha256: Hex32


class _Record(Document, frozen=True):
    version: Literal[1]
    kind: Literal["casemate.measurement"]
    simulated: bool
    mrenclave: Hex32
    mrsigner: Hex32 | None
    isvprodid: UInt16
    isvsvn: UInt16
    attributes: Hex16
    attributes_mask: Hex16
    misc_select: Hex4
    gramine: _Gramine
    manifest_sha256: Hex32
    image_digest: Sha256
