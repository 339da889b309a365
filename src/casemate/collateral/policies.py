"""Appraisal policies: kept for verifiers that ask for them by family, as they were given.

Not checked here: the signature of a policy. Its verifiers know by whom it has to be signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, TypeVar

import msgspec

from casemate.collateral.problem import CollateralRefusedError, Problem
from casemate.collateral.store import AppraisalPolicy

_Form = TypeVar("_Form", bound=msgspec.Struct)
#: Class id of what a policy is about -> what a family has one default policy for.
_TYPES = {
    "3123ec35-8d38-4ea5-87a5-d6c48b567570": "sgx",
    "9eec018b-7481-4b1c-8e1a-9f7c0c8c777f": "tdx-1.0",
    "f708b97f-0fb2-4e6b-8b03-8a5bcd1221d3": "tdx-1.5",
}
#: Class id of the quoting enclave of TDX, which a policy may speak of besides.
_TD_QE = "3769258c-75e6-4bc7-8d72-d2b0e224cad2"


def read_policy(body: bytes) -> AppraisalPolicy:
    """``{"is_default":…, "fmspc":…, "policy": JWT}``.

    Raises:
        CollateralRefusedError: Not of that form, or a policy about something that is not known.
    """
    form = _decode(body, _PolicyForm)
    payload = _decode(_payload_of(form.policy), _JwtPayload).policy_payload
    classes = [one.environment.class_id.lower() for one in _decode(payload.encode(), _Payload).policy_array]
    unknown = [one for one in classes if one not in _TYPES and one != _TD_QE]
    kinds = [_TYPES[one] for one in classes if one in _TYPES]
    if unknown or not kinds:
        raise CollateralRefusedError(
            Problem.INVALID,
            "class_id of a policy",
            expected="one of " + ", ".join(_TYPES),
            got=ascii(", ".join(unknown)[:100])[1:-1] or "none",
        )
    return AppraisalPolicy(
        id=hashlib.sha384(form.policy.encode()).hexdigest(),
        fmspc=form.fmspc.lower(),
        type=kinds[0],
        is_default=form.is_default,
        policy=form.policy,
    )


class _PolicyForm(msgspec.Struct, frozen=True):
    is_default: bool
    fmspc: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{12}\Z")]
    policy: str


class _JwtPayload(msgspec.Struct, frozen=True):
    policy_payload: str


class _Environment(msgspec.Struct, frozen=True):
    class_id: str


class _Policy(msgspec.Struct, frozen=True):
    environment: _Environment


class _Payload(msgspec.Struct, frozen=True):
    policy_array: tuple[_Policy, ...]


def _payload_of(jwt: str) -> bytes:
    parts = jwt.split(".")
    try:
        return base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
    except (IndexError, ValueError, binascii.Error) as error:
        raise _malformed("no JWT in the member policy") from error


def _decode(data: bytes, form: type[_Form]) -> _Form:
    try:
        return msgspec.json.decode(data, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(str(error)) from error


def _malformed(got: str) -> CollateralRefusedError:
    return CollateralRefusedError(
        Problem.INVALID, "appraisal policy", expected="is_default, fmspc and policy, a JWT", got=got
    )
