"""Collateral as people keep it, in whatever form."""

from __future__ import annotations

import base64
import json

import pytest

from casemate.errors import FormatError
from casemate.formats.pem import encode_certificates
from casemate.formats.sgx.collateral_files import (
    ENCLAVE_IDENTITY,
    TCB_INFO,
    SignedDocument,
    certificates_in,
    crl_in,
)

DER = bytes.fromhex("3003020107")
OTHER = bytes.fromhex("3003020108")


def crl_pem(data: bytes) -> bytes:
    text = base64.b64encode(data)
    return b"-----BEGIN X509 CRL-----\n" + text + b"\n-----END X509 CRL-----\n"


@pytest.mark.parametrize(
    "data",
    [
        DER,
        DER.hex().encode(),
        b" 0X" + DER.hex().upper().encode() + b"\r\n",
        crl_pem(DER),
        b"a comment\n" + crl_pem(DER).replace(b"\n", b"\r\n") + b"and more",
    ],
    ids=["DER", "hexadecimal", "with prefix and spaces", "PEM", "PEM with text around it"],
)
def test_a_crl_is_found_in_each_of_its_forms(data: bytes) -> None:
    assert crl_in(data) == DER


@pytest.mark.parametrize("data", [b"", b"30820", b"no CRL", crl_pem(DER).replace(b"M", b"=")])
def test_what_is_no_crl_is_left_as_it_lies(data: bytes) -> None:
    assert crl_in(data) == data


def test_certificates_are_found_whatever_lies_around_them() -> None:
    chain = encode_certificates((DER, OTHER))
    assert certificates_in(DER) == (DER,)
    assert certificates_in(chain) == (DER, OTHER)
    assert certificates_in(b"subject=CN\n" + chain.replace(b"\n", b"\r\n") + b"\0") == (DER, OTHER)
    assert certificates_in(chain.replace(b" ", b"%20").replace(b"\n", b"%0A")) == (DER, OTHER)
    assert certificates_in(b"none") == ()
    assert certificates_in(chain.replace(b"MAMCAQc=", b"MAMCAQ==c")) == (OTHER,)


def document(**members: object) -> bytes:
    others = "".join(f",{json.dumps(name)}:{json.dumps(value)}" for name, value in members.items())
    return b'{"tcbInfo": {"a" : 1},"signature":"' + b"ab" * 64 + b'"' + others.encode() + b"}"


def test_signed_bytes_are_given_as_they_lie() -> None:
    read = SignedDocument.parse(document(), TCB_INFO)
    assert read == SignedDocument(document=b'{"a" : 1}', signature=b"\xab" * 64, certificates=())


def test_chains_in_further_members_are_found() -> None:
    texts = [encode_certificates((der,)).decode() for der in (DER, OTHER)]
    read = SignedDocument.parse(document(issuer_chain=texts[0], others=[texts[1], 3], number=4), TCB_INFO)
    assert read.certificates == (DER, OTHER)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "enclaveIdentity: expected its JSON form, got nothing"),
        (
            b"\n no",
            "enclaveIdentity: expected its JSON form, got what is not JSON, from line 2, column 2 on",
        ),
        (
            b"{\xff}",
            "enclaveIdentity: expected its JSON form, got bytes that are not text (UTF-8), from offset 1 on",
        ),
        (b"{}", "enclaveIdentity: expected its JSON form, got Object missing required field `signature`"),
        (
            document(),
            "enclaveIdentity: expected an object with the member enclaveIdentity, got no such member",
        ),
        (
            document(signature="ab" * 64),
            "enclaveIdentity: expected its JSON form, got an object with a duplicate key",
        ),
    ],
    ids=["nothing", "no JSON", "no text", "no signature", "another document", "a member that comes twice"],
)
def test_other_documents_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        SignedDocument.parse(data, ENCLAVE_IDENTITY)
    assert str(caught.value) == message
