"""Tokens: who may register platforms, and who may look after the service. As in PCCS, SHA-512 of each."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from casemate.collateral.problem import CollateralRefusedError, Problem
from casemate.errors import UsageError


class Role(Enum):
    """Who may do something; the value is the header with the token."""

    USER = "user-token"
    ADMIN = "admin-token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """SHA-512 of the tokens; where one is ``None``, nobody has that role.

    Attributes:
        user: Of whoever registers platforms, 64 bytes.
        admin: Of whoever looks after the service, 64 bytes.
    """

    user: bytes | None = field(default=None, repr=False)
    admin: bytes | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, *, user: str | None, admin: str | None) -> Tokens:
        """From hexadecimal, as in PCCS's ``UserTokenHash`` and ``AdminTokenHash``.

        Raises:
            UsageError: Not 128 hexadecimal digits.
        """
        return cls(user=_digest(user, Role.USER), admin=_digest(admin, Role.ADMIN))

    def require(self, role: Role, headers: Mapping[str, str]) -> None:
        """See that a request comes from someone who has ``role``.

        Raises:
            CollateralRefusedError: It does not, or nobody has it.
        """
        expected = self.user if role is Role.USER else self.admin
        token = headers.get(role.value)
        got = None
        if expected is None:
            got = "this service has none configured"
        elif token is None:
            got = "none"
        elif not hmac.compare_digest(hashlib.sha512(token.encode("latin-1")).digest(), expected):
            got = "another one"
        if got is not None:
            raise CollateralRefusedError(
                Problem.UNAUTHORISED, "token", expected="the right one", got=got, where=f"header {role.value}"
            )


def _digest(text: str | None, role: Role) -> bytes | None:
    if text is None:
        return None
    if re.fullmatch("[0-9a-fA-F]{128}", text) is None:
        raise UsageError(
            f"hash of the {role.value}",
            expected="SHA-512, 128 hexadecimal digits",
            got=f"{len(text)} characters",
            hint="printf %s TOKEN | sha512sum",
        )
    return bytes.fromhex(text)
