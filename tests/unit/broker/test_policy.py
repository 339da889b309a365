"""Which enclave is which workload, and what it may read."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from casemate.broker.policy import WorkloadPolicy
from casemate.broker.resource import ResourceName
from casemate.errors import RefusedError, ServiceError
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.report import MrEnclave
from casemate.verifier.policy import Freshness
from casemate.verifier.reference_values import ReferenceValues, appraisal_policy

SGX = {
    "mrenclave": "22" * 32,
    "mrsigner": "33" * 32,
    "isvprodid": 1,
    "isvsvn": 2,
    "attributes": "0500000000000000e700000000000000",
    "attributes_mask": "ffffffffffffffff1bfffffffffffff0",
    "misc_select": "01000000",
}
DOCUMENT = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "notes", "digest": {"sha256": "11" * 32}}],
    "predicateType": "urn:casemate:reference-values:v1",
    "predicate": {"simulated": False, "sgx": SGX, "gramine": {}, "sources": {}},
}
VALUES = ReferenceValues.parse(json.dumps(DOCUMENT).encode(), "test")
POLICY = WorkloadPolicy(reference_values=(VALUES,))


def test_a_workload_reads_what_is_named_after_it() -> None:
    POLICY.require_release("notes", ResourceName.parse("default/notes/db-key"))


@pytest.mark.parametrize(
    "name", ["default/other/key", "other/notes/key", "default/notes2/key", "notes/notes/key"]
)
def test_a_workload_reads_nothing_else(name: str) -> None:
    with pytest.raises(RefusedError) as caught:
        POLICY.require_release("notes", ResourceName.parse(name))
    assert str(caught.value) == f"resource: expected one under default/notes, got {name}"
    assert caught.value.hint == "name it kbs:///default/notes/… in casemate.toml"


@pytest.mark.parametrize(
    ("name", "has_reader"),
    [("default/notes/key", True), ("default/other/key", False), ("o/notes/key", False)],
)
def test_only_resources_of_workloads_have_a_reader(name: str, *, has_reader: bool) -> None:
    assert POLICY.has_reader(ResourceName.parse(name)) is has_reader
    assert not WorkloadPolicy(reference_values=()).has_reader(ResourceName.parse(name))


def test_a_workload_has_reference_values_of_one_kind() -> None:
    simulated = replace(VALUES, simulated=True, mrenclave=MrEnclave(b"\x44" * 32))
    with pytest.raises(ServiceError) as caught:
        WorkloadPolicy(reference_values=(VALUES, simulated))
    assert str(caught.value) == (
        "reference values: expected real or simulated ones of a workload, got both (workload notes)"
    )
    assert caught.value.hint == (
        "give the simulated build another [app] name, or leave its reference values out"
    )


def test_it_is_known_for_which_workloads_simulations_are_accepted() -> None:
    others = [replace(VALUES, simulated=True, workload=name) for name in ("web", "api", "web")]
    assert WorkloadPolicy(reference_values=(VALUES, *others)).simulated_workloads == ("api", "web")
    assert POLICY.simulated_workloads == ()


def test_the_verifier_is_asked_for_all_that_the_reference_values_say() -> None:
    policy = appraisal_policy(VALUES, b"\x77" * 64)
    assert policy.mrenclaves == (b"\x22" * 32,)
    assert policy.mrsigner == b"\x33" * 32
    assert (policy.isvprodid, policy.min_isvsvn) == (1, 2)
    assert policy.attributes is not None
    assert policy.attributes.to_bytes().hex() == SGX["attributes"]
    assert policy.attributes_mask is not None
    assert policy.attributes_mask.to_bytes().hex() == SGX["attributes_mask"]
    assert policy.misc_select == b"\1\0\0\0"
    assert policy.report_data == b"\x77" * 64
    assert not policy.allow_debug
    assert policy.freshness == Freshness()
    assert policy.accepted_statuses == {TcbStatus.UP_TO_DATE}
