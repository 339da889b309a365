"""Certificate chains in PEM: one spelling, three ways to end."""

from __future__ import annotations

import pytest

from casemate.errors import FormatError
from casemate.formats.pem import encode_certificates, parse_certificates

DER = bytes(range(100))
PEM = encode_certificates((DER,))
END = 'PEM that ends with "-----END CERTIFICATE-----"'
STRICT = "strict PEM (RFC 7468): lines of 64 characters and nothing between the certificates"


def test_a_chain_is_written_in_lines_of_64_characters() -> None:
    assert PEM.splitlines() == [
        b"-----BEGIN CERTIFICATE-----",
        b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4v",
        b"MDEyMzQ1Njc4OTo7PD0+P0BBQkNERUZHSElKS0xNTk9QUVJTVFVWV1hZWltcXV5f",
        b"YGFiYw==",
        b"-----END CERTIFICATE-----",
    ]


@pytest.mark.parametrize("chain", [PEM, PEM[:-1], PEM + b"\x00"], ids=["line feed", "nothing", "NUL"])
def test_the_three_endings_of_intels_libraries_are_read(chain: bytes) -> None:
    assert parse_certificates(chain, where="test") == (DER,)


@pytest.mark.parametrize(
    ("data", "expected", "got"),
    [
        (b"", END, "nothing"),
        (PEM + b"x", END, f"{len(PEM) + 1} bytes that end otherwise"),
        (PEM + b"\x00\x00", END, f"{len(PEM) + 2} bytes that end otherwise"),
        (PEM[:-1] + b"\x00", END, f"{len(PEM)} bytes that end otherwise"),
        (PEM + b"\n", END, f"{len(PEM) + 1} bytes that end otherwise"),
        (PEM[:-9], END, f"{len(PEM) - 9} bytes that end otherwise"),
        (b"\n" + PEM, STRICT, "another spelling"),
        (PEM + b"\n" + PEM, STRICT, "another spelling"),
        (PEM + b"subject: me\n" + PEM, STRICT, "another spelling"),
        (PEM.replace(b"\n", b"\r\n"), END, f"{len(PEM) + 5} bytes that end otherwise"),
        (PEM.replace(b"YGFiYw==", b"YGFiYx=="), STRICT, "another spelling"),
        (PEM.replace(b"YGFiYw==", b"YGFiYw="), STRICT, "another spelling"),
        (PEM.replace(b"YGFiYw==", b"YGFi\nYw=="), STRICT, "another spelling"),
        (PEM.replace(b"BEGIN CERT", b"BEGIN X509 CERT"), STRICT, "another spelling"),
        (b"-----END CERTIFICATE-----\n", STRICT, "another spelling"),
    ],
)
def test_other_spellings_are_refused(data: bytes, expected: str, got: str) -> None:
    with pytest.raises(FormatError) as refusal:
        parse_certificates(data, where="test")
    assert str(refusal.value) == f"certificate chain: expected {expected}, got {got} (test)"
    hint = "Nothing may follow the last certificate." if data else "There are no certificates."
    assert refusal.value.hint == (hint if expected == END else None)
