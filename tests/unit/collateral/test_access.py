"""Tokens, and how their hashes are given."""

from __future__ import annotations

import hashlib

import pytest

from casemate.collateral.access import Role, Tokens
from casemate.collateral.problem import CollateralRefusedError
from casemate.errors import UsageError

HASH = hashlib.sha512(b"secret").hexdigest()


def test_the_right_token_is_let_in_for_its_role_alone() -> None:
    tokens = Tokens.parse(user=HASH.upper(), admin=None)
    tokens.require(Role.USER, {"user-token": "secret"})
    for role, headers, got in (
        (Role.USER, {"user-token": "Secret"}, "another one"),
        (Role.USER, {"admin-token": "secret"}, "none"),
        (Role.USER, {"user-token": "\xff"}, "another one"),
        (Role.ADMIN, {"admin-token": "secret"}, "this service has none configured"),
    ):
        with pytest.raises(CollateralRefusedError) as refused:
            tokens.require(role, headers)
        assert str(refused.value) == f"token: expected the right one, got {got} (header {role.value})"


def test_no_token_and_no_hash_shows_anywhere() -> None:
    assert HASH not in repr(Tokens.parse(user=HASH, admin=HASH))
    assert repr(bytes.fromhex(HASH)) not in repr(Tokens.parse(user=HASH, admin=HASH))


@pytest.mark.parametrize("text", ["", "secret", HASH[:-1], HASH + "0", HASH[:-1] + "g"])
def test_anything_but_sha512_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        Tokens.parse(user=None, admin=text)
    assert str(refused.value) == (
        f"hash of the admin-token: expected SHA-512, 128 hexadecimal digits, got {len(text)} characters"
    )
    assert refused.value.hint == "printf %s TOKEN | sha512sum"
