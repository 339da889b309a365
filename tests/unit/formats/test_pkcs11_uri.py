"""PKCS#11 URIs: what they name, and which are refused."""

from __future__ import annotations

import pytest

from casemate.errors import FormatError
from casemate.formats.pkcs11_uri import Pkcs11Uri

HINT = "for example: pkcs11:token=release;object=enclave?module-path=/usr/lib/softhsm/libsofthsm2.so"


def test_everything_that_names_a_key_is_read() -> None:
    # Of the form of RFC 7512, section 3.
    uri = Pkcs11Uri.parse(
        "pkcs11:token=The%20Software%20PKCS%2311%20Softtoken;manufacturer=Snake%20Oil,%20Inc.;model=1.0;"
        "serial=4711;slot-id=2;object=my-signing-key;type=private;id=%69%95%3E%5C%F4%BD%EC%91"
        "?pin-source=file:/etc/token%5Fpin&module-path=/usr/lib/pkcs11.so&module-name=softhsm2"
    )
    assert uri == Pkcs11Uri(
        token=(
            ("token", "The Software PKCS#11 Softtoken"),
            ("manufacturer", "Snake Oil, Inc."),
            ("serial", "4711"),
            ("model", "1.0"),
            ("slot-id", "2"),
        ),
        label="my-signing-key",
        id=bytes.fromhex("69953e5cf4bdec91"),
        pin_file="/etc/token_pin",
        module_name="softhsm2",
        module_path="/usr/lib/pkcs11.so",
    )


def test_a_key_alone_is_enough() -> None:
    assert Pkcs11Uri.parse("pkcs11:object=k") == Pkcs11Uri(
        token=(), label="k", id=None, pin_file=None, module_name=None, module_path=None
    )


def test_a_pin_in_the_uri_is_refused_without_repeating_it() -> None:
    with pytest.raises(FormatError) as refused:
        Pkcs11Uri.parse("pkcs11:object=k?pin-value=4711")
    assert str(refused.value) == "PKCS#11 URI: expected no PIN, got pin-value"
    assert refused.value.hint == (
        "everybody on this machine can read it in the process list, so change the PIN; "
        "leave it out to be asked, or use pin-source=file:PATH, --passphrase-fd or --passphrase-env"
    )


def test_a_program_as_source_of_the_pin_is_refused() -> None:
    with pytest.raises(FormatError) as refused:
        Pkcs11Uri.parse("pkcs11:object=k?pin-source=|/usr/lib/pinomatic")
    assert str(refused.value) == "PKCS#11 URI: expected pin-source=file:/PATH, got another kind of source"
    assert refused.value.hint == "for the output of a program: program | casemate … --passphrase-fd 0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file:k", "expected pkcs11:…, got file:…"),
        ("pkcs11:", "expected the key's object or id, got neither"),
        ("pkcs11:token=t", "expected the key's object or id, got neither"),
        ("pkcs11:object=k;type=public", "expected type=private, got another type of object"),
        ("pkcs11:object=k;object=l", "expected each attribute once, got two object"),
        ("pkcs11:object", "expected attributes NAME=VALUE, got one without a value"),
        ("pkcs11:object=", "expected attributes NAME=VALUE, got one without a value"),
        ("pkcs11:object=k;", "expected attributes NAME=VALUE, got one without a value"),
        ("pkcs11:object=a b", "expected a percent-encoded value of object, got other characters"),
        ("pkcs11:object=a%2", "expected a percent-encoded value of object, got other characters"),
        ("pkcs11:object=k;id=ä", "expected a percent-encoded value of id, got other characters"),
        ("pkcs11:object=%FF", "expected object in UTF-8, got other bytes"),
        ("pkcs11:object=%1B[2J", "expected object in printable characters, got others"),
        (
            "pkcs11:object=k?module=x",
            "expected pin-source or module-name or module-path, got module",
        ),
    ],
)
def test_what_is_no_such_uri_is_refused(text: str, message: str) -> None:
    with pytest.raises(FormatError) as refused:
        Pkcs11Uri.parse(text)
    assert str(refused.value) == f"PKCS#11 URI: {message}"
    assert refused.value.hint == HINT
