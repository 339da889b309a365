"""Any text is a key's name or refused with one of our errors; any answer of a program too."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from casemate.adapters.azure_keys import KeyName
from casemate.errors import CasemateError
from casemate.formats.pkcs11_uri import Pkcs11Uri
from casemate.formats.public_key import parse_public_key
from casemate.keys import RsaPublicKey, require_signature

_PIECES = st.sampled_from(
    [
        "token=",
        "object=",
        "id=",
        "type=",
        "private",
        ";",
        "?",
        "&",
        "=",
        "%41",
        "%ff",
        "%",
        "pin-source=",
        "/",
    ]
)


@given(st.lists(_PIECES | st.text(max_size=4)).map("".join))
def test_any_text_is_a_pkcs11_uri_or_refused(text: str) -> None:
    with contextlib.suppress(CasemateError):
        uri = Pkcs11Uri.parse(f"pkcs11:{text}")
        assert uri.label is not None or uri.id is not None


@given(st.text(max_size=60) | st.from_regex(r"//[a-z.]{1,20}/[a-z-]{1,9}(/[0-9a-f]{32})?"))
def test_any_text_is_a_key_of_a_vault_or_refused(text: str) -> None:
    with contextlib.suppress(CasemateError):
        name = KeyName.parse(text)
        assert name.host.endswith((".azure.net", ".azure.cn", ".usgovcloudapi.net"))


@given(st.binary())
def test_any_bytes_are_a_public_key_or_refused(data: bytes) -> None:
    with contextlib.suppress(CasemateError):
        parse_public_key(data, where="k")


@given(st.binary(), st.binary(), st.integers(min_value=1), st.integers(min_value=0, max_value=1 << 17))
def test_any_signature_holds_or_is_refused(
    data: bytes, signature: bytes, modulus: int, exponent: int
) -> None:
    with contextlib.suppress(CasemateError):
        require_signature(data, signature, RsaPublicKey(modulus=modulus, exponent=exponent))
        raise AssertionError("made up, and accepted")
