"""``provenance.json``: how an image came about, as SLSA provenance v1 in an in-toto statement.

SLSA Provenance v1; in-toto Attestation Framework, Statement v1. It is derived whole from the reference
values, and so holds no time and no number of an invocation: the same inputs give the same bytes.

Not claimed: a build level. The build host is whoever holds the key that signs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from casemate.formats.documents import Document, Hex32, read_document
from casemate.formats.reference_values import MAX_STATEMENT_SIZE, STATEMENT_TYPE, Statement
from casemate_attester.strict_json import canonical_json

PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "urn:casemate:build:v1"
BUILDER: Final = "urn:casemate:builder"
_SHA256: Final = "sha256:"


def provenance(statement: Statement, manifest_sha256: str, documents: Mapping[str, str]) -> bytes:
    """The provenance of the image of which ``statement`` speaks, in canonical JSON.

    Args:
        statement: Its reference values.
        manifest_sha256: Digest of its measured manifest, hexadecimal.
        documents: Digests of what was written about it besides, by name.
    """
    subject, predicate = statement.subject[0], statement.predicate
    sources = {name: str(value) for name, value in predicate.sources.items()}
    files = {name: value for name, value in sources.items() if value.startswith(_SHA256)}
    versions = {name: value for name, value in sources.items() if name not in files}
    image = str(predicate.gramine.get("platform_image_sha256"))
    parameters: dict[str, Any] = {"gramine": predicate.gramine.get("version"), **versions}
    return canonical_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": subject.name, "digest": {"sha256": subject.digest.sha256}}],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE,
                    "externalParameters": {"workload": subject.name, "simulated": predicate.simulated},
                    "internalParameters": parameters,
                    "resolvedDependencies": [
                        *(
                            _resource(name, value.removeprefix(_SHA256))
                            for name, value in sorted(files.items())
                        ),
                        _resource("libpal.so", image),
                    ],
                },
                "runDetails": {
                    "builder": {"id": BUILDER, "version": {"casemate": versions.get("casemate", "unknown")}},
                    "byproducts": [
                        {
                            **_resource("app.manifest.sgx", manifest_sha256),
                            "annotations": {
                                "mrenclave": predicate.sgx.mrenclave,
                                "mrsigner": predicate.sgx.mrsigner,
                            },
                        },
                        *(_resource(name, digest) for name, digest in sorted(documents.items())),
                    ],
                },
            },
        }
    )


def documents_of(data: bytes, where: str) -> Mapping[str, str]:
    """The digests of the documents that a provenance names, the measured manifest among them.

    Args:
        data: JSON text.
        where: Name of the file, for errors.

    Raises:
        FormatError: Not such a provenance.
    """
    read = read_document(
        data,
        _Statement,
        name="provenance",
        limit=MAX_STATEMENT_SIZE,
        expected=f"an in-toto statement with the predicate {PREDICATE_TYPE}",
        where=where,
    )
    return {one.name: one.digest.sha256 for one in read.predicate.run_details.byproducts}


class _Digest(msgspec.Struct, frozen=True):
    sha256: Hex32


class _Byproduct(msgspec.Struct, frozen=True):
    name: str
    digest: _Digest


class _RunDetails(msgspec.Struct, frozen=True):
    byproducts: tuple[_Byproduct, ...]


class _Predicate(msgspec.Struct, frozen=True):
    run_details: _RunDetails = msgspec.field(name="runDetails")


class _Statement(Document, frozen=True, forbid_unknown_fields=False):
    predicate_type: Literal["https://slsa.dev/provenance/v1"] = msgspec.field(name="predicateType")
    predicate: _Predicate


def _resource(name: str, sha256: str) -> dict[str, Any]:
    """A resource descriptor of in-toto."""
    return {"name": name, "digest": {"sha256": sha256}}
