"""A request for a signature: what goes to the holder of a key that never comes near the build machine.

It is three files. ``request.txt`` says to a person what is to be signed and how; ``to-be-signed.bin`` holds
the 256 bytes; ``request.json`` says the same as the text to a machine. When the signature comes back, all
three are derived again from what is measured then, and have to be the same: nothing in a request is believed
but its date.

Not checked here: who has seen the request. The signature covers the 256 bytes and nothing of the text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

import msgspec

from casemate.builder.signing.request_text import request_text
from casemate.builder.signing.sigstruct import SigningSubject, signed_bytes
from casemate.errors import RefusedError
from casemate.formats.documents import Document, Hex4, Hex16, Hex32, Sha256, UInt16, read_document
from casemate.formats.sgx.report import Attributes, MrEnclave, MrSigner
from casemate.formats.sgx.sigstruct import EnclaveIdentity, SigningDate

TEXT_FILE: Final = "request.txt"
DOCUMENT_FILE: Final = "request.json"
BYTES_FILE: Final = "to-be-signed.bin"
FILES: Final = (TEXT_FILE, DOCUMENT_FILE, BYTES_FILE)
#: Bytes of any of them.
MAX_FILE_SIZE: Final = 64 * 1024
#: What to do with a request that is damaged.
AGAIN: Final = "prepare a new request and have that one signed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningRequest:
    """What is to be signed, and by whom.

    Attributes:
        subject: The enclave.
        date: What the signature will say of when.
        mrsigner: The key that has to sign; ``None`` where it was not named.
    """

    subject: SigningSubject
    date: SigningDate
    mrsigner: MrSigner | None

    @property
    def signed_bytes(self) -> bytes:
        """The 256 bytes."""
        return signed_bytes(self.subject.enclave, self.date)

    def to_dict(self) -> dict[str, Any]:
        """In terms of JSON, with its version."""
        subject, enclave = self.subject, self.subject.enclave
        return {
            "version": 1,
            "kind": "casemate.signing-request",
            "name": subject.name,
            "mrenclave": enclave.mrenclave.hex(),
            "mrsigner": None if self.mrsigner is None else self.mrsigner.hex(),
            "isvprodid": enclave.isvprodid,
            "isvsvn": enclave.isvsvn,
            "attributes": enclave.attributes.to_bytes().hex(),
            "attributes_mask": enclave.attributes_mask.to_bytes().hex(),
            "misc_select": enclave.misc_select.hex(),
            "misc_mask": enclave.misc_mask.hex(),
            "date": str(self.date),
            "gramine_version": subject.gramine_version,
            "platform_image_sha256": subject.platform_image_sha256,
            "manifest_sha256": subject.manifest_sha256,
            "weaknesses": list(subject.weaknesses),
            "image_digest": subject.image_digest,
        }

    def to_files(self) -> dict[str, bytes]:
        """The files by name."""
        return {
            TEXT_FILE: request_text(self.subject, self.date, self.mrsigner, self.signed_bytes).encode(),
            DOCUMENT_FILE: (json.dumps(self.to_dict(), indent=2) + "\n").encode(),
            BYTES_FILE: self.signed_bytes,
        }

    @classmethod
    def parse(cls, data: bytes, *, where: str) -> Self:
        """Read ``request.json``.

        Raises:
            FormatError: Anything else, or a date that does not exist.
        """
        read = read_document(
            data, _Request, name="signing request", limit=MAX_FILE_SIZE, where=where, hint=AGAIN
        )
        enclave = EnclaveIdentity(
            misc_select=bytes.fromhex(read.misc_select),
            misc_mask=bytes.fromhex(read.misc_mask),
            attributes=Attributes.parse(bytes.fromhex(read.attributes)),
            attributes_mask=Attributes.parse(bytes.fromhex(read.attributes_mask)),
            mrenclave=MrEnclave(bytes.fromhex(read.mrenclave)),
            isvprodid=read.isvprodid,
            isvsvn=read.isvsvn,
        )
        subject = SigningSubject(
            enclave=enclave,
            manifest_sha256=read.manifest_sha256,
            platform_image_sha256=read.platform_image_sha256,
            gramine_version=read.gramine_version,
            weaknesses=read.weaknesses,
            name=read.name,
            image_digest=read.image_digest,
        )
        return cls(
            subject=subject,
            date=SigningDate.parse(read.date, where=where),
            mrsigner=None if read.mrsigner is None else MrSigner(bytes.fromhex(read.mrsigner)),
        )


def require_request(
    given: Mapping[str, bytes], subject: SigningSubject, mrsigner: MrSigner, *, where: str
) -> SigningDate:
    """Refuse a request that is not the one for ``subject``.

    Args:
        given: The files of the request by name.
        subject: What has been measured now.
        mrsigner: Whose signature is attached.
        where: The folder of the request, for errors.

    Returns:
        The date that was signed.

    Raises:
        FormatError: ``request.json`` is none.
        RefusedError: It was prepared for another enclave or another key, or it has been changed.
    """
    request = SigningRequest.parse(given[DOCUMENT_FILE], where=f"{where}/{DOCUMENT_FILE}")
    told, measured = request.subject.enclave.mrenclave, subject.enclave.mrenclave
    if told != measured:
        raise RefusedError(
            "MRENCLAVE of the prepared request",
            expected=f"{measured.hex()}, which was measured now",
            got=told.hex(),
            where=where,
            hint="it was prepared for another enclave, or this one was built anew since: attach the "
            f"signature to the one that it was prepared for, or {AGAIN}",
        )
    if request.mrsigner not in (None, mrsigner):
        raise RefusedError(
            "key of the prepared request",
            expected=f"MRSIGNER {mrsigner.hex()}, of the public key that is named",
            got=f"MRSIGNER {(request.mrsigner or b'').hex()}",
            where=where,
            hint=f"name the key for which it was prepared, or {AGAIN}",
        )
    again = SigningRequest(subject=subject, date=request.date, mrsigner=request.mrsigner)
    _require_unchanged(request, again, where=where)
    for name, data in again.to_files().items():
        if given[name] != data:
            raise RefusedError(
                "prepared request",
                expected="the files as they were prepared",
                got=f"another {name}",
                where=where,
                hint=f"somebody has changed it, or another version of casemate wrote it: {AGAIN}",
            )
    return request.date


def _require_unchanged(request: SigningRequest, again: SigningRequest, *, where: str) -> None:
    told, measured = request.to_dict(), again.to_dict()
    for name, value in measured.items():
        if told[name] != value:
            raise RefusedError(
                f"{name} of the prepared request",
                expected=str(value),
                got=str(told[name]),
                where=where,
                hint=f"somebody has changed it, or the enclave was built anew since: {AGAIN}",
            )


# A name that a person can read on one line, whatever a stranger put there.
_Name = Annotated[str, msgspec.Meta(pattern=r"\A[a-zA-Z0-9_-][a-zA-Z0-9_.-]{0,127}\Z")]


class _Request(Document, frozen=True):
    version: Literal[1]
    kind: Literal["casemate.signing-request"]
    name: _Name | None
    mrenclave: Hex32
    mrsigner: Hex32 | None
    isvprodid: UInt16
    isvsvn: UInt16
    attributes: Hex16
    attributes_mask: Hex16
    misc_select: Hex4
    misc_mask: Hex4
    date: Annotated[str, msgspec.Meta(max_length=40)]
    gramine_version: Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Za-z.+~-]{1,40}\Z")] | None
    platform_image_sha256: Hex32
    manifest_sha256: Hex32
    weaknesses: tuple[str, ...]
    image_digest: Sha256 | None
