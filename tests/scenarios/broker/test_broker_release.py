"""A secret reaches the right enclave, and nothing else does."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from casemate.broker.audit import check_chain
from casemate.broker.policy import ReferenceAppraiser
from casemate.broker.session import SessionLimits
from casemate.formats.sgx.collateral import PLATFORM_STATUSES, TcbStatus
from casemate.formats.sgx.report import DEBUG, Attributes, MrEnclave, MrSigner
from casemate.simulator.endorsements import Revocation, Standing
from casemate.simulator.platform import SimulatedPlatform
from casemate.verifier.appraisal import Verifier
from casemate.verifier.reference_values import ReferenceValues
from casemate.verifier.result import AttestationResult
from casemate.verifier.roots import TrustRoots
from casemate_attester.binding import report_data
from casemate_attester.messages import Attestation, WrappedSecret
from casemate_attester.unwrap import unwrap

if TYPE_CHECKING:
    from tests.scenarios.broker.conftest import Bench

Statement = Callable[..., ReferenceValues]
BEGIN_AGAIN = "begin again with POST /kbs/v0/auth"
NOT_ATTESTED = (
    401,
    "TokenNotFound",
    (
        "attestation: expected an attested session, or a bearer token of this broker, got neither; "
        + BEGIN_AGAIN
    ),
)


def claims_of(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, payload, _ = token.split(".")
    return tuple(json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, payload))  # type: ignore[return-value]


def test_an_attested_workload_receives_its_secret_by_cookie(bench: Bench, secret: bytes) -> None:
    client = bench.serve()
    assert bench.workload.attest(client).status == 200
    reply = client.resource("default/notes/db-key")
    assert reply.status == 200
    assert reply.header("content-type") == "application/json"
    assert bench.workload.open(reply) == secret


def test_an_attested_workload_receives_its_secret_by_token(bench: Bench, secret: bytes) -> None:
    client = bench.serve()
    client.token = bench.workload.attest(client).json["token"]
    client.cookies.clear()
    assert bench.workload.open(client.resource("default/notes/db-key")) == secret


def test_the_attester_opens_what_the_broker_wraps(bench: Bench, secret: bytes) -> None:
    client = bench.serve()
    bench.workload.attest(client)
    wrapped = WrappedSecret.parse(client.resource("default/notes/db-key").body)
    assert unwrap(wrapped, bench.workload.key).value == secret


def test_a_dead_cookie_does_not_stand_in_the_way_of_a_token(bench: Bench, secret: bytes) -> None:
    client = bench.serve()
    client.token = bench.workload.attest(client).json["token"]
    client.cookies["kbs-session-id"] = "0" * 32
    assert bench.workload.open(client.resource("default/notes/db-key")) == secret


def test_challenge_and_cookie_have_the_form_that_stock_clients_expect(bench: Bench) -> None:
    client = bench.serve()
    body = b'{"version":"0.4.0","tee":"sgx","extra-params":""}'
    reply = client.request("POST", "/kbs/v0/auth", body)
    assert reply.status == 200
    assert sorted(reply.json) == ["extra-params", "nonce"]
    assert reply.json["extra-params"] == ""
    assert len(base64.b64decode(reply.json["nonce"], validate=True)) == 32
    cookie = reply.header("set-cookie")
    assert cookie is not None
    assert re.fullmatch(
        r"kbs-session-id=[0-9a-f]{32}; HttpOnly; Max-Age=300; Path=/kbs/v0; SameSite=strict; Secure", cookie
    )
    assert reply.header("cache-control") == "no-store"


def test_the_token_is_an_attestation_result(bench: Bench) -> None:
    client = bench.serve()
    nonce = client.auth()
    header, claims = claims_of(client.attest(bench.workload.evidence(nonce)).json["token"])
    assert header == {"typ": "JWT", "alg": "ES256", "kid": header["kid"]}
    now = int(bench.clock.now.timestamp())
    assert (claims["iss"], claims["iat"], claims["exp"]) == ("casemate-broker", now, now + 300)
    assert claims["eat_profile"] == "tag:github.com,2024:confidential-containers/Trustee"
    cpu = claims["submods"]["cpu0"]
    assert cpu["ear.status"] == "contraindicated"  # it is simulated
    assert cpu["ear.trustworthiness-vector"] == {
        "instance-identity": 0,
        "configuration": 2,
        "executables": 2,
        "file-system": 0,
        "hardware": 97,
        "runtime-opaque": 96,
        "storage-opaque": 0,
        "sourced-data": 0,
    }
    evidence = cpu["ear.veraison.annotated-evidence"]
    assert evidence["runtime_data_claims"] == {
        "nonce": nonce,
        "tee-pubkey": bench.workload.public_key.document(),
        "additional-evidence": "",
    }
    assert evidence["sgx"]["tcb_status"] == "UpToDate"
    body = evidence["sgx"]["body"]
    assert (body["mr_enclave"], body["isv_prod_id"], body["isv_svn"]) == ("22" * 32, "0100", "0200")
    assert body["report_data"] == report_data(bench.workload.public_key, nonce).hex()
    assert cpu["ear.veraison.policy-claims"] == {"workload": "notes", "simulated": True}


def test_every_decision_is_in_the_audit_log_and_no_secret_is(bench: Bench, secret: bytes) -> None:
    client = bench.serve()
    token = bench.workload.attest(client).json["token"]
    for name in ("default/notes/db-key", "default/other/db-key", "default/notes/none"):
        client.resource(name)
    lines = list(bench.table.audit_lines())
    assert check_chain(lines) == 4
    assert len({json.loads(line)["session"] for line in lines}) == 1
    text = "".join(lines)
    for private in (secret.decode(), token, client.cookies["kbs-session-id"]):
        assert private not in text
    known = {"workload": "notes", "simulated": True, "mrenclave": "22" * 32}
    assert bench.audit == [
        known | {"resource": None, "decision": "attested", "reason": "evidence affirmed"},
        known
        | {
            "resource": "default/notes/db-key",
            "decision": "released",
            "reason": "own resource of the workload",
        },
        known
        | {
            "resource": "default/other/db-key",
            "decision": "refused",
            "reason": "resource: expected one under default/notes, got default/other/db-key",
        },
        known
        | {
            "resource": "default/notes/none",
            "decision": "refused",
            "reason": "resource: expected one that the broker holds, got default/notes/none",
        },
    ]


def test_a_missing_resource_is_not_found(bench: Bench) -> None:
    client = bench.serve()
    bench.workload.attest(client)
    assert client.resource("default/notes/none").problem == (
        404,
        "PluginInternalError",
        (
            "resource: expected one that the broker holds, got default/notes/none; have the broker keep or "
            "generate it: casemate serve broker --resource or --generate"
        ),
    )


@pytest.mark.parametrize(
    "name", ["default/other/db-key", "default/other/none", "other/notes/db-key", "default/Notes/db-key"]
)
def test_a_resource_of_another_is_denied_whether_it_exists_or_not(bench: Bench, name: str) -> None:
    client = bench.serve()
    bench.workload.attest(client)
    assert client.resource(name).problem == (
        403,
        "PolicyDeny",
        (
            f"resource: expected one under default/notes, got {name}; "
            "name it kbs:///default/notes/… in casemate.toml"
        ),
    )


@pytest.mark.parametrize(
    "name", ["default/notes/db-key", "default/notes/none", "default/other/db-key", "other/a/b"]
)
def test_without_attestation_every_resource_looks_the_same(bench: Bench, name: str) -> None:
    client = bench.serve()
    assert client.resource(name).problem == NOT_ATTESTED
    client.auth()
    assert client.resource(name).problem == NOT_ATTESTED


def test_two_builds_of_a_workload_and_another_workload_each_read_their_own(
    bench: Bench, reference_values: Statement, secret: bytes
) -> None:
    newer = bench.other(mrenclave=MrEnclave(b"\x44" * 32))
    other = bench.other(mrenclave=MrEnclave(b"\x55" * 32))
    client = bench.serve(
        reference_values(bench.workload.enclave),
        reference_values(newer.enclave),
        reference_values(other.enclave, "other"),
    )
    for workload in (bench.workload, newer):
        assert workload.attest(client).status == 200
        assert workload.open(client.resource("default/notes/db-key")) == secret
        assert client.resource("default/other/db-key").status == 403
    assert other.attest(client).status == 200
    assert other.open(client.resource("default/other/db-key")) == b"not for notes"
    assert client.resource("default/notes/db-key").status == 403


def refused(bench: Bench, workload: Any, *values: ReferenceValues, **broker: Any) -> str:
    """Attest, be refused, and give the reason; nothing can be read after it."""
    client = bench.serve(*values, **broker)
    reply = workload.attest(client)
    status, kind, detail = reply.problem
    assert (status, kind) == (401, "AttestationError")
    assert client.resource("default/notes/db-key").problem == NOT_ATTESTED
    (record,) = bench.audit
    assert (record["decision"], record["workload"]) == ("refused", None)
    assert detail.startswith(record["reason"])
    return detail


def test_another_enclave_is_refused(bench: Bench) -> None:
    other = bench.other(mrenclave=MrEnclave(b"\x44" * 32))
    detail = refused(bench, other)
    assert detail.startswith(f"enclave: MRENCLAVE: expected {'22' * 32}, got {'44' * 32} (policy)")
    assert (bench.audit[0]["mrenclave"], bench.audit[0]["simulated"]) == ("44" * 32, True)


def test_another_signer_is_refused(bench: Bench, reference_values: Statement) -> None:
    other = bench.other(mrsigner=MrSigner(b"\x44" * 32))
    detail = refused(bench, other, reference_values(bench.workload.enclave))
    assert detail.startswith(f"enclave: MRSIGNER: expected {'33' * 32}, got {'44' * 32} (policy)")


def test_another_product_is_refused(bench: Bench) -> None:
    assert refused(bench, bench.other(isvprodid=7)).startswith("enclave: ISVPRODID: expected 1, got 7")


def test_an_older_security_version_is_refused_and_a_newer_one_is_not(bench: Bench) -> None:
    assert refused(bench, bench.other(isvsvn=1)).startswith("enclave: ISVSVN: expected ")
    assert bench.other(isvsvn=3).attest(bench.serve()).status == 200


def test_a_debug_enclave_is_refused(bench: Bench) -> None:
    attributes = bench.workload.enclave.attributes
    debug = bench.other(attributes=attributes._replace(flags=attributes.flags | DEBUG))
    assert refused(bench, debug).startswith("enclave: not in debug mode: expected ")


def test_other_attributes_are_refused(bench: Bench) -> None:
    attributes = bench.workload.enclave.attributes
    other = bench.other(attributes=Attributes(flags=attributes.flags | 1 << 7, xfrm=attributes.xfrm))
    assert refused(bench, other).startswith("enclave: ATTRIBUTES: expected ")


def test_another_misc_select_is_refused(bench: Bench) -> None:
    assert refused(bench, bench.other(misc_select=b"\1\0\0\0")).startswith("enclave: MISCSELECT: expected ")


@pytest.mark.parametrize(
    "status",
    [status for status in PLATFORM_STATUSES if status is not TcbStatus.UP_TO_DATE],
    ids=lambda status: status.value,
)
def test_a_platform_that_is_not_up_to_date_is_refused(bench: Bench, status: TcbStatus) -> None:
    platform = bench.platform.endorsed(bench.clock.now - timedelta(days=1), Standing(platform=status))
    assert refused(bench, bench.workload, platform=platform).startswith("TCB ")


def test_a_revoked_platform_is_refused(bench: Bench) -> None:
    standing = Standing(revoked=frozenset({Revocation.PCK}))
    platform = bench.platform.endorsed(bench.clock.now - timedelta(days=1), standing)
    detail = refused(bench, bench.workload, platform=platform)
    assert detail.startswith("PCK certificate: not revoked: expected ")


def test_expired_collateral_is_refused(bench: Bench) -> None:
    bench.clock.advance(days=40)
    assert "not expired: expected " in refused(bench, bench.workload)


def test_a_platform_of_another_root_is_refused(bench: Bench) -> None:
    stranger = SimulatedPlatform.create(bench.clock.now - timedelta(days=1))
    detail = refused(bench, bench.other(platform=stranger))
    assert (bench.audit[0]["mrenclave"], bench.audit[0]["simulated"]) == (None, None)
    assert re.sub("04[0-9a-f]{16}…", "KEY", detail) == (
        "PCK chain: trusted root: expected the key of a simulated root (KEY), got KEY "
        "(QVL VerifyPCKCertificate); It comes from another platform than one whose root is trusted here; "
        "a simulated one is accepted only where its own root is named."
    )
    assert len(detail) < 270  # or the attester would cut it


def test_a_simulated_quote_never_matches_real_reference_values(
    bench: Bench, reference_values: Statement
) -> None:
    real = reference_values(bench.workload.enclave, simulated=False)
    detail = refused(bench, bench.workload, real)
    assert detail.startswith("PCK chain: trusted root: expected ")


def test_simulated_values_match_nothing_without_a_simulated_root(
    bench: Bench, reference_values: Statement
) -> None:
    """Not even what Intel's root vouches for: the roots of the two kinds are never asked together."""
    appraiser = ReferenceAppraiser(
        reference_values=(reference_values(bench.workload.enclave),),
        endorsements=bench.platform.collateral,
        simulated_roots=TrustRoots.simulated(),
    )
    bound = bytes(64)
    recognition = appraiser.recognise(
        bench.workload.enclave.quote(bound), report_data=bound, at=bench.clock.now
    )
    assert recognition.workload is None
    assert recognition.result.refusals[0].name == "PCK chain: trusted root"


@pytest.mark.parametrize("mrenclave", [b"\x22" * 32, b"\xee" * 32], ids=["one of the builds", "none"])
def test_evidence_is_appraised_for_the_build_that_it_claims_and_not_for_all(
    bench: Bench, reference_values: Statement, mrenclave: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    appraised: list[bytes] = []
    appraise = Verifier.appraise

    def counted(
        self: Verifier, evidence: bytes, at: datetime, data: bytes | None = None
    ) -> AttestationResult:
        appraised.append(evidence)
        return appraise(self, evidence, at, data)

    monkeypatch.setattr(Verifier, "appraise", counted)
    good = reference_values(bench.workload.enclave)
    builds = [replace(good, mrenclave=MrEnclave(bytes([number]) * 32)) for number in range(1, 101)]
    real = replace(good, workload="real", simulated=False)
    appraiser = ReferenceAppraiser(
        reference_values=(real, *builds),
        endorsements=bench.platform.collateral,
        simulated_roots=TrustRoots.simulated(bench.platform.root_certificate),
    )
    evidence = bench.other(mrenclave=MrEnclave(mrenclave)).enclave.quote(bytes(64))
    recognition = appraiser.recognise(evidence, report_data=bytes(64), at=bench.clock.now)
    # Once under either root: the real build claims the same, and no build at all is judged under both.
    assert len(appraised) == 2
    reasons = [check.name for check in recognition.result.refusals]
    assert reasons == ([] if mrenclave == b"\x22" * 32 else ["enclave: MRENCLAVE"])


def test_real_and_simulated_values_of_one_measurement_stay_apart(
    bench: Bench, reference_values: Statement
) -> None:
    real = reference_values(bench.workload.enclave, "real", simulated=False)
    simulated = reference_values(bench.workload.enclave, "notes", simulated=True)
    client = bench.serve(real, simulated)
    assert bench.workload.attest(client).status == 200
    assert client.resource("default/notes/db-key").status == 200
    assert client.resource("default/real/db-key").status == 403


def test_a_quote_replayed_with_another_key_is_refused(bench: Bench) -> None:
    thief = bench.other()
    client = bench.serve()
    nonce = client.auth()
    quote = bench.workload.enclave.quote(report_data(bench.workload.public_key, nonce))
    body = Attestation(nonce=nonce, tee_public_key=thief.public_key, quote=quote).to_bytes()
    status, kind, detail = client.attest(body).problem
    assert (status, kind) == (401, "AttestationError")
    assert detail.startswith("enclave: report data: expected ")
    assert client.resource("default/notes/db-key").problem == NOT_ATTESTED


def test_a_quote_for_an_earlier_nonce_is_refused(bench: Bench) -> None:
    client = bench.serve()
    first = client.auth()
    quote = bench.workload.enclave.quote(report_data(bench.workload.public_key, first))
    second = client.auth()
    body = Attestation(nonce=second, tee_public_key=bench.workload.public_key, quote=quote).to_bytes()
    assert client.attest(body).problem[2].startswith("enclave: report data: expected ")


def test_evidence_of_another_session_is_refused(bench: Bench) -> None:
    client = bench.serve()
    evidence = bench.workload.evidence(client.auth())
    client.auth()
    assert client.attest(evidence).problem == (
        401,
        "AttestationError",
        "nonce: expected the one of this session, got another one (Attestation runtime-data.nonce); "
        + BEGIN_AGAIN,
    )


USED = (
    401,
    "AttestationError",
    "nonce: expected one for which no evidence was sent yet, got one that is used (cookie kbs-session-id); "
    + BEGIN_AGAIN,
)


def test_a_nonce_is_used_once_after_success_and_what_it_proved_remains(bench: Bench) -> None:
    client = bench.serve()
    evidence = bench.workload.evidence(client.auth())
    assert client.attest(evidence).status == 200
    assert client.attest(evidence).problem == USED
    assert client.resource("default/notes/db-key").status == 200


@pytest.mark.parametrize(
    "first", [b"", b"{}", "wrong enclave"], ids=["nothing", "malformed", "wrong enclave"]
)
def test_a_nonce_is_used_once_after_failure(bench: Bench, first: bytes | str) -> None:
    client = bench.serve()
    nonce = client.auth()
    if isinstance(first, str):
        first = bench.other(mrenclave=MrEnclave(bytes(32))).evidence(nonce)
    assert client.attest(first).status in {400, 401}
    assert client.attest(bench.workload.evidence(nonce)).problem == USED


UNKNOWN = (
    401,
    "AttestationError",
    (
        "session: expected one opened less than 300 seconds ago, got an unknown or expired one "
        f"(cookie kbs-session-id); {BEGIN_AGAIN}"
    ),
)


def test_an_expired_session_is_refused(bench: Bench) -> None:
    client = bench.serve()
    evidence = bench.workload.evidence(client.auth())
    bench.clock.advance(minutes=5)
    assert client.attest(evidence).problem == UNKNOWN


def test_a_session_is_good_until_its_last_moment(bench: Bench) -> None:
    client = bench.serve()
    evidence = bench.workload.evidence(client.auth())
    bench.clock.advance(minutes=5, microseconds=-1)
    assert client.attest(evidence).status == 200


def test_what_a_session_proved_ends_with_it_by_cookie_and_by_token(bench: Bench) -> None:
    client = bench.serve()
    token = bench.workload.attest(client).json["token"]
    bench.clock.advance(minutes=5)
    assert client.resource("default/notes/db-key").problem == NOT_ATTESTED
    client.token = token
    assert client.resource("default/notes/db-key").problem == (
        401,
        "TokenVerifierError",
        (
            "bearer token: expected one that is valid, got one that expired 0 seconds ago "
            "(header Authorization); "
            "attest again: POST /kbs/v0/auth, then /kbs/v0/attest"
        ),
    )


def test_the_lifetime_of_a_session_is_a_setting(bench: Bench) -> None:
    client = bench.serve(limits=SessionLimits(lifetime=timedelta(seconds=2)))
    evidence = bench.workload.evidence(client.auth())
    bench.clock.advance(seconds=2)
    assert (
        client.attest(evidence)
        .problem[2]
        .startswith("session: expected one opened less than 2 seconds ago, got an unknown or expired one")
    )


BAD_TOKEN = (
    401,
    "TokenVerifierError",
    (
        "bearer token: expected one that this broker has issued since it was started, got another one "
        "(header Authorization); attest again: POST /kbs/v0/auth, then /kbs/v0/attest"
    ),
)


def without_signature(token: str) -> str:
    _, payload, _ = token.split(".")
    header = base64.urlsafe_b64encode(b'{"typ":"JWT","alg":"none"}').decode().rstrip("=")
    return f"{header}.{payload}."


def with_other_workload(token: str) -> str:
    header, payload, signature = token.split(".")
    claims = claims_of(token)[1]
    claims["submods"]["cpu0"]["ear.veraison.policy-claims"]["workload"] = "other"
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"{header}.{payload}.{signature}"


@pytest.mark.parametrize(
    "tamper",
    [
        without_signature,
        with_other_workload,
        lambda token: token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:],
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: token + "." + token,
        lambda _token: "x",
        lambda _token: "a.b.c",
        lambda _token: "é.é.é",
    ],
    ids=[
        "alg none",
        "other claims",
        "other signature",
        "no signature",
        "twice",
        "a letter",
        "dots",
        "not ascii",
    ],
)
def test_a_tampered_token_is_refused(bench: Bench, tamper: Callable[[str], str]) -> None:
    client = bench.serve()
    client.token = tamper(bench.workload.attest(client).json["token"])
    client.cookies.clear()
    assert client.resource("default/notes/db-key").problem == BAD_TOKEN


def test_a_token_of_another_broker_is_refused(bench: Bench) -> None:
    first, second = bench.serve(), bench.serve()
    second.token = bench.workload.attest(first).json["token"]
    assert second.resource("default/notes/db-key").problem == BAD_TOKEN
