"""``reference-values.json``: an in-toto statement that binds an image to its measurement and its sources.

in-toto Attestation Framework, Statement v1. The one subject is the image manifest under the workload's name.
The statement is what a broker's policy is made from; before signing it has no ``mrsigner``, and brokers
refuse it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec

from casemate.builder.measurement_record import MeasurementRecord
from casemate.formats.documents import Document, Hex32, read_document
from casemate_attester.strict_json import canonical_json

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "urn:casemate:reference-values:v1"
_SIZE_LIMIT: Final = 64 * 1024


def make_reference_values(name: str, record: MeasurementRecord, sources: Mapping[str, str]) -> bytes:
    """The statement, in canonical JSON.

    Args:
        name: Name of the workload.
        record: The measurement.
        sources: What the image was made from: digests of files, versions.
    """
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [
                {"name": name, "digest": {"sha256": record.image_digest.removeprefix("sha256:")}},
            ],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "simulated": record.simulated,
                "sgx": record.sgx(),
                "gramine": record.gramine(),
                "sources": dict(sources),
            },
        }
    )


def renew_reference_values(data: bytes, record: MeasurementRecord) -> bytes:
    """The statement ``data`` with another measurement of the same sources, as signing makes it.

    Raises:
        FormatError: ``data`` is no such statement.
    """
    read = read_document(data, _Statement, name="reference-values.json", limit=_SIZE_LIMIT)
    return make_reference_values(read.subject[0].name, record, read.predicate.sources)


class _Digest(Document, frozen=True):
    sha256: Hex32


class _Subject(Document, frozen=True):
    name: str
    digest: _Digest


class _Predicate(Document, frozen=True):
    simulated: bool
    sgx: dict[str, Any]
    gramine: dict[str, Any]
    sources: dict[str, str]


class _Statement(Document, frozen=True):
    type: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subject: Annotated[tuple[_Subject, ...], msgspec.Meta(min_length=1, max_length=1)]
    predicate_type: Literal["urn:casemate:reference-values:v1"] = msgspec.field(name="predicateType")
    predicate: _Predicate
