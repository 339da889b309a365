"""The broker reads what the builder writes, and recognises the enclave that it describes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from casemate.builder.bundles.measurement_record import MeasurementRecord
from casemate.builder.bundles.reference_values import make_reference_values
from casemate.builder.signing.sigstruct import enclave_attributes
from casemate.errors import FormatError
from casemate.formats.manifest import EnclaveSettings
from casemate.formats.sgx.report import INIT, MrEnclave, MrSigner
from casemate.verifier.reference_values import ReferenceValues

if TYPE_CHECKING:
    from tests.scenarios.broker.conftest import Bench


def record(*, debug: bool = False, signed: bool = True) -> MeasurementRecord:
    settings = EnclaveSettings.from_manifest(
        {"sgx": {"enclave_size": "256M", "max_threads": 8, "debug": debug, "isvprodid": 1, "isvsvn": 2}}
    )
    signature = enclave_attributes(settings)
    return MeasurementRecord(
        simulated=True,
        mrenclave=MrEnclave(b"\x22" * 32),
        mrsigner=MrSigner(b"\x33" * 32) if signed else None,
        isvprodid=settings.isvprodid,
        isvsvn=settings.isvsvn,
        attributes=signature.attributes,
        attributes_mask=signature.attributes_mask,
        misc_select=signature.misc_select,
        gramine_version=None,
        platform_image_sha256="44" * 32,
        manifest_sha256="55" * 32,
        image_digest="sha256:" + "66" * 32,
    )


def read(measured: MeasurementRecord) -> ReferenceValues:
    statement = make_reference_values("notes", measured, {"requirements": "77" * 32})
    return ReferenceValues.parse(statement, "reference-values.json")


def test_an_enclave_as_it_was_built_receives_its_secret(bench: Bench, secret: bytes) -> None:
    built = record()
    client = bench.serve(read(built))
    running = bench.other(
        attributes=built.attributes._replace(flags=built.attributes.flags | INIT),
        misc_select=built.misc_select,
    )
    assert running.attest(client).status == 200
    assert running.open(client.resource("default/notes/db-key")) == secret


def test_features_that_the_manifest_leaves_to_the_machine_may_differ(bench: Bench) -> None:
    built = record()
    attributes = built.attributes._replace(
        flags=built.attributes.flags | INIT, xfrm=built.attributes.xfrm | 0xE4
    )
    running = bench.other(attributes=attributes, misc_select=built.misc_select)
    assert running.attest(bench.serve(read(built))).status == 200


def test_an_unsigned_bundle_is_no_reference() -> None:
    with pytest.raises(FormatError, match=r"^reference values: expected those of a signed bundle"):
        read(record(signed=False))


def test_a_debug_bundle_is_no_reference() -> None:
    with pytest.raises(FormatError, match=r"^reference values: expected a production enclave"):
        read(record(debug=True))
