"""The three steps, with an appraiser that says what the test wants."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from casemate.broker.audit import AuditEntry
from casemate.broker.policy import Recognition, WorkloadPolicy
from casemate.broker.problem import Problem, RequestRefusedError
from casemate.broker.release import Broker, Credentials
from casemate.broker.resource import ResourceName
from casemate.broker.session import SessionLimits
from casemate.broker.store import KeyEncryptionKey, ResourceStore, SealedResource
from casemate.broker.token import TokenIssuer
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.report import Attributes, MrEnclave, MrSigner, ReportBody
from casemate.verifier.result import AttestationResult, Verdict
from casemate_attester.messages import Attestation, Request, TeePublicKey

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
REPORT = ReportBody(
    cpu_svn=bytes(16),
    mrenclave=MrEnclave(b"\x22" * 32),
    mrsigner=MrSigner(b"\x33" * 32),
    isvprodid=1,
    isvsvn=1,
    attributes=Attributes(flags=5, xfrm=3),
    misc_select=bytes(4),
    report_data=bytes(64),
)


class EmptyTable:
    """A table of resources with nothing in it."""

    def newest(self, _name: ResourceName) -> SealedResource | None:
        return None

    def add(self, sealed: SealedResource) -> None:
        raise NotImplementedError


@dataclass
class Log:
    """An audit log in memory."""

    entries: list[AuditEntry] = field(default_factory=list)

    def append(self, entry: AuditEntry) -> None:
        self.entries.append(entry)


@dataclass
class Oracle:
    """An appraiser with one answer."""

    verdict: Verdict
    workload: str | None
    report: ReportBody | None = REPORT
    asked: list[tuple[bytes, bytes, datetime]] = field(default_factory=list)

    def recognise(self, evidence: bytes, *, report_data: bytes, at: datetime) -> Recognition:
        self.asked.append((evidence, report_data, at))
        result = AttestationResult(
            verdict=self.verdict,
            genuine=True,
            tcb_status=TcbStatus.UP_TO_DATE,
            advisory_ids=(),
            report=self.report,
            simulated=False,
            earliest_expiration=None,
            evidence_digest=None,
            checks=(),
        )
        return Recognition(result=result, workload=self.workload)


def attest(oracle: Oracle, log: Log) -> None:
    broker = Broker(
        appraiser=oracle,
        policy=WorkloadPolicy(reference_values=()),
        store=ResourceStore(EmptyTable(), KeyEncryptionKey(bytes(32)), os.urandom),
        audit=log,
        tokens=TokenIssuer.ephemeral(),
        limits=SessionLimits(),
        random=os.urandom,
    )
    session, challenge = broker.authenticate(Request().to_bytes(), NOW)
    key = TeePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key())
    body = Attestation(nonce=challenge.nonce, tee_public_key=key, quote=b"quote").to_bytes()
    broker.attest(Credentials(session_id=session.id), body, NOW)


def test_the_appraiser_is_asked_once_about_what_was_sent_at_the_time_of_the_request() -> None:
    oracle, log = Oracle(Verdict.AFFIRMING, "notes"), Log()
    attest(oracle, log)
    ((evidence, bound, at),) = oracle.asked
    assert (evidence, len(bound), bound[48:], at) == (b"quote", 64, bytes(16), NOW)
    assert [entry.decision.value for entry in log.entries] == ["attested"]


@pytest.mark.parametrize(
    ("oracle", "message"),
    [
        (Oracle(Verdict.AFFIRMING, None), "evidence: expected a workload that is known, got none"),
        (Oracle(Verdict.AFFIRMING, "notes", None), "evidence: expected a workload that is known, got none"),
        (
            Oracle(Verdict.CONTRAINDICATED, "notes"),
            "attestation: expected every check to be made, got 0 checks",
        ),
    ],
    ids=["no workload", "no claims", "not affirmed"],
)
def test_nothing_less_than_an_affirmed_and_known_workload_is_attested(oracle: Oracle, message: str) -> None:
    log = Log()
    with pytest.raises(RequestRefusedError) as caught:
        attest(oracle, log)
    assert caught.value.problem is Problem.EVIDENCE
    assert str(caught.value) == message
    assert [(entry.decision.value, entry.reason) for entry in log.entries] == [("refused", message)]
