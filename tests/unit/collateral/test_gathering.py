"""What a verifier needs, gathered from Intel's service and from a cache, for enclaves and trust domains."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.collateral_service import upstream_of
from tests.support.intel_pcs import FakeIntel
from tests.support.manufacturer import KnownPlatform, Manufacturer

from casemate.collateral.gathering import gather
from casemate.collateral.upstream import UpstreamError
from casemate.formats.sgx.collateral import Collateral
from casemate.formats.sgx.pck_identifier import PckIdentifier, PpidForm
from casemate.formats.sgx.platform_name import PlatformName
from casemate.formats.sgx.quote import Quote
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave
from casemate.simulator.trust_domain import SimulatedTrustDomain
from casemate.verifier.appraisal import appraise
from casemate.verifier.policy import AppraisalPolicy
from casemate.verifier.result import AttestationResult
from casemate.verifier.roots import TrustRoots

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
CLEAR_PPID_HINT = (
    "ask a PCCS with which the platform is registered: Intel's service finds platforms by a PPID that is"
    " encrypted with RSA-3072"
)


@pytest.fixture
def intel(tmp_path: Path) -> Iterator[FakeIntel]:
    with FakeIntel.running(Manufacturer.create(NOW), tmp_path) as fake:
        yield fake


def known(intel: FakeIntel) -> KnownPlatform:
    return intel.maker.platforms[0]


def enclave_quote(intel: FakeIntel) -> Quote:
    enclave = SimulatedEnclave(
        platform=known(intel).simulated,
        mrenclave=MrEnclave(b"\1" * 32),
        mrsigner=MrSigner(b"\2" * 32),
        isvprodid=1,
    )
    return Quote.parse(enclave.quote(bytes(64)))


def naming(intel: FakeIntel, form: PpidForm, ppid: bytes, components: int = 0) -> Quote:
    extension = known(intel).extension
    cpu_svn = bytes([extension.cpu_svn[0] + components, *extension.cpu_svn[1:]])
    identifier = PckIdentifier(
        form=form, ppid=ppid, cpu_svn=cpu_svn, pce_svn=extension.pce_svn, pce_id=extension.pce_id
    )
    return replace(
        enclave_quote(intel), certification_type=form.value, certification_data=identifier.to_bytes()
    )


def result_of(intel: FakeIntel, quote: Quote, collateral: Collateral) -> AttestationResult:
    return appraise(
        quote.to_bytes(),
        endorsements=collateral,
        trust_roots=TrustRoots.simulated(intel.maker.root.certificate_pem()),
        policy=AppraisalPolicy(),
        at=NOW,
        pck_chain=collateral.pck_certificate_chain,
    )


@pytest.mark.parametrize("is_cache", [False, True])
def test_endorsements_of_an_enclave_make_its_quote_genuine(intel: FakeIntel, *, is_cache: bool) -> None:
    intel.is_cache = is_cache
    quote = enclave_quote(intel)
    collateral = gather(upstream_of(intel), PlatformName.of(quote))
    assert result_of(intel, quote, collateral).genuine
    assert collateral.pck_certificate_chain is None
    root_crl = "/sgx/certification/v4/rootcacrl" if is_cache else "/IntelSGXRootCA.der"
    assert [asked.path for asked in intel.asked][3] == root_crl


def test_endorsements_of_a_trust_domain_are_those_of_tdx(intel: FakeIntel) -> None:
    domain = SimulatedTrustDomain(platform=known(intel).simulated)
    quote = Quote.parse(domain.quote(bytes(64)))
    collateral = gather(upstream_of(intel), PlatformName.of(quote))
    assert [asked.path for asked in intel.asked][:2] == [
        "/tdx/certification/v4/tcb",
        "/tdx/certification/v4/qe/identity",
    ]
    assert result_of(intel, quote, collateral).genuine


def test_of_intels_certificates_that_for_the_tcb_of_the_platform_is_chosen(intel: FakeIntel) -> None:
    ppid = bytes.fromhex(known(intel).encrypted_ppid)
    quote = naming(intel, PpidForm.RSA_3072_OAEP, ppid)
    collateral = gather(upstream_of(intel), PlatformName.of(quote))
    own = known(intel).simulated.quoting_enclave.pck.certificate_pem()
    assert (
        collateral.pck_certificate_chain
        == own
        + intel.maker.authorities[next(iter(intel.maker.authorities))].certificate_pem()
        + intel.maker.root.certificate_pem()
    )
    assert result_of(intel, quote, collateral).genuine


def test_a_tcb_below_all_certificates_is_told(intel: FakeIntel) -> None:
    ppid = bytes.fromhex(known(intel).encrypted_ppid)
    quote = naming(intel, PpidForm.RSA_3072_OAEP, ppid, components=-2)
    with pytest.raises(UpstreamError) as caught:
        gather(upstream_of(intel), PlatformName.of(quote))
    assert str(caught.value) == (
        f"the PCK certificate of platform {known(intel).qe_id} from localhost: expected one for CPUSVN"
        " 0c0e0303ffff01000000000000000000 and PCESVN 13, or lower, got 2 certificates, each for more"
    )
    assert caught.value.hint == ("Intel certifies no TCB that low: update the platform's microcode and BIOS")


@pytest.mark.parametrize(("form", "size"), [(PpidForm.CLEAR, 16), (PpidForm.RSA_2048_OAEP, 256)])
def test_intels_service_cannot_be_asked_by_another_ppid(intel: FakeIntel, form: PpidForm, size: int) -> None:
    quote = naming(intel, form, bytes(size))
    with pytest.raises(UpstreamError) as caught:
        gather(upstream_of(intel), PlatformName.of(quote))
    assert str(caught.value) == (
        f"the PCK certificate of platform {known(intel).qe_id}: PCK certificates from localhost: expected an"
        " encrypted PPID or a platform manifest, got none"
    )
    assert caught.value.hint == CLEAR_PPID_HINT
    assert intel.count() == 0


def test_what_a_cache_gives_as_a_certificate_and_is_none_is_told(
    intel: FakeIntel, monkeypatch: pytest.MonkeyPatch
) -> None:
    intel.is_cache = True
    level = next(pck for pck in known(intel).levels.values() if pck)
    monkeypatch.setattr(type(level), "certificate_pem", lambda _: b"<html>")
    with pytest.raises(UpstreamError) as caught:
        gather(upstream_of(intel), PlatformName.of(naming(intel, PpidForm.CLEAR, bytes(16))))
    assert str(caught.value).startswith("the PCK certificate: answer of localhost: expected ")
