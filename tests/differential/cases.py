"""What is changed: good evidence of simulated platforms, with every key that signs a part of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

from casemate.formats.sgx.collateral import Collateral, TcbStatus
from casemate.formats.sgx.quote import Tee
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.endorsements import Standing, Statements
from casemate.simulator.pki import PckAuthority
from casemate.simulator.platform import SimulatedPlatform
from casemate.simulator.trust_domain import (
    TD_REPORT_10,
    TD_REPORT_15,
    TD_REPORT_15_EX,
    SimulatedTrustDomain,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
MRENCLAVE = MrEnclave(bytes(range(32)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Evidence with what is needed to judge it.

    Attributes:
        platform: Where it comes from; its root is the one that is trusted.
        tee: What is quoted.
        quote: The quote.
        statements: What the manufacturer says, before it is signed.
        collateral: The same, signed.
        at: The instant.
    """

    platform: SimulatedPlatform
    tee: Tee
    quote: bytes
    statements: Statements
    collateral: Collateral
    at: datetime = NOW + timedelta(hours=1)


@cache
def platforms() -> tuple[SimulatedPlatform, ...]:
    """Platforms under roots of their own, certified by either authority."""
    return tuple(SimulatedPlatform.create(NOW, authority=authority) for authority in PckAuthority)


@cache
def good_cases() -> tuple[Case, ...]:
    """Good evidence of every kind, of platforms in every standing that leaves it genuine."""
    standings = (
        Standing(),
        Standing(platform=TcbStatus.OUT_OF_DATE),
        Standing(platform=TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED),
        Standing(quoting_enclave=TcbStatus.OUT_OF_DATE, tdx_module=TcbStatus.OUT_OF_DATE),
    )
    return tuple(
        _case(platform, tee, quote, standing)
        for platform in platforms()
        for tee, quote in _quotes(platform)
        for standing in standings
    )


def _quotes(platform: SimulatedPlatform) -> list[tuple[Tee, bytes]]:
    enclave = SimulatedEnclave(
        platform=platform, mrenclave=MRENCLAVE, mrsigner=MrSigner(bytes(32)), isvprodid=1
    )
    domains = [
        SimulatedTrustDomain(platform=platform, report=report).quote(bytes(64))
        for report in (TD_REPORT_10, TD_REPORT_15, TD_REPORT_15_EX)
    ]
    enclaves = [enclave.quote(bytes(64), version=version) for version in (3, 3, 3, 3, 3, 3, 4, 5)]
    return [*((Tee.SGX, quote) for quote in enclaves), *((Tee.TDX, quote) for quote in domains)]


def _case(platform: SimulatedPlatform, tee: Tee, quote: bytes, standing: Standing) -> Case:
    statements = platform.statements(NOW, tee=tee, standing=standing)
    return Case(
        platform=platform,
        tee=tee,
        quote=quote,
        statements=statements,
        collateral=platform.sign(statements),
    )
