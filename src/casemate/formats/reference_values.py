"""``reference-values.json``: an in-toto statement that binds an image to its measurement and its sources.

in-toto Attestation Framework, Statement v1. The one subject is the image manifest, under the workload's name.
A signed bundle has it in a DSSE envelope. Not checked here: who made the statement, unless keys are named,
and whether it is one to appraise evidence by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec

from casemate.errors import RefusedError
from casemate.formats.documents import Document, Hex4, Hex16, Hex32, UInt16, read_document
from casemate.formats.dsse import IN_TOTO_TYPE, Envelope, is_envelope
from casemate.keys import RsaPublicKey
from casemate_attester.strict_json import canonical_json

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:casemate:reference-values:v1"
#: Bytes of a statement.
MAX_STATEMENT_SIZE: Final = 64 * 1024

# The workload's name is the second segment of the names of its resources.
_Name = Annotated[str, msgspec.Meta(pattern=r"\A[a-zA-Z0-9_-][a-zA-Z0-9_.-]{0,127}\Z")]


class Digest(Document, frozen=True):
    """Digest of an image manifest."""

    sha256: Hex32


class Subject(Document, frozen=True):
    """The image, under the name of its workload."""

    name: _Name
    digest: Digest


class Sgx(Document, frozen=True):
    """What evidence is compared with; hexadecimal, in the byte order of the SDM's structures."""

    mrenclave: Hex32
    mrsigner: Hex32 | None
    isvprodid: UInt16
    isvsvn: UInt16
    attributes: Hex16
    attributes_mask: Hex16
    misc_select: Hex4


class Predicate(Document, frozen=True):
    """The measurement, and what it was made from."""

    simulated: bool
    sgx: Sgx
    gramine: dict[str, Any]
    sources: dict[str, Any]


class Statement(Document, frozen=True):
    """The whole statement."""

    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    predicate_type: Literal["urn:casemate:reference-values:v1"] = msgspec.field(name="predicateType")
    subject: Annotated[tuple[Subject, ...], msgspec.Meta(min_length=1, max_length=1)]
    predicate: Predicate

    @classmethod
    def of(cls, subject: Subject, predicate: Predicate) -> Statement:
        """The statement that says ``predicate`` of ``subject``."""
        return cls(
            type=STATEMENT_TYPE, predicate_type=PREDICATE_TYPE, subject=(subject,), predicate=predicate
        )

    @classmethod
    def parse(cls, data: bytes, where: str) -> Statement:
        """Read a statement.

        Args:
            data: JSON text.
            where: Name of the file, for errors.

        Raises:
            FormatError: Too large, not JSON, or not such a statement.
        """
        return read_document(
            data,
            cls,
            name="reference values",
            limit=MAX_STATEMENT_SIZE,
            expected=f"an in-toto statement with the predicate {PREDICATE_TYPE}",
            where=where,
            hint="name reference-values.json of a signed bundle",
        )

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(msgspec.to_builtins(self))


def read_statement(data: bytes, where: str, keys: Sequence[RsaPublicKey] = ()) -> Statement:
    """Read a statement, bare or in a DSSE envelope.

    Args:
        data: JSON text.
        where: Name of the file, for errors.
        keys: One of these has to have signed it; with none, whoever names the file vouches for it, and
            signatures are not looked at.

    Raises:
        FormatError: Neither of the two.
        RefusedError: Keys are named, and none of them has signed it.
    """
    if is_envelope(data):
        envelope = Envelope.parse(data, where)
        payload = envelope.verified(IN_TOTO_TYPE, keys, where) if keys else envelope.unverified
        return Statement.parse(payload, where)
    if keys:
        raise RefusedError(
            "reference values",
            expected="a DSSE envelope, signed by a key that is named",
            got="no envelope",
            where=where,
            hint="a signed bundle has one: casemate sign BUNDLE --key URI",
        )
    return Statement.parse(data, where)
