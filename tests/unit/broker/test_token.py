"""What a token says about the platform."""

from __future__ import annotations

import base64
import json
import os
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from casemate.broker.session import SessionLimits, Sessions
from casemate.broker.token import AttestedWorkload, TokenIssuer
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.report import Attributes, MrEnclave, MrSigner, ReportBody
from casemate.verifier.result import AttestationResult, Verdict
from casemate_attester.messages import TeePublicKey

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


def submodule(*, simulated: bool) -> Any:
    """What the token of an affirmed workload says; reading it gives the same workload back."""
    issuer = TokenIssuer.ephemeral()
    sessions: Sessions[None] = Sessions(SessionLimits(), os.urandom)
    session = sessions.open(NOW)
    workload = AttestedWorkload(
        name="notes",
        simulated=simulated,
        mrenclave=MrEnclave(b"\x22" * 32),
        tee_public_key=TeePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key()),
        session=session.label,
    )
    result = AttestationResult(
        verdict=Verdict.AFFIRMING,
        genuine=True,
        tcb_status=TcbStatus.UP_TO_DATE,
        advisory_ids=(),
        report=REPORT,
        simulated=simulated,
        earliest_expiration=None,
        evidence_digest=None,
        checks=(),
    )
    token = issuer.issue(workload, session, result, NOW)
    assert issuer.read(token, NOW) == workload
    payload = token.value.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=="))["submods"]["cpu0"]


@pytest.mark.parametrize(
    ("simulated", "status", "hardware", "memory"),
    [(False, "affirming", 2, 2), (True, "contraindicated", 97, 96)],
    ids=["real", "simulated"],
)
def test_only_the_token_of_a_real_platform_is_affirming(
    *, simulated: bool, status: str, hardware: int, memory: int
) -> None:
    claims = submodule(simulated=simulated)
    vector = claims["ear.trustworthiness-vector"]
    assert claims["ear.status"] == status
    assert (vector["hardware"], vector["runtime-opaque"]) == (hardware, memory)
    assert claims["ear.veraison.policy-claims"] == {"workload": "notes", "simulated": simulated}
