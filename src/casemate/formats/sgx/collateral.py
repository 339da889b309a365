"""What Intel signs about platforms and its quoting enclave: TCB info, QE identity, and all of it together.

Intel SGX and TDX Provisioning Certification Service API, versions 3 and 4: "TCB info" (V2 and V3) and
"Enclave identity" (V2). :class:`Collateral` is the JSON form that verifiers exchange (Intel's
``sgx_ql_qve_collateral_t`` with its fields by name). Unknown members are ignored, because Intel adds some; an
unknown version or status is refused. Not checked here: signatures, validity, which of the documents belong
together.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, TypeVar

import msgspec

from casemate.errors import FormatError

#: Largest file of collateral that is read, in bytes. Intel's has about 20,000; a CRL may grow.
MAX_COLLATERAL_SIZE = 4 * 1024 * 1024


class TcbStatus(Enum):
    """What Intel says about a TCB level; the value is Intel's word."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"


#: What a level of the quoting enclave may be; the other statuses speak of platforms.
QE_STATUSES = (TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbLevel:
    """One level of a platform's TCB.

    Attributes:
        components: The least security version of each of the 16 components.
        pce_svn: The least security version of the provisioning certification enclave.
        status: What Intel says about platforms of this level.
        advisory_ids: Intel's security advisories that concern it.
    """

    components: tuple[int, ...]
    pce_svn: int
    status: TcbStatus
    advisory_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TcbInfo:
    """TCB info of one family of platforms.

    Attributes:
        id: ``SGX`` or ``TDX``; version 2 has none and speaks of SGX.
        version: 2 or 3.
        issue_date: From when it is valid.
        next_update: Until when it is valid.
        fmspc: The family, 6 bytes.
        pce_id: The provisioning certification enclave, 2 bytes.
        tcb_type: How levels are compared.
        levels: The levels, as they stand in the document.
    """

    id: str
    version: int
    issue_date: datetime
    next_update: datetime
    fmspc: bytes
    pce_id: bytes
    tcb_type: int
    levels: tuple[TcbLevel, ...]

    @classmethod
    def parse(cls, data: bytes) -> TcbInfo:
        """Read the JSON that Intel signed.

        Raises:
            FormatError: Not JSON, another version than 2 or 3, a member is missing or malformed, or an
                unknown status.
        """
        where = "TCB info"
        version = _decode(data, _Versioned, where).version
        if version == 3:
            third = _decode(data, _TcbInfoV3, where)
            levels = [(tuple(c.svn for c in level.tcb.sgxtcbcomponents), level) for level in third.tcb_levels]
            return _tcb_info(third, third.id, tuple(_tcb_level(svns, level) for svns, level in levels))
        if version == 2:
            second = _decode(data, _TcbInfoV2, where)
            flat = [(msgspec.structs.astuple(level.tcb)[1:], level) for level in second.tcb_levels]
            return _tcb_info(second, "SGX", tuple(_tcb_level(svns, level) for svns, level in flat))
        raise FormatError("TCB info version", expected="2 or 3", got=str(version))


@dataclass(frozen=True, slots=True, kw_only=True)
class QeLevel:
    """One level of the quoting enclave: its least ISVSVN, and what Intel says about it."""

    isvsvn: int
    status: TcbStatus
    advisory_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QeIdentity:
    """What a genuine quoting enclave looks like.

    Attributes:
        id: ``QE`` for the quoting enclave of SGX.
        issue_date: From when it is valid.
        next_update: Until when it is valid.
        misc_select: Expected MISCSELECT under its mask, 4 bytes.
        misc_select_mask: 4 bytes.
        attributes: Expected ATTRIBUTES under its mask, 16 bytes.
        attributes_mask: 16 bytes.
        mrsigner: Expected MRSIGNER, 32 bytes.
        isvprodid: Expected ISVPRODID.
        levels: The levels, as they stand in the document.
    """

    id: str
    issue_date: datetime
    next_update: datetime
    misc_select: bytes
    misc_select_mask: bytes
    attributes: bytes
    attributes_mask: bytes
    mrsigner: bytes
    isvprodid: int
    levels: tuple[QeLevel, ...]

    @classmethod
    def parse(cls, data: bytes) -> QeIdentity:
        """Read the JSON that Intel signed.

        Raises:
            FormatError: Not JSON, another version than 2, a member is missing or malformed, or a status that
                enclaves do not have.
        """
        where = "QE identity"
        version = _decode(data, _Versioned, where).version
        if version != 2:
            raise FormatError("QE identity version", expected="2", got=str(version))
        read = _decode(data, _QeIdentityV2, where)
        return cls(
            id=read.id,
            issue_date=_date(read.issue_date, where),
            next_update=_date(read.next_update, where),
            misc_select=bytes.fromhex(read.miscselect),
            misc_select_mask=bytes.fromhex(read.miscselect_mask),
            attributes=bytes.fromhex(read.attributes),
            attributes_mask=bytes.fromhex(read.attributes_mask),
            mrsigner=bytes.fromhex(read.mrsigner),
            isvprodid=read.isvprodid,
            levels=tuple(
                QeLevel(
                    isvsvn=level.tcb.isvsvn,
                    status=_status(level.tcb_status, QE_STATUSES, where),
                    advisory_ids=level.advisory_ids,
                )
                for level in read.tcb_levels
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Collateral:
    """Everything besides the quote that its appraisal needs, as Intel's service gave it.

    Attributes:
        pck_crl_issuer_chain: Certificates of the issuer of ``pck_crl`` and of the root, PEM.
        root_ca_crl: CRL of the root, DER.
        pck_crl: CRL of the PCK's issuer, DER.
        tcb_info_issuer_chain: Certificates of the signer of ``tcb_info`` and of the root, PEM.
        tcb_info: The signed bytes of the member ``tcbInfo``.
        tcb_info_signature: r and s, 64 bytes.
        qe_identity_issuer_chain: Certificates of the signer of ``qe_identity`` and of the root, PEM.
        qe_identity: The signed bytes of the member ``enclaveIdentity``.
        qe_identity_signature: r and s, 64 bytes.
    """

    pck_crl_issuer_chain: bytes
    root_ca_crl: bytes
    pck_crl: bytes
    tcb_info_issuer_chain: bytes
    tcb_info: bytes
    tcb_info_signature: bytes
    qe_identity_issuer_chain: bytes
    qe_identity: bytes
    qe_identity_signature: bytes

    @classmethod
    def parse_json(cls, data: bytes) -> Collateral:
        """Read the exchanged form: CRLs and signatures in hexadecimal, chains and documents as strings.

        Raises:
            FormatError: Not that JSON, or more than :data:`MAX_COLLATERAL_SIZE` bytes.
        """
        if len(data) > MAX_COLLATERAL_SIZE:
            raise FormatError(
                "collateral", expected=f"at most {MAX_COLLATERAL_SIZE} bytes", got=f"{len(data)} bytes"
            )
        read = _decode(data, _CollateralJson, "collateral")
        values = msgspec.structs.asdict(read)
        return cls(
            **{
                name: bytes.fromhex(text) if name in _IN_HEXADECIMAL else text.encode()
                for name, text in values.items()
            }
        )

    def to_json(self) -> bytes:
        """The exchanged form."""
        values = {
            name: value.hex() if name in _IN_HEXADECIMAL else value.decode()
            for name, value in asdict(self).items()
        }
        return msgspec.json.format(msgspec.json.encode(values), indent=1) + b"\n"


_IN_HEXADECIMAL = frozenset({"root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"})

# The foreign JSON, as Intel and the exchanged form spell it.
_Byte = Annotated[int, msgspec.Meta(ge=0, le=0xFF)]
_UInt16 = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
_Hex = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-fA-F]{2})*\Z")]
_Hex2 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{4}\Z")]
_Hex4 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{8}\Z")]
_Hex6 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{12}\Z")]
_Hex16 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{32}\Z")]
_Hex32 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{64}\Z")]
_Hex64 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{128}\Z")]


class _Versioned(msgspec.Struct, frozen=True):
    version: int


class _ComponentV3(msgspec.Struct, frozen=True):
    svn: _Byte


class _TcbV3(msgspec.Struct, frozen=True):
    sgxtcbcomponents: Annotated[tuple[_ComponentV3, ...], msgspec.Meta(min_length=16, max_length=16)]
    pcesvn: _UInt16


_TcbV2 = msgspec.defstruct(
    "_TcbV2",
    [("pcesvn", _UInt16), *((f"sgxtcbcomp{number:02}svn", _Byte) for number in range(1, 17))],
    frozen=True,
)


class _LevelV3(msgspec.Struct, frozen=True, rename="camel"):
    tcb: _TcbV3
    tcb_status: str
    advisory_ids: tuple[str, ...] = msgspec.field(name="advisoryIDs", default=())


class _LevelV2(msgspec.Struct, frozen=True, rename="camel"):
    tcb: _TcbV2  # type: ignore[valid-type]  # a struct made from a table of 16 names
    tcb_status: str
    advisory_ids: tuple[str, ...] = msgspec.field(name="advisoryIDs", default=())


class _TcbInfoBase(msgspec.Struct, frozen=True, rename="camel"):
    version: int
    issue_date: str
    next_update: str
    fmspc: _Hex6
    pce_id: _Hex2
    tcb_type: int


class _TcbInfoV2(_TcbInfoBase, frozen=True, kw_only=True, rename="camel"):
    tcb_levels: tuple[_LevelV2, ...]


class _TcbInfoV3(_TcbInfoBase, frozen=True, kw_only=True, rename="camel"):
    id: str
    tcb_levels: tuple[_LevelV3, ...]


class _QeTcb(msgspec.Struct, frozen=True, rename="camel"):
    isvsvn: _UInt16


class _QeLevelV2(msgspec.Struct, frozen=True, rename="camel"):
    tcb: _QeTcb
    tcb_status: str
    advisory_ids: tuple[str, ...] = msgspec.field(name="advisoryIDs", default=())


class _QeIdentityV2(msgspec.Struct, frozen=True, rename="camel"):
    id: str
    issue_date: str
    next_update: str
    miscselect: _Hex4
    miscselect_mask: _Hex4
    attributes: _Hex16
    attributes_mask: _Hex16
    mrsigner: _Hex32
    isvprodid: _UInt16
    tcb_levels: tuple[_QeLevelV2, ...]


class _CollateralJson(msgspec.Struct, frozen=True):
    pck_crl_issuer_chain: str
    root_ca_crl: _Hex
    pck_crl: _Hex
    tcb_info_issuer_chain: str
    tcb_info: str
    tcb_info_signature: _Hex64
    qe_identity_issuer_chain: str
    qe_identity: str
    qe_identity_signature: _Hex64


_Struct = TypeVar("_Struct", bound=msgspec.Struct)


def _decode(data: bytes, shape: type[_Struct], where: str) -> _Struct:
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(where, expected="its JSON form", got=str(error)) from error


def _tcb_info(read: _TcbInfoBase, tee: str, levels: tuple[TcbLevel, ...]) -> TcbInfo:
    where = "TCB info"
    return TcbInfo(
        id=tee,
        version=read.version,
        issue_date=_date(read.issue_date, where),
        next_update=_date(read.next_update, where),
        fmspc=bytes.fromhex(read.fmspc),
        pce_id=bytes.fromhex(read.pce_id),
        tcb_type=read.tcb_type,
        levels=levels,
    )


def _tcb_level(components: tuple[int, ...], level: _LevelV2 | _LevelV3) -> TcbLevel:
    return TcbLevel(
        components=components,
        pce_svn=level.tcb.pcesvn,
        status=_status(level.tcb_status, tuple(TcbStatus), "TCB info"),
        advisory_ids=level.advisory_ids,
    )


def _status(word: str, allowed: tuple[TcbStatus, ...], where: str) -> TcbStatus:
    for status in allowed:
        if status.value == word:
            return status
    raise FormatError(
        "TCB status",
        expected="one of " + ", ".join(status.value for status in allowed),
        got=word,
        where=where,
    )


def _date(text: str, where: str) -> datetime:
    """A date as Intel writes it: ``2025-06-04T00:16:12Z``."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise FormatError("date", expected="YYYY-MM-DDThh:mm:ssZ", got=text, where=where) from error
