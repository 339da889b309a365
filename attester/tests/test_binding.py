import hashlib

import pytest

from casemate_attester.binding import report_data, runtime_data
from casemate_attester.messages import HashAlgorithm, Nonce, TeePublicKey, decode_base64url

NONCE = Nonce("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
#: The key of RFC 7515, appendix A.3.
KEY = TeePublicKey(
    x=decode_base64url("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU") or b"",
    y=decode_base64url("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0") or b"",
)
CANONICAL = (
    b'{"additional-evidence":"","nonce":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","tee-pubkey":'
    b'{"alg":"ECDH-ES+A256KW","crv":"P-256","kty":"EC","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",'
    b'"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}}'
)


def test_runtime_data_is_what_protocol_0_4_0_hashes() -> None:
    assert runtime_data(KEY, NONCE) == CANONICAL


def test_report_data_is_what_trustee_expects_of_sgx() -> None:
    assert report_data(KEY, NONCE).hex() == (
        "dfa65d498315212bdaf8857231cf0482172933db271f15856bf30db447227eb5b1dd9e29fcc1fb9076fb00792c3bb7e7"
        + "00" * 16
    )


@pytest.mark.parametrize("algorithm", list(HashAlgorithm))
def test_the_selected_hash_is_used_and_padded_to_64_bytes(algorithm: HashAlgorithm) -> None:
    digest = hashlib.new(algorithm.value, CANONICAL).digest()
    assert report_data(KEY, NONCE, algorithm) == digest + bytes(64 - len(digest))


def test_another_nonce_or_another_key_gives_other_report_data() -> None:
    other = TeePublicKey(x=KEY.y, y=KEY.x)
    results = {report_data(KEY, NONCE), report_data(KEY, Nonce(NONCE[::-1])), report_data(other, NONCE)}
    assert len(results) == 3
