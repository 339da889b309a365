"""Intel's JSON, read strictly, and its shapes: TCB info, enclave identity, collateral.

Intel SGX and TDX Provisioning Certification Service API, versions 3 and 4. Foreign JSON: members that are not
known are ignored, because Intel adds some. Everything that two readers could understand differently is
refused: a key that comes twice, numbers that are not integers of moderate size, text that is no Unicode.
Meaning is given to the shapes in :mod:`casemate.formats.sgx.collateral`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, NoReturn, TypeVar

import msgspec

from casemate.errors import FormatError

#: Largest document of collateral that is read, in bytes. Intel's have about 20,000; a CRL may grow.
MAX_COLLATERAL_SIZE: Final = 4 * 1024 * 1024

#: Digits of the largest integer that is read, and a sign: what fits into 53 bits.
_INTEGER_DIGITS = 16
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}Z")

_Byte = Annotated[int, msgspec.Meta(ge=0, le=0xFF)]
_UInt16 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
_UInt32 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
_Hex = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-fA-F]{2})*\Z")]
_Hex2 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{4}\Z")]
_Hex4 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{8}\Z")]
_Hex6 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{12}\Z")]
_Hex8 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{16}\Z")]
_Hex16 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{32}\Z")]
_Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{64}\Z")]
_Hex48 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{96}\Z")]
_Hex64 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{128}\Z")]


class Versioned(msgspec.Struct, frozen=True):
    """What every document of Intel has."""

    version: int


class Component(msgspec.Struct, frozen=True):
    """The least security version of one component of a level, and what the component is."""

    svn: _Byte
    category: str = ""
    kind: str = msgspec.field(name="type", default="")

    @property
    def name(self) -> str:
        """What the component is, in Intel's words; nothing where they say nothing."""
        return ": ".join(filter(None, (self.category, self.kind)))


_Components = Annotated[tuple[Component, ...], msgspec.Meta(min_length=16, max_length=16)]


class _TcbV3(msgspec.Struct, frozen=True):
    sgxtcbcomponents: _Components
    pcesvn: _UInt16


class _TdxTcbV3(_TcbV3, frozen=True):
    tdxtcbcomponents: _Components


_TcbV2 = msgspec.defstruct(
    "_TcbV2",
    [("pcesvn", _UInt16), *((f"sgxtcbcomp{number:02}svn", _Byte) for number in range(1, 17))],
    frozen=True,
)


class Level(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What Intel says of every level."""

    tcb_date: str
    tcb_status: str
    advisory_ids: tuple[str, ...] = msgspec.field(name="advisoryIDs", default=())


class LevelV2(Level, frozen=True, rename="camel"):
    """A level of TCB info, version 2."""

    tcb: _TcbV2  # type: ignore[valid-type]  # a struct made from a table of 16 names


class LevelV3(Level, frozen=True, rename="camel"):
    """A level of TCB info, version 3, for SGX."""

    tcb: _TcbV3


class TdxLevelV3(Level, frozen=True, rename="camel"):
    """A level of TCB info, version 3, for TDX."""

    tcb: _TdxTcbV3


class _IsvTcb(msgspec.Struct, frozen=True):
    isvsvn: _UInt16


class IsvLevelV2(Level, frozen=True, rename="camel"):
    """A level of an enclave or of a TDX module."""

    tcb: _IsvTcb


class TcbInfoBase(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What TCB info says in both versions."""

    version: int
    issue_date: str
    next_update: str
    fmspc: _Hex6
    pce_id: _Hex2
    tcb_type: int
    tcb_evaluation_data_number: _UInt32


class TcbInfoV2(TcbInfoBase, frozen=True, kw_only=True, rename="camel"):
    """TCB info, version 2."""

    tcb_levels: tuple[LevelV2, ...]


class Identified(msgspec.Struct, frozen=True):
    """What TCB info of version 3 is about."""

    id: str


class SgxTcbInfoV3(TcbInfoBase, frozen=True, kw_only=True, rename="camel"):
    """TCB info, version 3, for SGX."""

    tcb_levels: tuple[LevelV3, ...]


class TdxModuleV3(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Signer and attributes of TDX modules of the first kind."""

    mrsigner: _Hex48
    attributes: _Hex8
    attributes_mask: _Hex8


class TdxModuleIdentityV3(TdxModuleV3, frozen=True, kw_only=True, rename="camel"):
    """The same, and levels, of TDX modules of a later kind."""

    id: str
    tcb_levels: tuple[IsvLevelV2, ...]


class TdxTcbInfoV3(TcbInfoBase, frozen=True, kw_only=True, rename="camel"):
    """TCB info, version 3, for TDX."""

    tdx_module: TdxModuleV3
    tdx_module_identities: tuple[TdxModuleIdentityV3, ...] = ()
    tcb_levels: tuple[TdxLevelV3, ...]


class EnclaveIdentityV2(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Enclave identity, version 2."""

    id: str
    issue_date: str
    next_update: str
    tcb_evaluation_data_number: _UInt32
    miscselect: _Hex4
    miscselect_mask: _Hex4
    attributes: _Hex16
    attributes_mask: _Hex16
    mrsigner: _Hex32
    isvprodid: _UInt16
    tcb_levels: tuple[IsvLevelV2, ...]


class CollateralJson(msgspec.Struct, frozen=True):
    """The exchanged form of collateral."""

    pck_crl_issuer_chain: str
    root_ca_crl: _Hex
    pck_crl: _Hex
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: _Hex64
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: _Hex64
    pck_certificate_chain: str | None = None


class Signed(msgspec.Struct, frozen=True):
    """The signature beside a signed member."""

    signature: _Hex64


_Shape = TypeVar("_Shape", bound=msgspec.Struct)


def read_json(data: bytes, where: str) -> object:
    """What a document says.

    Args:
        data: JSON text in UTF-8.
        where: Which document, for messages.

    Raises:
        FormatError: More than :data:`MAX_COLLATERAL_SIZE` bytes, not JSON, or JSON that readers could
            understand differently.
    """
    if len(data) > MAX_COLLATERAL_SIZE:
        raise FormatError(where, expected=f"at most {MAX_COLLATERAL_SIZE} bytes", got=f"{len(data)} bytes")
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_without_duplicates,
            parse_float=_no_float,
            parse_int=_moderate_integer,
            parse_constant=_no_float,
        )
        # A lone surrogate is valid JSON but no Unicode text; it shows when the text is encoded again.
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        got = f"bytes that are not text (UTF-8), from offset {error.start} on"
        raise FormatError(where, expected="its JSON form", got=got) from error
    except json.JSONDecodeError as error:
        got = f"what is not JSON, from line {error.lineno}, column {error.colno} on" if data else "nothing"
        raise FormatError(where, expected="its JSON form", got=got) from error
    # Our own reasons are ValueErrors, too.
    except (ValueError, RecursionError) as error:
        raise FormatError(where, expected="its JSON form", got=str(error)) from error
    return value


def as_shape(value: object, shape: type[_Shape], where: str) -> _Shape:
    """What :func:`read_json` gave, in its shape.

    Raises:
        FormatError: A member is missing or malformed.
    """
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise FormatError(where, expected="its JSON form", got=str(error)) from error


def raw_member(data: bytes, member: str) -> bytes:
    """The bytes of one member of an object, unchanged.

    Raises:
        FormatError: Not an object, or without that member.
    """
    try:
        members = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise FormatError(member, expected="its JSON form", got=str(error)) from error
    if member not in members:
        raise FormatError(member, expected=f"an object with the member {member}", got="no such member")
    return bytes(members[member])


def date_of(text: str, where: str) -> datetime:
    """A date as Intel writes it: ``2025-06-04T00:16:12Z``.

    Raises:
        FormatError: Another spelling, or a moment that does not exist.
    """
    try:
        if _DATE.fullmatch(text):
            return datetime.fromisoformat(text)
    except ValueError:
        pass
    raise FormatError("date", expected="YYYY-MM-DDThh:mm:ssZ", got=text, where=where)


def _without_duplicates(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("an object with a duplicate key")
    return result


def _no_float(_text: str) -> NoReturn:
    raise ValueError("a number that is not an integer")


def _moderate_integer(text: str) -> int:
    if len(text) > _INTEGER_DIGITS:
        raise ValueError(f"an integer of more than {_INTEGER_DIGITS} characters")
    return int(text)
