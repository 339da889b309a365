"""The name of a policy: the digest of all that it says."""

from __future__ import annotations

import hashlib
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import singledispatch
from typing import Any

from casemate.verifier.policy import Policy
from casemate_attester.strict_json import canonical_json


def policy_digest(policy: Policy) -> str:
    """``sha256:…`` over the canonical JSON of the policy: reference values, exceptions, reasons and all.

    Two policies have the same digest exactly when they are equal, however they were written down.
    """
    return "sha256:" + hashlib.sha256(canonical_json(_plain(policy))).hexdigest()


@singledispatch
def _plain(value: Any) -> Any:
    """A value in terms of JSON; text, truth and nothing stay as they are."""
    if is_dataclass(value):
        return {"is": type(value).__name__} | {
            member.name: _plain(getattr(value, member.name)) for member in fields(value)
        }
    return value


@_plain.register
def _(value: bytes) -> str:
    return value.hex()


@_plain.register
def _(value: Enum) -> str:
    return str(value.value)


@_plain.register
def _(value: datetime) -> str:
    return value.isoformat()


@_plain.register
def _(value: timedelta) -> str:
    return str(value // timedelta(microseconds=1))


@_plain.register
def _(value: frozenset) -> list[Any]:  # type: ignore[type-arg]  # singledispatch takes no parameters of types
    return sorted(_plain(member) for member in value)


@_plain.register
def _(value: tuple) -> list[Any]:  # type: ignore[type-arg]  # as above
    return [_plain(member) for member in value]


@_plain.register
def _(value: int) -> str | bool:
    """As text: JSON has no numbers of 64 bits."""
    return value if isinstance(value, bool) else str(value)
