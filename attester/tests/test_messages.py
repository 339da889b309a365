import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from casemate_attester.errors import MessageError
from casemate_attester.messages import (
    MAX_MESSAGE_BYTES,
    MAX_QUOTE_BYTES,
    Attestation,
    AttestResponse,
    Challenge,
    ErrorInformation,
    HashAlgorithm,
    Nonce,
    Request,
    TeePublicKey,
    Token,
    WrappedSecret,
    decode_base64url,
    encode_base64url,
)

NONCE = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#: The key of RFC 7515, appendix A.3.
JWK = {
    "kty": "EC",
    "crv": "P-256",
    "alg": "ECDH-ES+A256KW",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
KEY = TeePublicKey(x=decode_base64url(JWK["x"]) or b"", y=decode_base64url(JWK["y"]) or b"")
ATTESTATION = {
    "init-data": None,
    "runtime-data": {"nonce": NONCE, "tee-pubkey": JWK},
    "tee-evidence": {"primary_evidence": {"quote": "cXVvdGU="}, "additional_evidence": ""},
}


def bytes_of(document: Any) -> bytes:
    return json.dumps(document).encode()


def changed(document: dict[str, Any], path: str, value: Any) -> bytes:
    document = json.loads(json.dumps(document))
    *parents, name = path.split("/")
    place = document
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[name]
    else:
        place[name] = value
    return bytes_of(document)


def refusal(parse: Callable[[bytes], object], data: bytes) -> str:
    with pytest.raises(MessageError) as caught:
        parse(data)
    return str(caught.value)


# What a client sends.


def test_a_request_is_written_as_trustee_reads_it() -> None:
    assert json.loads(Request().to_bytes()) == {
        "version": "0.4.0",
        "tee": "sgx",
        "extra-params": {"supported-hash-algorithms": ["sha256", "sha384", "sha512"]},
    }


def test_a_request_of_a_confidential_containers_guest_is_read() -> None:
    data = b'{"version":"0.4.0","tee":"sgx","extra-params":{"supported-hash-algorithms":["sha256","sm3"]}}'
    assert Request.parse(data) == Request(supported_hash_algorithms=("sha256", "sm3"))


def test_a_request_with_empty_parameters_is_read() -> None:
    data = b'{"version":"0.1.0","tee":"az-snp-vtpm","extra-params":""}'
    assert Request.parse(data) == Request(version="0.1.0", tee="az-snp-vtpm", supported_hash_algorithms=())


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("version", "0.4", "version: expected X.Y.Z, got text of 3 characters"),
        ("version", "\u0660.4.0", "version: expected X.Y.Z, got text of 5 characters"),
        ("tee", "", "tee: expected the name of a TEE, got text of 0 characters"),
        ("extra-params", ..., 'extra-params: expected an object or "", got no such field'),
        ("extra-params", "x", "extra-params: expected an object, got text of 1 characters"),
        (
            "extra-params",
            {"supported-hash-algorithms": "sha256"},
            "extra-params.supported-hash-algorithms: expected an array of texts, got text of 6 characters",
        ),
        ("more", 1, "Request: expected only known fields, got 'more'"),
    ],
)
def test_a_request_that_breaks_the_protocol_is_refused(path: str, value: Any, message: str) -> None:
    document = json.loads(Request().to_bytes())
    where = "" if message.startswith("Request: ") else " (Request)"
    assert refusal(Request.parse, changed(document, path, value)) == message + where


def test_an_attestation_is_written_as_trustee_reads_it() -> None:
    attestation = Attestation(nonce=Nonce(NONCE), tee_public_key=KEY, quote=b"quote")
    assert json.loads(attestation.to_bytes()) == ATTESTATION
    assert Attestation.parse(bytes_of(ATTESTATION)) == attestation


def test_an_attestation_without_init_data_is_read() -> None:
    assert Attestation.parse(changed(ATTESTATION, "init-data", ...)).quote == b"quote"


OFF_CURVE = encode_base64url((int.from_bytes(KEY.x, "big") + 1).to_bytes(32, "big"))
BAD_KEYS = [
    ("kty", "RSA", "kty: expected EC, got text of 3 characters"),
    ("crv", "P-521", "crv: expected P-256, got text of 5 characters"),
    ("alg", "ECDH-ES", "alg: expected ECDH-ES+A256KW, got text of 7 characters"),
    ("alg", ..., "alg: expected ECDH-ES+A256KW, got no such field"),
    ("x", JWK["x"] + "=", "x: expected base64url of 32 bytes, got text of 44 characters"),
    ("x", "AA", "x: expected base64url of 32 bytes, got text of 2 characters"),
    ("x", JWK["x"][:-1] + "V", "x: expected base64url of 32 bytes, got text of 43 characters"),
    ("y", JWK["y"].replace("_", "/"), "y: expected base64url of 32 bytes, got text of 43 characters"),
    ("x", OFF_CURVE, "x: expected a point on P-256, got a point that is not on the curve"),
]


@pytest.mark.parametrize(("field", "value", "message"), BAD_KEYS)
def test_a_key_that_is_not_on_p_256_is_refused(field: str, value: Any, message: str) -> None:
    data = changed(ATTESTATION, f"runtime-data/tee-pubkey/{field}", value)
    assert refusal(Attestation.parse, data) == f"runtime-data.tee-pubkey.{message} (Attestation)"


def test_a_key_with_a_sixth_field_is_refused_because_it_would_not_be_hashed() -> None:
    data = changed(ATTESTATION, "runtime-data/tee-pubkey/kid", "1")
    message = "runtime-data.tee-pubkey: expected only known fields, got 'kid' (Attestation)"
    assert refusal(Attestation.parse, data) == message


QUOTE = "tee-evidence.primary_evidence.quote: expected base64 of 1 to 65536 bytes"
NONCE_FORM = "runtime-data.nonce: expected 16 to 1024 printable characters"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "init-data",
            {"format": "toml", "body": ""},
            "init-data: expected null or no such field, got an object",
        ),
        ("more", 1, "Attestation: expected only known fields, got 'more'"),
        ("runtime-data/nonce", "short", f"{NONCE_FORM}, got text of 5 characters"),
        ("runtime-data/nonce", "a" * 1025, f"{NONCE_FORM}, got text of 1025 characters"),
        ("runtime-data/nonce", "a b" * 9, f"{NONCE_FORM}, got text of 27 characters"),
        ("runtime-data/more", 1, "runtime-data: expected only known fields, got 'more'"),
        (
            "tee-evidence/additional_evidence",
            "{}",
            (
                "tee-evidence.additional_evidence: expected empty text, as no device is attested, "
                "got text of 2 characters"
            ),
        ),
        ("tee-evidence/more", 1, "tee-evidence: expected only known fields, got 'more'"),
        (
            "tee-evidence/primary_evidence/more",
            1,
            "tee-evidence.primary_evidence: expected only known fields, got 'more'",
        ),
        ("tee-evidence/primary_evidence/quote", "", f"{QUOTE}, got text of 0 characters"),
        ("tee-evidence/primary_evidence/quote", "cXVvdGU", f"{QUOTE}, got text of 7 characters"),
        ("tee-evidence/primary_evidence/quote", "cXVvdGV=", f"{QUOTE}, got text of 8 characters"),
        ("tee-evidence/primary_evidence/quote", "é", f"{QUOTE}, got text of 1 characters"),
    ],
)
def test_an_attestation_that_breaks_the_protocol_is_refused(path: str, value: Any, message: str) -> None:
    where = "" if message.startswith("Attestation: ") else " (Attestation)"
    assert refusal(Attestation.parse, changed(ATTESTATION, path, value)) == message + where


def test_a_quote_has_a_largest_size() -> None:
    path = "tee-evidence/primary_evidence/quote"
    largest = base64.b64encode(bytes(MAX_QUOTE_BYTES)).decode()
    assert len(Attestation.parse(changed(ATTESTATION, path, largest)).quote) == MAX_QUOTE_BYTES
    longer = base64.b64encode(bytes(MAX_QUOTE_BYTES + 1)).decode()
    assert "expected base64 of 1 to 65536 bytes" in refusal(
        Attestation.parse, changed(ATTESTATION, path, longer)
    )


def test_a_message_has_a_largest_size() -> None:
    data = Request().to_bytes()
    Request.parse(data.ljust(MAX_MESSAGE_BYTES))
    assert refusal(Request.parse, data.ljust(MAX_MESSAGE_BYTES + 1)) == (
        "Request: expected at most 131072 bytes, got 131073 bytes"
    )


# What a broker sends.


@pytest.mark.parametrize(
    ("extra", "selected"),
    [
        ("", None),
        ({}, None),
        ({"selected-hash-algorithm": "sha256"}, HashAlgorithm.SHA256),
        ({"selected-hash-algorithm": "sha512", "later": 1}, HashAlgorithm.SHA512),
    ],
)
def test_a_challenge_of_trustee_is_read(extra: object, selected: HashAlgorithm | None) -> None:
    data = bytes_of({"nonce": NONCE, "extra-params": extra, "a-later-field": True})
    challenge = Challenge.parse(data)
    assert challenge == Challenge(nonce=Nonce(NONCE), selected_hash_algorithm=selected)
    assert Challenge.parse(challenge.to_bytes()) == challenge


@pytest.mark.parametrize("name", ["md5", "sm3", "SHA256", ""])
def test_a_challenge_for_a_hash_that_we_do_not_have_is_refused(name: str) -> None:
    data = bytes_of({"nonce": NONCE, "extra-params": {"selected-hash-algorithm": name}})
    assert refusal(Challenge.parse, data) == (
        "extra-params.selected-hash-algorithm: expected sha256|sha384|sha512, "
        f"got text of {len(name)} characters (Challenge)"
    )


def test_a_token_is_read_and_never_shown() -> None:
    response = AttestResponse.parse(b'{"token":"aGVhZA.Ym9keQ.c2ln","later":1}')
    assert response.token.value == "aGVhZA.Ym9keQ.c2ln"
    assert "Ym9keQ" not in f"{response} {response!r} {response.token} {response.token!r}"
    assert str(response.token) == "<redacted>"
    assert AttestResponse.parse(response.to_bytes()) == response


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c.d", "a b.c.d", "a.b.c\n"])
def test_a_token_of_another_form_is_refused_without_being_shown(token: str) -> None:
    assert refusal(AttestResponse.parse, bytes_of({"token": token})) == (
        f"token: expected a JSON Web Token, got text of {len(token)} characters (AttestResponse)"
    )


def test_a_refusal_of_trustee_is_read() -> None:
    data = b'{"type":"https://github.com/confidential-containers/kbs/errors/PolicyDeny","detail":"no"}'
    information = ErrorInformation.parse(data)
    assert information.type.endswith("/PolicyDeny")
    assert information.detail == "no"
    assert ErrorInformation.parse(information.to_bytes()) == information


def wrapped(header: dict[str, Any] | None = None, /, **fields: Any) -> bytes:
    """A JWE of the right form that opens with no key."""
    epk = {name: JWK[name] for name in ("crv", "kty", "x", "y")}
    full = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "epk": epk} | (header or {})
    protected = encode_base64url(bytes_of({name: full[name] for name in full if full[name] is not ...}))
    sizes = {"encrypted_key": 40, "iv": 12, "ciphertext": 5, "tag": 16}
    document: dict[str, Any] = {name: encode_base64url(bytes(size)) for name, size in sizes.items()}
    document = {"protected": protected} | document | fields
    return bytes_of({name: value for name, value in document.items() if value is not ...})


def test_a_wrapped_secret_comes_back() -> None:
    secret = WrappedSecret.parse(wrapped())
    assert secret.ephemeral_key == KEY
    assert WrappedSecret.parse(secret.to_bytes()) == secret


def test_an_empty_secret_is_a_secret() -> None:
    assert WrappedSecret.parse(wrapped(ciphertext="")).ciphertext == b""


def test_parties_of_the_agreement_are_read() -> None:
    secret = WrappedSecret.parse(wrapped({"apu": "QWxpY2U", "apv": "Qm9i"}))
    assert (secret.party_u, secret.party_v) == (b"Alice", b"Bob")


EPK = {name: JWK[name] for name in ("crv", "kty", "x", "y")}


@pytest.mark.parametrize(
    ("header", "fields", "message"),
    [
        ({"alg": "dir"}, {}, "alg: expected ECDH-ES+A256KW, got text of 3 characters (JWE protected header)"),
        ({"enc": "A128GCM"}, {}, "enc: expected A256GCM, got text of 7 characters (JWE protected header)"),
        ({"epk": ...}, {}, "epk: expected an object, got no such field (JWE protected header)"),
        (
            {"epk": EPK | {"x": OFF_CURVE}},
            {},
            "epk.x: expected a point on P-256, got a point that is not on the curve (JWE protected header)",
        ),
        ({"epk": EPK | {"d": "AA"}}, {}, "epk: expected only known fields, got 'd' (JWE protected header)"),
        ({"zip": "DEF"}, {}, "JWE protected header: expected only known fields, got 'zip'"),
        ({"crit": ["exp"]}, {}, "JWE protected header: expected only known fields, got 'crit'"),
        ({"apu": "A"}, {}, "apu: expected base64url, got text of 1 characters (JWE protected header)"),
        ({}, {"header": {"epk": EPK}}, "JWE: expected only known fields, got 'header'"),
        ({}, {"unprotected": {}}, "JWE: expected only known fields, got 'unprotected'"),
        ({}, {"aad": "AA"}, "JWE: expected only known fields, got 'aad'"),
        ({}, {"iv": "AA"}, "iv: expected base64url of 12 bytes, got text of 2 characters (JWE)"),
        ({}, {"tag": "AA"}, "tag: expected base64url of 16 bytes, got text of 2 characters (JWE)"),
        (
            {},
            {"encrypted_key": "AA"},
            "encrypted_key: expected base64url of 40 bytes, got text of 2 characters (JWE)",
        ),
        ({}, {"ciphertext": "+"}, "ciphertext: expected base64url, got text of 1 characters (JWE)"),
        ({}, {"protected": "AA="}, "protected: expected base64url, got text of 3 characters (JWE)"),
        ({}, {"protected": "AA"}, "JWE protected header: expected JSON, got Expecting value at offset 0"),
    ],
)
def test_a_wrapped_secret_that_breaks_the_protocol_is_refused(
    header: dict[str, Any], fields: dict[str, Any], message: str
) -> None:
    assert refusal(WrappedSecret.parse, wrapped(header, **fields)) == message


# Keys and encodings.


def test_a_key_is_written_as_exactly_five_fields() -> None:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    jwk = TeePublicKey.from_key(key)
    assert sorted(jwk.document()) == ["alg", "crv", "kty", "x", "y"]
    assert jwk.public_key() == key


def test_a_key_off_the_curve_cannot_be_computed_with() -> None:
    with pytest.raises(MessageError) as caught:
        TeePublicKey(x=KEY.x, y=KEY.x).public_key()
    assert str(caught.value) == "tee-pubkey: expected a point on P-256, got other coordinates"


@given(st.binary())
def test_base64url_comes_back(data: bytes) -> None:
    assert decode_base64url(encode_base64url(data)) == data


@given(st.text(alphabet="ABab01-_+/=\n"))
def test_no_two_texts_mean_the_same_bytes(text: str) -> None:
    data = decode_base64url(text)
    assert data is None or encode_base64url(data) == text


@given(st.binary(min_size=1, max_size=2000), st.text(alphabet="abc+/=", min_size=16, max_size=64))
def test_any_attestation_comes_back(quote: bytes, nonce: str) -> None:
    attestation = Attestation(nonce=Nonce(nonce), tee_public_key=KEY, quote=quote)
    assert Attestation.parse(attestation.to_bytes()) == attestation


PARSERS = [Request, Challenge, Attestation, AttestResponse, ErrorInformation, WrappedSecret]


@pytest.mark.parametrize("kind", PARSERS, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_any_bytes_give_a_message_or_our_error(kind: Any, data: st.DataObject) -> None:
    whole = {
        Request: Request().to_bytes(),
        Challenge: Challenge(nonce=Nonce(NONCE)).to_bytes(),
        Attestation: bytes_of(ATTESTATION),
        AttestResponse: AttestResponse(token=Token("a.b.c")).to_bytes(),
        ErrorInformation: ErrorInformation(type="t", detail="d").to_bytes(),
        WrappedSecret: wrapped(),
    }[kind]
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    mutant = whole[:start] + data.draw(st.binary(max_size=20)) + whole[end:]
    try:
        message = kind.parse(mutant)
    except MessageError:
        return
    assert kind.parse(message.to_bytes()) == message
