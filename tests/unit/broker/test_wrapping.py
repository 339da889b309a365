"""Wrapped secrets open for the holder of the key, in other implementations too."""

import base64
import json
import os

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from casemate.broker.resource import Secret
from casemate.broker.wrapping import wrap
from casemate_attester.messages import TeePublicKey, WrappedSecret

ALGORITHMS = ["ECDH-ES+A256KW", "A256GCM"]


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def wrapped(secret: bytes, key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    public = TeePublicKey.from_key(key.public_key())
    document: dict[str, str] = json.loads(wrap(Secret(secret), public, os.urandom).to_bytes())
    return document


def opened(document: dict[str, str], key: ec.EllipticCurvePrivateKey) -> bytes:
    jwk = ECKey.import_key(key)
    result = jwe.decrypt_json(document, jwk, algorithms=ALGORITHMS)  # type: ignore[arg-type]  # a flattened one
    assert result.plaintext is not None
    return result.plaintext


@pytest.mark.parametrize(
    "secret", [b"x", b"hunter2", bytes(range(256)) * 64], ids=["one byte", "text", "16 KiB"]
)
def test_joserfc_opens_it(secret: bytes, key: ec.EllipticCurvePrivateKey) -> None:
    assert opened(wrapped(secret, key), key) == secret


def test_joserfc_opens_it_in_compact_form_too(key: ec.EllipticCurvePrivateKey) -> None:
    document = wrapped(b"hunter2", key)
    parts = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
    compact = ".".join(document[part] for part in parts)
    assert jwe.decrypt_compact(compact, ECKey.import_key(key), algorithms=ALGORITHMS).plaintext == b"hunter2"


def test_the_header_is_the_one_that_confidential_containers_writes_again(
    key: ec.EllipticCurvePrivateKey,
) -> None:
    document = wrapped(b"hunter2", key)
    assert sorted(document) == ["ciphertext", "encrypted_key", "iv", "protected", "tag"]
    header = base64.urlsafe_b64decode(document["protected"] + "==").decode()
    parsed = json.loads(header)
    assert list(parsed) == ["alg", "enc", "epk"]
    assert list(parsed["epk"]) == ["crv", "kty", "x", "y"]
    assert header == json.dumps(parsed, separators=(",", ":"))
    assert not any("=" in value for value in document.values())


def test_the_attester_reads_it(key: ec.EllipticCurvePrivateKey) -> None:
    public = TeePublicKey.from_key(key.public_key())
    result = wrap(Secret(b"hunter2"), public, os.urandom)
    assert WrappedSecret.parse(result.to_bytes()) == result


def test_another_key_does_not_open_it(key: ec.EllipticCurvePrivateKey) -> None:
    document = wrapped(b"hunter2", key)
    with pytest.raises((JoseError, ValueError)):
        opened(document, ec.generate_private_key(ec.SECP256R1()))


@pytest.mark.parametrize("part", ["protected", "encrypted_key", "iv", "ciphertext", "tag"])
def test_any_changed_part_is_refused(part: str, key: ec.EllipticCurvePrivateKey) -> None:
    document = wrapped(b"hunter2", key)
    value = document[part]
    # The second character: a last one may hold bits that do not count.
    document[part] = value[0] + ("A" if value[1] != "A" else "B") + value[2:]
    with pytest.raises((JoseError, ValueError)):
        opened(document, key)


def test_nothing_repeats(key: ec.EllipticCurvePrivateKey) -> None:
    first, second = wrapped(b"hunter2", key), wrapped(b"hunter2", key)
    assert all(first[part] != second[part] for part in first)
