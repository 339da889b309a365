"""Headers, encodings and lists in the answers of an upstream service: each refusal with its message."""

from __future__ import annotations

import json
from collections.abc import Callable
from email.message import Message

import pytest

from casemate.adapters.intel_pcs import answers
from casemate.collateral.names import CertificateAuthority
from casemate.collateral.store import PckCertificate
from casemate.errors import FormatError

TCBM = "0E0E" + "00" * 16
CHAIN = "TCB-Info-Issuer-Chain"
_NOT_JSON = "PCK certificates: expected their JSON form, got "


def headers(*pairs: tuple[str, str]) -> Message:
    message = Message()
    for name, value in pairs:
        message[name] = value
    return message


def test_headers_are_read_whatever_their_case() -> None:
    found = headers(
        ("sgx-fmspc", " 00606A000000 "),
        ("Sgx-Tcbm", TCBM),
        ("SGX-PCK-CERTIFICATE-CA-TYPE", "PLATFORM"),
        ("tcb-info-issuer-chain", "-----BEGIN%20CERTIFICATE-----%0AAB+C%2B"),
    )
    assert answers.fmspc(found) == "00606a000000"
    assert answers.tcbm(found) == TCBM.lower()
    assert answers.authority(found) is CertificateAuthority.PLATFORM
    assert answers.chain(found, CHAIN) == b"-----BEGIN CERTIFICATE-----\nAB+C+"


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        (
            answers.fmspc,
            ("SGX-FMSPC", "00606a"),
            "header SGX-FMSPC: expected 12 hexadecimal digits, got '00606a'",
        ),
        (
            answers.fmspc,
            ("SGX-FMSPC", "\u0660\u0660606a000000"),
            r"header SGX-FMSPC: expected 12 hexadecimal digits, got '\u0660\u0660606a000000'",
        ),
        (
            answers.tcbm,
            ("SGX-TCBm", "x" * 36),
            f"header SGX-TCBm: expected 36 hexadecimal digits, got '{'x' * 36}'",
        ),
        (
            answers.authority,
            ("SGX-PCK-Certificate-CA-Type", "root"),
            "header SGX-PCK-Certificate-CA-Type: expected processor or platform, got 'root'",
        ),
        (
            lambda found: answers.chain(found, CHAIN),
            (CHAIN, "%2"),
            f"header {CHAIN}: expected URL-encoded text, got something else",
        ),
        (
            lambda found: answers.chain(found, CHAIN),
            (CHAIN, ""),
            f"header {CHAIN}: expected URL-encoded text, got something else",
        ),
    ],
    ids=["short", "other digits", "no digits", "authority", "encoding", "empty"],
)
def test_a_header_that_says_something_else_is_refused(
    read: Callable[[Message], object], value: tuple[str, str], message: str
) -> None:
    with pytest.raises(FormatError) as caught:
        read(headers(value))
    assert str(caught.value) == message


@pytest.mark.parametrize("count", [0, 2])
def test_a_header_has_to_be_there_once(count: int) -> None:
    with pytest.raises(FormatError) as caught:
        answers.fmspc(headers(*[("SGX-FMSPC", "00606a000000")] * count))
    assert str(caught.value) == f"header SGX-FMSPC: expected one, got {count}"


@pytest.mark.parametrize("body", [b"\x300", b"3030", b" 30 30\r\n"])
def test_a_crl_is_der_or_der_in_hexadecimal(body: bytes) -> None:
    assert answers.crl(body) == b"00"


@pytest.mark.parametrize("body", [b"", b"-----BEGIN X509 CRL-----", b"313", b"31", b"\xff"])
def test_what_is_no_crl_is_refused(body: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        answers.crl(body)
    assert str(caught.value) == (f"CRL: expected DER, or DER in hexadecimal, got {len(body)} other bytes")


def listed(*levels: tuple[str, str]) -> bytes:
    return json.dumps([{"tcb": {}, "tcbm": tcbm, "cert": cert} for tcbm, cert in levels]).encode()


def test_certificates_and_what_is_not_available_are_told_apart() -> None:
    data = listed((TCBM, "A%0A"), ("f" * 36, "Not available"))
    assert answers.pck_certificates(data) == (
        (PckCertificate(tcbm=TCBM.lower(), pem=b"A\n"),),
        ("f" * 36,),
    )
    assert answers.pck_certificates(b"[]") == ((), ())


def test_as_many_levels_are_read_as_no_platform_has_and_no_more() -> None:
    levels = [(f"{number:036x}", "Not available") for number in range(1001)]
    assert len(answers.pck_certificates(listed(*levels[:1000]))[1]) == 1000
    with pytest.raises(FormatError) as caught:
        answers.pck_certificates(listed(*levels))
    assert str(caught.value) == (
        "PCK certificates: expected their JSON form, got Expected `array` of length <= 1000"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            listed((TCBM, "A"), (TCBM.lower(), "B")),
            "PCK certificates: expected one for each TCB, got two for one",
        ),
        (listed((TCBM, "ü")), "PCK certificate: expected URL-encoded text, got something else"),
        (
            listed(("00", "A")),
            _NOT_JSON + r"Expected `str` matching regex '^[0-9a-fA-F]{36}\\Z' - at `$[0].tcbm`",
        ),
        (b"{}", _NOT_JSON + "Expected `array`, got `object`"),
        (
            b"[" * 100_000,
            _NOT_JSON + "Expected `object`, got `array` - at `$[0]`",
        ),
    ],
    ids=["twice", "encoding", "tcbm", "no list", "deep"],
)
def test_what_is_no_list_of_certificates_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        answers.pck_certificates(data)
    assert str(caught.value) == message
