"""``--pccs``: the collateral comes from a service, over HTTPS, and the verdict with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.collateral_service import Clock, Service, running_service, upstream_of
from tests.support.intel_pcs import FakeIntel
from tests.support.manufacturer import KnownPlatform, Manufacturer

from casemate.adapters.collateral_sqlite import open_sqlite_store
from casemate.cli.main import run
from casemate.formats.sgx.collateral import Collateral
from casemate.formats.sgx.pck_identifier import PckIdentifier, PpidForm
from casemate.formats.sgx.quote import Quote
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.simulator.enclave import SimulatedEnclave

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
AT = ("--at", "2026-05-01T13:00:00Z")
MRENCLAVE = MrEnclave(b"\1" * 32)
PATHS = [
    "/sgx/certification/v4/tcb",
    "/sgx/certification/v4/qe/identity",
    "/sgx/certification/v4/pckcrl",
    "/sgx/certification/v4/rootcacrl",
]


@dataclass(frozen=True, kw_only=True)
class Desk:
    """Somebody who verifies, and files to do it with."""

    folder: Path
    maker: Manufacturer

    @property
    def known(self) -> KnownPlatform:
        return self.maker.platforms[0]

    def quote(self, form: PpidForm | None = None) -> Path:
        """A file with a quote; with a form, of a platform that has not been given its chain."""
        enclave = SimulatedEnclave(
            platform=self.known.simulated, mrenclave=MRENCLAVE, mrsigner=MrSigner(b"\2" * 32), isvprodid=1
        )
        evidence = enclave.quote(bytes(64))
        if form is not None:
            identifier = identifier_of(self.known, form)
            evidence = without_chain(evidence, form.value, identifier.to_bytes())
        path = self.folder / "quote"
        path.write_bytes(evidence)
        return path

    def arguments(self, *options: object, form: PpidForm | None = None) -> list[str]:
        root = self.folder / "root.pem"
        root.write_bytes(self.maker.root.certificate_pem())
        named = ("--mrenclave", MRENCLAVE.hex(), "--simulated-root", root)
        return [str(part) for part in ("verify", "quote", self.quote(form), *named, *AT, *options)]


def identifier_of(known: KnownPlatform, form: PpidForm) -> PckIdentifier:
    extension = known.extension
    ppids = {
        PpidForm.CLEAR: extension.ppid,
        PpidForm.RSA_2048_OAEP: bytes(256),
        PpidForm.RSA_3072_OAEP: bytes.fromhex(known.encrypted_ppid),
    }
    return PckIdentifier(
        form=form,
        ppid=ppids[form],
        cpu_svn=extension.cpu_svn,
        pce_svn=extension.pce_svn,
        pce_id=extension.pce_id,
    )


def without_chain(evidence: bytes, kind: int, data: bytes) -> bytes:
    """The same quote with other certification data, which nobody signs."""
    return replace(Quote.parse(evidence), certification_type=kind, certification_data=data).to_bytes()


@pytest.fixture
def intel(tmp_path: Path) -> Iterator[FakeIntel]:
    with FakeIntel.running(Manufacturer.create(NOW), tmp_path) as fake:
        yield fake


@pytest.fixture
def pccs(intel: FakeIntel) -> FakeIntel:
    """Somebody's PCCS."""
    intel.is_cache = True
    return intel


@pytest.fixture
def desk(intel: FakeIntel, tmp_path: Path) -> Desk:
    folder = tmp_path / "desk"
    folder.mkdir()
    return Desk(folder=folder, maker=intel.maker)


@pytest.fixture
def service(intel: FakeIntel, tmp_path: Path) -> Iterator[Service]:
    """Casemate's own, in front of Intel's."""
    with (
        closing(open_sqlite_store(tmp_path / "collateral.db")) as store,
        running_service(
            tmp_path,
            store,
            Clock(),
            root=intel.maker.root.certificate_pem(),
            upstream=upstream_of(intel),
        ) as running,
    ):
        yield running


Output = pytest.CaptureFixture[str]


def asking(pccs: FakeIntel) -> tuple[object, ...]:
    return ("--pccs", pccs.url, "--pccs-ca", pccs.ca)


def test_what_a_pccs_has_is_fetched_for_a_quote(pccs: FakeIntel, desk: Desk, capsys: Output) -> None:
    assert run(desk.arguments(*asking(pccs))) == 0
    assert capsys.readouterr().out.splitlines()[0] == "verdict: affirming"
    assert [asked.path for asked in pccs.asked] == PATHS
    assert pccs.asked[0].parameters == {"fmspc": desk.known.fmspc.upper(), "update": "standard"}
    assert pccs.asked[2].parameters == {"ca": "platform", "encoding": "der"}


@pytest.mark.parametrize("form", [None, *PpidForm])
def test_our_own_service_gives_everything_that_a_verifier_needs(
    service: Service, desk: Desk, capsys: Output, form: PpidForm | None
) -> None:
    known = desk.known
    registration = {
        "qe_id": known.qe_id,
        "pce_id": known.pce_id,
        "cpu_svn": known.cpu_svn,
        "pce_svn": known.pce_svn,
        "enc_ppid": known.encrypted_ppid,
        "platform_manifest": "",
    }
    assert service.client.post("/sgx/certification/v4/platforms", registration).status in {200, 201}
    client = service.client
    asked = ("--pccs", f"https://localhost:{client.port}", "--pccs-ca", client.ca)
    assert run(desk.arguments(*asked, "--all", form=form)) == 0
    out = capsys.readouterr().out
    assert "verdict: affirming\n" in out


@pytest.mark.parametrize("form", list(PpidForm))
def test_what_was_fetched_serves_again_without_the_service(
    pccs: FakeIntel, desk: Desk, capsys: Output, form: PpidForm
) -> None:
    kept = desk.folder / "collateral.json"
    assert run(desk.arguments(*asking(pccs), "--save-collateral", kept, form=form)) == 0
    pccs.stop()
    assert run(desk.arguments("--collateral", kept, form=form)) == 0
    assert Collateral.parse_json(kept.read_bytes()).pck_certificate_chain is not None
    assert capsys.readouterr().out.count("verdict: affirming") == 2
