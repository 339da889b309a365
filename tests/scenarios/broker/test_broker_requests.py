"""What is not a request of the protocol is refused in its words, and nothing makes the broker fail."""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casemate.broker.session import SessionLimits
from casemate.errors import ServiceError
from casemate.formats import der
from casemate.formats.pem import encode_certificates, parse_certificates
from casemate.formats.sgx.quote import Quote

if TYPE_CHECKING:
    from tests.scenarios.broker.conftest import Bench

BODY_LIMIT = 128 * 1024
_QUOTE = "tee-evidence.primary_evidence.quote"


def _decoded(evidence: Any) -> bytes:
    return base64.b64decode(evidence["tee-evidence"]["primary_evidence"]["quote"])


def _encoded(quote: bytes) -> str:
    return base64.b64encode(quote).decode()


def auth(**changes: Any) -> bytes:
    message = {"version": "0.4.0", "tee": "sgx", "extra-params": ""} | changes
    return json.dumps({name: value for name, value in message.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (
            auth(version="0.3.0"),
            (
                401,
                "AttestationError",
                (
                    "protocol version: expected 0.4.0, got 0.3.0 (Request); "
                    "use the attester of this release, or a client of Confidential Containers from v0.14 on"
                ),
            ),
        ),
        (
            auth(version="0.4.1"),
            (
                401,
                "AttestationError",
                (
                    "protocol version: expected 0.4.0, got 0.4.1 (Request); "
                    "use the attester of this release, or a client of Confidential Containers from v0.14 on"
                ),
            ),
        ),
        (
            auth(version="0.4"),
            (400, "SerdeError", "version: expected X.Y.Z, got text of 3 characters (Request)"),
        ),
        (auth(tee="tdx"), (401, "AttestationError", "tee: expected sgx, got tdx (Request)")),
        (
            auth(**{"extra-params": {"supported-hash-algorithms": ["sha256", "sm3"]}}),
            (
                401,
                "AttestationError",
                "supported-hash-algorithms: expected sha384 among them, got 2 others (Request)",
            ),
        ),
        (auth(more=1), (400, "SerdeError", "Request: expected only known fields, got 'more'")),
        (auth(tee=None), (400, "SerdeError", "tee: expected the name of a TEE, got no such field (Request)")),
        (b"", (400, "SerdeError", "Request: expected JSON, got Expecting value at offset 0")),
        (b"[]", (400, "SerdeError", "Request: expected an object, got an array of 0")),
        (b'{"tee":"sgx","tee":"sgx"}', (400, "SerdeError", None)),
    ],
)
def test_a_request_that_cannot_be_served_says_why(
    bench: Bench, body: bytes, problem: tuple[int, str, str | None]
) -> None:
    client = bench.serve()
    status, kind, detail = client.request("POST", "/kbs/v0/auth", body).problem
    assert (status, kind) == problem[:2]
    assert problem[2] in {None, detail}
    assert client.cookies == {}


def test_stock_clients_are_served(bench: Bench) -> None:
    extra = {"supported-hash-algorithms": ["sha256", "sha384", "sha512", "sm3"]}
    assert bench.serve().request("POST", "/kbs/v0/auth", auth(**{"extra-params": extra})).status == 200


def test_evidence_without_a_session_is_refused(bench: Bench) -> None:
    client = bench.serve()
    evidence = bench.workload.evidence(client.auth())
    client.cookies.clear()
    assert client.attest(evidence).problem == (
        401,
        "TokenNotFound",
        "session: expected the cookie kbs-session-id, got none; begin again with POST /kbs/v0/auth",
    )


@pytest.mark.parametrize("cookie", ["0" * 32, "0" * 31, "../..", "é", '"', "0" * 4000, ""])
def test_a_made_up_cookie_is_refused(bench: Bench, cookie: str) -> None:
    client = bench.serve()
    evidence = bench.workload.evidence(client.auth())
    client.cookies["kbs-session-id"] = cookie
    assert client.attest(evidence).status == 401


def change(document: dict[str, Any], path: str, value: Any) -> bytes:
    *folders, name = path.split(".")
    inner = document
    for folder in folders:
        inner = inner[folder]
    inner[name] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("path", "value", "detail"),
    [
        ("more", 1, "Attestation: expected only known fields, got 'more'"),
        ("runtime-data.more", 1, "runtime-data: expected only known fields, got 'more' (Attestation)"),
        (
            "runtime-data.tee-pubkey.kid",
            "1",
            "runtime-data.tee-pubkey: expected only known fields, got 'kid'",
        ),
        (
            "runtime-data.tee-pubkey.crv",
            "P-521",
            "runtime-data.tee-pubkey.crv: expected P-256, got text of 5",
        ),
        (
            "runtime-data.tee-pubkey.x",
            "A" * 43,
            "runtime-data.tee-pubkey.x: expected a point on P-256, got a",
        ),
        ("tee-evidence.more", 1, "tee-evidence: expected only known fields, got 'more' (Attestation)"),
        (
            "tee-evidence.primary_evidence.more",
            1,
            "tee-evidence.primary_evidence: expected only known fields",
        ),
        ("tee-evidence.primary_evidence.quote", "", "tee-evidence.primary_evidence.quote: expected base64"),
        (
            "tee-evidence.primary_evidence.quote",
            "A-_=",
            "tee-evidence.primary_evidence.quote: expected base64",
        ),
        ("tee-evidence.additional_evidence", "{}", "tee-evidence.additional_evidence: expected empty text"),
        (
            "init-data",
            {"format": "toml", "body": ""},
            "init-data: expected null or no such field, got an object",
        ),
    ],
)
def test_an_attestation_with_a_wrong_field_is_refused(
    bench: Bench, path: str, value: Any, detail: str
) -> None:
    client = bench.serve()
    body = change(json.loads(bench.workload.evidence(client.auth())), path, value)
    status, kind, got = client.attest(body).problem
    assert (status, kind) == (400, "SerdeError")
    assert got.startswith(detail)
    (record,) = bench.audit
    assert (record["decision"], record["reason"]) == ("refused", got)


def test_evidence_that_is_no_quote_is_refused(bench: Bench) -> None:
    client = bench.serve()
    body = change(
        json.loads(bench.workload.evidence(client.auth())), "tee-evidence.primary_evidence.quote", "AAAA"
    )
    status, kind, detail = client.attest(body).problem
    assert (status, kind) == (401, "AttestationError")
    assert detail.startswith("quote format: expected ")


@pytest.mark.parametrize("path", ["/kbs/v0/auth", "/kbs/v0/attest"])
@pytest.mark.parametrize("chunks", [1, 7])
def test_a_body_at_the_limit_is_read_and_one_past_it_is_not(bench: Bench, path: str, chunks: int) -> None:
    client = bench.serve()
    client.auth()
    assert client.request("POST", path, b"x" * BODY_LIMIT, chunks=chunks).status == 400
    reply = client.request("POST", path, b"x" * (BODY_LIMIT + 1), chunks=chunks)
    assert reply.problem == (413, "HTTPFailed", "request body: expected at most 131072 bytes, got more")


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "default/notes/..",
        "default/../notes",
        "default/.notes/db-key",
        "default/notes/.db-key",
        "./notes/db-key",
        "default/notes/%2e%2e",
        "default%2Fnotes/db-key/x",
        "default/no tes/db-key",
        "default//db-key",
    ],
)
def test_a_resource_name_that_trustee_does_not_allow_is_refused(bench: Bench, name: str) -> None:
    client = bench.serve()
    bench.workload.attest(client)
    segments = name.split("/")
    if len(segments) != 3:
        detail = (
            f"resource name: expected three segments, repository/type/tag, got {len(segments)} in {name!r}"
        )
    else:
        wrong = next(s for s in segments if not s or s.startswith(".") or "%" in s or " " in s)
        detail = (
            "resource name: expected segments of letters, digits, '_', '-' and '.', the first not a '.', "
            f"got {wrong!r} in {name!r}"
        )
    assert client.resource(name).problem == (404, "InvalidRequestPath", detail)


@pytest.mark.parametrize("name", ["", "default", "default/notes", "default/notes/db-key/", "a/b/c/d"])
def test_a_resource_name_has_three_segments(bench: Bench, name: str) -> None:
    status, kind, detail = bench.serve().resource(name).problem
    assert (status, kind) == (404, "InvalidRequestPath")
    assert detail.startswith("resource name: expected ")


def test_a_query_is_no_part_of_a_resource_name(bench: Bench) -> None:
    client = bench.serve()
    bench.workload.attest(client)
    reply = client.request("GET", "/kbs/v0/resource/default/notes/db-key", query=b"version=1")
    assert reply.problem[:2] == (404, "InvalidRequestPath")


@pytest.mark.parametrize(
    "path",
    ["/", "/kbs", "/kbs/v0", "/kbs/v0/", "/kbs/v0/auth/", "/kbs/v1/auth", "/metrics", "/kbs/v0/resource"],
)
def test_there_are_no_other_paths(bench: Bench, path: str) -> None:
    assert bench.serve().request("GET", path).problem == (
        404,
        "InvalidRequestPath",
        f"path: expected /kbs/v0/auth, /kbs/v0/attest or /kbs/v0/resource/…, got {path!r}",
    )


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/kbs/v0/auth", "POST"),
        ("GET", "/kbs/v0/attest", "POST"),
        ("HEAD", "/kbs/v0/resource/default/notes/db-key", "GET"),
        ("POST", "/kbs/v0/resource/default/notes/db-key", "GET"),
        ("DELETE", "/kbs/v0/resource/default/notes/db-key", "GET"),
    ],
)
def test_a_path_has_its_method(bench: Bench, method: str, path: str, allowed: str) -> None:
    client = bench.serve()
    bench.workload.attest(client)
    status, kind, detail = client.request(method, path).problem
    assert (status, kind) == (405, "HTTPFailed")
    assert detail.startswith("method: expected ")
    assert allowed in detail
    assert detail.endswith(f"got {method}")


def test_health_is_outside_the_prefix(bench: Bench) -> None:
    reply = bench.serve().request("GET", "/healthz")
    assert (reply.status, reply.json) == (200, {"status": "ok"})


def test_a_request_does_not_come_back_in_the_answer_at_length(bench: Bench) -> None:
    detail = "resource name: expected three segments, repository/type/tag, got 1 in '"
    assert bench.serve().resource("a" * 700).problem == (
        404,
        "InvalidRequestPath",
        detail + "a" * (349 - len(detail)) + "…",
    )


def with_leaf_name(evidence: bytes, name: str) -> bytes:
    """The same evidence with another common name in the PCK certificate, which nobody has signed then."""
    document = json.loads(evidence)
    quote = Quote.parse(_decoded(document))
    leaf, *others = parse_certificates(quote.certification_data, where="test")
    content, *rest = der.children(der.parse(leaf, where="test"), where="test")
    fields = [field.encoded for field in der.children(content, where="test")]
    value = der.encode(0x0C, name.encode())
    attribute = der.encode(der.SEQUENCE, der.encode_oid("2.5.4.3"), value)
    fields[5] = der.encode(der.SEQUENCE, der.encode(der.SET, attribute))
    signed = der.encode(der.SEQUENCE, *fields)
    leaf = der.encode(der.SEQUENCE, signed, *(part.encoded for part in rest))
    changed = replace(quote, certification_data=encode_certificates((leaf, *others)))
    return change(document, _QUOTE, _encoded(changed.to_bytes()))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "\x01" * 7000,
            (
                "PCK chain: format: expected what its format allows, got certificate subject: expected a "
                "common name of at most 64 characters, got one of 7000 (QVL VerifyPCKCertificate)"
            ),
        ),
        (
            "\x01\n" * 32,
            (
                "PCK chain: roles: expected Intel SGX PCK Certificate, Intel SGX PCK Platform CA or Intel "
                "SGX PCK Processor CA, Intel SGX Root CA; only issuers are authorities, got "
                + "\ufffd"
                * 64
                + ", Intel SGX PCK Platform CA (authority), Intel SGX Root CA (authority) "
                "(QVL VerifyPCKCertificate, 4.1.2.4.4)"
            ),
        ),
    ],
    ids=["longer than a name can be", "control characters"],
)
def test_nobody_fills_the_audit_log_with_names_of_their_own(bench: Bench, name: str, reason: str) -> None:
    client = bench.serve()
    answer = client.attest(with_leaf_name(bench.workload.evidence(client.auth()), name))
    status, kind, detail = answer.problem
    assert (status, kind) == (401, "AttestationError")
    assert detail.split("; Also refused: ")[0] == reason
    assert bench.audit[0]["reason"] == reason


def test_attested_sessions_are_bounded(bench: Bench) -> None:
    client = bench.serve(limits=SessionLimits(attested=1))
    assert bench.workload.attest(client).status == 200
    assert bench.workload.attest(client).problem == (
        503,
        "HTTPFailed",
        (
            "attested sessions: expected at most 1, got 2 (session limit); "
            "try again when older sessions have expired"
        ),
    )


def test_a_store_that_fails_is_no_secret_of_the_client_and_is_logged(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    client = bench.serve()
    bench.workload.attest(client)
    bench.table.close()
    with caplog.at_level(logging.ERROR, "casemate.broker"):
        reply = client.resource("default/notes/db-key")
    assert reply.problem == (
        500,
        "PluginInternalError",
        "broker: expected to answer, got a failure of its own; look at the broker's log",
    )
    assert "store: expected an SQLite file that can be read and written, got " in caplog.text


def test_nothing_is_released_that_cannot_be_recorded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    client = bench.serve()
    bench.workload.attest(client)

    def full(entry: object) -> None:
        raise ServiceError("store", got="no space left")

    monkeypatch.setattr(type(bench.table), "append", lambda _table, entry: full(entry))
    assert client.resource("default/notes/db-key").status == 500
    assert bench.workload.attest(client).status == 500


def test_the_access_log_names_requests_and_no_secret(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    client = bench.serve()
    with caplog.at_level(logging.INFO):
        client.token = bench.workload.attest(client).json["token"]
        client.resource("default/notes/db-key")
        client.request("GET", "/kbs/v0/resource/a/b/c", query=b"token=secret")
    lines = [record.getMessage() for record in caplog.records if record.name == "casemate.broker.access"]
    assert lines == [
        "192.0.2.1 POST /kbs/v0/auth 200",
        "192.0.2.1 POST /kbs/v0/attest 200",
        "192.0.2.1 GET /kbs/v0/resource/default/notes/db-key 200",
        "192.0.2.1 GET /kbs/v0/resource/a/b/c 404",
    ]
    for private in (client.token, client.cookies["kbs-session-id"], "token=secret"):
        assert private not in caplog.text


_PROPERTY = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
# Quotes differ in length from one run to the next: a place is taken modulo the length.
_PLACE = st.integers(0, 9999)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@_PROPERTY
@given(body=st.binary(max_size=2000) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_refused_with_a_reason(bench: Bench, body: bytes) -> None:
    client = bench.serve()
    assert client.request("POST", "/kbs/v0/auth", body).problem[0] == 400
    client.auth()
    assert client.attest(body).problem[0] == 400


@_PROPERTY
@given(data=st.data())
def test_any_value_in_any_field_of_an_attestation_is_refused_with_a_reason(
    bench: Bench, data: st.DataObject
) -> None:
    client = bench.serve()
    document = json.loads(bench.workload.evidence(client.auth()))
    path = data.draw(
        st.sampled_from(
            [
                "runtime-data",
                "runtime-data.nonce",
                "runtime-data.tee-pubkey",
                "runtime-data.tee-pubkey.x",
                "tee-evidence",
                "tee-evidence.primary_evidence",
                "tee-evidence.primary_evidence.quote",
            ]
        )
    )
    assert client.attest(change(document, path, data.draw(_JSON))).problem[0] in {400, 401}


@_PROPERTY
@given(data=st.data())
def test_a_quote_with_any_changed_byte_is_refused(bench: Bench, data: st.DataObject) -> None:
    client = bench.serve()
    nonce = client.auth()
    evidence = json.loads(bench.workload.evidence(nonce))
    quote = bytearray(_decoded(evidence))
    quote[data.draw(_PLACE) % len(quote)] ^= data.draw(st.integers(1, 255))
    assert client.attest(change(evidence, _QUOTE, _encoded(bytes(quote)))).problem[:2] == (
        401,
        "AttestationError",
    )


@_PROPERTY
@given(data=st.data())
def test_a_quote_cut_at_any_byte_is_refused(bench: Bench, data: st.DataObject) -> None:
    client = bench.serve()
    evidence = json.loads(bench.workload.evidence(client.auth()))
    quote = _decoded(evidence)
    cut = quote[: 1 + data.draw(_PLACE) % (len(quote) - 1)]
    assert client.attest(change(evidence, _QUOTE, _encoded(cut))).problem[:2] == (401, "AttestationError")
