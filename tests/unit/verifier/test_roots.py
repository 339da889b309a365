"""Trust anchors: Intel's by default, a simulated one only where it is named."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.dcap_corpus import CORPUS, needs_corpus

import casemate
from casemate.errors import FormatError, RefusedError
from casemate.simulator.platform import SimulatedPlatform
from casemate.verifier.roots import INTEL_ROOT_KEY, TrustRoots

PLATFORM = SimulatedPlatform.create(datetime(2026, 11, 20, tzinfo=UTC))


def test_intels_root_is_one_key_and_is_not_simulated() -> None:
    (root,) = TrustRoots.intel().roots
    assert root.point == INTEL_ROOT_KEY
    assert not root.simulated


def test_a_simulated_root_is_simulated_and_alone() -> None:
    (root,) = TrustRoots.simulated(PLATFORM.root_certificate).roots
    assert root.simulated
    assert TrustRoots.simulated(PLATFORM.root_certificate).find(INTEL_ROOT_KEY) is None


def test_no_roots_trust_nobody() -> None:
    assert TrustRoots.simulated().find(INTEL_ROOT_KEY) is None


@needs_corpus
def test_intels_root_cannot_be_passed_off_as_simulated() -> None:
    with pytest.raises(RefusedError) as refusal:
        TrustRoots.simulated((CORPUS / "pool/cert/root.pem").read_bytes())
    assert str(refusal.value) == (
        "simulated root: expected the root of a simulated platform, got Intel's root"
    )
    assert refusal.value.hint == "Intel's root is trusted without naming it; leave the simulated root away."


def test_a_chain_is_not_a_root() -> None:
    with pytest.raises(FormatError) as refusal:
        TrustRoots.simulated(PLATFORM.collateral.tcb_info_issuer_chain)
    assert str(refusal.value) == "simulated root: expected one certificate, got 2"


def test_no_root_of_a_simulation_lies_in_the_source() -> None:
    source = Path(casemate.__file__).parent
    marks = (b"BEGIN CERTIFICATE-----\\n" + b"M", b"PRIVATE KEY-----\\n" + b"M")
    found = [path for path in source.rglob("*.py") if any(mark in path.read_bytes() for mark in marks)]
    assert found == []
