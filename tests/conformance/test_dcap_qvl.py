"""The simulator before another judge: dcap-qvl, an independent verifier in Rust, told the simulated root."""

from __future__ import annotations

from datetime import UTC, datetime

import dcap_qvl
import pytest

from casemate.formats.sgx.collateral import PLATFORM_STATUSES, Collateral, TcbStatus
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.endorsements import ADVISORY, Revocation, Standing
from casemate.simulator.pki import PckAuthority
from casemate.simulator.platform import SimulatedPlatform

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def judge(platform: SimulatedPlatform, quote: bytes) -> dcap_qvl.VerifiedReport:
    collateral = dcap_qvl.QuoteCollateralV3.from_json(platform.collateral.to_json().decode())
    root = platform.authorities.root.certificate
    return dcap_qvl.verify_with_root_ca(quote, collateral, root, int(NOW.timestamp()) + 3600)


def quote_of(platform: SimulatedPlatform) -> bytes:
    enclave = SimulatedEnclave(
        platform=platform, mrenclave=MrEnclave(bytes(32)), mrsigner=MrSigner(bytes(32)), isvprodid=1
    )
    return enclave.quote(bytes(range(64)))


@pytest.mark.parametrize("authority", PckAuthority)
def test_simulated_quotes_are_accepted(authority: PckAuthority) -> None:
    platform = SimulatedPlatform.create(NOW, authority=authority)
    verified = judge(platform, quote_of(platform))
    assert verified.status == "UpToDate"
    assert verified.advisory_ids == []
    assert verified.ppid == platform.sgx_extension.ppid


@pytest.mark.parametrize(
    "status", [status for status in PLATFORM_STATUSES if status is not TcbStatus.REVOKED]
)
def test_simulated_statuses_are_understood(status: TcbStatus) -> None:
    platform = SimulatedPlatform.create(NOW, standing=Standing(platform=status))
    verified = judge(platform, quote_of(platform))
    assert verified.status == status.value
    assert verified.advisory_ids == ([] if status is TcbStatus.UP_TO_DATE else [ADVISORY])


def test_an_outdated_simulated_quoting_enclave_is_understood() -> None:
    standing = Standing(quoting_enclave=TcbStatus.OUT_OF_DATE)
    platform = SimulatedPlatform.create(NOW, standing=standing)
    assert judge(platform, quote_of(platform)).status == "OutOfDate"


@pytest.mark.parametrize("which", Revocation)
def test_simulated_revocation_is_understood(which: Revocation) -> None:
    platform = SimulatedPlatform.create(NOW, standing=Standing(revoked=frozenset({which})))
    with pytest.raises(ValueError, match="Verification failed"):
        judge(platform, quote_of(platform))


def test_a_revoked_simulated_platform_is_refused() -> None:
    platform = SimulatedPlatform.create(NOW, standing=Standing(platform=TcbStatus.REVOKED))
    with pytest.raises(ValueError, match="Revoked"):
        judge(platform, quote_of(platform))


def test_intels_root_does_not_vouch_for_it() -> None:
    platform = SimulatedPlatform.create(NOW)
    collateral = dcap_qvl.QuoteCollateralV3.from_json(platform.collateral.to_json().decode())
    with pytest.raises(ValueError, match="Verification failed"):
        dcap_qvl.verify(quote_of(platform), collateral, int(NOW.timestamp()) + 3600)


def test_its_form_of_collateral_is_ours() -> None:
    collateral = SimulatedPlatform.create(NOW).collateral
    theirs = dcap_qvl.QuoteCollateralV3.from_json(collateral.to_json().decode())
    assert Collateral.parse_json(theirs.to_json().encode()) == collateral
