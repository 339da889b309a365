"""The reference values that a build publishes: what verifiers and brokers make their policies from.

Before signing they have no ``mrsigner``, and brokers refuse them.
"""

from __future__ import annotations

from collections.abc import Mapping

from casemate.builder.bundles.measurement_record import MeasurementRecord
from casemate.formats.reference_values import Digest, Predicate, Sgx, Statement, Subject


def make_reference_values(name: str, record: MeasurementRecord, sources: Mapping[str, str]) -> bytes:
    """The statement, in canonical JSON.

    Args:
        name: Name of the workload.
        record: The measurement.
        sources: What the image was made from: digests of files, versions.
    """
    digest = Digest(sha256=record.image_digest.removeprefix("sha256:"))
    return Statement.of(
        Subject(name=name, digest=digest),
        Predicate(
            simulated=record.simulated,
            sgx=Sgx(**record.sgx()),
            gramine=record.gramine(),
            sources=dict(sources),
        ),
    ).to_bytes()


def renew_reference_values(former: Statement, record: MeasurementRecord) -> bytes:
    """The statement ``former`` with another measurement of the same sources, as signing makes it."""
    return make_reference_values(former.subject[0].name, record, former.predicate.sources)
