"""Reference values: what a build says its enclave is, as the in-toto statement in the bundle.

Form: in-toto Statement v1 with one subject, the workload, and the predicate of :data:`PREDICATE_TYPE`. Not
checked here: who made the statement. Whoever starts the broker vouches for the files that it names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from casemate.errors import FormatError
from casemate.formats.sgx.report import DEBUG, Attributes, MrEnclave, MrSigner

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:casemate:reference-values:v1"
#: Bytes of a statement.
MAX_STATEMENT_SIZE = 64 * 1024

# The workload's name is the second segment of the names of its resources.
_Name = Annotated[str, msgspec.Meta(pattern=r"\A[a-zA-Z0-9_-][a-zA-Z0-9_.-]{0,127}\Z")]
_Hex4 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{8}\Z")]
_Hex16 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z")]
_Hex32 = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
_UInt16 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]


class _Ours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A message of our own: unknown fields are refused."""


class _Digest(_Ours, frozen=True):
    sha256: _Hex32


class _Subject(_Ours, frozen=True):
    name: _Name
    digest: _Digest


class _Sgx(_Ours, frozen=True):
    mrenclave: _Hex32
    mrsigner: _Hex32 | None
    isvprodid: _UInt16
    isvsvn: _UInt16
    attributes: _Hex16
    attributes_mask: _Hex16
    misc_select: _Hex4


class _Predicate(_Ours, frozen=True):
    simulated: bool
    sgx: _Sgx
    gramine: dict[str, Any]
    sources: dict[str, Any]


class _Statement(_Ours, frozen=True):
    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    predicate_type: Literal["urn:casemate:reference-values:v1"] = msgspec.field(name="predicateType")
    subject: Annotated[tuple[_Subject, ...], msgspec.Meta(min_length=1, max_length=1)]
    predicate: _Predicate


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceValues:
    """The enclave of one build of one workload.

    Attributes:
        workload: Name of the workload, the statement's subject.
        image_digest: SHA-256 of the image manifest, in hexadecimal.
        simulated: The measurement was made without Gramine's platform image, for the simulator.
        mrenclave: MRENCLAVE, exact.
        mrsigner: MRSIGNER, exact.
        isvprodid: ISVPRODID, exact.
        minimum_isvsvn: The least ISVSVN.
        attributes: ATTRIBUTES where ``attributes_mask`` has ones; DEBUG is never set.
        attributes_mask: See ``attributes``.
        misc_select: MISCSELECT, exact, 4 bytes.
    """

    workload: str
    image_digest: str
    simulated: bool
    mrenclave: MrEnclave
    mrsigner: MrSigner
    isvprodid: int
    minimum_isvsvn: int
    attributes: Attributes
    attributes_mask: Attributes
    misc_select: bytes

    @classmethod
    def parse(cls, data: bytes, where: str) -> ReferenceValues:
        """Read a statement.

        Args:
            data: JSON text.
            where: Name of the file, for errors.

        Raises:
            FormatError: It is not a statement, is not signed for (no MRSIGNER), or is for a debug enclave.
        """
        statement = _decode(data, where)
        subject, sgx = statement.subject[0], statement.predicate.sgx
        attributes = Attributes.parse(bytes.fromhex(sgx.attributes))
        if attributes.flags & DEBUG:
            raise FormatError(
                "reference values",
                expected="a production enclave",
                got="a debug enclave",
                where=where,
                hint="build without debug = true: whoever runs a debug enclave reads its memory",
            )
        return cls(
            workload=subject.name,
            image_digest=subject.digest.sha256,
            simulated=statement.predicate.simulated,
            mrenclave=MrEnclave(bytes.fromhex(sgx.mrenclave)),
            mrsigner=MrSigner(_signer(sgx, where)),
            isvprodid=sgx.isvprodid,
            minimum_isvsvn=sgx.isvsvn,
            attributes=attributes,
            attributes_mask=Attributes.parse(bytes.fromhex(sgx.attributes_mask)),
            misc_select=bytes.fromhex(sgx.misc_select),
        )


def _signer(sgx: _Sgx, where: str) -> bytes:
    if sgx.mrsigner is None:
        raise FormatError(
            "reference values",
            expected="those of a signed bundle",
            got="no mrsigner",
            where=where,
            hint="sign the bundle first: casemate sign BUNDLE --key URI",
        )
    return bytes.fromhex(sgx.mrsigner)


def _decode(data: bytes, where: str) -> _Statement:
    if len(data) > MAX_STATEMENT_SIZE:
        raise FormatError(
            "reference values",
            expected=f"at most {MAX_STATEMENT_SIZE} bytes",
            got=str(len(data)),
            where=where,
        )
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_without_duplicates)
        return msgspec.convert(value, _Statement)
    # A lone surrogate is a UnicodeError, an integer of thousands of digits a ValueError.
    except (ValueError, RecursionError) as error:
        raise FormatError(
            "reference values",
            expected=f"an in-toto statement with the predicate {PREDICATE_TYPE}",
            got=str(error),
            where=where,
            hint="name reference-values.json of a signed bundle",
        ) from error


def _without_duplicates(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object with a duplicate key")
    return result
