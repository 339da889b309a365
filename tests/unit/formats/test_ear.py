"""EAR tokens: other libraries validate them, and what is read is what was signed."""

from __future__ import annotations

import base64
import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey

from casemate.errors import CasemateError, FormatError, KeyUnfitError, RefusedError
from casemate.formats.ear import (
    VERAISON_PROFILE,
    Ear,
    Submodule,
    Tier,
    TrustVector,
    read_signing_key,
    worst,
)

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEY = ECKey.import_key(PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
OTHER = ECKey.generate_key("P-256")
SMALL = Ear(
    profile=VERAISON_PROFILE,
    issued_at=NOW,
    build="casemate 1",
    submodules={
        "cpu0": Submodule(
            status=Tier.WARNING,
            vector=TrustVector(hardware=32, executables=2),
            policy_id="sha256:00",
            further={"ear.veraison.annotated-evidence": {"sgx": {}}},
        )
    },
)
WHOLE = Ear(
    profile=VERAISON_PROFILE,
    issued_at=NOW,
    build="casemate 1",
    submodules={},
    expires=NOW,
    issuer="me",
    nonce="bm9uY2U",
    id="1",
)
CLAIMS: dict[str, Any] = {
    "eat_profile": VERAISON_PROFILE,
    "iat": 1,
    "ear.verifier-id": {"developer": "x", "build": "y"},
    "submods": {},
}


def signed(claims: dict[str, Any]) -> str:
    return jwt.encode({"alg": "ES256"}, claims, KEY, algorithms=["ES256"])


@pytest.mark.parametrize("ear", [SMALL, WHOLE], ids=["small", "whole"])
def test_what_is_read_is_what_was_signed(ear: Ear) -> None:
    assert Ear.verify(ear.sign(KEY), KEY) == ear


def test_the_claims_have_the_names_of_the_draft() -> None:
    claims = json.loads(base64.urlsafe_b64decode(SMALL.sign(KEY).split(".")[1] + "=="))
    assert claims == {
        "eat_profile": "tag:github.com,2023:veraison/ear",
        "iat": 1795176000,
        "ear.verifier-id": {"developer": "casemate", "build": "casemate 1"},
        "submods": {
            "cpu0": {
                "ear.status": "warning",
                "ear.trustworthiness-vector": {
                    "instance-identity": 0,
                    "configuration": 0,
                    "executables": 2,
                    "file-system": 0,
                    "hardware": 32,
                    "runtime-opaque": 0,
                    "storage-opaque": 0,
                    "sourced-data": 0,
                },
                "ear.appraisal-policy-id": "sha256:00",
                "ear.veraison.annotated-evidence": {"sgx": {}},
            }
        },
    }


def test_joserfc_validates_it() -> None:
    token = jwt.decode(SMALL.sign(KEY), KEY, algorithms=["ES256"])
    assert token.header == {"typ": "JWT", "alg": "ES256", "kid": KEY.thumbprint()}
    registry = jwt.JWTClaimsRegistry(
        eat_profile={"essential": True, "value": VERAISON_PROFILE}, iat={"essential": True}, now=lambda: 2**40
    )
    registry.validate(token.claims)


def test_the_signature_is_over_what_is_written() -> None:
    """RFC 7515, without a library for it: ECDSA over header and claims as they stand there."""
    signed_part, _, signature = SMALL.sign(KEY).rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    half = len(raw) // 2
    assert half == 32
    numbers = (int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
    PRIVATE.public_key().verify(
        encode_dss_signature(*numbers), signed_part.encode(), ec.ECDSA(hashes.SHA256())
    )


@pytest.mark.parametrize(
    ("claims", "tier"),
    [
        ((-1, 0, 1), "none"),
        ((-32, -2, 2, 31), "affirming"),
        ((-96, -33, 32, 95), "warning"),
        ((-128, -97, 96, 127), "contraindicated"),
    ],
    ids=["none", "affirming", "warning", "contraindicated"],
)
def test_tiers_are_those_of_ar4si(claims: tuple[int, ...], tier: str) -> None:
    assert {Tier.of(claim) for claim in claims} == {Tier(tier)}


def test_the_worst_claim_is_that_of_the_vector() -> None:
    assert TrustVector().tier is Tier.NONE
    assert TrustVector(hardware=2, executables=33).tier is Tier.WARNING
    assert TrustVector(hardware=97, executables=33).tier is Tier.CONTRAINDICATED
    assert worst() is Tier.NONE


def other_algorithm() -> str:
    """A token without a signature."""
    head, claims, _ = SMALL.sign(KEY).split(".")
    del head
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    return f"{none}.{claims}."


@pytest.mark.parametrize(
    "token",
    [SMALL.sign(OTHER), SMALL.sign(KEY)[:-8] + "AAAAAAAA", other_algorithm(), "", "a.b.c", "é"],
    ids=["another key", "another signature", "none", "nothing", "no base64", "no ASCII"],
)
def test_what_that_key_has_not_signed_is_refused(token: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        Ear.verify(token, KEY)
    assert str(refusal.value) == (
        "attestation result: expected a JWT with the signature of that key by ES256, got another one"
    )


VECTOR = {"ear.status": "none", "ear.trustworthiness-vector": {}, "ear.appraisal-policy-id": ""}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iat": "1"}, "iat: expected a claim of type int, got str (attestation result)"),
        ({"iat": True}, "iat: expected a claim of type int, got bool (attestation result)"),
        (
            {"iat": 2**60},
            "time of the token: expected a time until 9999, got another one (attestation result)",
        ),
        (
            {"eat_profile": None},
            "eat_profile: expected a claim of type str, got NoneType (attestation result)",
        ),
        ({"submods": []}, "submods: expected a claim of type dict, got list (attestation result)"),
        ({"submods": {"cpu0": 1}}, "cpu0: expected a claim of type dict, got int (attestation result)"),
        (
            {"submods": {"c": VECTOR | {"ear.status": "good"}}},
            "ear.status: expected a tier of EAR, got 'good' (attestation result)",
        ),
        (
            {"submods": {"c": VECTOR | {"ear.trustworthiness-vector": {"hardware": 128}}}},
            (
                "trustworthiness vector: expected known claims, numbers from -128 to 127, got 'hardware'"
                " (attestation result)"
            ),
        ),
        (
            {"submods": {"c": VECTOR | {"ear.trustworthiness-vector": {"magic": 2}}}},
            (
                "trustworthiness vector: expected known claims, numbers from -128 to 127, got 'magic'"
                " (attestation result)"
            ),
        ),
    ],
)
def test_what_is_no_attestation_result_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError) as refusal:
        Ear.verify(signed(CLAIMS | changes), KEY)
    assert str(refusal.value) == message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([*CLAIMS, "exp", "iss", "jti", "eat_nonce"])


@given(st.dictionaries(NAMES, JSON | st.dictionaries(st.text(max_size=3), st.just(VECTOR), max_size=2)))
def test_any_claims_are_a_result_or_refused_by_us(changes: dict[str, Any]) -> None:
    with contextlib.suppress(CasemateError):
        Ear.verify(signed(CLAIMS | changes), KEY)


@given(st.text(max_size=60))
def test_any_text_is_a_token_or_refused_by_us(text: str) -> None:
    with contextlib.suppress(CasemateError):
        Ear.verify(text, KEY)


def test_only_p_256_signs() -> None:
    def pem(key: Any) -> bytes:
        return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    assert read_signing_key(pem(PRIVATE), where="k").thumbprint() == KEY.thumbprint()
    unfit = {
        "another kind of key": (
            ec.generate_private_key(ec.SECP384R1()),
            rsa.generate_private_key(65537, 2048),
        ),
        "something else": (None,),
    }
    for got, keys in unfit.items():
        for key in keys:
            with pytest.raises(KeyUnfitError) as refusal:
                read_signing_key(b"nothing" if key is None else pem(key), where="k.pem")
            assert str(refusal.value) == (
                "key of the attestation result: expected a private key on P-256, PEM, not encrypted,"
                f" got {got} (k.pem)"
            )
